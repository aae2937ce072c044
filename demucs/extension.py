"""Extension of a training to more epochs.

The number of epochs is part of a signature, so the longer training is another experiment. It starts from copies of the
current files of SIG: checkpoint (weights, optimiser, averages, history, random states), history, best weights and run
card. It is then trained like any other experiment, with the same result as if it had been planned for more epochs from
the start. extended.json in each of the two folders names the other experiment.
"""

import dataclasses
import shutil
import typing as tp
from pathlib import Path

from . import schema
from .errors import ConfigError, SignatureError
from .files import atomic
from .packages.pickled import damaged_part
from .runs.layout import BEST, CHECKPOINT_RECORDS, EXTENDED, HISTORY, NEWEST, PREVIOUS, RUN_CARD
from .runs.lock import locked
from .runs.progress import progress, progress_of
from .train import main as experiments

LINK_VERSION = 1


def link(folder: Path) -> tp.Dict[str, tp.Any]:
    """Content of extended.json in `folder`: the run that it extends ("extended_from", None if none, and "after_epochs")
    and the runs that extend it ("extended_to"). The same without links if the file is missing. Raises SchemaError if it
    is invalid."""
    if not (folder / EXTENDED).exists():
        return {"extended_from": None, "after_epochs": None, "extended_to": [], "version": LINK_VERSION}
    found = schema.read_json(folder / EXTENDED)
    if not isinstance(found, dict) or found.get("version") != LINK_VERSION or not isinstance(found.get("extended_to"), list) \
            or "extended_from" not in found:
        raise schema.SchemaError(f"{folder / EXTENDED}: not a link of version {LINK_VERSION} between two trainings")
    return found


def extend(signature: str, epochs: int, *, check: bool = False) -> str:
    """Prepare the experiment that extends `signature` to `epochs` epochs: copy the files of the training to its folder,
    unless they were copied before. With `check`, only check whether that is possible. Returns the signature of the
    longer experiment.

    Raises:
        SignatureError: if `signature` has no readable checkpoint, or if the longer experiment has begun from another
            one.
        ConfigError: if `epochs` is not larger than the number of epochs of `signature`.
        LockedError: if one of the two is being trained.
        SystemExit: if there is no experiment `signature`.
    """
    argv = experiments.get_argv_from_sig(signature)
    old = experiments.get_xp(argv)
    if epochs <= old.cfg.epochs:
        raise ConfigError(f"{signature} is planned for {old.cfg.epochs} epochs: to extend it, give a larger number than "
                          f"{epochs}; without a number it goes on as planned")
    if progress(old.folder) is None:
        raise SignatureError(f"{signature} has no checkpoint that can be read in {old.folder}; train it first")
    new = experiments.get_xp([*argv, f"epochs={epochs}"])
    if _begun(new, signature) or check:
        return new.sig
    new.folder.mkdir(parents=True, exist_ok=True)
    with locked(old.folder, patience=0), locked(new.folder, patience=0):
        if not _begun(new, signature):
            _copy(old, new)
    return new.sig


def _begun(new: tp.Any, signature: str) -> bool:
    """Whether the longer training has a checkpoint. Raises SignatureError if it is not an extension of `signature`."""
    begun = next((new.folder / name for name in (NEWEST, PREVIOUS) if (new.folder / name).exists()), None)
    if begun is None:
        return False
    source = link(new.folder)["extended_from"]
    if source != signature:
        raise SignatureError(f"the same training for {new.cfg.epochs} epochs is {new.sig}, which has begun "
                             f"{'by itself' if source is None else f'from {source}'} ({begun}); continue that, or move "
                             f"its folder away")
    return True


def _copy(old: tp.Any, new: tp.Any) -> None:
    """Copy the files of a training to that which extends it. The checkpoint is copied last: an interrupted copy counts
    as not begun, and is done again."""
    newest = next((name for name in (NEWEST, PREVIOUS) if progress_of(old.folder, name)
                   and damaged_part(old.folder / name) is None), None)
    if newest is None:
        raise SignatureError(f"{old.sig} has no checkpoint in {old.folder} that is as it was written")
    done, *_ = progress_of(old.folder, newest) or (0,)
    links = {xp.sig: link(xp.folder) for xp in (old, new)}
    links[new.sig].update(extended_from=old.sig, after_epochs=done)
    if new.sig not in links[old.sig]["extended_to"]:
        links[old.sig]["extended_to"].append(new.sig)
    for xp in (new, old):
        schema.write_json(links[xp.sig], xp.folder / EXTENDED)
    experiments.init_xp(new)
    if (old.folder / RUN_CARD).exists():
        card = schema.load(schema.RunCard, old.folder / RUN_CARD)
        schema.save(dataclasses.replace(card, signature=new.sig, name=experiments.get_name(new), argv=list(new.argv),
                                        epochs=new.cfg.epochs), new.folder / RUN_CARD)
    for name, target in ((HISTORY, HISTORY), (BEST, BEST), (CHECKPOINT_RECORDS, CHECKPOINT_RECORDS), (newest, NEWEST)):
        if (old.folder / name).exists():
            with open(old.folder / name, "rb") as source, atomic(new.folder / target) as copy:
                shutil.copyfileobj(source, copy)
