"""Configuration of an experiment as frozen dataclasses, read once from Hydra's.

Defaults are in the YAML files under `conf/` only; these classes have none, and reading fails if the two disagree. Lower
layers never see a DictConfig: builders pass plain numbers from here.
"""

import collections.abc
import dataclasses
import difflib
import types
import typing as tp
from fractions import Fraction

from .data import kinds as datasets
from .data import download
from .data.audio_cache import CACHES
from .data.build import check_sampling, check_shares
from .data.kinds import file_names
from .data.kinds.file_names import FileNames
from .data.targets import Targets
from .errors import ConfigError, did_you_mean
from .models import settings as models
from .models import zoo
from .ranges import (CHANNELS, COUNT, POSITIVE, PROBABILITY, PROCESSES, RATE, SECONDS, SEED, SHARE, WEIGHT, Allowed, Range,
                     check_value, shown)
from .schema import MISSING, SOURCES
from .separation import settings as separation
from .separation.precision import TF32
from .training.objectives import LOSSES
from .training.precision import check_precision
from .training.quantisation import QuantSettings
from .training.schedules import KINDS as SCHEDULES
from .training.schedules import ScheduleSettings
from .training.svd import SvdSettings


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    kind: str
    sampling: str
    musdb: str
    download: tp.Any
    musdb_samplerate: int
    use_musdb: bool
    wav: tp.Optional[str]
    wav2: tp.Optional[str]
    wav2_weight: tp.Optional[float]
    wav2_valid: bool
    segment: float
    shift: float
    train_valid: bool
    full_cv: bool
    samplerate: int
    channels: int
    normalize: bool
    metadata: str
    sources: tp.List[str]
    targets: tp.Optional[tp.Dict[str, tp.Any]]
    valid_samples: tp.Optional[int]
    backend: tp.Optional[str]
    missing: str
    instruments: tp.Optional[str]
    split: tp.Optional[str]
    files: FileNames
    train_samples: int
    valid_draws: int
    samples_per_track: int
    shares: tp.Optional[tp.Dict[str, tp.Any]]
    cache: str
    cache_folder: tp.Optional[str]


@dataclasses.dataclass(frozen=True)
class TestConfig:
    save: bool
    best: bool
    workers: int
    every: int
    split: bool
    shifts: int
    overlap: float
    sdr: bool
    metric: str
    nonhq: tp.Optional[str]


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    lr: float
    momentum: float
    beta2: float
    loss: str
    optim: str
    weight_decay: float
    clip_grad: float
    precision: str


@dataclasses.dataclass(frozen=True)
class RepitchConfig:
    proba: float
    max_tempo: float
    max_pitch: int
    tempo_std: float


@dataclasses.dataclass(frozen=True)
class RemixConfig:
    proba: float
    group_size: tp.Optional[int]


@dataclasses.dataclass(frozen=True)
class ScaleConfig:
    proba: float
    min: float
    max: float


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    shift_same: bool
    repitch: RepitchConfig
    remix: RemixConfig
    scale: ScaleConfig
    flip: bool
    sign: bool
    same: bool


@dataclasses.dataclass(frozen=True)
class MiscConfig:
    num_workers: int
    num_prints: int
    show: bool
    verbose: bool
    quiet: bool
    deterministic: bool
    tf32: tp.Any
    patience: float
    tensorboard: bool
    examples_at_once: tp.Optional[int]
    checkpoint_activations: bool


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    minutes: float
    steps: int


