"""Reader of the folders that openunmix's training script leaves, and of other files of its networks.

A folder has `separator.json` with the transform ({"nfft", "nhop", "sample_rate", "nb_channels"}) and for each target
its settings, `TARGET.json` ({"args": {...}, ...}), and weights, `TARGET.pth` or TARGET-HASH.pth (or
TARGET_HASH.pth), where HASH are the first 8 or more digits of the sha256 of the file. If there are no weights of a
target, those of the last epoch in `TARGET.chkpnt` are read instead.

openunmix itself ignores entries that are missing or unknown, takes any file whose name begins with that of the target,
and builds bidirectional networks of three layers only. Here names are exact, and files that do not fit are errors. All
files are untrusted; see `pickled`.
"""

import dataclasses
import datetime
import logging
import math
import re
import typing as tp
from pathlib import Path

import torch

from .. import schema
from ..downloads.partial import checksum_of
from ..errors import ConfigError, PackageError, did_you_mean, quoted
from ..models import zoo
from ..models.openunmix import OpenUnmixSeparator, bins_below
from ..models.separators import ordered
from ..ranges import CHANNELS, RATE, Range
from ..schema import ReleaseCard
from . import openunmix_network as networks
from . import weights
from .openunmix_network import Network

logger = logging.getLogger(__name__)

SETTINGS = "separator.json"
SUFFIX, CHECKPOINT = ".pth", ".chkpnt"
SEGMENT = 800.               # seconds: with the default overlap of a quarter, songs up to ten minutes are one segment
LARGEST_JSON = 2 ** 26       # bytes; the histories of thousands of epochs take fewer
LARGEST_TRANSFORM = Range(4, 2 ** 20, whole=True)

_HASH = r"[0-9a-f]{8,64}"
# args of TARGET.json -> attribute of `Sizes` that they must agree with
_SAID = {"nfft": "nfft", "nb_channels": "channels", "hidden_size": "hidden_size", "unidirectional": "unidirectional"}


