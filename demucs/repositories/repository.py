"""Models by name: published by Demucs, on the Hugging Face hub, or in a folder of exported models.

A folder holds single models, as SIGNATURE.th, SIGNATURE-CHECKSUM.th (checked against the first digits of its sha256) or
SIGNATURE.safetensors, and bags of them, as NAME.yaml (see `catalogue`). Published files are kept where torch.hub keeps
its own ($TORCH_HOME/hub/checkpoints), so that what published Demucs has fetched is found.
"""

import logging
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import ConfigError, PackageError, SignatureError, did_you_mean, quoted
from ..models import zoo
from ..packages import package
from ..runs.layout import MODELS
from ..schema import SOURCES
from ..separation.bag import BagOfModels
from . import catalogue, download, hub
from .catalogue import BagDefinition, ModelLoadingError

logger = logging.getLogger(__name__)

SUFFIXES = (".th", ".safetensors")
UNITTEST = "demucs_unittest"                # a tiny model with random weights, for tests of other programs

Place = tp.Union[str, Path]


def get_model(name: str, repo: tp.Union[None, str, Path] = None) -> nn.Module:
    """The model or `BagOfModels` called `name`, in evaluation mode on the CPU.

    Args:
        name: a signature or the name of a bag; never a path, so that it cannot lead out of a folder. `hf://NAME` and
            `hf://NAMESPACE/NAME` are sought on the Hugging Face hub only.
        repo: a folder, and nothing else is looked at. Default: `release_models` in the working directory, if it has
            that name, then what Demucs published: its files are fetched once, and checked; from the hub where its
            server cannot be reached.

    Raises:
        ModelLoadingError: in one line, for a name that is not known, files that are not to be had or damaged, bags that
            make no sense. It is a `SignatureError` and a `PackageError`.
    """
    try:
        return _get(name, repo).eval()
    except ModelLoadingError:
        raise
    except (SignatureError, PackageError, ConfigError) as error:
        raise ModelLoadingError(str(error)) from error


def available(repo: tp.Union[None, str, Path] = None) -> tp.Dict[str, tp.Dict[str, Place]]:
    """{"single": signature -> file or URL, "bag": name -> YAML file}: what `get_model` knows by name.

    Raises SignatureError where `repo` is no folder.
    """
    if repo is not None:
        folder = Folder(repo)
        return {"single": dict(folder.models()), "bag": dict(folder.bags)}
    singles: tp.Dict[str, Place] = {file.signature: file.url for file in catalogue.published_files().values()}
    bags: tp.Dict[str, Place] = dict(catalogue.published_bags())
    if MODELS.is_dir():
        own = Folder(MODELS)
        singles = {**singles, **own.models()}
        bags = {**bags, **own.bags}
    return {"single": singles, "bag": bags}


def published_path(signature: str, *, bag: str = "") -> Path:
    """The file of a published single model, fetched where it is not there yet.

    Args:
        signature: a key of `catalogue.published_files()`.
        bag: in whose repository on the hub it is sought, if need be; default: the smallest that has it.

    Raises:
        PackageError: in one line, with what was sought where, and how to put it there by hand.
    """
    file = catalogue.published_files()[signature]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file.filename
    try:
        return download.fetch(file.url, path, checksum=file.checksum)
    except download.Unreachable as error:
        elsewhere = hub.repository_of(bag or catalogue.bag_with(signature))
        logger.warning("%s cannot be fetched (%s); trying the Hugging Face hub, which has no checksums for it",
                       file.url, error)
        try:
            return hub.download(elsewhere, signature + hub.SUFFIX)
        except download.Unreachable as other:
            raise ModelLoadingError(
                f"model {signature} is not in {path.parent}, and can be fetched neither from {file.url} ({error}) nor "
                f"from {hub.place(elsewhere)} ({other}). Without a network, put the first one there by hand as {path}; "
                f"another server can be named with the environment variable {catalogue.MIRROR}") from other


