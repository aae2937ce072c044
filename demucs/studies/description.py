"""Description of a study, a YAML file such as pseudo_labels.yaml.

It names plain values only: overrides of the configuration, and arguments of tools from a fixed list. "{out}" in them is
the folder of the study.
"""

import dataclasses
import re
import typing as tp
from pathlib import Path

import yaml

from ..errors import ConfigError, did_you_mean
from ..overrides import quoted
from ..ranges import SEED, Range, shown

OUT = "{out}"
SECONDS = Range(0, 10_000_000, open_least=True, unit="seconds")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
TYPES: tp.Dict[str, tp.Tuple[type, str]] = {
    "name": (str, "a text"), "question": (str, "a text"), "seconds": (float, "a number"), "seeds": (list, "a list"),
    "common": (list, "a list of overrides"), "arms": (dict, "a mapping of names to lists of overrides"),
    "comparisons": (list, "a list of pairs of arms"), "steps": (list, "a list"),
    "also_scored": (dict, "a mapping of names to folders")}
OPTIONAL = ("common", "steps", "also_scored")
STEPS = {"tool": {"tool", "arguments"}, "train": {"train", "overrides", "seconds", "seed"}}


@dataclasses.dataclass(frozen=True)
class ToolStep:
    """Call of `python -m tools.NAME`, which must be able to be repeated, and do nothing the second time."""
    tool: str
    arguments: tp.Tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """Training before the arms, such as that of a teacher; it is exported as OUT/models/NAME.th."""
    name: str
    overrides: tp.Tuple[str, ...]
    seconds: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Description:
    """A study.

    Attributes:
        question: what it is to answer, a sentence.
        arms: overrides by name, without those of `common`.
        comparisons: pairs of arms; the first pair is the question.
        seeds: of every arm.
        seconds: of training, for every arm and seed.
        steps: what is done before, in this order.
        also_scored: further test sets, name -> folder of TRACK/STEM.wav or test/TRACK/STEM.wav. Their scores are in the
            report, and in no comparison.
    """
    name: str
    question: str
    arms: tp.Dict[str, tp.List[str]]
    comparisons: tp.List[tp.Tuple[str, str]]
    seeds: tp.List[int]
    seconds: float
    common: tp.List[str] = dataclasses.field(default_factory=list)
    steps: tp.List[tp.Union[ToolStep, TrainStep]] = dataclasses.field(default_factory=list)
    also_scored: tp.Dict[str, str] = dataclasses.field(default_factory=dict)

    def overrides(self, own: tp.Sequence[str], out: Path) -> tp.List[str]:
        """Overrides of a training: the common ones, then its own, with the folder of the study."""
        return [with_folder(override, out) for override in (*self.common, *own)]

    @property
    def training_seconds(self) -> float:
        """Seconds of all trainings together."""
        return len(self.arms) * len(self.seeds) * self.seconds + sum(
            step.seconds for step in self.steps if isinstance(step, TrainStep))

    def scaled(self, factor: float, seeds: tp.Optional[int] = None) -> "Description":
        """The study with `factor` times the training time, and its first `seeds` seeds only."""
        steps = [dataclasses.replace(step, seconds=step.seconds * factor) if isinstance(step, TrainStep) else step
                 for step in self.steps]
        return dataclasses.replace(self, seconds=self.seconds * factor, seeds=self.seeds[:seeds], steps=steps)


def with_folder(override: str, out: Path) -> str:
    """An override in which "{out}" is replaced; a value with a path is quoted for Hydra."""
    if OUT not in override:
        return override
    key, _, value = override.partition("=")
    return f"{key}={quoted(value.replace(OUT, str(out)))}"


