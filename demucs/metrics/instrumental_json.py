"""Reader and writer of the result files of the notes on variants of HTDemucs (piusssss/demucs_learn): scores of the
instrumental, the mixture without the vocals, for each track and each frame of one second.

    {"evaluation_metadata": {"model_name": ..., "shifts": 1, "overlap": 0.25, ...},
     "tracks": {NAME: {"scores": {"NSDR": [dB], "SDR": [dB, ...], "ISR": [...], ...}, "summary": {...}}},
     "overall_summary": {...}}

Older files have the block `model_config`, or none at all, in place of `evaluation_metadata`. They may lack NSDR, and the
lists of a track may stand in its entry itself. The file of a single track has `track_name` and `scores`. Frames that
are silent in reference or estimate are NaN or null. Summaries in a file are never read: every number is computed from
the frames. Files are JSON, as they are or compressed (.json.gz), and are read as untrusted.

This module does not need torch, since the graphing scripts use it.
"""

import gzip
import json
import math
import typing as tp
import zlib
from pathlib import Path

import numpy as np

from ..files import atomic
from ..schema import Evaluation, SchemaError, TrackScores, pack_frames, unpack_frames
from .aggregates import FRAMEWISE
from .museval_json import MUSDB_TEST_TRACKS

INSTRUMENTAL = "instrumental"
NAMES = (INSTRUMENTAL, "accompaniment", "no_vocals")      # of the instrumental in evaluations
ABOUT = ("evaluation_metadata", "model_config")
NSDR = "NSDR"
SUFFIXES = (".json", ".json.gz")
LARGEST = 2 ** 28                    # bytes of a file, decompressed: two hundred times those of 50 songs
MOST = 1e4                           # decibels; larger numbers, which sums could not hold, are no scores


def is_instrumental(plain: tp.Any) -> bool:
    """Whether parsed JSON looks like a result file of the notes, of one track or of several. Records of this code have
    a list of tracks, and a version."""
    return isinstance(plain, dict) and "version" not in plain and (
        "evaluation_metadata" in plain or isinstance(plain.get("tracks"), dict)
        or {"track_name", "scores"} <= plain.keys())


def read_file(path: tp.Union[str, Path], name: tp.Optional[str] = None) -> Evaluation:
    """Evaluation read from a result file of the notes. `name` is by default that of the file.

    Raises:
        SchemaError: in one line, if the file cannot be read or has other content.
    """
    path = Path(path)
    return read_plain(read_json(path), name or path.name.split(".json")[0], str(path))


