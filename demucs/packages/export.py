"""Export of the best weights of an experiment to a model file, without Dora.

`best.th` of a run is already a package of the best weights so far, in our format or that of published Demucs. Exporting
it updates the number of epochs on its card and writes it to a folder of models, named by its signature, in any of the
formats.
"""

import dataclasses
import logging
import typing as tp
from pathlib import Path

from .. import schema
from ..errors import PackageError, SignatureError
from ..runs.experiments import experiment_folder
from ..runs.layout import ARGV, BEST, EXPERIMENTS, HISTORY, RUN_CARD
from ..runs.provenance import now
from ..runs.status import last_said
from ..schema import ReleaseCard, RunCard
from . import openunmix_export, package, publish, torchscript

logger = logging.getLogger(__name__)

PLAIN = "plain"
FORMATS = {PLAIN: ".th", **publish.KINDS, openunmix_export.KIND: "",       # of openunmix: a folder
           torchscript.KIND: torchscript.SUFFIX}


def export(signature: str, out: Path, *, kind: str = PLAIN, half: tp.Optional[bool] = None,
           experiments: Path = EXPERIMENTS) -> ReleaseCard:
    """Write the best weights of an experiment to OUT/SIGNATURE.th (or .safetensors, .pt, or a folder), and its card to
    OUT/SIGNATURE.json. An unfinished training gives a warning. Returns the card.

    Args:
        signature: of the experiment.
        out: folder of models.
        kind: "plain", our own format; "demucs" or "safetensors", files that published Demucs 4.x reads; "openunmix", a
            folder for models of Open-Unmix that openunmix 1.3.0 reads; "torchscript", a file for libtorch.
        half: True for float16, False for float32. None: quantised if training quantised the weights; otherwise float32
            for "plain", and float16 for the formats of published Demucs, as published models are. TorchScript is
            always in float32.
        experiments: folder of the experiments.

    Raises:
        SignatureError: if there is no such experiment, or no epoch of it has finished.
        PackageError: if its weights are damaged, the file cannot be written, or `half` for TorchScript.
        SchemaError: if its records are damaged.
    """
    folder = experiment_folder(signature, experiments)
    if not (folder / BEST).exists():
        raise SignatureError(f"experiment {signature} has no weights to export: no epoch has finished ({folder / BEST} "
                             f"is not there). Train it first, or wait for its first epoch.")
    model = package.load(folder / BEST)
    card = with_epochs(dataclasses.replace(model.card, signature=signature, created=now()), folder)
    warn_if_unfinished(signature, card, folder)
    path = out / f"{signature}{FORMATS[kind]}"
    if kind == openunmix_export.KIND:
        record = openunmix_export.record_of(folder)
        return openunmix_export.save(model, path, card=card, half=bool(half),
                                     records={target: record for target in getattr(model, "targets", model.sources)})
    if kind == torchscript.KIND:
        if half:
            raise PackageError(f"{path}: TorchScript files have 32-bit floats; leave --half out")
        return torchscript.save(model, path, card=card)
    state = getattr(model, "quantised_state", None) if half is None else None
    if kind == PLAIN:
        return package.save(model, path, card=card, half=bool(half), quantizer_state=state)
    return publish.save(model, path, kind=kind, card=card, half=half is not False, quantizer_state=state)


def with_epochs(card: ReleaseCard, folder: Path) -> ReleaseCard:
    """`card` with the numbers of epochs and the overrides of the experiment in `folder`, as far as it has records."""
    if (folder / RUN_CARD).exists():
        run = schema.load(RunCard, folder / RUN_CARD)
        return dataclasses.replace(card, epochs_done=run.epochs_done, epochs=run.epochs, argv=run.argv)
    if (folder / HISTORY).exists():      # a run of published Demucs
        return _from_history(card, folder)
    return card


def warn_if_unfinished(signature: str, card: ReleaseCard, folder: Path) -> None:
    """Log a warning if the experiment in `folder` has not all its epochs, and early stopping has not ended it."""
    if card.epochs_done < card.epochs and not _done(folder):
        logger.warning("%s has %d of %d epochs: the best weights so far are exported", signature, card.epochs_done,
                       card.epochs)


def _done(folder: Path) -> bool:
    """Whether the training in `folder` is complete: it has all its epochs, or was stopped early."""
    status = last_said(folder)
    return status is not None and status.state == "done"


def _from_history(card: ReleaseCard, folder: Path) -> ReleaseCard:
    """`card` completed from the history of a run: the best weights are those of the last epoch that was the best so
    far."""
    history = schema.load_history(folder / HISTORY)
    best = [record.valid for record in history if record.best in record.valid.values()]
    argv = schema.read_json(folder / ARGV) if (folder / ARGV).exists() else []
    if not isinstance(argv, list) or not all(isinstance(item, str) for item in argv):
        raise schema.SchemaError(f"{folder / ARGV}: overrides are a list of texts; write it again by starting the run "
                                 f"once")
    return dataclasses.replace(card, epochs_done=len(history), valid=best[-1] if best else {}, argv=argv)
