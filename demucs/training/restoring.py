"""Initial state of a training: its own newest checkpoint, or the weights of another run."""

import logging
import typing as tp
from pathlib import Path

from torch import nn

from ..errors import DemucsError, PackageError, TrainingError
from ..packages import weights
from ..runs.layout import HISTORY, NEWEST, PREVIOUS, RUN_CARD
from ..runs.progress import progress
from ..schema import EpochRecord, RunCard, load, load_history
from .best import Selection, enough
from .checkpoints import Checkpoints
from .distributed import Group
from .state import NOTES, StateRegistry, different_settings, read_checkpoint

logger = logging.getLogger(__name__)

Package = tp.Mapping[str, tp.Any]


def begun(folder: Path, group: Group) -> bool:
    """Whether the run in `folder` has a checkpoint, as rank 0 sees it. A collective call."""
    return group.gather(any((folder / name).exists() for name in (NEWEST, PREVIOUS)))[0]


def newest(checkpoints: Checkpoints, group: Group) -> tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]]:
    """(entries, path) of the newest checkpoint that rank 0 can read; None without checkpoints. All ranks load the same
    file. A collective call.

    Raises:
        PackageError: on all ranks, if rank 0 can read none, or another rank cannot read that file.
    """
    found: tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]] = None
    error: tp.Optional[PackageError] = None
    try:
        found = checkpoints.read() if group.is_first else None
    except PackageError as caught:
        error = caught
    name, error = group.gather((found and found[1].name, error))[0]
    if error is None and name is not None and not group.is_first:
        try:
            found = read_checkpoint(checkpoints.folder / name), checkpoints.folder / name
        except PackageError as caught:
            error = caught
    error = next((each for each in group.gather(error) if each is not None), None)
    if error is not None:
        raise error
    return found


def require_own(package: Package, path: Path, settings: tp.Mapping[str, tp.Any]) -> tp.List[str]:
    """Check that the checkpoint `package` from the file `path` belongs to an experiment with these `settings`. The
    number of epochs may differ.

    Returns:
        For a checkpoint of published Demucs, sentences that say what could not be restored and which settings differ;
        otherwise an empty list.

    Raises:
        PackageError: if a checkpoint of this program has other settings.
    """
    different = different_settings({**settings, "epochs": None}, {**package.get("args", {}), "epochs": None})
    if different and not package[NOTES]:
        raise PackageError(f"{path}: belongs to another experiment: {'; '.join(different)}. Put that file back where it "
                           f"came from; to start from its weights, set continue_from to its signature.")
    return package[NOTES] + different if package[NOTES] else []


def require_same(package: Package, path: Path, group: Group) -> None:
    """Check that all ranks have read the same checkpoint, by its progress. A collective call.

    Raises:
        TrainingError: if not, since the file `path` was replaced in between.
    """
    position = package.get("position") or {}
    places = group.gather((len(package.get("history", ())), position.get("step"),
                           sorted(position.get("candidates", ())), sorted(position.get("tested", ()))))
    if any(place != places[0] for place in places):
        raise TrainingError(f"{path}: the processes read different checkpoints ({places}): it was replaced in between, or "
                            f"the file system does not show all nodes the same. Start the run again.")


def require_same_examples(package: Package, path: Path, *, examples: int, epoch: int, within_epoch: bool) -> None:
    """Check that the number of training examples is still that of the checkpoint `package`. If it differs between two
    epochs, a warning is logged. `epoch` is the number of the next or present epoch (counted from 1), `within_epoch`
    whether some of its steps are done.

    Raises:
        TrainingError: if it differs within an epoch.
    """
    before = package.get("examples")
    if before in (None, examples):
        return
    if within_epoch:
        raise TrainingError(f"{path}: epoch {epoch} began with {before} training examples, now there are {examples}: songs "
                            f"were added, removed or replaced in dset.musdb or dset.wav. Bring back those that were there; "
                            f"for the new ones start an experiment with continue_from=SIG.")
    logger.warning("%s: the run had %d training examples so far, from here on it has %d: songs were added, removed or "
                   "replaced", path, before, examples)