class Folder:
    """The models and bags in a folder. Raises SignatureError where it is none."""

    def __init__(self, root: tp.Union[str, Path]):
        self.root = Path(root)
        if not self.root.is_dir():
            raise SignatureError(f"{self.root}: no such folder of models; `python3 -m tools.export SIG -o {self.root}` "
                                 f"makes one")
        self.singles: tp.Dict[str, tp.List[Path]] = {}
        self.bags: tp.Dict[str, Path] = {}
        for path in sorted(self.root.iterdir()):
            if not path.is_file() or path.name.startswith("."):
                continue
            if path.suffix in SUFFIXES:
                self.singles.setdefault(catalogue.split_checksum(path.stem)[0], []).append(path)
            elif path.suffix == catalogue.BAG_SUFFIX:
                self.bags[path.stem] = path

    def __contains__(self, name: str) -> bool:
        return name in self.singles or name in self.bags

    def models(self) -> tp.Dict[str, Path]:
        """Name -> file of the single models. Of several files for one name, which `get` refuses, the first."""
        return {name: paths[0] for name, paths in sorted(self.singles.items())}

    def get(self, name: str) -> nn.Module:
        """The single model `name`, or else the bag of that name."""
        if name in self.singles:
            return self._single(name)
        if name in self.bags:
            return self._bag(catalogue.read_bag(self.bags[name]))
        there = [*self.singles, *self.bags]
        raise SignatureError(f"no model {name!r} in {self.root}.{did_you_mean(name, there)} There are: "
                             f"{', '.join(there) or 'none yet'}. `python3 -m tools.export SIG -o {self.root}` puts one "
                             f"there")

    def _single(self, name: str) -> nn.Module:
        path, *others = self.singles[name]
        if others:
            raise SignatureError(f"model {name!r} is more than once in {self.root}: "
                                 f"{', '.join(item.name for item in (path, *others))}; keep one of them")
        checksum = catalogue.split_checksum(path.stem)[1]
        if checksum:
            found = download.checksum_of(path, len(checksum))
            if found != checksum:
                raise PackageError(f"{path}: is damaged, or was changed: its checksum is {found}, its name says "
                                   f"{checksum}; copy or export it again")
        logger.debug("Loading %s", path)
        return package.load(path)

    def _bag(self, definition: BagDefinition) -> nn.Module:
        for name in definition.models:
            if name not in self.singles:
                reason = "which is a bag; a bag holds single models" if name in self.bags else \
                    f"which is no model in {self.root}.{did_you_mean(name, self.singles)} There are: " \
                    f"{', '.join(self.singles) or 'none'}"
                raise SignatureError(f"{definition.where}: models has {quoted(name, 60)!r}, {reason}")
        return _assembled(definition, self._single)


def _get(name: str, repo: tp.Union[None, str, Path]) -> nn.Module:
    if name.startswith(hub.PREFIX):
        definition, files = hub.fetch_bag(name)
        return _assembled(definition, lambda signature: package.load(files[signature]))
    if not catalogue.is_name(name):
        raise SignatureError(f"model {name!r} is a path; give the name of a model, and its folder as --repo")
    if name == UNITTEST:
        with torch.random.fork_rng(devices=[]):
            return zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=40, channels=4)
    if repo is not None:
        return Folder(repo).get(name)
    own = Folder(MODELS) if MODELS.is_dir() else None
    if own is not None and name in own:
        return own.get(name)
    if name in catalogue.published_files():
        return package.load(published_path(name))
    if name in catalogue.published_bags():
        definition = catalogue.read_bag(catalogue.published_bags()[name])
        files = {signature: published_path(signature, bag=name) for signature in dict.fromkeys(definition.models)}
        return _assembled(definition, lambda signature: package.load(files[signature]))
    local = [*own.singles, *own.bags] if own is not None else []
    bags = catalogue.published_bags()
    known = [*bags, *catalogue.published_files(), *local]
    raise SignatureError(f"no model {name!r}.{did_you_mean(name, known)} In {MODELS} there are: "
                         f"{', '.join(local) or 'none'}; published are {', '.join(bags)} and their single models; "
                         f"{hub.PREFIX}NAMESPACE/NAME is sought on the Hugging Face hub. `python3 -m tools.export SIG` "
                         f"exports a model that was trained here")


def _assembled(definition: BagDefinition, load: tp.Callable[[str], nn.Module]) -> BagOfModels:
    """The bag; a model that is in it several times is loaded once."""
    loaded = {signature: load(signature) for signature in dict.fromkeys(definition.models)}
    try:
        return BagOfModels([loaded[signature] for signature in definition.models], definition.weights,
                           definition.segment)
    except ConfigError as error:
        raise ModelLoadingError(f"{definition.where}: {error}") from error
