"""The signature of an experiment, which is the name of its folder, before anything runs. One that is known needs no
torch."""

import typing as tp

from .runs.experiments import started_with


def signature(argv: tp.Sequence[str], base: tp.Optional[str] = None, *, again: bool = False,
              ranks: tp.Optional[int] = None) -> str:
    """Of these overrides, on top of those of the experiment `base`. Ends the program where a key does not exist. With
    `again` a known experiment is taken for it, which saves seconds, and the training has to confirm it. `ranks`: check
    a training in so many processes, and add a line with the folder of its test songs.

    Raises:
        ConfigError: for a value that cannot be.
        DemucsError: for a training that could not begin.
    """
    found = started_with(argv) if again and base is None else None
    if found is not None:
        return found
    try:
        from omegaconf import OmegaConf

        from .config import read
        from .train import main as experiments
    except ImportError:
        found = started_with(argv) if base is None else None
        if found is None:
            raise
        return found
    xp = experiments.get_xp([*(experiments.get_argv_from_sig(base) if base else []), *argv])
    config = read(tp.cast(tp.Dict[str, tp.Any], OmegaConf.to_container(xp.cfg, resolve=True)))
    if ranks is None:
        return str(xp.sig)
    from . import precheck

    return f"{xp.sig}\n{precheck.check(config, ranks=ranks, folder=xp.folder)}"