@dataclasses.dataclass(frozen=True)
class EmaConfig:
    epoch: tp.List[float]
    batch: tp.List[float]


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of an experiment, all of `conf/config.yaml`, which explains each value. Sections are dataclasses of
    their own. `model_settings` is the section of the chosen model, without those of others."""
    dummy: tp.Any
    dset: DatasetConfig
    test: TestConfig
    epochs: int
    batch_size: int
    max_batches: tp.Optional[int]
    optim: OptimConfig
    seed: int
    debug: bool
    valid_apply: bool
    flag: tp.Any
    save_every: tp.Optional[int]
    checkpoint: CheckpointConfig
    weights: tp.List[float]
    augment: AugmentConfig
    continue_from: tp.Optional[str]
    continue_pretrained: tp.Optional[str]
    pretrained_repo: tp.Optional[str]
    continue_best: bool
    continue_opt: bool
    misc: MiscConfig
    ema: EmaConfig
    use_train_segment: bool
    model_segment: tp.Optional[float]
    model: str
    svd: SvdSettings
    quant: QuantSettings
    schedule: ScheduleSettings
    early_stopping: tp.Optional[int]
    model_settings: tp.Dict[str, tp.Any]

    @property
    def target_names(self) -> tp.List[str]:
        """Names of the outputs of the model: those in `dset.targets`, or if it is empty, the sources."""
        return Targets(self.dset.sources, self.dset.targets).names

    @property
    def target_weights(self) -> tp.List[float]:
        """Weights of the targets in the loss, one per target. With `dset.targets`, or sources that `dset.files` names, a
        list of equal weights is extended or cut to the number of targets."""
        named = self.dset.targets is not None or self.dset.kind in file_names.NEEDED
        equal = named and len(set(self.weights)) == 1
        return self.weights[:1] * len(self.target_names) if equal else self.weights

    @property
    def segment(self) -> tp.Union[float, Fraction]:
        """Length in seconds of the segments that separation cuts songs into. For a model that is tied to its training
        length (HTDemucs with `use_train_segment`) it is that of its training examples, exactly; for others
        `model_segment`, or if that is empty four times `dset.segment` (`WHOLE` for whole tracks), for more context."""
        if zoo.MODELS[self.model].tied_to_training_length and self.use_train_segment:
            return Fraction(self.training_length, self.dset.samplerate)
        return self.model_segment or 4 * (self.dset.segment or WHOLE)

    @property
    def training_length(self) -> int:
        """Length in samples of training examples at the input of the model: `dset.segment`, less the trimming for the
        fastest tempo of repitching, less the range of the random shift. Of no meaning for whole tracks."""
        length = int(self.dset.segment * self.dset.samplerate)
        if self.augment.repitch.proba:
            length = int((1 - 0.01 * self.augment.repitch.max_tempo) * length)
        return length - int(self.dset.samplerate * self.dset.shift)


WHOLE = 10.        # seconds, in place of `dset.segment` where that is 0
MINUTES = Range(0, 1_000_000, unit="minutes")
DECAY = Range(0, 1)
BETA = Range(0, 1, open_most=True)         # decay rates of Adam
MEBIBYTES = Range(0, 1_000_000, unit="MiB")

# Range of every number in the configuration, by its dotted key. The sections of models have `models.settings.RANGES`.
# Keys that may be empty are optional in their dataclass.
RANGES: tp.Dict[str, Allowed] = {
    "dset.musdb_samplerate": RATE, "dset.wav2_weight": SHARE, "dset.segment": Range(0, 86_400, unit="seconds"),
    "dset.shift": Range(0, 86_400, unit="seconds"), "dset.samplerate": RATE, "dset.channels": CHANNELS,
    "dset.valid_samples": POSITIVE, "dset.samples_per_track": POSITIVE, "dset.train_samples": POSITIVE,
    "dset.valid_draws": POSITIVE,
    "test.workers": PROCESSES, "test.every": POSITIVE, "test.shifts": separation.RANGES["shifts"],
    "test.overlap": separation.RANGES["overlap"],
    "epochs": POSITIVE, "batch_size": Range(1, 1_000_000, whole=True), "max_batches": POSITIVE, "seed": SEED,
    "save_every": POSITIVE, "weights": WEIGHT, "model_segment": SECONDS,
    "optim.lr": Range(0, 1e38, open_least=True), "optim.momentum": BETA, "optim.beta2": BETA,
    "optim.weight_decay": Range(0, 1000), "optim.clip_grad": WEIGHT,
    "checkpoint.minutes": MINUTES, "checkpoint.steps": COUNT,
    "augment.repitch.proba": PROBABILITY, "augment.repitch.max_tempo": Range(0, 95, unit="percent"),
    "augment.repitch.max_pitch": Range(0, 60, whole=True, unit="semitones"),
    "augment.repitch.tempo_std": Range(0, 1000, unit="percent"),
    "augment.remix.proba": PROBABILITY, "augment.remix.group_size": COUNT,
    "augment.scale.proba": PROBABILITY, "augment.scale.min": Range(0, 1000), "augment.scale.max": Range(0, 1000),
    "misc.num_workers": PROCESSES, "misc.num_prints": COUNT, "misc.patience": MINUTES, "misc.examples_at_once": POSITIVE,
    "ema.epoch": DECAY, "ema.batch": DECAY,
    "svd.penalty": WEIGHT, "svd.min_size": MEBIBYTES, "svd.dim": Range(1, 65_536, whole=True),
    "svd.niters": Range(1, 1000, whole=True), "svd.proba": Range(0, 1, open_least=True),
    "svd.bs": Range(1, 65_536, whole=True),
    "quant.diffq": WEIGHT, "quant.qat": Range(0, 15, whole=True, unit="bits"), "quant.min_size": MEBIBYTES,
    "quant.group_size": Range(1, 65_536, whole=True),
    "schedule.factor": Range(0, 1, open_least=True, open_most=True), "schedule.patience": COUNT, "schedule.cooldown": COUNT,
    "schedule.warmup": COUNT, "schedule.min_lr": Range(0, 1e38), "schedule.restarts": POSITIVE,
    "early_stopping": POSITIVE,
    "slurm.time": Range(1, 10_000_000, whole=True, unit="minutes"),
    "slurm.signal_delay_s": Range(0, 86_400, whole=True, unit="seconds"), "slurm.max_num_timeout": COUNT,
    "slurm.mem_per_gpu": Range(0, 1_000_000, unit="GB"), "slurm.cpus_per_gpu": Range(1, 65_536, whole=True),
}

FOREIGN_SECTIONS = ("dora", "slurm", "hydra")   # settings of other tools


def read(plain: tp.Mapping[str, tp.Any]) -> Config:
    """Configuration from `plain`, a plain, resolved mapping (`OmegaConf.to_container(cfg, resolve=True)`). Sections of
    other models and of other tools are left out.

    Raises:
        ConfigError: for unknown, missing or invalid values, naming the key and the nearest valid one.
    """
    values = {key: value for key, value in plain.items() if key not in zoo.NAMES + FOREIGN_SECTIONS}
    model = values.get("model")
    if model not in zoo.NAMES:
        raise ConfigError(f"model={model!r} is unknown; there are: {', '.join(zoo.NAMES)}."
                          f"{did_you_mean(str(model), zoo.NAMES)}")
    values["model_settings"] = dict(plain[model])
    if zoo.MODELS[model].tied_to_training_length:
        values["model_settings"]["use_train_segment"] = values.get("use_train_segment")
    config = _with_named_sources(_build(Config, values, ""))
    if config.dset.targets is not None:
        models.check_sources("dset.targets", list(config.dset.targets))
    check_numbers({**dataclasses.asdict(config), "slurm": plain.get("slurm", {})})
    _check_model(model, plain[model])
    _check(config)
    return config


def _with_named_sources(config: Config) -> Config:
    """The configuration with the sources that `dset.files` names, for the layouts of Open-Unmix. Raises ConfigError as
    `file_names.check` and `chosen_sources`."""
    d = config.dset
    if not d.use_musdb:
        return config
    if d.files.text():
        datasets.check(d.kind)
    file_names.check(d.kind, d.files)
    if d.kind not in file_names.NEEDED:
        return config
    sources = file_names.chosen_sources(d.kind, d.files, d.sources, SOURCES)
    return dataclasses.replace(config, dset=dataclasses.replace(d, sources=sources))


def check_numbers(values: tp.Mapping[str, tp.Any], where: str = "") -> None:
    """Check the numbers in a section of the configuration, and in its subsections, against `RANGES`. `where` is the
    name of the section with a dot at its end; "" for the whole configuration. Empty values (None) pass.

    Raises:
        ConfigError: for a number outside its range.
    """
    for key, value in values.items():
        if isinstance(value, dict):
            check_numbers(value, f"{where}{key}.")
        elif where + key in RANGES and value is not None:
            check_value(where + key, value, RANGES[where + key])


def _check_model(name: str, values: tp.Mapping[str, tp.Any]) -> None:
    """Check the section of the chosen model. The types of values other than numbers are those of the model's class."""
    hints = zoo.MODELS[name].hints
    for key, value in values.items():
        if hints.get(key) in (bool, str):
            _convert(hints[key], value, f"{name}.{key}")
    models.check(hints, values, f"{name}.")


