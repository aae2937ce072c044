"""Records on disk as dataclasses.

Numbers are never parsed from logs: a training writes a `RunCard` and `history.json` (a list of `EpochRecord`), an
evaluation writes an `Evaluation`, an export writes a `ReleaseCard` inside the model file and beside it. Each record has
a version, and unknown versions are refused.

`history.json` is the plain list that Dora's link requires, in the layout of published Demucs, so that both programs can
read each other's files; `EpochRecord` converts to and from it.

This module imports the standard library only, so that the graphing scripts can read records without torch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

from .errors import DemucsError
from .files import atomic

Metrics = tp.Dict[str, float]

# What a source without a file is: values of `dset.missing`. "exclude" leaves the song out, in layouts with `dset.files`.
MISSING = ("error", "silence", "exclude")
SOURCES = ("drums", "bass", "other", "vocals")      # of MUSDB18, in the order of the models that separate them

RUN_CARD_VERSION = 5
EVALUATION_VERSION = 3
RELEASE_VERSION = 1
QUALITY_VERSION = 1
STATUS_VERSION = 1
LEDGER_VERSION = 1
CHECKPOINTS_VERSION = 1
DATASET_CHECK_VERSION = 1
DOWNLOAD_VERSION = 1
LABELS_VERSION = 1
STUDY_VERSION = 1
AUTOMIX_VERSION = 1
INSTRUMENTAL_VERSION = 1
COST_VERSION = 1
FRAME_DECIMALS = 5          # as in museval's files
UNDEFINED = "-"
SEPARATED = "separated files"     # field `model` in an evaluation of already separated files
CHECKSUM = "checksum"       # additional entry of a card in a file of its own


class SchemaError(DemucsError):
    """Error for a record on disk that is missing, unreadable, not JSON, of an unknown version, or has an invalid,
    missing or unknown field."""


@dataclass(frozen=True)
class Session:
    """One session of a run, from the start of its processes to their end. A run that was continued has several."""
    started: str                       # ISO 8601, UTC
    ended: str                         # ISO 8601, UTC; time of the last finished epoch
    seconds: float                     # wall clock, start-up included
    first_epoch: int                   # 1-based
    last_epoch: int                    # 1-based, inclusive
    world_size: int
    device: str                        # e.g. "cuda: NVIDIA A100", "cpu"
    job: tp.Optional[str] = None       # Slurm job id
    restarts: int = 0                  # of that job, before this session
    gpus: tp.Dict[str, int] = field(default_factory=dict)     # number of GPUs by name; empty on CPUs
    nodes: tp.List[str] = field(default_factory=list)
    command: tp.List[str] = field(default_factory=list)       # command line
    commit: str = ""                   # of the code, with "-dirty" if tracked files differed from it
    diff: str = ""                     # name of the file with the difference, beside the run card; "" if there is none
    tf32: str = ""                     # operations in TF32 on GPUs: "none", "convolutions" or "all"; "" on CPUs


@dataclass(frozen=True)
class RunStatus:
    """State of a run, for batch scripts and for people. Rank 0 updates it during the run; after a run was killed, the
    last state remains."""
    signature: str
    state: str                         # "running", "stopped" (saved, continues when started again), "done" or "failed"
    reason: str                        # name of the signal, or the error; "" otherwise
    epoch: int                         # current one, 1-based
    step: int                          # steps done in it
    steps: int                         # per epoch
    epochs: int                        # planned
    best_nsdr: tp.Optional[float]      # dB, best one so far of the chosen weights on the validation set
    seconds_per_step: tp.Optional[float]
    world_size: int
    device: str
    host: str
    process: int                       # process id of rank 0
    job: tp.Optional[str]              # Slurm job id
    restarts: int                      # of that job
    started: str                       # ISO 8601, UTC, of this session
    updated: str                       # ISO 8601, UTC
    version: int = STATUS_VERSION


@dataclass(frozen=True)
class CheckpointRecord:
    """Progress of the training at a checkpoint."""
    identity: str                      # hash of the content, see `runs.progress.identity`
    epochs: int                        # epochs done
    step: int                          # steps done in the next epoch
    validated: int                     # candidates validated in that epoch
    tested: int                        # songs tested in that epoch
    kept: bool = False                 # never deleted, because of `save_every`


@dataclass(frozen=True)
class CheckpointRecords:
    """Progress of the checkpoints of a run, the newest first, for programs that cannot read checkpoints."""
    checkpoints: tp.List[CheckpointRecord]
    version: int = CHECKPOINTS_VERSION


@dataclass(frozen=True)
class LedgerLine:
    """Beginning or end of a session: a line of `ledger.jsonl`, to which lines are only appended. Each line has all data
    of its session. A session that was killed writes no end; the next session adds it, from the last status."""
    session: str                       # unique id
    signature: str
    event: str                         # "start" or "end"
    started: str                       # ISO 8601, UTC
    first_epoch: int                   # number of finished epochs at the beginning of the session
    first_step: int                    # steps done in the next epoch, at the beginning of the session
    epoch: int                         # number of finished epochs at the time of this line
    step: int                          # steps done in the next epoch, at the time of this line
    steps: int                         # per epoch
    world_size: int
    gpus: tp.Dict[str, int]            # number of GPUs by name
    nodes: tp.List[str]
    host: str                          # of rank 0
    process: int
    job: tp.Optional[str]              # Slurm job id
    restarts: int                      # of that job
    commit: str
    seconds: tp.Optional[float] = None     # duration, at the end
    state: str = ""                    # at the end: "done", "stopped", "failed" or "killed"
    reason: str = ""
    version: int = LEDGER_VERSION


@dataclass(frozen=True)
class TestSet:
    """Location of the test songs of a training.

    `folder` is the unresolved setting, so it may be relative or name an environment variable:
    "${oc.env:DEMUCS_MUSDB,./datasets/musdbhq}". `targets` is `dset.targets`, the stems that each output of the model is
    the sum of; `stems` add up to a song without a mixture file. Both are None if the outputs are the stems. `kind` is
    `dset.kind`, the layout of the folder; "" for that of the key. `layout` has the other settings of the layout that are
    not empty: missing, instruments, split.
    """
    key: str                           # the setting: "dset.musdb", "dset.wav" or "test.nonhq"
    folder: str
    targets: tp.Optional[tp.Dict[str, tp.List[str]]] = field(default=None, hash=False)
    stems: tp.Optional[tp.List[str]] = field(default=None, hash=False)
    kind: str = ""
    layout: tp.Dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RunCard:
    """Description of a training run, complete enough to repeat it and to interpret its results. `commit`, `versions`
    and `packages` are those of the newest session."""
    signature: str
    name: str                          # Dora's readable name of the difference from the base configuration
    argv: tp.List[str]                 # the overrides as typed
    model: str                         # name in the zoo
    model_settings: tp.Dict[str, tp.Any]
    sources: tp.List[str]
    samplerate: int                    # Hz
    audio_channels: int
    parameters: int
    seed: int
    epochs: int                        # planned
    epochs_done: int
    batch_size: int                    # global, over all ranks
    train_tracks: int
    valid_tracks: int
    commit: str
    versions: tp.Dict[str, str]
    sessions: tp.List[Session]
    continued_from: tp.Optional[str] = None
    delta: tp.Optional[tp.Dict[str, tp.Any]] = None           # difference from the base configuration; None if unknown
    packages: tp.Dict[str, str] = field(default_factory=dict)     # all installed ones
    test_set: tp.Optional[TestSet] = None                         # None if unknown
    continued_after: tp.Optional[int] = None      # number of epochs of all runs that it continues; None if unknown
    version: int = RUN_CARD_VERSION


@dataclass(frozen=True)
class Combination:
    """Learnt parameters by which a model combines the estimates or states of its branches, as they are in evaluation.

    `weights[parameter][source][branch]` are softmax weights, whose sum over the branches is 1; the source is "all" if
    they are the same for all sources. `gates[parameter]` is the sigmoid of a scalar: the share of the output of a mixer
    in the new state of a branch.
    """
    weights: tp.Dict[str, tp.Dict[str, Metrics]]
    gates: Metrics


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of `history.json`.

    `candidates` has the validation metrics of each candidate ("main", "ema_batch_0", ...), `chosen` the name of the
    best one by the selection metric, `best` the best value of that metric so far. `test` has flattened aggregates,
    named as in published Demucs: `nsdr` is a mean over tracks, `nsdr_med` a median over tracks, `sdr` the mean over
    tracks of medians over frames, `sdr_med` the median over tracks of medians over frames. With quantisation, `train`
    and the candidates have the size of the model in MiB as `ms`, which may be part of `loss`. `combination` is that of
    the model's own weights ("main") at the end of the epoch, for models that have any.
    """
    train: Metrics
    candidates: tp.Dict[str, Metrics]
    chosen: str
    best: float
    penalty: tp.Optional[float] = None
    test: tp.Optional[Metrics] = None
    seconds: tp.Optional[Metrics] = None   # wall clock of "train", "valid", "test"; missing in published histories
    combination: tp.Optional[Combination] = None

    @property
    def valid(self) -> Metrics:
        """Validation metrics of the chosen weights, `candidates[chosen]`."""
        return self.candidates[self.chosen]

    def to_history(self) -> tp.Dict[str, tp.Any]:
        """Entry of `history.json` in the layout of published Demucs. Numbers that are not finite are kept; see
        `finite`."""
        valid: tp.Dict[str, tp.Any] = dict(self.candidates)
        valid.update(self.valid)
        valid["bname"] = self.chosen
        valid["best"] = self.best
        if self.penalty is not None:
            valid["penalty"] = self.penalty
        entry: tp.Dict[str, tp.Any] = {"train": dict(self.train), "valid": valid}
        if self.test is not None:
            entry["test"] = dict(self.test)
        if self.seconds is not None:
            entry["seconds"] = dict(self.seconds)
        if self.combination is not None:
            entry["combination"] = dataclasses.asdict(self.combination)
        return entry

    @classmethod
    def from_history(cls, entry: tp.Mapping[str, tp.Any]) -> "EpochRecord":
        """Record of an epoch from its entry in `history.json`. Raises SchemaError if it does not have the layout of
        published Demucs."""
        try:
            valid = dict(entry["valid"])
            for name in ("test", "seconds"):
                _require(tp.Optional[Metrics], entry.get(name), name)
            _require(Metrics, entry["train"], "train")
            best = math.nan if valid["best"] is None else valid["best"]
            _require(float, best, "valid.best")
            _require(tp.Optional[float], valid.get("penalty"), "valid.penalty")
            candidates = {key: dict(value) for key, value in valid.items() if isinstance(value, dict)}
            chosen = valid.get("bname", "main")
            if not candidates:   # older histories, without validated averages
                candidates = {chosen: {k: v for k, v in valid.items() if isinstance(v, (int, float))
                                       and k not in ("best", "penalty")}}
            _require(tp.Dict[str, Metrics], candidates, "valid")
            if chosen not in candidates:
                raise ValueError(f"valid.bname is {_short(chosen)}, and there are no metrics of that name")
            combination = entry.get("combination")
            return cls(train=dict(entry["train"]), candidates=candidates, chosen=chosen, best=best,
                       penalty=valid.get("penalty"), test=entry.get("test"), seconds=entry.get("seconds"),
                       combination=None if combination is None else _built(Combination, combination, "combination"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it lacks {_short(error.args[0])}" if isinstance(error, KeyError) else error
            raise SchemaError(f"not an epoch of a Demucs history: {reason}") from error


@dataclass(frozen=True)
class TrackScores:
    """Scores of one track: `scores[source][metric]`, in dB.

    Metrics of the whole track are "nsdr" (MDX 2021) and "si_sdr". Metrics of BSSEval v4 are "SDR", "ISR", "SIR" and
    "SAR", each the median over the one-second frames where it is defined; `frames[source][metric]` has the values of
    all frames, see `pack_frames`. An undefined value (of a source that is silent throughout) is None. The choice of
    metrics is a setting of the evaluation.

    In addition to the sources of the evaluation there may be sums of them, scored as one source each: "no_SOURCE", all
    but that one, and "instrumental", all but the vocals. They are not included in aggregates over sources.

    ISR, SIR and SAR of a track with `ill_conditioned` depend on rounding errors; `condition` is the number that this is
    decided by (`metrics.bsseval`). Both are None if these metrics were not computed.
    """
    name: str
    duration: float                    # seconds of audio
    seconds: float                     # wall clock spent on separation and scoring
    scores: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]
    frames: tp.Dict[str, tp.Dict[str, str]] = field(default_factory=dict)
    ill_conditioned: tp.Optional[bool] = None
    condition: tp.Optional[float] = None
    seconds_scoring: tp.Optional[float] = None     # part of `seconds`
    fingerprint: str = ""              # of the song's audio files, "" if unknown
    estimates: str = ""                # fingerprint of the scored files, in an evaluation of already separated files


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one test set, for every track, source and metric, with the settings to repeat them.

    The file of a single track, written by a running evaluation, has this format, too: `expected` names all tracks of
    the test set.
    """
    name: str                          # signature, or a name such as "silence"
    model: str                         # name in the zoo, or of a fixed separator
    dataset: str                       # e.g. "MUSDB18-HQ test", "synthetic (seed 7) test"
    sources: tp.List[str]
    tracks: tp.List[TrackScores]
    settings: tp.Dict[str, tp.Any]     # metrics, shifts, overlap, split, segment, precision, seed, ...
    model_hash: str                    # sha256 of the weights, first 16 hex digits; "" without weights
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    device: str = ""                   # e.g. "cuda: NVIDIA A100", "cpu"; several if the devices of shards differ
    expected: tp.List[str] = field(default_factory=list)
    version: int = EVALUATION_VERSION


@dataclass(frozen=True)
class QualityTrack:
    """Quality measures without references of one separated song: `values[source][measure]`, None where undefined."""
    name: str
    duration: float                    # seconds of audio
    values: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]


@dataclass(frozen=True)
class QualityScores:
    """Quality measures without references of the songs in a folder of separations, see
    `demucs.metrics.quality.measures`."""
    name: str                          # of the folder
    sources: tp.List[str]
    measures: tp.Dict[str, str]        # key -> label with unit
    tracks: tp.List[QualityTrack]
    settings: tp.Dict[str, tp.Any]     # model, seed, ...
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    version: int = QUALITY_VERSION


@dataclass(frozen=True)
class QualityColumn:
    """One separator in a `QualityStudy`: true nSDR in dB and measures, per source, as `pack_frames` of one number per
    track.
    """
    separator: str
    kind: str                          # "model", "reference" or "oracle"
    nsdr: tp.Dict[str, str]
    values: tp.Dict[str, tp.Dict[str, str]]    # [source][measure]; measures that could not be computed are missing


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of a measure with nSDR, and its bootstrap interval. With `source` "all", it is the
    mean of the correlations of all sources."""
    measure: str
    source: str
    among: str                         # separators: "model" or "all"
    over: str                          # ranked items: "tracks" of a separator or "separators" of a track
    rho: tp.Optional[float]            # None if undefined
    low: tp.Optional[float]
    high: tp.Optional[float]


@dataclass(frozen=True)
class QualityStudy:
    """Record of a study: how well quality measures without references agree with true scores, on songs and separators
    of known quality."""
    name: str
    dataset: str
    tracks: tp.List[str]
    sources: tp.List[str]
    measures: tp.Dict[str, str]        # key -> label with unit
    expected: tp.Dict[str, int]        # key -> sign that the correlation was expected to have: 1 or -1
    columns: tp.List[QualityColumn]
    correlations: tp.List[RankCorrelation]
    settings: tp.Dict[str, tp.Any]
    model_hash: str
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    version: int = QUALITY_VERSION


@dataclass(frozen=True)
class FileCheck:
    """Measurements of an audio file of a dataset (`demucs.data.checks`). Songs without findings have no curves."""
    source: str                        # of the song, or "mixture"
    path: str                          # relative to the dataset
    form: str                          # format and encoding, such as "WAV PCM_16"
    frames: int                        # samples per channel
    samplerate: int                    # Hz
    channels: int
    level: float                       # dBFS, mean square
    peak: float                        # dBFS
    clipped: int                       # clipped runs at one peak of one channel
    offset: float                      # DC, relative to full scale
    nonfinite: int                     # samples
    silent: float                      # share of frames
    side: tp.Optional[float] = None    # dB, difference of the channels relative to their sum; None if not stereo
    balance: tp.Optional[float] = None     # dB, left channel relative to the right one
    cutoff: tp.Optional[float] = None      # Hz
    drop: tp.Optional[float] = None        # dB, at the cut-off
    drift: float = 0.                  # standard deviation of `offset` over blocks of the file
    levels: str = ""                   # dBFS, in equal parts of the song, as `pack_frames`
    spectrum: str = ""                 # dB, in equal bands up to the Nyquist frequency, as `pack_frames`


@dataclass(frozen=True)
class TrackCheck:
    """Measurements of a song of a dataset. It has no files if it cannot be read."""
    name: str
    split: str
    folder: str                        # relative to the dataset
    seconds: float
    files: tp.List[FileCheck]
    residual: tp.Optional[float] = None    # dB, mixture minus stems relative to the mixture; None without a mixture
    aligned: tp.Optional[float] = None     # dB, the same with `lags`; None if no lag was sought
    lags: tp.Dict[str, int] = field(default_factory=dict)      # samples by which a stem is late
    gains: tp.Dict[str, float] = field(default_factory=dict)   # of the stems in the mixture, by least squares
    residuals: str = ""                # dBFS, as `FileCheck.levels`


@dataclass(frozen=True)
class Finding:
    """A fault of a dataset."""
    severity: str                      # "error", "warning" or "note"
    check: str                         # key of `demucs.data.checks.thresholds.CHECKS`
    split: str
    track: str                         # "" for the whole dataset
    source: str                        # "" for the whole song
    path: str                          # file or folder, relative to the dataset
    what: str
    fix: str
    value: tp.Optional[float] = None   # that exceeds a threshold


@dataclass(frozen=True)
class DatasetCheck:
    """Record of a check of a dataset."""
    path: str
    kind: str
    sources: tp.List[str]
    splits: tp.Dict[str, int]          # number of songs
    seconds: float                     # of all songs
    tracks: tp.List[TrackCheck]
    findings: tp.List[Finding]
    checks: tp.Dict[str, tp.List[str]]     # key -> title, severity, threshold
    settings: tp.Dict[str, tp.Any]     # model of the plausibility of labels, ...
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    version: int = DATASET_CHECK_VERSION


@dataclass(frozen=True)
class SongLabels:
    """Labels of one unlabelled song: the estimates that a model made of it, beside this record, and how good they are
    by measures without references."""
    name: str                          # of the folder with the labels
    file: str                          # of the mixture, relative to the folder of the songs
    fingerprint: str                   # of that file
    seconds: float                     # of audio
    sources: tp.List[str]              # of the model
    stems: tp.List[str]                # files written, without the mixture
    residual: tp.Optional[float]       # dB: energy of mixture minus estimates, by that of the mixture; None for silence
    values: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]    # [source][measure] of the estimates, None if undefined
    model_hash: str
    settings: tp.Dict[str, tp.Any]     # seed, shifts, overlap, segment, residual, stems
    version: int = LABELS_VERSION