def read(path: tp.Union[str, Path], tools: tp.Collection[str]) -> Description:
    """The description in a YAML file, whose steps may use `tools`.

    Raises:
        ConfigError: if it cannot be read, or for unknown or missing keys, and values of another kind.
    """
    try:
        plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give a YAML file, or the name of one in demucs/studies/") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    try:
        return _built(plain, tools)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _built(plain: tp.Any, tools: tp.Collection[str]) -> Description:
    if not isinstance(plain, dict):
        raise ConfigError(f"the description of a study is a mapping with the keys {', '.join(TYPES)}")
    _require_keys(plain, TYPES, set(TYPES) - set(OPTIONAL), "")
    for key, value in plain.items():
        kind, words = TYPES[key]
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise ConfigError(f"{key}: {shown(value)} must be {words}")
    _require_name(plain["name"], "name")
    SECONDS.check("seconds", plain["seconds"])
    for seed in plain["seeds"]:
        SEED.check("seeds", seed)
    if not plain["seeds"] or len(set(plain["seeds"])) < len(plain["seeds"]):
        raise ConfigError(f"seeds: {shown(plain['seeds'])} must be at least one number, and each once")
    arms = {}
    for arm, overrides in plain["arms"].items():
        _require_name(arm, "arms")
        arms[arm] = list(_texts(overrides, f"arms.{arm}"))
    if len(arms) < 2:
        raise ConfigError("arms: a study compares at least two")
    also = plain.get("also_scored", {})
    for name, folder in also.items():
        _require_name(name, "also_scored")
        if not isinstance(folder, str) or not folder:
            raise ConfigError(f"also_scored.{name}: {shown(folder)} must be a folder, such as \"{{out}}/real\"")
    pairs = []
    for pair in plain["comparisons"]:
        known = isinstance(pair, list) and all(isinstance(arm, str) and arm in arms for arm in pair)
        if not known or len(pair) != 2 or pair[0] == pair[1]:
            raise ConfigError(f"comparisons: {shown(pair)} must be a pair of different arms, of {', '.join(arms)}")
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise ConfigError("comparisons: at least one pair of arms; the first pair is the question")
    return Description(
        name=plain["name"], question=" ".join(plain["question"].split()), arms=arms, comparisons=pairs,
        seeds=list(plain["seeds"]), seconds=float(plain["seconds"]),
        common=list(_texts(plain.get("common", []), "common")),
        steps=[_step(step, tools, arms) for step in plain.get("steps", [])], also_scored=dict(also))


def _step(plain: tp.Any, tools: tp.Collection[str], arms: tp.Collection[str]) -> tp.Union[ToolStep, TrainStep]:
    kind = next((key for key in STEPS if isinstance(plain, dict) and key in plain), None)
    if kind is None:
        raise ConfigError(f"steps: {shown(plain)} must be a mapping with the key tool or train")
    _require_keys(plain, STEPS[kind], STEPS[kind], "steps: ")
    if kind == "tool":
        if plain["tool"] not in tools:
            raise ConfigError(f"steps: the tool {shown(plain['tool'])} must be one of {', '.join(tools)}."
                              f"{did_you_mean(str(plain['tool']), tools)}")
        return ToolStep(plain["tool"], _texts(plain["arguments"], "arguments", numbers=True))
    _require_name(plain["train"], "train")
    if plain["train"] in arms:
        raise ConfigError(f"steps: the training {plain['train']} has the name of an arm; choose another one")
    SECONDS.check("steps: seconds", plain["seconds"])
    SEED.check("steps: seed", plain["seed"])
    return TrainStep(plain["train"], _texts(plain["overrides"], "overrides"), float(plain["seconds"]), plain["seed"])


def _require_keys(plain: tp.Mapping[tp.Any, tp.Any], known: tp.Collection[str], needed: tp.Collection[str],
                  where: str) -> None:
    for key in plain:
        if key not in known:
            raise ConfigError(f"{where}unknown key {shown(key)}.{did_you_mean(str(key), known)} There are: "
                              f"{', '.join(sorted(known))}")
    missing = sorted(set(needed) - set(plain))
    if missing:
        raise ConfigError(f"{where}lacks {', '.join(missing)}")


def _require_name(value: tp.Any, where: str) -> None:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(f"{where}: {shown(value)} must be a name of letters, digits, '_', '-' and '.', since files "
                          f"are named after it")


def _texts(values: tp.Any, where: str, *, numbers: bool = False) -> tp.Tuple[str, ...]:
    """A list of texts, and with `numbers` of numbers as texts."""
    kinds = (str, int, float) if numbers else (str,)
    if not isinstance(values, list) or not all(isinstance(value, kinds) and not isinstance(value, bool)
                                               for value in values):
        raise ConfigError(f"{where}: {shown(values)} must be a list of texts such as optim.lr=0.001; put one with "
                          f"brackets or braces in quotes")
    return tuple(map(str, values))