def kinds(key: str) -> tp.Set[tp.Any]:
    """Types that the value of the dotted `key` may have, with `list` for any list, and type(None) if it may be empty.
    An empty set for an unknown key and for a section."""
    section, _, name = key.rpartition(".")
    owner: tp.Any = Config
    hint = None
    if section in zoo.NAMES:
        hint, owner = zoo.MODELS[section].hints.get(name), None
    for part in key.split(".") if owner else ():
        hint = tp.get_type_hints(owner).get(part) if owner is not None else None
        owner = hint if dataclasses.is_dataclass(hint) else None
    if hint is None or owner is not None:
        return set()
    options = tp.get_args(hint) if tp.get_origin(hint) in (tp.Union, types.UnionType) else (hint,)
    return {list if issubclass(tp.get_origin(option) or int, collections.abc.Sequence) else option for option in options}


def nearest_key(key: str, valid: tp.Iterable[str]) -> str:
    """Suffix of a message about a misspelt dotted key: " Did you mean 'x'?" with the nearest of the `valid` ones, or
    "". Keys of the same section are preferred."""
    valid = list(valid)
    section = key.rpartition(".")[0]
    # The last attempt compares the words after the last dot, for a key without its section.
    last_words = {k.rpartition(".")[2]: k for k in reversed(valid)}
    return did_you_mean(key, [k for k in valid if k.rpartition(".")[0] == section]) or did_you_mean(key, valid) or \
        next((f" Did you mean {last_words[word]!r}?" for word in
              difflib.get_close_matches(key.rpartition(".")[2], list(last_words), n=1)), "")


