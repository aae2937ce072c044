"""Export of a Separator of Open-Unmix from several experiments, each of which trained the network of one target."""

import hashlib
import logging
import math
import re
import typing as tp
from pathlib import Path

from torch import nn

from ..errors import ConfigError, PackageError, SignatureError
from ..models.openunmix import OpenUnmix
from ..models.separators import joined, ordered
from ..runs.experiments import experiment_folder
from ..runs.layout import BEST, EXPERIMENTS
from ..schema import ReleaseCard
from . import openunmix, openunmix_export, package
from .export import PLAIN, warn_if_unfinished, with_epochs

logger = logging.getLogger(__name__)

SELECTION = "loss"           # metric on the validation set: the run of a target with the smallest one is taken


class Run(tp.NamedTuple):
    """Best weights of an experiment that trained the network of one target, with its card, and its loss on the
    validation set (NaN: unknown)."""
    signature: str
    model: nn.Module
    card: ReleaseCard
    loss: float


def export_separator(signatures: tp.Sequence[str], out: Path, *, name: tp.Optional[str] = None, kind: str = PLAIN,
                     half: bool = False, experiments: Path = EXPERIMENTS) -> tp.Tuple[Path, ReleaseCard]:
    """Write the Separator of the networks that the experiments trained: to OUT/NAME.th with its card in OUT/NAME.json,
    or for `kind` "openunmix" to the folder OUT/NAME. Of several experiments with the same target, that with the
    smallest loss on the validation set is taken, and the choice is logged.

    The card names the experiments in `argv`, as TARGET=SIGNATURE, and has their losses as loss_TARGET.

    Args:
        signatures: of the experiments, with models `openunmix` of equal settings.
        out: folder of models.
        name: of the Separator; by default "openunmix_" and 8 digits that depend on the chosen experiments.
        kind: "plain" or "openunmix".
        half: store float16.
        experiments: folder of the experiments.

    Returns:
        Path of the file or folder, and the card.

    Raises:
        SignatureError: if there is no such experiment, it has no weights yet, or is given twice.
        PackageError: if weights are damaged or of another model, or a file cannot be written.
        ConfigError: if the experiments do not fit together, or for an impossible name.
    """
    if name is not None:
        check_name(name)
    for signature in signatures:
        if list(signatures).count(signature) > 1:
            raise SignatureError(f"experiment {signature} is given more than once; name each once")
    chosen = best_by_target([_run(signature, experiments) for signature in signatures])
    model = joined({f"experiment {run.signature} ({target})": run.model for target, run in chosen.items()})
    model.segment = model.zoo_kwargs["segment"] = openunmix.SEGMENT
    parts = [f"{target}={chosen[target].signature}" for target in model.targets]
    name = name or "openunmix_" + hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    cards = [run.card for run in chosen.values()]
    card = package.new_card(
        model, signature=name, epochs_done=max(each.epochs_done for each in cards),
        epochs=max(each.epochs for each in cards),
        valid={f"{SELECTION}_{target}": chosen[target].loss for target in model.targets
               if math.isfinite(chosen[target].loss)}, argv=parts)
    if kind == openunmix_export.KIND:
        records = {target: openunmix_export.record_of(experiments / run.signature) for target, run in chosen.items()}
        return out / name, openunmix_export.save(model, out / name, card=card, half=half, records=records)
    path = out / f"{name}.th"
    return path, package.save(model, path, card=card, half=half)


def best_by_target(runs: tp.Sequence[Run]) -> tp.Dict[str, Run]:
    """The run with the smallest loss of each target, in the order of `ordered`. Choices are logged.

    Raises:
        ConfigError: if one of several runs of a target has no loss that is a number.
    """
    by_target: tp.Dict[str, tp.List[Run]] = {}
    for run in runs:
        by_target.setdefault(run.model.sources[0], []).append(run)
    chosen = {}
    for target in ordered(by_target):
        others = by_target[target]
        for run in others:
            if len(others) > 1 and not math.isfinite(run.loss):
                raise ConfigError(f"experiment {run.signature} has no loss on the validation set, by which one of the "
                                  f"{len(others)} runs of {target} is chosen; leave it out")
        chosen[target] = min(others, key=lambda run: run.loss) if len(others) > 1 else others[0]
        if len(others) > 1:
            rest = ", ".join(f"{run.signature} {run.loss:.6g}" for run in others if run is not chosen[target])
            logger.info("%s: experiment %s has the smallest loss on the validation set, %.6g (%s)", target,
                        chosen[target].signature, chosen[target].loss, rest)
    return chosen


def check_name(name: str) -> None:
    """Raise ConfigError unless `name` can be the name of an exported model: that of a file, without a checksum."""
    if not name or name.startswith((".", "-")) or re.search(r"[/\\\x00-\x1f]|-[0-9a-f]{8,64}$", name):
        raise ConfigError(f"--name {name!r}: is no name of a model; use letters, digits and _, without a checksum "
                          f"after -")


def _run(signature: str, experiments: Path) -> Run:
    folder = experiment_folder(signature, experiments)
    if not (folder / BEST).exists():
        raise SignatureError(f"experiment {signature} has no weights to export: no epoch has finished ({folder / BEST} "
                             f"is not there). Train it first, or wait for its first epoch.")
    model = package.load(folder / BEST)
    if not isinstance(model, OpenUnmix):
        raise PackageError(f"experiment {signature} trained {getattr(model, 'zoo_name', type(model).__name__)} for "
                           f"{', '.join(model.sources)}; a Separator is made of experiments with model=openunmix, one "
                           f"for each target")
    card = with_epochs(model.card, folder)
    warn_if_unfinished(signature, card, folder)
    loss = card.valid.get(SELECTION)
    return Run(signature, model, card, math.nan if loss is None else float(loss))