@dataclass(frozen=True)
class JudgedSong:
    """Decision on one song of a pseudo-labelled dataset."""
    name: str
    file: str                          # relative to the folder of the songs
    split: str                         # "train", "valid", or "" if it was refused
    reason: str                        # for a refusal
    place: tp.Optional[float]          # mean rank over measures and stems, 0 (worst) to 1 (best); None if undefined
    values: tp.Dict[str, tp.Dict[str, tp.Optional[float]]]    # [source][measure]
    residual: tp.Optional[float]       # dB, as in SongLabels
    fingerprint: str = ""


@dataclass(frozen=True)
class PseudoLabels:
    """Origin of a dataset whose labels a model made: all songs, kept and refused, and the rule that chose them."""
    model: str                         # name of the model or bag
    model_hash: str
    members: tp.List[str]              # hashes of the models of a bag; empty for a single model
    songs_folder: str
    sources: tp.List[str]              # of the model
    stems: tp.List[str]                # of the dataset
    samplerate: int                    # Hz
    audio_channels: int
    measures: tp.List[str]
    rule: str                          # in words
    rule_settings: tp.Dict[str, tp.Any]       # keep, thresholds, random, valid
    settings: tp.Dict[str, tp.Any]     # of the separation
    songs: tp.List[JudgedSong]
    unreadable: tp.Dict[str, str]      # file -> reason
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    version: int = LABELS_VERSION