def _build(kind: tp.Any, values: tp.Mapping[str, tp.Any], where: str) -> tp.Any:
    hints = tp.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown key {where + key!r}.{did_you_mean(key, hints)}")
    missing = [where + key for key in hints if key not in values]
    if missing:
        raise ConfigError(f"the configuration lacks {', '.join(missing)}")
    return kind(**{key: _convert(hint, values[key], where + key) for key, hint in hints.items()})


def _convert(hint: tp.Any, value: tp.Any, key: str) -> tp.Any:
    """`value` checked against the type `hint`. Integers are converted to floats; there is no other conversion."""
    if hint is tp.Any:
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{key} is a section, got {value!r}")
        return _build(hint, value, key + ".")
    origin, arguments = tp.get_origin(hint), tp.get_args(hint)
    if origin in (tp.Union, types.UnionType):
        return None if value is None else _convert(arguments[0], value, key)
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{key} is a list, got {value!r}; write {key}=[...]")
        if arguments[0] is str and not all(isinstance(item, str) for item in value):
            quoted = ",".join(item if isinstance(item, str) else f'"{item}"' for item in value)
            raise ConfigError(f"{key}={shown(value)} must be a list of texts; put what is read as something else in double "
                              f"quotes for Hydra, and all in single ones for the shell: '{key}=[{quoted}]'")
        return [_convert(arguments[0], item, key) for item in value]
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{key}={shown(value)} is a mapping; write '{key}={{NAME: [SOURCE, ...]}}'")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{key}={shown(value)} is too large") from None
    if hint is str and isinstance(value, (list, dict)):
        raise ConfigError(f"{key}={shown(value)} was read as a {type(value).__name__}; where that is a text, put it in "
                          f"double quotes for Hydra, and in single ones for the shell: '{key}=\"[TEXT]\"'")
    if hint is str and isinstance(value, (int, float)):
        raise ConfigError(f"{key}={value!r} was read as a number; where that is a text, such as a signature, quote it as it "
                          f"was meant for Hydra: '{key}=\"TEXT\"'")
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigError(f"{key}={value!r} must be of type {hint.__name__}")
    return value