@dataclasses.dataclass(frozen=True)
class Transform:
    """Settings that all networks of a Separator share, which are not in their weights; `bandwidth` in Hz is None if it
    is not known."""
    nfft: int
    nhop: int
    samplerate: int
    audio_channels: int
    bandwidth: tp.Optional[float] = None


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder with a `separator.json`."""
    return (path / SETTINGS).is_file()


def load(folder: tp.Union[str, Path], targets: tp.Optional[tp.Sequence[str]] = None) -> OpenUnmixSeparator:
    """The Separator of the networks in a folder of openunmix, in evaluation mode on the CPU, with its `ReleaseCard` as
    attribute `card`.

    Args:
        folder: see the module.
        targets: names of the networks that are loaded; all if None.

    Raises:
        PackageError: with a message of one line, if a file is missing, damaged, or does not fit the others.
        ConfigError: for an unknown target.
    """
    folder = Path(folder)
    transform = _transform(folder / SETTINGS)
    known = targets_in(folder)
    if not known:
        raise PackageError(f"{folder}: has no target: no file TARGET.json beside {SETTINGS}, such as vocals.json")
    chosen = selected(targets, known, folder)
    said = {target: _settings(folder / f"{target}.json", target) for target in chosen}
    files = {target: _weights_of(folder, target, known) for target in chosen}
    model = assembled(files, transform, folder, said={target: record["args"] for target, record in said.items()})
    model.card = card_of(model, folder.resolve().name, written=(folder / SETTINGS).stat().st_mtime, said=said)
    return model


def targets_in(folder: Path) -> tp.List[str]:
    """Names of the targets in a folder of openunmix, in the order of `separators.ordered`: those with a TARGET.json and
    weights, and those with a TARGET.json of a training. Other files are ignored."""
    def trained(stem: str) -> bool:
        try:
            return isinstance(_json(folder / f"{stem}.json").get("args"), dict)
        except PackageError:
            return False
    names = [path.name for path in folder.glob("*.json")]
    stems = sorted(Path(name).stem for name in names if name != SETTINGS and not name.startswith("."))
    return ordered([stem for stem in stems if weights_in(folder, stem, stems)
                    or (folder / f"{stem}{CHECKPOINT}").is_file() or trained(stem)])


def selected(targets: tp.Optional[tp.Sequence[str]], known: tp.Sequence[str], where: tp.Any) -> tp.List[str]:
    """Those of the targets `known` that are in `targets` (None: all), in the order of `known`. Raises ConfigError,
    naming the nearest one, for others, for none, and for repetitions. `where` is the name of the model in messages."""
    if targets is None:
        return list(known)
    for target in targets:
        if target not in known:
            raise ConfigError(f"{where}: has no target {quoted(target, 60)!r}.{did_you_mean(target, known)} There are: "
                              f"{', '.join(known)}")
        if list(targets).count(target) > 1:
            raise ConfigError(f"{where}: target {target!r} is given more than once; name each target once")
    if not targets:
        raise ConfigError(f"{where}: no target is chosen; there are: {', '.join(known)}")
    return [target for target in known if target in targets]


def assembled(files: tp.Mapping[str, Path], transform: Transform, where: tp.Union[str, Path], *,
              said: tp.Optional[tp.Mapping[str, tp.Mapping[str, tp.Any]]] = None) -> OpenUnmixSeparator:
    """The Separator of the networks in `files`, by target, in evaluation mode on the CPU. `said` are settings that the
    weights must agree with, by target, as in openunmix's TARGET.json. `where` is its name in messages.

    Raises:
        PackageError: if a file is damaged or does not fit.
    """
    read = {target: networks.read(path) for target, path in files.items()}
    for target, network in read.items():
        networks.check_rate(network, transform.samplerate)
        _check_said(network, transform, (said or {}).get(target, {}))
    first_target, first = next(iter(read.items()))
    for target, network in read.items():
        for field in dataclasses.fields(network.sizes):
            mine, other = getattr(network.sizes, field.name), getattr(first.sizes, field.name)
            if mine != other:
                raise PackageError(f"{where}: the networks of a Separator have equal sizes, but {field.name} is "
                                   f"{mine} for {target} ({network.path.name}) and {other} for {first_target} "
                                   f"({first.path.name}); keep them in folders of their own")
    sizes, targets = first.sizes, list(read)
    kwargs = {"sources": targets, "audio_channels": sizes.channels, "samplerate": transform.samplerate,
              "segment": SEGMENT, "hidden_size": sizes.hidden_size, "nb_layers": sizes.nb_layers,
              "unidirectional": sizes.unidirectional,
              "nfft": sizes.nfft, "nhop": transform.nhop, "niter": int(len(targets) > 1),
              "bandwidth": _bandwidth(sizes, transform)}
    try:
        with torch.device("meta"):
            model = zoo.build("openunmix_separator", **kwargs)
    except ConfigError as error:
        raise PackageError(f"{where}: its model cannot be built: {quoted(error)}") from error
    for target, network in read.items():
        model.target_models[target].load_state_dict(network.state, assign=True)
    return tp.cast(OpenUnmixSeparator, model.eval())


def _transform(path: Path) -> Transform:
    content = _json(path)

    def whole(key: str, allowed: Range) -> int:
        value = content.get(key)
        value = int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value
        if value not in allowed:
            raise PackageError(f"{path}: {key} is {quoted(repr(value), 60)}; it {allowed.demand(value)}")
        return tp.cast(int, value)
    return Transform(nfft=whole("nfft", LARGEST_TRANSFORM), nhop=whole("nhop", LARGEST_TRANSFORM),
                     samplerate=whole("sample_rate", RATE), audio_channels=whole("nb_channels", CHANNELS))


def _json(path: Path) -> tp.Dict[str, tp.Any]:
    """Content of a JSON file, which must be a dictionary. Raises PackageError."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise PackageError(f"{path}: is larger than any such file of openunmix ({LARGEST_JSON} bytes)")
        content = schema.read_json(path)
    except schema.SchemaError as error:
        raise PackageError(quoted(error, 400)) from error
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from error
    if not isinstance(content, dict):
        raise PackageError(f"{path}: is a JSON file with a {type(content).__name__} instead of settings by name")
    return content


def _settings(path: Path, target: str) -> tp.Dict[str, tp.Any]:
    """Content of TARGET.json with a dictionary as its entry "args". Raises PackageError if it is that of another
    target."""
    content = _json(path)
    args = content.get("args", {})
    if not isinstance(args, dict):
        raise PackageError(f"{path}: its args are a {type(args).__name__} instead of settings by name")
    trained = args.get("target", target)
    if trained != target:
        raise PackageError(f"{path}: belongs to a training of {quoted(repr(trained), 60)}, not of {target!r}; put the "
                           f"files of {target!r} there, or rename all files of the target")
    return {**content, "args": args}


def weights_in(folder: Path, target: str, names: tp.Collection[str]) -> tp.List[Path]:
    """Files of the weights of `target`: TARGET.pth, or with a hash. A file that is exactly called after another of the
    targets `names` is that one's."""
    pattern = re.compile(rf"{re.escape(target)}([-_]{_HASH})?{re.escape(SUFFIX)}")
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if pattern.fullmatch(path.name)
                  and (path.stem == target or path.stem not in names) and path.is_file())