@dataclass(frozen=True)
class StudyTraining:
    """One training of a study: an arm with a seed."""
    arm: str
    seed: int
    overrides: tp.List[str]            # those of all arms, and its own
    limit: float                       # seconds of training that it was given
    seconds: float                     # that it took, without validation, saving and start-up
    steps: int
    epochs: int                        # complete ones
    batch_size: int
    examples: int                      # in the training set
    weights: str                       # that were scored: "main" or the name of a moving average
    loss: float                        # mean training loss of the last complete epoch, or of the epoch begun
    sessions: int                      # processes that it took
    machine: str                       # processor, cores, threads, GPU
    load: float                        # mean number of running processes on the machine at the end (1 minute)
    evaluation: str                    # file of its scores, beside the record of the study
    model_hash: str
    started: str                       # ISO 8601, UTC
    also_scored: tp.Dict[str, str] = field(default_factory=dict)      # further test set -> file of the scores there
    version: int = STUDY_VERSION


@dataclass(frozen=True)
class StudyComparison:
    """Paired difference of two arms in the mean over sources, first minus second, and what follows from it."""
    first: str
    second: str
    difference: float                  # dB
    low: float                         # interval over songs and seeds
    high: float
    verdict: str                       # "helped", "hurt", "no difference shown" or "inconclusive"
    reason: str