def _check(config: Config) -> None:
    """Check constraints that types and ranges of single values do not express."""
    models.check_sources("dset.sources", config.dset.sources)
    metrics = ["loss", "nsdr", *(f"nsdr_{source}" for source in config.target_names)]
    if config.test.metric not in metrics:
        raise ConfigError(f"test.metric={config.test.metric!r} is unknown; use one of {', '.join(metrics)}")
    if config.optim.loss not in LOSSES:
        raise ConfigError(f"optim.loss={config.optim.loss!r} is unknown; use one of {', '.join(LOSSES)}")
    check_precision(config.optim.precision)
    if config.misc.tf32 not in list(TF32):
        raise ConfigError(f"misc.tf32={config.misc.tf32!r} is unknown; use one of {', '.join(TF32)}")
    datasets.check(config.dset.kind)
    check_sampling(config.dset.sampling)
    check_shares(config.dset.shares)
    if config.dset.shares is not None and config.dset.wav2_weight is not None:
        raise ConfigError(f"dset.shares={shown(config.dset.shares)} and dset.wav2_weight={config.dset.wav2_weight} both set the "
                          f"part of dset.wav2; leave one empty")
    for key, known in (("missing", MISSING), ("cache", CACHES)):
        value = getattr(config.dset, key)
        if value not in known:
            raise ConfigError(f"dset.{key}={value!r} is unknown; use one of {', '.join(known)}.{did_you_mean(value, known)}")
    if config.dset.kind == file_names.SOURCES and config.dset.sampling == "interferer_mix":
        raise ConfigError("dset.sampling=interferer_mix needs tracks, and dset.kind=sourcefolder has none: each source of an "
                          "example is from a file of its own; leave dset.sampling out")
    download.chosen(config.dset.download)
    if config.schedule.kind not in SCHEDULES:
        raise ConfigError(f"schedule.kind={config.schedule.kind!r} is unknown; use one of {', '.join(SCHEDULES)}."
                          f"{did_you_mean(config.schedule.kind, SCHEDULES)}")
    if config.schedule.kind == "cosine" and config.schedule.warmup >= config.epochs:
        raise ConfigError(f"schedule.warmup={config.schedule.warmup} leaves none of the {config.epochs} epochs; give a "
                          f"smaller number")
    restarts = config.schedule.restarts
    if any(later <= earlier for earlier, later in zip(restarts, restarts[1:])):
        raise ConfigError(f"schedule.restarts={list(restarts)} must be ascending numbers of epochs, such as [10, 20]")
    names = config.target_names
    if len(config.target_weights) != len(names):
        what = "sources" if config.dset.targets is None else "targets"
        raise ConfigError(f"weights={config.weights} has {len(config.weights)} entries for {len(names)} {what} "
                          f"({', '.join(names)}); give one per {what[:-1]}")
    if sum(config.weights) <= 0:
        raise ConfigError(f"weights={config.weights}: one of them must be positive")
    if config.continue_from and config.continue_pretrained:
        raise ConfigError(f"continue_from={config.continue_from} and continue_pretrained={config.continue_pretrained}: a "
                          f"run starts from one of them; leave the other empty")
    if not config.dset.segment and zoo.MODELS[config.model].tied_to_training_length and config.use_train_segment:
        raise ConfigError(f"dset.segment=0 trains on whole tracks, and model={config.model} separates segments as long as its "
                          f"training examples; give a length in seconds, or set use_train_segment=false")
    if config.dset.segment and config.training_length <= 0:
        raise ConfigError(f"dset.segment={config.dset.segment} s leaves no audio after trimming for tempo and a shift "
                          f"of {config.dset.shift} s; make it longer")
    scale = config.augment.scale
    if scale.min > scale.max:
        raise ConfigError(f"augment.scale.min={scale.min} is above augment.scale.max={scale.max}")
    config.quant.check()