def require_shapes(state: tp.Mapping[str, tp.Any], model: nn.Module) -> None:
    """Check that the weights in `state` have the shapes of those in `model` with the same names. Names that only one of
    them has are ignored.

    Raises:
        ValueError: if a shape differs.
    """
    own = model.state_dict()
    faults = weights.differences({key: own[key] for key in own if key in state},
                                 {key: state[key] for key in state if key in own})
    if faults:
        raise ValueError(f"of its parameters {faults}")


def finished(folder: Path, selection: Selection, *, epochs: int, patience: tp.Optional[int]
             ) -> tp.Optional[tp.List[EpochRecord]]:
    """History of the run in `folder` up to its newest checkpoint, if the run is finished by then, else None. Also None
    if history or checkpoint is missing.

    `selection`, `epochs` and `patience` decide whether it is finished: see `best.enough`. Neither songs nor weights are
    read.
    """
    done = progress(folder)
    try:
        history = load_history(folder / HISTORY)
    except DemucsError:
        return None
    if done is None or len(history) < done[0]:
        return None
    history = history[:done[0]]
    return history if enough(history, selection, epochs=epochs, patience=patience) else None


def epochs_behind(checkpoint: Path, history: int) -> tp.Optional[int]:
    """Number of epochs that precede a run which starts from `checkpoint`: the `history` epochs of that checkpoint, and
    those of the runs that its run continues. None if the run card beside `checkpoint` does not say."""
    try:
        card = load(RunCard, checkpoint.parent / RUN_CARD)
    except DemucsError:
        return None
    behind = card.continued_after if card.continued_from else 0
    return None if behind is None else behind + history


def start_from(checkpoint: Path, model: nn.Module, registry: StateRegistry, group: Group, *, best: bool,
               optimizer: bool) -> tp.Optional[int]:
    """Load the best (`best`) or the last weights in another run's file `checkpoint` into `model`, and with `optimizer`
    the optimiser state, through `registry`. Weights that the checkpoint lacks, or has in another shape, keep their
    values, with a warning. A collective call.

    Returns:
        The number of epochs of that run and of those that it continues, or None if unknown.

    Raises:
        PackageError: if the checkpoint has no such weights, if none of them fit the model, or, with `optimizer`, if not
            all of them fit.
        TrainingError: if the ranks read different files.
    """
    package = read_checkpoint(checkpoint)
    require_same(package, checkpoint, group)
    state = package.get("best_state" if best else "state")
    if not isinstance(state, dict):
        raise PackageError(f"{checkpoint}: holds no {'best' if best else 'last'} weights; no epoch of it has finished")
    own = model.state_dict()
    fitting = {key: value for key, value in state.items()
               if key in own and weights.is_weight(value) and value.shape == own[key].shape}
    faults = weights.differences(own, state)
    if optimizer and fitting.keys() != own.keys():
        raise PackageError(f"{checkpoint}: belongs to a model of another shape, so the state of its optimizer cannot "
                           f"be taken over: of its parameters {faults}; set continue_opt=false")
    if not fitting:
        raise PackageError(f"{checkpoint}: holds none of this model's weights: of its parameters {faults}; it belongs "
                           f"to another model: set the same model and settings as that experiment")
    model.load_state_dict(fitting, strict=False)
    for what, keys in (("keep their initial values", own.keys() - fitting.keys()),
                       ("of it are left out", state.keys() - fitting.keys())):
        if keys:
            logger.warning("%s: %d weights %s: %s", checkpoint, len(keys), what, ", ".join(sorted(keys)[:5]))
    if faults:
        logger.warning("%s: of its parameters %s", checkpoint, faults)
    if optimizer:
        registry.restore_part("optimizer", package, str(checkpoint))
    logger.info("Starting from the %s weights of %s", "best" if best else "last", checkpoint)
    return epochs_behind(checkpoint, len(package.get("history", ())))
