"""Signature of an experiment, which is the name of its folder, computed before the training. That of a known experiment
can be found without torch."""

import typing as tp

from .runs.experiments import started_with


def signature(argv: tp.Sequence[str], base: tp.Optional[str] = None, *, again: bool = False,
              ranks: tp.Optional[int] = None) -> str:
    """Signature of the experiment with the overrides `argv`, added to those of the experiment `base`.

    With `again`, the signature of a known experiment with the same overrides is returned, which saves seconds; the
    training has to confirm it. That signature is also returned if the packages of the configuration are missing. With
    `ranks`, a training in this number of processes is checked (`precheck`), unless a known experiment was found, and a
    second line of the result has the folder of its test songs.

    Raises:
        ConfigError: for an invalid value.
        DemucsError: if the training could not begin.
        ImportError: if the packages of the configuration are missing and no known experiment has these overrides.
        SystemExit: for an unknown key.
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
