"""Models whose costs are counted: by their name in the zoo with changed settings, from a run, or from a study."""

import dataclasses
import inspect
import re
import typing as tp
from pathlib import Path

import yaml

from .. import schema
from ..errors import ConfigError, did_you_mean
from ..models import settings as allowed
from ..models import zoo
from ..models.protocol import SeparationModel
from ..ranges import shown
from ..runs import layout
from ..schema import SOURCES, RunCard, StudyResult

SONG = 180.                      # seconds of audio of a time, and the longest segment by default
STUDIES = layout.RESULTS / "studies"


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model whose costs are counted.

    Attributes:
        model: name in the zoo.
        settings: arguments of the model but the sources; default: those of its class.
        sources: names of its sources.
        run: signature of the training that it is from, or STUDY/ARM; "" for none.
    """
    model: str
    settings: tp.Mapping[str, tp.Any] = dataclasses.field(default_factory=dict)
    sources: tp.Tuple[str, ...] = SOURCES
    run: str = ""

    def arguments(self) -> tp.Dict[str, tp.Any]:
        """Arguments of `zoo.build`. A model of a single source has the last of the `sources`, and a model that by
        default separates longer songs than `SONG` whole has that as its segment."""
        found: tp.Dict[str, tp.Any] = {"sources": self.sources, "audio_channels": 2, "samplerate": 44100,
                                       **self.settings}
        entry = zoo.MODELS.get(self.model)
        if entry is not None and entry.single:
            found["sources"] = self.sources[-1:]
        default = inspect.Parameter.empty if entry is None else entry.settings["segment"].default
        found.setdefault("segment", 1. if default is inspect.Parameter.empty else min(float(default), SONG))
        return found

    def build(self, **changes: tp.Any) -> SeparationModel:
        """The model with random initial weights. `changes` are arguments that replace its own. Raises ConfigError, see
        `zoo.build`."""
        return zoo.build(self.model, **{**self.arguments(), **changes})


def subjects(words: tp.Sequence[str], *, sources: tp.Optional[tp.Sequence[str]] = None,
             segment: tp.Optional[float] = None, as_published: bool = False) -> tp.List[Subject]:
    """Models that are named by `words`, in their order: names in the zoo, changed settings MODEL.KEY=VALUE, signatures
    of runs, and names of studies. Without names those with changed settings; without any word all of the zoo.

    Args:
        sources, segment: of all models of the zoo; default: those of MUSDB18, and the default of each class.
        as_published: models that have this setting get it.

    Raises:
        ConfigError: for an unknown name, a setting of a model that is not named, a value that is not YAML, or
            invalid names of sources.
        SchemaError: for an invalid record of a run or study.
    """
    if sources is not None:
        allowed.check_sources("--sources", list(sources))
    changes: tp.Dict[str, tp.Dict[str, tp.Any]] = {}
    names = []
    for word in words:
        if "=" in word:
            model, key, value = _setting(word)
            changes.setdefault(model, {})[key] = value
        else:
            names.append(word)
    names = names or list(changes) or list(zoo.NAMES)
    for model in changes:
        if model not in names:
            raise ConfigError(f"{model}.{next(iter(changes[model]))}=...: the model {model} is not among those named, "
                              f"{', '.join(names)}; name it, too")
    found = []
    for name in dict.fromkeys(names):
        if name not in zoo.MODELS:
            found += _recorded(name)
            continue
        common: tp.Dict[str, tp.Any] = {} if segment is None else {"segment": segment}
        if as_published and "as_published" in zoo.MODELS[name].settings:
            common["as_published"] = True
        found.append(Subject(name, {**common, **changes.get(name, {})}, tuple(sources or SOURCES)))
    return found


def _setting(word: str) -> tp.Tuple[str, str, tp.Any]:
    """Model, key and value of MODEL.KEY=VALUE."""
    name, _, text = word.partition("=")
    model, _, key = name.partition(".")
    if model not in zoo.MODELS or not key:
        raise ConfigError(f"{shown(word)} is no setting MODEL.KEY=VALUE of a model.{did_you_mean(model, zoo.NAMES)} "
                          f"There are: {', '.join(zoo.NAMES)}")
    if key in ("sources", "segment"):
        raise ConfigError(f"{shown(word)}: give the {key} of all models by --{key}")
    if key not in zoo.MODELS[model].settings:
        raise ConfigError(f"{shown(word)}: model {model!r} has no setting {key!r}."
                          f"{did_you_mean(key, zoo.MODELS[model].settings)}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{shown(word)}: the value is not YAML ({' '.join(str(error).split())[:100]})") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?e[-+]?\d+", value, re.IGNORECASE):
        value = float(value)                     # YAML 1.1 has a dot in every such number
    return model, key, value


def _recorded(name: str) -> tp.List[Subject]:
    """The model of a run, or those of the arms of a study."""
    if re.fullmatch(r"[\w-]+", name):
        for folder in (layout.RESULTS / "runs", layout.EXPERIMENTS):
            if (folder / name / layout.RUN_CARD).is_file():
                card = schema.load(RunCard, folder / name / layout.RUN_CARD)
                settings = {**card.model_settings, "samplerate": card.samplerate, "audio_channels": card.audio_channels}
                return [Subject(card.model, settings, tuple(card.sources), card.signature)]
        if (STUDIES / name / layout.STUDY).is_file():
            return _arms(STUDIES / name / layout.STUDY)
    raise ConfigError(f"{shown(name)} is no model of the zoo, no run in {layout.RESULTS / 'runs'} or "
                      f"{layout.EXPERIMENTS}, and no study in {STUDIES}.{did_you_mean(name, zoo.NAMES)} Models are: "
                      f"{', '.join(zoo.NAMES)}")


def _arms(path: Path) -> tp.List[Subject]:
    from ..memory import configuration           # composes the configuration, which takes seconds
    result = schema.load(StudyResult, path)
    found = []
    for arm, overrides in result.arms.items():
        config = configuration([*result.common, *overrides])
        settings = {**config.model_settings, "segment": float(config.segment), "samplerate": config.dset.samplerate,
                    "audio_channels": config.dset.channels}
        found.append(Subject(config.model, settings, tuple(config.target_names), f"{result.name}/{arm}"))
    return found
