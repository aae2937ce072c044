"""Models by name: published by Demucs or Open-Unmix, on the Hugging Face hub, or in a folder of exported models.

A folder contains single models, as SIGNATURE.th, SIGNATURE-CHECKSUM.th (checked against the first digits of its sha256)
or SIGNATURE.safetensors, folders of openunmix (see `packages.openunmix`), and bags, as NAME.yaml (see `catalogue`).
Published files are stored in the cache of torch.hub ($TORCH_HOME/hub/checkpoints), so that files downloaded by
published Demucs and by openunmix are reused.
"""

import logging
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..errors import ConfigError, PackageError, SignatureError, did_you_mean, quoted
from ..models import zoo
from ..packages import openunmix, package
from ..runs.layout import MODELS
from ..schema import SOURCES
from ..separation.bag import BagOfModels
from . import catalogue, download, hub
from .catalogue import BagDefinition, ModelLoadingError
from .separators import PublishedSeparator, hash_in, published_separators

logger = logging.getLogger(__name__)

SUFFIXES = (".th", ".safetensors")
UNITTEST = "demucs_unittest"                # a tiny model with random weights, for tests of other programs

Place = tp.Union[str, Path]
Targets = tp.Optional[tp.Sequence[str]]


def get_model(name: str, repo: tp.Union[None, str, Path] = None, *, targets: Targets = None) -> nn.Module:
    """The model or `BagOfModels` called `name`, in evaluation mode on the CPU.

    Args:
        name: a signature or the name of a bag; never a path, so that it cannot lead out of a folder. `hf://NAME` and
            `hf://NAMESPACE/NAME` are loaded from the Hugging Face hub only.
        repo: a folder, which is then searched exclusively. Default: `release_models` in the working directory, if it
            contains the name, then the published models of Demucs and Open-Unmix. Their files are downloaded once and
            verified; if the server of Demucs cannot be reached, they are downloaded from the hub, which has no
            checksums for them.
        targets: of a folder of openunmix, or a published model of Open-Unmix: the networks that are loaded; default:
            all.

    Raises:
        ModelLoadingError: with a message of one line, for an unknown name, files that are damaged or cannot be
            downloaded, and invalid bags. It is a `SignatureError` and a `PackageError`.
    """
    try:
        return _get(name, repo, targets).eval()
    except ModelLoadingError:
        raise
    except (SignatureError, PackageError, ConfigError) as error:
        raise ModelLoadingError(str(error)) from error


def available(repo: tp.Union[None, str, Path] = None) -> tp.Dict[str, tp.Dict[str, Place]]:
    """Models that `get_model` finds by name for this `repo`, hub and published models of Open-Unmix excluded:
    {"single": {signature: file, folder of openunmix or URL}, "bag": {name: YAML file}}. Nothing is downloaded.

    Raises SignatureError if `repo` is not a folder.
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
    """Local file of a published single model, downloaded if necessary; from the hub if the server cannot be reached.

    Args:
        signature: a key of `catalogue.published_files()`.
        bag: the bag whose repository on the hub is used; default: the smallest bag that contains the model.

    Raises:
        PackageError: with a message of one line. If the file is on neither server, it names the places searched and how
            to install the file by hand.
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


def published_separator(name: str, targets: Targets = None) -> nn.Module:
    """A published model of Open-Unmix, whose files are downloaded if necessary. The first time, its licence is logged.

    Args:
        name: a key of `separators.published_separators()`.
        targets: networks that are loaded; default: all.

    Raises:
        PackageError: with a message of one line, if a file cannot be downloaded or does not fit.
        ConfigError: for an unknown target.
    """
    about = published_separators()[name]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = {target: folder / about.files[target] for target in openunmix.selected(targets, list(about.files), name)}
    if not all(path.is_file() for path in files.values()):
        logger.warning("%s: the licence of its weights is %s; see %s", name, about.licence, about.page)
    for target, path in files.items():
        _fetch_target(about, target, path)
    said = {"hidden_size": about.hidden_size, "nfft": about.nfft, "unidirectional": False, "bandwidth": about.bandwidth}
    transform = openunmix.Transform(nfft=about.nfft, nhop=about.nhop, samplerate=about.samplerate,
                                    audio_channels=about.audio_channels, bandwidth=about.bandwidth)
    model = openunmix.assembled(files, transform, name, said={target: said for target in files})
    model.card = openunmix.card_of(model, name, written=max(path.stat().st_mtime for path in files.values()))
    return model


def _fetch_target(about: PublishedSeparator, target: str, path: Path) -> None:
    try:
        download.fetch(about.url(target), path, checksum=hash_in(path.name))
    except download.Unreachable as error:
        raise ModelLoadingError(
            f"the network of {target} of {about.name} is not in {path.parent}, and cannot be fetched from "
            f"{about.url(target)} ({error}). Without a network, put it there by hand as {path}; another server can be "
            f"named with the environment variable {catalogue.MIRROR}") from error