def read_json(path: Path) -> tp.Any:
    """Parsed content of a JSON file, which may be compressed (.gz). Raises SchemaError if it is missing, too large, or
    not JSON, or an object in it has a name twice."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise SchemaError(f"{path}: has more than {LARGEST // 2 ** 20} MiB, which no result of an evaluation has")
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except FileNotFoundError:
        raise SchemaError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SchemaError(f"{path}: cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:       # ValueError also for numbers with thousands of digits
        raise SchemaError(f"{path}: not a JSON file ({error!s:.200})") from error


def _once(pairs: tp.List[tp.Tuple[str, tp.Any]]) -> tp.Dict[str, tp.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r:.80} occurs twice in an "
                         f"object")
    return found


def read_plain(plain: tp.Mapping[str, tp.Any], name: str, where: str) -> Evaluation:
    """Evaluation called `name` from `plain`, parsed JSON of a result file of the notes, with the instrumental as its
    only source. The duration of a track is its number of frames of one second, since the format has no other.

    Raises:
        SchemaError: with `where` in the message, for any other content.
    """
    try:
        about = next((plain[key] for key in ABOUT if key in plain), {})
        entries = plain["tracks"] if "tracks" in plain else {plain["track_name"]: plain}
        if not isinstance(about, dict) or not isinstance(entries, dict) or not entries:
            raise ValueError("no tracks")
        tracks = [_track(track, entry.get("scores", entry)) for track, entry in entries.items()]
        settings = {key: _number(about[key], key) for key in ("shifts", "overlap") if key in about}
        model = str(about.get("model_name", ""))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise SchemaError(f"{where}: not an evaluation of the variants' notes ({error!r:.200})") from error
    dataset = "MUSDB18-HQ test" if len(tracks) == MUSDB_TEST_TRACKS else f"{len(tracks)} tracks"
    return Evaluation(name=name, model=model or "unknown", dataset=dataset, sources=[INSTRUMENTAL], tracks=tracks,
                      settings=settings, model_hash="", commit="", versions={}, created="",
                      expected=[track.name for track in tracks])


def _track(name: str, lists: tp.Mapping[str, tp.Any]) -> TrackScores:
    """Scores of a track from its lists by name of metric. Other entries, such as summaries, are ignored."""
    frames = {metric: _frames(lists[metric], f"{name}, {metric}") for metric in FRAMEWISE if metric in lists}
    if "SDR" not in frames:
        raise ValueError(f"{name!r:.80} has no SDR of frames")
    if len({len(values) for values in frames.values()}) > 1:
        raise ValueError(f"{name!r:.80} has lists of different lengths")
    scores: tp.Dict[str, tp.Optional[float]] = {}
    if NSDR in lists:
        value = lists[NSDR]
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError(f"{name!r:.80} has {len(value)} numbers as its NSDR")
            value = value[0]
        scores["nsdr"] = _number(value, f"{name}, NSDR")
    for metric, values in frames.items():
        finite = values[np.isfinite(values)]
        scores[metric] = float(np.median(finite)) if finite.size else None
    return TrackScores(name=name, duration=float(len(frames["SDR"])), seconds=0., scores={INSTRUMENTAL: scores},
                       frames={INSTRUMENTAL: {metric: pack_frames(values) for metric, values in frames.items()}})


def _frames(values: tp.Any, where: str) -> np.ndarray:
    if not isinstance(values, list):
        raise ValueError(f"{where!r:.120} is no list")
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))
                                  or MOST < abs(value) < math.inf):
            raise ValueError(f"{where!r:.120}: {value!r:.40} is no number of decibels")
    return np.array([math.nan if value is None else float(value) for value in values])


def _number(value: tp.Any, where: str) -> tp.Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < MOST:
        raise ValueError(f"{where!r:.120}: {value!r:.40} is not a finite number")
    return value


def name_in(evaluation: Evaluation) -> str:
    """Name of the instrumental in an evaluation: a source, or a sum of sources that was scored as one. Raises
    SchemaError if no track has scores of it."""
    found = {source for track in evaluation.tracks for source in track.scores}
    for name in NAMES:
        if name in found:
            return name
    raise SchemaError(f"{evaluation.name}: has no scores of the instrumental, only of {', '.join(evaluation.sources)}; "
                      f"evaluate a model that separates it, or the vocals and at least two other sources")


def of_evaluation(evaluation: Evaluation) -> Evaluation:
    """An evaluation reduced to the scores of the instrumental, as its only source, under that name. Raises SchemaError
    if it has none, or no SDR in frames."""
    source = name_in(evaluation)
    tracks = []
    for track in evaluation.tracks:
        frames = track.frames.get(source, {})
        if "SDR" not in frames:
            raise SchemaError(f"{evaluation.name}: {track.name} has no SDR in frames of the instrumental; evaluate it "
                              f"again without --no-sdr")
        tracks.append(TrackScores(
            name=track.name, duration=track.duration, seconds=track.seconds, fingerprint=track.fingerprint,
            scores={INSTRUMENTAL: dict(track.scores.get(source, {}))}, frames={INSTRUMENTAL: dict(frames)}))
    return Evaluation(name=evaluation.name, model=evaluation.model, dataset=evaluation.dataset, sources=[INSTRUMENTAL],
                      tracks=tracks, settings=evaluation.settings, model_hash=evaluation.model_hash,
                      commit=evaluation.commit, versions=evaluation.versions, created=evaluation.created,
                      device=evaluation.device, expected=list(evaluation.expected))


def write_file(evaluation: Evaluation, path: Path) -> None:
    """Write the instrumental of `evaluation` to `path` in the format of the notes, atomically; `.gz` compresses. Frames
    have five decimals. Undefined frames are NaN, as in the notes, which JSON proper does not allow. Raises SchemaError
    as `of_evaluation`."""
    found = of_evaluation(evaluation)
    about = {"protocol": "demucs", "sdr_definition": "BSSEval v4", "normalization": "mono_mixture_statistics",
             "model_name": evaluation.name, **{key: found.settings[key] for key in ("shifts", "overlap")
                                               if key in found.settings}}
    tracks = {}
    for track in found.tracks:
        scores, frames = track.scores[INSTRUMENTAL], track.frames[INSTRUMENTAL]
        lists = {metric: unpack_frames(frames[metric]) for metric in FRAMEWISE if metric in frames}
        nsdr = scores.get("nsdr")
        tracks[track.name] = {"scores": {**({} if nsdr is None else {NSDR: [nsdr]}), **lists},
                              "summary": _summary(np.array(lists["SDR"]), total_frames=len(lists["SDR"]))}
    values = np.concatenate([np.zeros(0), *(np.array(entry["scores"]["SDR"]) for entry in tracks.values())])
    whole = _summary(values, total_tracks=len(tracks))
    overall = {f"overall_{key}" if key.startswith("sdr") else key: value for key, value in whole.items()}
    plain = {"evaluation_metadata": about, "tracks": tracks, "overall_summary": overall}
    content = json.dumps(plain, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
    with atomic(path) as file:
        file.write(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _summary(values: np.ndarray, **counts: int) -> tp.Dict[str, tp.Any]:
    """Mean, median and population standard deviation over the finite `values`."""
    finite = values[np.isfinite(values)]
    numbers = {"sdr_mean": np.mean, "sdr_median": np.median, "sdr_std": np.std} if finite.size else {}
    return {**{key: float(function(finite)) for key, function in numbers.items()}, **counts,
            "valid_frames" if "total_frames" in counts else "total_valid_frames": int(finite.size)}
