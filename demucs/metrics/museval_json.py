"""Reader and writer of museval's files, one per track, such that museval's own aggregation can read ours.

The format is that of museval 0.4.1 (https://github.com/sigsep/sigsep-mus-eval): FOLDER/test/TRACK.json with a list of
targets, each with a list of frames, numbers with five decimals, and NaN for undefined or infinite values. Older files,
which have times in samples, and compressed files (.json.gz) can be read, too.

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
from ..schema import FRAME_DECIMALS, Evaluation, SchemaError, TrackScores, pack_frames, unpack_frames

METRICS = ("SDR", "SIR", "SAR", "ISR")     # in the order of museval's files
VERSION = "0.4.1"
SUBSET = "test"
SUFFIXES = (".json", ".json.gz")
LONGEST = 1000.             # maximum seconds of a window; larger numbers are samples at the rate of MUSDB18
RATE = 44100                # Hz
MUSDB_TEST_TRACKS = 50


def read_folder(folder: tp.Union[str, Path], *, name: tp.Optional[str] = None) -> Evaluation:
    """Evaluation read from museval's files in FOLDER/test, or in FOLDER if there is no such folder; scores are medians
    over finite frames.

    The files do not name the test set: `dataset` is MUSDB18 if there are 50 tracks.

    Args:
        folder: contains one file TRACK.json or TRACK.json.gz per track.
        name: name of the evaluation; default: that of the folder.

    Raises:
        SchemaError: if there is no such file, or one that museval did not write.
    """
    folder = Path(folder)
    where = folder / SUBSET if (folder / SUBSET).is_dir() else folder
    paths = sorted(path for path in where.glob("*.json*") if path.name.endswith(SUFFIXES))
    if not paths:
        raise SchemaError(f"{where}: contains no file of museval (TRACK.json)")
    tracks = [read_track(path) for path in paths]
    sources = list(dict.fromkeys(source for track in tracks for source in track.scores))
    return Evaluation(name=name or folder.resolve().name, model="museval", sources=sources, tracks=tracks, settings={},
                      model_hash="", commit="", versions={}, created="", expected=[track.name for track in tracks],
                      dataset="MUSDB18 test" if len(tracks) == MUSDB_TEST_TRACKS else
                      f"{len(tracks)} tracks read from museval")


def read_track(path: tp.Union[str, Path]) -> TrackScores:
    """Scores of one track, medians over finite frames, and its frames, from museval's file `path` (.json or .json.gz).
    The name of the track is that of the file. Raises SchemaError if the file cannot be read or museval did not write
    it."""
    path = Path(path)
    try:
        content = path.read_bytes()
        targets = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["targets"]
        frames = {target["name"]: {metric: np.array([frame["metrics"][metric] for frame in target["frames"]], float)
                                   for metric in METRICS} for target in targets}
        duration = max((_end(target["frames"][-1]) for target in targets if target["frames"]), default=0.)
        if not all(isinstance(source, str) for source in frames) or not math.isfinite(duration):
            raise ValueError("a name that is no text, or a time that is no number")
    except (KeyError, TypeError, ValueError, OSError, EOFError, IndexError, OverflowError, RecursionError, zlib.error
            ) as error:
        raise SchemaError(f"{path}: not a track of museval ({error!r:.200})") from error
    return TrackScores(
        name=path.name.split(".json")[0], duration=duration, seconds=0.,
        scores={source: {metric: _median(values) for metric, values in several.items()}
                for source, several in frames.items()},
        frames={source: {metric: pack_frames(values) for metric, values in several.items()}
                for source, several in frames.items()})


def _end(frame: tp.Mapping[str, float]) -> float:
    """End of a frame in seconds from the start of the track."""
    end = float(frame["time"] + frame["duration"])
    return end / RATE if frame["duration"] >= LONGEST else end


def _median(values: np.ndarray) -> tp.Optional[float]:
    defined = values[np.isfinite(values)]
    return float(np.median(defined)) if defined.size else None


def write_folder(evaluation: Evaluation, folder: tp.Union[str, Path]) -> tp.List[Path]:
    """Write FOLDER/test/TRACK.json in museval's format for each track, replacing existing files, and return their
    paths. Only the sources of the evaluation are written, not sums of sources; a measure that was not computed is NaN.

    Raises:
        SchemaError: if a track has no SDR in frames. Files of earlier tracks are written by then.
    """
    paths = []
    for track in evaluation.tracks:
        text = track_text(track, evaluation.sources)
        paths.append(Path(folder) / SUBSET / f"{track.name}.json")
        with atomic(paths[-1]) as file:
            file.write(text.encode())
    return paths


def track_text(track: TrackScores, sources: tp.Sequence[str]) -> str:
    """Text of museval's file for `track` with `sources`, identical to that of museval. Measures that were not computed
    are NaN. Raises SchemaError if a source has no SDR in frames."""
    targets = []
    for source in sources:
        packed = track.frames.get(source, {})
        if "SDR" not in packed:
            raise SchemaError(f"{track.name}: the evaluation holds no SDR of frames for {source}; evaluate it again, "
                              f"with SDR")
        count = len(unpack_frames(packed["SDR"]))
        columns = [unpack_frames(packed[metric]) if metric in packed else [math.nan] * count for metric in METRICS]
        frames = [{"time": float(second), "duration": 1.0, "metrics": dict(zip(METRICS, values))}
                  for second, values in enumerate(zip(*columns, strict=True))]
        targets.append({"name": source, "frames": frames})
    return _text({"targets": targets, "museval_version": VERSION})


def _text(plain: tp.Any, newline: str = "\n", score: bool = False) -> str:
    """JSON text with the indentation of museval, and its number of decimals if `plain` is a score."""
    inner = newline + "  "
    if score:
        return f"{plain:.{FRAME_DECIMALS}f}" if math.isfinite(plain) else "NaN"
    if isinstance(plain, dict):
        items = [f"{json.dumps(key)}: {_text(item, inner, key in METRICS)}" for key, item in plain.items()]
        return "{" + inner + f",{inner}".join(items) + newline + "}"
    if isinstance(plain, list) and plain:
        return "[" + inner + f",{inner}".join(_text(item, inner) for item in plain) + newline + "]"
    return json.dumps(plain)