class Folder:
    """Single models (`singles`, files by name), folders of openunmix (`separators`, by name) and bags (`bags`, files by
    name) in the folder `root`. Other subfolders and hidden files are ignored. Raises SignatureError if it is not a
    folder."""

    def __init__(self, root: tp.Union[str, Path]):
        self.root = Path(root)
        if not self.root.is_dir():
            raise SignatureError(f"{self.root}: no such folder of models; `python -m tools.export SIG -o {self.root}` "
                                 f"makes one")
        self.singles: tp.Dict[str, tp.List[Path]] = {}
        self.separators: tp.Dict[str, Path] = {}
        self.bags: tp.Dict[str, Path] = {}
        for path in sorted(self.root.iterdir()):
            if not path.name.startswith(".") and openunmix.is_folder(path):
                self.separators[path.name] = path
            if not path.is_file() or path.name.startswith("."):
                continue
            if path.suffix in SUFFIXES:
                self.singles.setdefault(catalogue.split_checksum(path.stem)[0], []).append(path)
            elif path.suffix == catalogue.BAG_SUFFIX:
                self.bags[path.stem] = path

    def __contains__(self, name: str) -> bool:
        return name in self.singles or name in self.separators or name in self.bags

    def models(self) -> tp.Dict[str, Path]:
        """Files and folders of the single models by name, sorted; of several for one name, the first. `get` refuses
        several files."""
        return dict(sorted({**self.separators, **{name: paths[0] for name, paths in self.singles.items()}}.items()))

    def get(self, name: str, targets: Targets = None) -> nn.Module:
        """The single model `name`, or else the folder of openunmix or the bag of that name.

        Raises:
            SignatureError: if the folder has neither, or several files of that name, or a bag names a model that is not
                in it.
            PackageError: if a file is damaged or invalid.
            ConfigError: if a folder of openunmix has no such target.
        """
        if name in self.singles or name in self.separators:
            return self._single(name, targets)
        if name in self.bags:
            return self._bag(catalogue.read_bag(self.bags[name]))
        known = [*self.singles, *self.separators, *self.bags]
        raise SignatureError(f"no model {name!r} in {self.root}.{did_you_mean(name, known)} There are: "
                             f"{', '.join(known) or 'none yet'}. `python -m tools.export SIG -o {self.root}` puts one "
                             f"there")

    def _single(self, name: str, targets: Targets = None) -> nn.Module:
        if name not in self.singles:
            return openunmix.load(self.separators[name], targets)
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
        known = [*self.singles, *self.separators]
        for name in definition.models:
            if name not in known:
                reason = "which is a bag; a bag holds single models" if name in self.bags else \
                    f"which is no model in {self.root}.{did_you_mean(name, known)} There are: " \
                    f"{', '.join(known) or 'none'}"
                raise SignatureError(f"{definition.where}: models has {quoted(name, 60)!r}, {reason}")
        return _assembled(definition, self._single)


def _get(name: str, repo: tp.Union[None, str, Path], targets: Targets) -> nn.Module:
    if name.startswith(hub.PREFIX):
        definition, files = hub.fetch_bag(name)
        return _assembled(definition, lambda signature: package.load(files[signature]))
    if not catalogue.is_name(name):
        raise SignatureError(f"model {name!r} is a path; give the name of a model, and its folder as --repo")
    if name == UNITTEST:
        with torch.random.fork_rng(devices=[]):
            return zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=40, channels=4)
    if repo is not None:
        return Folder(repo).get(name, targets)
    own = Folder(MODELS) if MODELS.is_dir() else None
    if own is not None and name in own:
        return own.get(name, targets)
    if name in catalogue.published_files():
        return package.load(published_path(name))
    if name in catalogue.published_bags():
        definition = catalogue.read_bag(catalogue.published_bags()[name])
        files = {signature: published_path(signature, bag=name) for signature in dict.fromkeys(definition.models)}
        return _assembled(definition, lambda signature: package.load(files[signature]))
    separators = published_separators()
    if name in separators:
        return published_separator(name, targets)
    local = [*own.singles, *own.separators, *own.bags] if own is not None else []
    bags = catalogue.published_bags()
    known = [*bags, *catalogue.published_files(), *separators, *local]
    raise SignatureError(f"no model {name!r}.{did_you_mean(name, known)} In {MODELS} there are: "
                         f"{', '.join(local) or 'none'}; published are {', '.join(bags)} and their single models, and "
                         f"{', '.join(separators)} of Open-Unmix; {hub.PREFIX}NAMESPACE/NAME is sought on the Hugging "
                         f"Face hub. `python -m tools.export SIG` exports a model that was trained here")


def _assembled(definition: BagDefinition, load: tp.Callable[[str], nn.Module]) -> BagOfModels:
    """The bag of a definition; a model that occurs several times is loaded once."""
    loaded = {signature: load(signature) for signature in dict.fromkeys(definition.models)}
    try:
        return BagOfModels([loaded[signature] for signature in definition.models], definition.weights,
                           definition.segment)
    except ConfigError as error:
        raise ModelLoadingError(f"{definition.where}: {error}") from error