@dataclass(frozen=True)
class StudyResult:
    """A study: trainings of several arms with equal time and the same seeds, their scores, and comparisons."""
    name: str
    question: str
    dataset: str                       # test songs
    sources: tp.List[str]
    family: str                        # of the scores
    arms: tp.Dict[str, tp.List[str]]   # name -> overrides
    reference: str                     # file of the scores of the fixed filter
    seeds: tp.List[int]
    seconds: float                     # of training, per training
    trainings: tp.List[StudyTraining]
    above_filter: tp.List[StudyComparison]    # every arm minus the fixed filter
    comparisons: tp.List[StudyComparison]
    common: tp.List[str]               # overrides of all arms
    commit: str
    versions: tp.Dict[str, str]
    created: str                       # ISO 8601, UTC
    also_scored: tp.Dict[str, str] = field(default_factory=dict)      # further test set -> scores of the filter there
    version: int = STUDY_VERSION


@dataclass(frozen=True)
class InstrumentalScores:
    """Aggregates of one result on the instrumental, in dB, over frames of one second and over tracks."""
    name: str
    model: str
    dataset: str
    file: str                          # that was read
    tracks: int
    frames: int                        # finite ones, which are averaged
    undefined: int                     # silent in reference or estimate
    infinite: int                      # without any error
    mean: float                        # over all frames of all tracks
    median: float
    std: float                         # population standard deviation
    easy: float                        # fraction of frames of 25 dB or more
    mean_of_medians: float             # of the frames of each track
    median_of_medians: float
    nsdr_tracks: int                   # tracks with an nSDR
    nsdr_mean: tp.Optional[float]
    nsdr_median: tp.Optional[float]