def _weights_of(folder: Path, target: str, known: tp.Collection[str]) -> Path:
    """File with the weights of `target`, checked against the hash in its name. Raises PackageError."""
    found = weights_in(folder, target, known)
    checkpoint = folder / f"{target}{CHECKPOINT}"
    if not found and checkpoint.is_file():
        logger.warning("%s: has no %s%s with the best weights; those of the last epoch in %s are used", folder, target,
                       SUFFIX, checkpoint.name)
        return checkpoint
    if not found:
        raise PackageError(f"{folder}: has no weights of {target!r}: neither {target}{SUFFIX} nor "
                           f"{target}-HASH{SUFFIX} nor {checkpoint.name}")
    if len(found) > 1:
        raise PackageError(f"{folder}: has several weights of {target!r}: {', '.join(path.name for path in found)}; "
                           f"keep one of them")
    path, = found
    if path.stem != target:
        require_hash(path)
    return path


def require_hash(path: Path) -> None:
    """Check that the sha256 of a file begins with the digits at the end of its name, NAME-HASH.pth or NAME_HASH.pth.

    Raises:
        PackageError: if it does not, or the file cannot be read.
    """
    wanted = hash_in(path.name)
    try:
        found = checksum_of(path, len(wanted))
    except OSError as error:
        raise PackageError(f"{path}: cannot be read ({error.strerror})") from error
    if found != wanted:
        raise PackageError(f"{path}: is damaged, or was changed: its checksum is {found}, its name says {wanted}; "
                           f"copy or download it again")


def hash_in(name: str) -> str:
    """Digits of the sha256 in the name of a file, NAME-HASH.pth or NAME_HASH.pth; "" if it has none."""
    match = re.fullmatch(rf".+[-_]({_HASH}){re.escape(SUFFIX)}", name)
    return match[1] if match else ""


def _check_said(network: Network, transform: Transform, said: tp.Mapping[str, tp.Any]) -> None:
    """Raise PackageError if the weights of a network contradict its settings."""
    sizes = network.sizes
    expected = {"nfft": transform.nfft, "nb_channels": transform.audio_channels}
    for name, value in (*expected.items(), *said.items()):
        if name in _SAID and value is not None and value != getattr(sizes, _SAID[name]):
            raise PackageError(f"{network.path}: its weights have {name}={getattr(sizes, _SAID[name])}, its settings "
                               f"say {quoted(repr(value), 60)}; weights and JSON files belong to different models")
    bandwidth = said.get("bandwidth")
    if bandwidth in Range(0, 10 ** 7):
        bins = bins_below(bandwidth, nfft=sizes.nfft, samplerate=transform.samplerate)
        if abs(bins - sizes.cropped) > 1:        # at the edge of a bin, openunmix may round to another one
            raise PackageError(f"{network.path}: its network sees {sizes.cropped} bins, its settings say bandwidth="
                               f"{bandwidth:g} Hz, which are {bins}; weights and JSON files belong to different models")


def _bandwidth(sizes: networks.Sizes, transform: Transform) -> float:
    """Bandwidth in Hz with which a network sees as many bins as one of these sizes; 0 for all."""
    known = transform.bandwidth
    if known is not None and bins_below(known, nfft=sizes.nfft, samplerate=transform.samplerate) == sizes.cropped:
        return known
    for whole in (0, 16000):
        if bins_below(whole, nfft=sizes.nfft, samplerate=transform.samplerate) == sizes.cropped:
            return whole
    return (sizes.cropped - 0.5) * transform.samplerate / sizes.nfft       # between two bins


def card_of(model: OpenUnmixSeparator, signature: str, *, written: float,
            said: tp.Optional[tp.Mapping[str, tp.Mapping[str, tp.Any]]] = None) -> ReleaseCard:
    """Card of a model, as far as the files of openunmix tell: `said` has the content of TARGET.json by target,
    `written` is their time in seconds since 1970."""
    def whole(value: tp.Any) -> int:
        return value if type(value) is int and 0 <= value < 10 ** 9 else 0
    records = said or {}
    losses = {f"loss_{target}": float(record["best_loss"]) for target, record in records.items()
              if type(record.get("best_loss")) in (int, float) and math.isfinite(record["best_loss"])}
    created = datetime.datetime.fromtimestamp(written, datetime.timezone.utc)
    return ReleaseCard(
        signature=signature, model=model.zoo_name, sources=list(model.sources), samplerate=model.samplerate,
        audio_channels=model.audio_channels, segment=float(model.segment), precision="float32",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        model_hash=weights.state_hash(model.state_dict()),
        epochs_done=max((whole(record.get("epochs_trained")) for record in records.values()), default=0),
        epochs=max((whole(record["args"].get("epochs")) for record in records.values()), default=0), valid=losses,
        argv=[], commit="", versions={}, created=created.isoformat(timespec="seconds"))
