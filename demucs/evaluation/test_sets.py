"""Test set of a model: that of the dataset it was trained on, according to its run card."""

import dataclasses
import os
import re
import typing as tp
from pathlib import Path

from .. import schema
from ..data.decoded import is_compressed
from ..data.kinds import file_names
from ..errors import DatasetError
from ..runs.experiments import names_experiment
from ..runs.layout import EXPERIMENTS, RESULTS, RUN_CARD
from ..schema import SOURCES, RunCard, TestSet
from ..separation.bag import BagOfModels

MUSDB = "${oc.env:DEMUCS_MUSDB,./datasets/musdbhq}"      # the default of conf/config.yaml
_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)(?:,([^}]*))?\}")
FOLDERS = ("musdb", "wav")                  # kinds of datasets with test songs as test/TRACK/SOURCE.wav
LAYOUT = ("missing", "instruments", "split")
_FALSE = ("false", "off", "no", "0")


class Place(tp.NamedTuple):
    """Folder of test songs, compressed (.stem.mp4) or not, and the stems that add up to each output of a model (see
    `TestSet`). `kind` and `layout` are those of the folder; "" and empty for TRACK/SOURCE.wav."""
    folder: Path
    compressed: bool = False
    targets: tp.Optional[tp.Mapping[str, tp.Sequence[str]]] = None
    stems: tp.Optional[tp.Sequence[str]] = None
    kind: str = ""
    layout: tp.Mapping[str, str] = {}


def belonging_to(name: str, model: tp.Any = None, *, experiments_folder: Path = EXPERIMENTS,
                 results: Path = RESULTS) -> tp.Optional[TestSet]:
    """Test set of the run whose signature is `name`; if there is no run card of it, the test set of the run that
    `model` (a model, or all models of a bag) was exported from. None if it is unknown, or the models of a bag have
    different ones.

    Run cards are looked for in `experiments_folder`, then among the copies in RESULTS/runs.

    Raises:
        SchemaError: if a run card is damaged.
        DatasetError: if the targets of an older run cannot be parsed.
    """
    card = _card(name, experiments_folder, results)
    if card is not None:
        return of_run(card)
    found = {_of_model(single, experiments_folder, results)
             for single in (model.models if isinstance(model, BagOfModels) else [model])}
    return found.pop() if len(found) == 1 else None


def _of_model(model: tp.Any, experiments_folder: Path, results: Path) -> tp.Optional[TestSet]:
    release = getattr(model, "card", None)
    if release is None:
        return None
    card = _card(release.signature, experiments_folder, results)
    if card is not None:
        return of_run(card)
    return _of_parts(release, experiments_folder, results) or from_overrides(_pairs(release.argv), release.sources)


def _of_parts(release: tp.Any, *folders: Path) -> tp.Optional[TestSet]:
    """Test set of a separator that consists of networks of several runs, one for each source, which its `release` card
    names as SOURCE=SIGNATURE: that of these runs, with the targets of all. None for another model, and if the runs are
    not known here or have different test songs."""
    parts = _pairs(release.argv)
    if set(parts) != set(release.sources):
        return None
    cards = [_card(signature, *folders) for signature in parts.values()]
    found = [of_run(card) for card in cards if card is not None]
    targets = {name: stems for each in found if each is not None for name, stems in (each.targets or {}).items()}
    alike = {dataclasses.replace(each, targets=targets) for each in found if each is not None}
    return alike.pop() if len(alike) == 1 and set(targets) == set(parts) else None


def _card(signature: str, *folders: Path) -> tp.Optional[RunCard]:
    """Run card of an experiment, otherwise the copy of it that an evaluation made; None if there is neither."""
    if not names_experiment(signature):
        return None
    experiments_folder, results = folders
    for folder in (experiments_folder / signature, results / "runs" / signature):
        if (folder / RUN_CARD).exists():
            return schema.load(RunCard, folder / RUN_CARD)
    return None


def of_run(card: RunCard) -> tp.Optional[TestSet]:
    """Test set of a run card; for cards of older versions, derived from the settings of the run. None if those do not
    say it, see `from_overrides`. Raises DatasetError as `from_overrides`."""
    if card.test_set is not None:
        return card.test_set
    return from_overrides(card.delta if card.delta is not None else _pairs(card.argv), card.sources)


def _pairs(argv: tp.Sequence[str]) -> tp.Dict[str, tp.Any]:
    return {key.strip().lstrip("+"): value.strip().strip("\"'")
            for key, equals, value in (word.partition("=") for word in argv) if equals}