@dataclass(frozen=True)
class InstrumentalDifference:
    """Difference of two results on the instrumental, first minus second, paired by song."""
    first: str
    second: str
    family: str                        # of `metrics.aggregates`
    tracks: int                        # paired ones
    value: float                       # dB, mean over songs
    error: float                       # standard error of the mean
    low: float                         # 95 % interval, bootstrap over songs
    high: float
    p_value: tp.Optional[float]        # of Wilcoxon's signed-rank test
    won: int                           # songs in which the first is better by more than 0.005 dB
    lost: int
    tied: int
    verdict: str                       # "better", "worse" or "not distinguishable"
    notes: tp.List[str]


@dataclass(frozen=True)
class InstrumentalReport:
    """Results on the instrumental, their paired differences, and what they show."""
    results: tp.List[InstrumentalScores]
    differences: tp.List[InstrumentalDifference]
    sentences: tp.List[str]
    commit: str
    created: str                       # ISO 8601, UTC
    version: int = INSTRUMENTAL_VERSION


@dataclass(frozen=True)
class ModelCost:
    """Costs of a model. What was not measured is None, or "".

    Multiply-adds are by kind of operation (`costs.operations`), "all" of them without the transforms; `macs_as_thop`
    are those that thop 0.1.1 counts. Memory is that of the activations of one example on a GPU, without weights and
    their gradients. A sample of the estimates depends on `context` seconds of the mixture by convolutions and
    transforms, of which `look_ahead` seconds come after it, and by the operations `spans_segment` on the whole segment.
    Receptive field and latency (the audio that must be there before the estimate of a sample is final) are both the
    segment if there is such an operation, else `context` and `look_ahead`. `seconds` is the time for 180 s of audio in segments without overlap,
    and `share` the fraction of the multiply-adds per second that the device reaches in a product of matrices.
    """
    model: str                         # name in the zoo
    settings: tp.Dict[str, tp.Any]     # those given, others are the defaults of the model's class
    run: str                           # signature of the training, or STUDY/ARM; "" for none
    sources: int
    segment: float                     # seconds of audio of the forward pass that is counted
    parameters: int
    macs_per_second: Metrics           # of audio
    macs_as_thop: float                # per second of audio
    inference_memory: int              # bytes at the peak of a forward pass without gradients
    training_memory: int               # bytes at the peak of a forward and backward pass
    context: tp.Optional[float] = None             # seconds
    look_ahead: tp.Optional[float] = None          # seconds
    spans_segment: tp.Optional[tp.List[str]] = None
    receptive_field: tp.Optional[float] = None     # seconds
    latency: tp.Optional[float] = None             # seconds
    seconds: tp.Optional[float] = None
    share: tp.Optional[float] = None
    device: str = ""                   # with the number of threads
    version: int = COST_VERSION


