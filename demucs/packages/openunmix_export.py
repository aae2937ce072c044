"""Writer of folders for openunmix: what its training script leaves, so that its command `umx` loads them.

openunmix 1.3.0 reads only networks of three bidirectional layers. It takes the first file whose name begins with that
of the target, so that in a folder no name of a target may begin with another.
"""

import hashlib
import io
import json
import logging
import math
import typing as tp
from pathlib import Path

import torch

from .. import schema
from ..errors import PackageError
from ..files import atomic
from ..models.openunmix import OpenUnmixSeparator
from ..models.separators import is_openunmix, network_of, settings_of
from ..runs.layout import HISTORY, RUN_CARD
from ..schema import EpochRecord, ReleaseCard, RunCard
from . import openunmix, weights

logger = logging.getLogger(__name__)

KIND = "openunmix"
LAYERS = 3                  # of the networks that openunmix 1.3.0 builds
MOST_CHANNELS = 2           # of its filter
HASH = 8                    # digits of the sha256 in names of files
# Settings of its Separator that its files do not have, with the defaults of its command.
UNSAID: tp.Dict[str, tp.Any] = {"niter": 1, "softmask": False, "residual": False, "wiener_win_len": 300,
                                "aggregate": None}

Record = tp.Dict[str, tp.Any]


def save(model: torch.nn.Module, folder: tp.Union[str, Path], *, card: ReleaseCard, half: bool = False,
         records: tp.Optional[tp.Mapping[str, Record]] = None) -> ReleaseCard:
    """Write `model` to `folder` for openunmix: `separator.json`, and `TARGET.json` and `TARGET-HASH.pth` of each
    target; and its card to a `.json` file beside the folder.

    Args:
        model: `openunmix` or `openunmix_separator` of the zoo.
        folder: may exist as an earlier export of the same targets, whose files are replaced one by one.
        card: `precision`, `parameters` and `model_hash` are set here.
        half: store float16.
        records: further entries of TARGET.json by target, see `record_of`.

    Returns:
        The completed card.

    Raises:
        PackageError: for a model that openunmix would not load, or load wrongly; for a folder with other files; if a
            file cannot be written.
    """
    folder = Path(folder)
    if not is_openunmix(model):
        raise PackageError(f"{folder}: openunmix has no model {getattr(model, 'zoo_name', type(model).__name__)}; "
                           f"export it in plain format")
    settings = settings_of(model)
    targets: tp.List[str] = settings["targets"]
    _require_loadable(settings, folder)
    _require_own(folder, targets)
    changed = [f"{name}={settings[name]}" for name, value in UNSAID.items()
               if (settings[name] or None) != (value or None)]
    if changed and isinstance(model, OpenUnmixSeparator) and len(targets) > 1:
        logger.warning("%s: the files of openunmix do not have %s; give its command the options for that", folder,
                       ", ".join(changed))
    args = {"nfft": settings["nfft"], "nhop": settings["nhop"], "nb_channels": settings["audio_channels"],
            "hidden_size": settings["hidden_size"], "bandwidth": settings["bandwidth"] or settings["samplerate"] / 2,
            "unidirectional": settings["unidirectional"]}
    for target in targets:
        data = _weights(network_of(model, target), half=half)
        name = f"{target}-{hashlib.sha256(data).hexdigest()[:HASH]}{openunmix.SUFFIX}"
        record = dict((records or {}).get(target, {}))
        record["args"] = {**record.get("args", {}), **args, "target": target}
        _write(folder / name, data)
        _write(folder / f"{target}.json", _text(record))
        for old in openunmix.weights_in(folder, target, targets):
            if old.name != name:
                old.unlink()
    transform = {"nfft": settings["nfft"], "nhop": settings["nhop"], "sample_rate": float(settings["samplerate"]),
                 "nb_channels": settings["audio_channels"]}
    # Last, since a folder without it is none of openunmix.
    _write(folder / openunmix.SETTINGS, _text(transform))
    card = weights.completed(card, model, weights.stored(model, half=half), "float16" if half else "float32")
    _write(folder.with_name(f"{folder.name}.json"), _text(schema.sealed(schema.to_plain(card))))
    return card


def record_of(folder: Path) -> Record:
    """Entries of openunmix's TARGET.json about a training, from the records in the folder of its experiment, as far as
    it has them: epochs_trained, best_loss, best_epoch, histories of losses and times, num_bad_epochs, and some of args.

    Raises:
        SchemaError: if a record is damaged.
    """
    record: Record = {"args": {}}
    if (folder / RUN_CARD).is_file():
        run = schema.load(RunCard, folder / RUN_CARD)
        record["commit"] = run.commit[:7]
        record["args"] = {"epochs": run.epochs, "batch_size": run.batch_size, "seed": run.seed}
    if (folder / HISTORY).is_file():
        epochs = schema.load_history(folder / HISTORY)
        valid = [epoch.valid.get("loss", math.nan) for epoch in epochs]
        finite = [loss for loss in valid if math.isfinite(loss)]
        best = min(finite, default=math.nan)
        record.update(
            epochs_trained=len(epochs), best_loss=best, best_epoch=1 + valid.index(best) if finite else 0,
            train_loss_history=[epoch.train.get("loss", math.nan) for epoch in epochs], valid_loss_history=valid,
            train_time_history=[_seconds(epoch) for epoch in epochs],
            num_bad_epochs=len(valid) - 1 - valid.index(best) if finite else 0)
    return record


def _seconds(epoch: EpochRecord) -> float:
    return (epoch.seconds or {}).get("train", 0.)


def _require_loadable(settings: tp.Mapping[str, tp.Any], folder: Path) -> None:
    """Raise PackageError for a model that openunmix 1.3.0 cannot load, or would load wrongly without an error."""
    wanted = {"nb_layers": LAYERS, "unidirectional": False}
    for name, value in wanted.items():
        if settings[name] != value:
            raise PackageError(f"{folder}: openunmix reads only networks with {name}={value}, and this one has "
                               f"{name}={settings[name]}; export it in plain format")
    if settings["audio_channels"] > MOST_CHANNELS:
        raise PackageError(f"{folder}: openunmix filters one or two channels, and this model has "
                           f"{settings['audio_channels']}; export it in plain format")
    for target in settings["targets"]:
        for other in settings["targets"]:
            if other != target and other.startswith(target):
                raise PackageError(f"{folder}: openunmix takes any file that begins with {target!r} for that target, "
                                   f"so it would confuse it with {other!r}; export it in plain format")


def _require_own(folder: Path, targets: tp.Sequence[str]) -> None:
    """Raise PackageError if the folder has files that do not belong to an export of these targets."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()) and not openunmix.is_folder(folder):
        raise PackageError(f"{folder}: is there already, and is no folder of openunmix; choose another one with -o")
    others = [name for name in openunmix.targets_in(folder) if name not in targets]
    if others:
        raise PackageError(f"{folder}: has the targets {', '.join(others)} of another model; choose another folder "
                           f"with -o, or delete it")


def _weights(network: torch.nn.Module, *, half: bool) -> bytes:
    """File of a network as openunmix saves it, a state dict."""
    stored = weights.stored(network, half=half)
    file = io.BytesIO()
    torch.save(type(network.state_dict())(stored), file)
    return file.getvalue()


def _text(plain: tp.Any) -> bytes:
    return (json.dumps(schema.finite(plain), indent=4, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    try:
        with atomic(path) as file:
            file.write(data)
    except OSError as error:
        raise PackageError(f"{path}: cannot be written ({error.strerror or error}); free some space or choose another "
                           f"folder") from error