def from_overrides(settings: tp.Mapping[str, tp.Any], sources: tp.Sequence[str]) -> tp.Optional[TestSet]:
    """Test set derived from `settings`, {key: value} of those in which a run differs from the base configuration, and
    the `sources` of its model. None if they select another configuration group for the data, whose content is unknown
    here. Raises DatasetError if `dset.targets` cannot be parsed."""
    def text(key: str) -> str:
        value = settings.get(key)
        return "" if value in (None, "", "null") else str(value)

    targets = _targets(settings.get("dset.targets"))
    stems = None if targets is None else _listed(text("dset.sources")) or list(SOURCES)
    if text("test.nonhq"):
        return TestSet("test.nonhq", text("test.nonhq"), targets, stems)
    if text("dset") not in ("", "musdb44") or ":" in text("dset.kind"):       # no code is imported for a foreign model
        return None
    kind = text("dset.kind") if text("dset.kind") not in ("", *FOLDERS) else ""
    layout = {name: text(f"dset.{name}") for name in LAYOUT if text(f"dset.{name}")}
    if layout.get("missing") == "error":
        del layout["missing"]
    if kind in file_names.NEEDED:
        names = _file_names(settings)
        layout["files"] = names.text()
        stems = _listed(text("dset.sources")) or file_names.sources(kind, names)
    if stems is None and (kind or layout):
        stems = _listed(text("dset.sources")) or list(SOURCES)
    wav = text("dset.wav")
    if wav and (text("dset.use_musdb").lower() in _FALSE or len(sources) > len(SOURCES)):
        return TestSet("dset.wav", wav, targets, stems, "", {name: layout[name] for name in layout if name == "missing"})
    return TestSet("dset.musdb", text("dset.musdb") or MUSDB, targets, stems, kind, layout)


def _file_names(settings: tp.Mapping[str, tp.Any]) -> file_names.FileNames:
    """The section `dset.files` of `settings`."""
    def given(name: str) -> tp.Any:
        return settings.get(f"dset.files.{name}")
    interferers = given("interferers") or []
    texts = {name: str(given(name)) for name in ("ext", "input", "output", "target") if given(name) not in (None, "", "null")}
    return file_names.FileNames(**texts, interferers=list(map(str, interferers)) if isinstance(interferers, list)
                                else _listed(interferers))


def _listed(value: str) -> tp.List[str]:
    """Words of a list such as "[drums, bass]"."""
    return re.findall(r"[^\s\[\],'\"]+", value)


def _targets(value: tp.Any) -> tp.Optional[tp.Dict[str, tp.List[str]]]:
    """Value of `dset.targets`, from plain values or from an override: "{rhythm:[drums,bass],vocals:[vocals]}".

    Raises:
        DatasetError: if it cannot be parsed.
    """
    if value in (None, "", "null"):
        return None
    if isinstance(value, dict):
        return {str(name): [str(part) for part in parts] for name, parts in value.items()}
    pairs = re.findall(r"([^\s{},:]+)\s*:\s*\[([^\]]*)\]", str(value).replace("'", "").replace('"', ""))
    if not pairs:
        raise DatasetError(f"dset.targets={value} of this model cannot be read; evaluate it where the folder of its "
                           "run is")
    return {name: [part.strip() for part in parts.split(",")] for name, parts in pairs}


def default_musdb() -> Path:
    """Folder of MUSDB18-HQ on this machine: the environment variable DEMUCS_MUSDB, otherwise datasets/musdbhq. It need
    not exist."""
    return Path(os.environ.get("DEMUCS_MUSDB") or "datasets/musdbhq")


def resolved(setting: str) -> Path:
    """Folder that a setting names on this machine: each "${oc.env:NAME,FOLDER}" in it is replaced by the environment
    variable NAME, or by FOLDER if that is not set or empty."""
    return Path(_VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[2] or "", setting))


def place(own: tp.Optional[TestSet], default: Path, name: str) -> Place:
    """Place of the songs of the test set `own` of the model `name` on this machine. `default` is the folder of
    MUSDB18-HQ. It is used if `own` is None, if the MUSDB18-HQ folder of `own` is missing, and for a `dset.wav` without
    test songs.

    Raises:
        DatasetError: if another folder of `own` is missing.
    """
    if own is None:
        return Place(default, is_compressed(default))
    folder = resolved(own.folder)
    if own.key == "dset.musdb" and not own.kind:      # the same songs in whatever folder
        folder = folder if os.path.isdir(folder) else default
        compressed = is_compressed(folder)
        return Place(folder, compressed, own.targets, own.stems, own.kind, {} if compressed else own.layout)
    if not os.path.isdir(folder):
        variable = _VARIABLE.search(own.folder)
        raise DatasetError(f"the test songs of {name} are those of {own.key}={own.folder}, but there is no folder "
                           f"{folder} here; name the one with test/TRACK/SOURCE.wav by --musdb"
                           + (f" or {variable[1]}" if variable else ""))
    if own.key == "dset.wav" and not os.path.isdir(folder / "test"):
        return Place(default, is_compressed(default), own.targets, own.stems)
    return Place(folder, own.key == "test.nonhq", own.targets, own.stems, own.kind, own.layout)