@dataclass(frozen=True)
class ReleaseCard:
    """Description of an exported model. Stored inside the `.th` file and as JSON beside it."""
    signature: str
    model: str
    sources: tp.List[str]
    samplerate: int
    audio_channels: int
    segment: float                     # seconds
    precision: str                     # "float32", "float16" or "quantised"
    parameters: int
    model_hash: str
    epochs_done: int
    epochs: int
    valid: Metrics                     # of the exported weights, as logged
    argv: tp.List[str]
    commit: str
    versions: tp.Dict[str, str]
    created: str
    version: int = RELEASE_VERSION


@dataclass(frozen=True)
class DatasetDownload:
    """Origin of a dataset that was downloaded, in its folder."""
    dataset: str                       # name in `demucs.data.download.ARCHIVES`
    url: str                           # "" for an archive that was there already
    checksum: str                      # of the archive: "sha256:..." or "md5:..."
    files: int
    created: str                       # ISO 8601, UTC
    version: int = DOWNLOAD_VERSION


@dataclass(frozen=True)
class AutomixAnalysis:
    """Rhythm, key and levels of a song, as `demucs.data.automix` found them. Songs with a `doubt` are not remixed."""
    stamp: tp.List[str]                # sizes and times of the files, and versions
    samplerate: int                    # Hz
    frames: int
    tempo: float                       # beats per minute
    first_beat: float                  # seconds to the first bar line, which may be slightly before the song
    signature: int                     # key signature: pitch class of its major key, 0 is C
    tuning: float                      # semitones above A440
    level: float                       # dB of full scale, of the mono mixture
    levels: tp.Dict[str, tp.List[float]]     # dB of each stem in each bar
    pulse: float                       # how sure the rhythm is, see `demucs.data.automix.rhythm.Rhythm`
    rival: float
    margin: float
    wander: float
    key_margin: float                  # how sure the key is, see `demucs.data.automix.tonality.Tonality`
    doubt: str
    version: int = AUTOMIX_VERSION


@dataclass(frozen=True)
class AutomixSong:
    """A song that stems were taken from, or the reason why not (`doubt`)."""
    title: str
    split: str
    dataset: int                       # number of the dataset among those given
    seconds: float
    tempo: float                       # beats per minute
    first_beat: float                  # seconds to the first bar line
    key: str
    tuning: float                      # semitones above A440
    doubt: str


@dataclass(frozen=True)
class AutomixPart:
    """A stem of a remix: a passage of a song, and how it was changed."""
    source: str
    song: str                          # title
    tempo_change: float                # percent
    pitch_shift: float                 # semitones
    key_change: int                    # semitones, the part of the shift that changes the key
    start: float                       # seconds in the song of the bar line that the remix begins with
    gain: float                        # dB


@dataclass(frozen=True)
class AutomixMix:
    """A remix: a folder `split/name`, with the tempo and key of the song `anchor`. Its first bar line is
    `demucs.data.automix.matching.LEAD` seconds from its beginning."""
    name: str
    split: str
    anchor: str
    tempo: float                       # beats per minute
    key: str
    seconds: float
    bars: int
    parts: tp.List[AutomixPart]


@dataclass(frozen=True)
class AutomixPairs:
    """Number of pairs of songs of a split, of those that agree in tempo and key, and of the others by reason."""
    split: str
    pairs: int
    accepted: int
    refused: tp.Dict[str, int]


@dataclass(frozen=True)
class AutomixRecord:
    """How a dataset of remixes was made. The same songs and settings give the same record and the same samples."""
    settings: tp.Dict[str, tp.Any]     # seed, limits, sources, hash of the songs, versions of programs
    lead: float                        # seconds from the beginning of each remix to its first bar line
    songs: tp.List[AutomixSong]
    pairs: tp.List[AutomixPairs]
    mixes: tp.List[AutomixMix]
    missing: tp.Dict[str, int]         # remixes that could not be made, by reason
    version: int = AUTOMIX_VERSION


Record = tp.TypeVar("Record", RunStatus, LedgerLine, RunCard, Evaluation, QualityScores, QualityStudy,
                    SongLabels, PseudoLabels, StudyTraining, StudyResult, DatasetCheck, DatasetDownload, AutomixAnalysis,
                    AutomixRecord, ModelCost, ReleaseCard)
