"""Catalogue of the published models of Demucs, and reader of bag files, without torch.

`demucs/remote/files.txt` lists the files of single models, `demucs/remote/NAME.yaml` are the bags. Bag files in a
folder of exported models have the same format, so that published ones can be copied and edited:

    models: ['955717e8', 'f7e0c4bc']     # single models; quotes, since a signature may look like a number
    weights: [[1, 1, 0, 0], [0, 0, 1, 1]]     # optional: a row per model, a number per source
    segment: 44                               # optional: seconds

Bag files are untrusted, and are checked key by key.
"""

import dataclasses
import functools
import os
import re
import typing as tp
from pathlib import Path

import yaml

from ..errors import PackageError, SignatureError, did_you_mean, quoted
from ..ranges import SECONDS, WEIGHT

ROOT_URL = "https://dl.fbaipublicfiles.com/demucs/"
MIRROR = "DEMUCS_MIRROR"                # environment variable with a URL that replaces ROOT_URL
REMOTE_ROOT = Path(__file__).resolve().parent.parent / "remote"
BAG_SUFFIX = ".yaml"
KEYS = ("models", "weights", "segment")
LARGEST_BAG = 2 ** 20                   # maximum bytes of a bag file

_CHECKSUM = re.compile(r"(?P<signature>.+)-(?P<checksum>[0-9a-f]{8,64})")


class ModelLoadingError(SignatureError, PackageError, RuntimeError):
    """Error for a model name that is unknown, or whose files are damaged, invalid or cannot be downloaded.

    The class has the name that published Demucs uses; `except SignatureError` and `except PackageError` also catch it.
    """


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """File of a published single model: `location` relative to the root URL, class of the model, and training data."""
    location: str
    model: str
    data: str

    @property
    def filename(self) -> str:
        """Name of the file, SIGNATURE-CHECKSUM.th."""
        return self.location.rsplit("/", 1)[-1]

    @property
    def signature(self) -> str:
        """Signature of the model, from the name of the file."""
        return split_checksum(Path(self.filename).stem)[0]

    @property
    def checksum(self) -> str:
        """First hexadecimal digits of the sha256 of the file, from its name."""
        return split_checksum(Path(self.filename).stem)[1]

    @property
    def url(self) -> str:
        """URL of the file on the server of Demucs, or on that in the environment variable DEMUCS_MIRROR."""
        return (os.environ.get(MIRROR) or ROOT_URL).rstrip("/") + "/" + self.location


@dataclasses.dataclass(frozen=True)
class BagDefinition:
    """Content of a bag file: names of its models in order, weights [models][sources] (None: all equal), length of a
    segment in seconds (None: that of the models), and `where`, its name in error messages."""
    models: tp.Tuple[str, ...]
    weights: tp.Optional[tp.List[tp.List[float]]]
    segment: tp.Optional[float]
    where: str


def split_checksum(stem: str) -> tp.Tuple[str, str]:
    """(NAME, CHECKSUM) of the file name "NAME-CHECKSUM" without suffix, where the checksum has 8 to 64 hexadecimal
    digits; (`stem`, "") for any other."""
    match = _CHECKSUM.fullmatch(stem)
    return (match["signature"], match["checksum"]) if match else (stem, "")


def is_name(text: str) -> bool:
    """Whether `text` is a valid model name: not empty, not a path, and not the name of a hidden file."""
    return bool(text) and not text.startswith(".") and not re.search(r"[/\\\x00-\x1f]", text)


@functools.lru_cache(maxsize=None)
def published_files() -> tp.Mapping[str, PublishedFile]:
    """Files of all published single models, a mapping of signature -> file."""
    lines = (REMOTE_ROOT / "files.txt").read_text().splitlines()
    files = [PublishedFile(*line.split(None, 2)) for line in lines if line and not line.startswith("#")]
    return {file.signature: file for file in files}


@functools.lru_cache(maxsize=None)
def published_bags() -> tp.Mapping[str, Path]:
    """Bag files of all published bags, a mapping of name -> path in this package."""
    return {path.stem: path for path in sorted(REMOTE_ROOT.glob(f"*{BAG_SUFFIX}"))}


@functools.lru_cache(maxsize=None)
def bag_with(signature: str) -> str:
    """Name of the published bag that contains the published model `signature`; of several, the one with the fewest
    models. Raises ValueError if none does."""
    sizes = {name: len(read_bag(path).models) for name, path in published_bags().items()
             if signature in read_bag(path).models}
    return min(sizes, key=lambda name: sizes[name])


def read_bag(path: tp.Union[str, Path], *, where: str = "") -> BagDefinition:
    """Content of the bag file `path`; `where` is its name in error messages (default: the path). The existence of the
    models and their number of sources are not checked.

    Raises:
        ModelLoadingError: if the file cannot be read or is invalid, with the file and the wrong key.
    """
    where = where or str(path)
    content = _parse(Path(path), where)
    for key in content:
        if key not in KEYS:
            raise ModelLoadingError(f"{where}: unknown key {_short(key)}.{did_you_mean(str(key), KEYS)} A bag has "
                                    f"{', '.join(KEYS)}")
    models = content.get("models")
    if not isinstance(models, list) or not models:
        raise ModelLoadingError(f"{where}: models must be a list of names, such as ['955717e8'], not {_short(models)}")
    for model in models:
        if not isinstance(model, str):
            raise ModelLoadingError(f"{where}: models has {_short(model)}, which is not text; put the name in quotes")
        if not is_name(model):
            raise ModelLoadingError(f"{where}: models has {_short(model)}, which is no name of a model; give names, "
                                    f"not paths")
    segment = content.get("segment")
    if segment is not None and segment not in SECONDS:
        raise ModelLoadingError(f"{where}: segment must be seconds above 0, not {_short(segment)} ({SECONDS})")
    return BagDefinition(tuple(models), _weights(content.get("weights"), len(models), where), segment, where)


def _parse(path: Path, where: str) -> tp.Dict[tp.Any, tp.Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_BAG + 1)
    except OSError as error:
        raise ModelLoadingError(f"{where}: cannot be read ({error.strerror})") from error
    if len(text) > LARGEST_BAG:
        raise ModelLoadingError(f"{where}: is larger than any bag of models ({LARGEST_BAG} bytes)")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:    # an impossible date raises ValueError
        raise ModelLoadingError(f"{where}: is not YAML ({quoted(error)})") from error
    if not isinstance(content, dict):
        raise ModelLoadingError(f"{where}: must say models: [...], but has {_short(content)}")
    return content


def _weights(weights: tp.Any, models: int, where: str) -> tp.Optional[tp.List[tp.List[float]]]:
    if weights is None:
        return None
    if not isinstance(weights, list) or len(weights) != models:
        raise ModelLoadingError(f"{where}: weights must be a list with one row for each of the {models} models, not "
                                f"{_short(weights)}")
    for index, row in enumerate(weights):
        if not isinstance(row, list) or not row or not all(weight in WEIGHT for weight in row):
            raise ModelLoadingError(f"{where}: weights[{index}] must be a list of numbers of 0 or more ({WEIGHT}), one "
                                    f"per source, not {_short(row)}")
    if not any(weight for row in weights for weight in row):
        raise ModelLoadingError(f"{where}: weights are all 0; some must be above 0")
    return [[float(weight) for weight in row] for row in weights]


def _short(value: tp.Any) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):     # in YAML, a list can contain itself
        return "something endless"
    return text if len(text) <= 60 else text[:57] + "..."