# Older versions that can be read: they only lack fields that have defaults.
OLDER: tp.Dict[type, tp.Tuple[int, ...]] = {RunCard: (1, 2, 3, 4), Evaluation: (1, 2)}


def pack_frames(values: tp.Iterable[float]) -> str:
    """Numbers, one per frame, as text with at most five decimals, such as "12.345 - inf", with "-" for an undefined
    frame (NaN)."""
    return " ".join(_packed(float(value)) for value in values)


def _packed(value: float) -> str:
    if not math.isfinite(value):
        return UNDEFINED if math.isnan(value) else str(value)
    return f"{value:.{FRAME_DECIMALS}f}".rstrip("0").rstrip(".")


def unpack_frames(text: str) -> tp.List[float]:
    """Numbers in a text of `pack_frames`, NaN for undefined frames; an empty list for "". Raises SchemaError for any
    other text."""
    try:
        return [math.nan if word == UNDEFINED else float(word) for word in text.split()]
    except (ValueError, AttributeError) as error:
        raise SchemaError(f"not the scores of frames: {str(text)[:80]!r} ({error})") from error


def finite(value: tp.Any) -> tp.Any:
    """Copy of nested dicts, lists, tuples (as lists) and scalars, with None for numbers that are not finite, which JSON
    cannot represent."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_plain(record: tp.Any) -> tp.Dict[str, tp.Any]:
    """Record (a dataclass) as plain dicts, lists and scalars, with None for numbers that are not finite."""
    return finite(dataclasses.asdict(record))


def from_plain(kind: tp.Type[Record], plain: tp.Mapping[str, tp.Any], where: str = "record") -> Record:
    """Record of class `kind` from its plain form, converted to the newest version. The checksum of a `ReleaseCard` is
    verified if it has one.

    Raises:
        SchemaError: naming `where` and the invalid field.
    """
    if not isinstance(plain, dict):
        raise SchemaError(f"{where}: expected an object with the fields of {kind.__name__}, "
                          f"found {type(plain).__name__}")
    newest = kind.version          # the default of the field
    known = (*OLDER.get(kind, ()), newest)
    if plain.get("version") not in known:
        raise SchemaError(f"{where}: {kind.__name__} has version {_short(plain.get('version'))}, this code reads version "
                          f"{' and '.join(map(str, known))}; write it anew with this code, or read it with the code "
                          f"that wrote it")
    if kind is ReleaseCard and CHECKSUM in plain:
        plain = _unsealed(plain, where)
    try:
        record = _built(kind, {**plain, "version": newest}, "")
    except ValueError as error:
        raise SchemaError(f"{where}: {kind.__name__} {error}") from error
    if kind is Evaluation and plain["version"] < 3 and record.model == SEPARATED:   # fingerprints were of the estimates
        tracks = [dataclasses.replace(track, fingerprint="") for track in record.tracks]
        record = dataclasses.replace(record, tracks=tracks)
    return record


def _built(kind: tp.Any, plain: tp.Mapping[str, tp.Any], name: str) -> tp.Any:
    """The dataclass `kind` from a dictionary, with nested dataclasses. `name` is the path of the object in the record,
    "" for the record itself. Raises ValueError naming the invalid field."""
    _require(dict, plain, name)
    hints, required, simple = _fields(kind)
    if not required <= plain.keys() <= hints.keys():
        unknown, missing = sorted(plain.keys() - hints.keys()), sorted(required - plain.keys())
        raise ValueError(f"{name and f'in {name} '}has unknown fields {_short(unknown, 200)} and lacks {_short(missing, 200)}")
    values = dict(plain)
    for key, value in plain.items():
        if type(value) in simple[key] and not (type(value) is int and _is_too_large(value)):
            continue                   # a fast path for most values, since a table of runs reads thousands
        path = f"{name}.{key}" if name else key
        inner = tp.get_args(hints[key])[:1]
        if inner and dataclasses.is_dataclass(inner[0]) and tp.get_origin(hints[key]) is list:
            _require(list, value, path)
            values[key] = [_built(inner[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
        elif inner and dataclasses.is_dataclass(inner[0]):         # an optional one; None has been handled above
            values[key] = _built(inner[0], value, path)
        else:
            _require(hints[key], value, path)
    return kind(**values)


@functools.lru_cache(maxsize=None)
def _fields(kind: type) -> tp.Tuple[tp.Dict[str, tp.Any], tp.Set[str], tp.Dict[str, tp.Set[type]]]:
    """(annotation of each field, fields without default, types of each field whose values need no further check)."""
    hints = tp.get_type_hints(kind)
    required = {field.name for field in dataclasses.fields(kind)
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING}
    simple = {name: {part for part in (hint, *tp.get_args(hint)) if part in (str, bool, int, float, type(None))}
              if tp.get_origin(hint) in (None, tp.Union) else set() for name, hint in hints.items()}
    return hints, required, simple


def _require(hint: tp.Any, value: tp.Any, name: str) -> None:
    """Check `value` against an annotation. Raises ValueError if it does not match. A number in a dictionary may be
    None, which represents a number that is not finite."""
    origin, inner = tp.get_origin(hint), tp.get_args(hint)
    if hint is tp.Any or origin is tp.Union and value is None:
        return
    if origin is tp.Union:
        hint = inner[0]
        origin, inner = tp.get_origin(hint), tp.get_args(hint)
    types, words = _TYPES[origin or hint]
    if not isinstance(value, types) or isinstance(value, bool) and bool not in types or _is_too_large(value):
        raise ValueError(f"has {_short(value)} as {name or 'its content'}, which must be {words}")
    if origin is list:
        for index, item in enumerate(value):
            _require(inner[0], item, f"{name}[{index}]")
    if origin is dict:
        for key, item in value.items():
            _require(tp.Optional[float] if inner[1] is float else inner[1], item, f"{name}[{_short(key)}]")


_TYPES: tp.Dict[tp.Any, tp.Tuple[tp.Tuple[type, ...], str]] = {
    str: ((str,), "text"), bool: ((bool,), "true or false"), int: ((int,), "a whole number"),
    float: ((int, float), "a number"), list: ((list,), "a list"), dict: ((dict,), "an object")}


def _is_too_large(value: tp.Any) -> bool:
    """Whether an integer is outside 64 bits, and cannot be used in computations."""
    return isinstance(value, int) and abs(value) >= 2 ** 63


def _short(value: tp.Any, most: int = 60) -> str:
    try:
        text = ascii(value)
    except (RecursionError, ValueError):       # nested too deeply, or a number with thousands of digits
        return f"a {type(value).__name__} that is too large"
    return text if len(text) <= most else text[:most - 3] + "..."


def sealed(plain: tp.Mapping[str, tp.Any]) -> tp.Dict[str, tp.Any]:
    """Copy of `plain` with a checksum, the first 16 hexadecimal digits of the sha256 of its content. `from_plain`
    verifies that of a `ReleaseCard`."""
    text = json.dumps(plain, sort_keys=True)
    return {**plain, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}


def _unsealed(plain: tp.Mapping[str, tp.Any], where: str) -> tp.Dict[str, tp.Any]:
    """`plain` without its checksum. Raises SchemaError if the checksum does not match."""
    rest = {key: value for key, value in plain.items() if key != CHECKSUM}
    found = sealed(rest)[CHECKSUM]
    if found != plain[CHECKSUM]:
        raise SchemaError(f"{where}: damaged, or was changed: its checksum is {found}, it was written with "
                          f"{str(plain[CHECKSUM])[:32]!r}; copy or export it again")
    return rest


def write_json(plain: tp.Any, path: tp.Union[str, Path], *, indent: tp.Optional[int] = 1) -> None:
    """Write `plain` to the file `path` as JSON, atomically: a reader sees the old file or the new one, never a part of
    it. With `indent` None it is one line, which is made several times faster. Raises ValueError for numbers that are
    not finite, OSError if it cannot be written."""
    text = json.dumps(plain, indent=indent, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode("utf-8"))


def read_json(path: tp.Union[str, Path]) -> tp.Any:
    """Content of a JSON file. Raises SchemaError if it is missing, unreadable, or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SchemaError(f"{path}: no such file") from error
    except OSError as error:
        raise SchemaError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:     # including numbers with thousands of digits
        raise SchemaError(f"{path}: not a JSON file ({error})") from error


def save(record: tp.Any, path: tp.Union[str, Path]) -> None:
    """Write `record` (a dataclass) to the file `path` as JSON, atomically. Raises OSError if it cannot be written."""
    write_json(to_plain(record), path)


def load(kind: tp.Type[Record], path: tp.Union[str, Path]) -> Record:
    """Record of class `kind` from the JSON file `path`. Raises SchemaError, naming file and field, if it is missing or
    invalid."""
    return from_plain(kind, read_json(path), where=str(path))


def load_costs(path: tp.Union[str, Path]) -> tp.List[ModelCost]:
    """Costs of models in a file with the output of `tools.complexity --json`. Raises SchemaError, naming file and
    object, if it is missing or invalid."""
    plain = read_json(path)
    if not isinstance(plain, list):
        raise SchemaError(f"{path}: not a list of costs, found {type(plain).__name__}; `python -m tools.complexity "
                          f"--json` prints one")
    return [from_plain(ModelCost, each, where=f"{path}, object {place}") for place, each in enumerate(plain, start=1)]


def save_history(history: tp.Sequence[EpochRecord], path: tp.Union[str, Path]) -> None:
    """Write the epochs of a run to the file `path` in the layout of `history.json`, atomically."""
    write_json([finite(record.to_history()) for record in history], path)


def load_history(path: tp.Union[str, Path]) -> tp.List[EpochRecord]:
    """Epochs in the file `path`, a `history.json` of this program or of published Demucs. Raises SchemaError, naming
    file and epoch, if it is missing or invalid."""
    entries = read_json(path)
    if not isinstance(entries, list):
        raise SchemaError(f"{path}: a history is a list of epochs, found {type(entries).__name__}")
    records = []
    for number, entry in enumerate(entries, start=1):
        try:
            records.append(EpochRecord.from_history(entry))
        except SchemaError as error:
            raise SchemaError(f"{path}, epoch {number}: {error}") from error
    return records
