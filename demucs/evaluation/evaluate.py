"""Scores of a model, a bag, or previously separated files, on tracks with reference sources.

Each track is separated and scored independently, so an evaluation may be distributed over processes and stopped at any
time. With `TrackFiles` each result is written immediately, and existing results are not computed again. Reference
separators are evaluated in exactly the same way as models.
"""

import dataclasses
import datetime
import os
import logging
import time
import typing as tp
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..audio import reading
from ..data.faults import FaultyTracks
from ..dsp.convert import convert_audio
from ..dsp.randomness import generator
from ..errors import AudioError, ConfigError, DatasetError, DemucsError, exhausted_memory
from ..runs.provenance import now
from ..schema import TrackScores
from ..separation.precision import computing_in
from ..separation.song import separate_song
from ..tables import number
from .scoring import METRICS, Scores, score
from .separated import SeparatedFolder
from .tracks import ReferenceTrack, Song, fingerprint

logger = logging.getLogger(__name__)

Separator = tp.Union[nn.Module, SeparatedFolder]
Device = tp.Union[None, str, torch.device]
Read = tp.Tuple[Song, tp.Optional[torch.Tensor]]      # a track, and its estimates if they were separated before
Keep = tp.Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]


class Results(tp.Protocol):
    """Interface of the storage of scores that `evaluate_tracks` uses; `TrackFiles` has it."""

    def find(self, name: str, fingerprint: tp.Optional[str] = None, estimates: tp.Optional[str] = None
             ) -> tp.Tuple[tp.Optional[TrackScores], str]: ...

    def add(self, scores: TrackScores, *, created: str) -> None: ...


class Marks(tp.NamedTuple):
    """Fingerprints of the files of a track (`song`) and of its previously separated estimates; "" for one without
    files."""
    song: str = ""
    estimates: str = ""


class Separated(tp.NamedTuple):
    """A track at the separator's sample rate: `mix` [A, L], `references` and `estimates` [S, A, L]."""
    mix: torch.Tensor
    references: torch.Tensor
    estimates: torch.Tensor


def evaluate_tracks(separator: Separator, tracks: tp.Sequence[ReferenceTrack], *, metrics: tp.Sequence[str] = ("nsdr",),
                    sums: bool = False, sources: tp.Optional[tp.Sequence[str]] = None,
                    folded: tp.Optional[tp.Mapping[str, str]] = None, seed: int = 0, device: Device = None,
                    files: tp.Optional[Results] = None, save_to: tp.Optional[Path] = None,
                    keep: tp.Optional[Keep] = None, rank: int = 0, world_size: int = 1,
                    stop: tp.Callable[[], bool] = lambda: False, **settings: tp.Any) -> tp.List[TrackScores]:
    """Separate and score every `world_size`-th of `tracks`, starting with number `rank`. Returns their scores in the
    order of `tracks`.

    Args:
        separator: a model or a bag, as for `apply.separate`, or a folder of separated files.
        tracks: with references in the order of `sources`.
        metrics: "nsdr" and "si_sdr" of whole tracks; "bsseval" for SDR, ISR, SIR and SAR in frames of one second, as
            museval computes them, or "sdr" for the SDR in frames alone.
        sums: also score sums of sources, such as "instrumental"; see `scoring.sums_of`.
        sources: names of the references; default: the separator's sources.
        folded: the separator's sources that are added to another source before scoring, {source: other source}.
        seed: random seed of the shift trick. The shifts of a track depend on it and on the name of the track, so that a
            score does not depend on which other tracks are evaluated.
        device: where to separate, and also to score if it is a CUDA device; default: the device of the model.
        files: storage of results. Each new result is added at once; an earlier result of a track is reused, without
            separating, if the storage finds it valid and its estimates are in `save_to`, if given.
        save_to: folder for the estimates, as TRACK/SOURCE.mp3.
        keep: called with name, mixture [A, L], references and estimates [S, A, L] of each track that is separated now.
        rank, world_size: index and number of the processes that share the tracks.
        stop: called after each track that is scored now; if it returns True, the scores so far are returned.
        settings: further settings of `apply.separate`, such as shifts, overlap, split, segment, precision.

    Raises:
        ConfigError: for an unknown metric.
        AudioError, DatasetError: for tracks that cannot be read or need too much memory, after all other tracks are
            scored; the message names every such track. At once if separated files are missing or the model fails on a
            track.
        ResultsError: if a result cannot be written.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ConfigError(f"unknown metric {metric!r}; there are: {', '.join(METRICS)}")
    mine = list(tracks)[rank::world_size]
    if isinstance(separator, SeparatedFolder):
        separator.require(mine)
    names = list(sources or separator.sources)
    where = _scoring_device(separator, device)
    faults: tp.Dict[str, DemucsError] = {}
    marks = _marks(separator, mine, faults) if files is not None else {}
    done = _done_before([track for track in mine if track.name in marks], marks, files, save_to, names) \
        if files is not None else {}
    results: tp.List[TrackScores] = []
    clock = _Clock(len(mine) - len(done) - len(faults))
    for track in mine:
        if track.name in faults:
            continue
        if track.name in done:
            results.append(done[track.name])
            continue
        begin = time.monotonic()
        try:
            read = _read(separator, track)
        except (AudioError, DatasetError) as error:      # other tracks can still be scored
            faults[track.name] = error
            logger.warning("Eval | %s cannot be scored: %s", track.name, error)
            clock.tracks -= 1
            continue
        try:
            song = separate_track(separator, track, read=read, sources=names, folded=folded or {}, seed=seed,
                                  device=device, **settings)
            between = time.monotonic()
            scores = _score_anywhere(song, names, separator.samplerate, metrics, sums, where)
        except AudioError as error:                      # a fault of the model may affect all tracks: stop
            raise error if track.name in str(error) else AudioError(f"{track.name}: {error}") from error
        except Exception as error:
            if not exhausted_memory(error):
                raise
            faults[track.name] = too_large(track.name, error)
            logger.warning("Eval | %s", faults[track.name])
            clock.tracks -= 1
            continue
        end = time.monotonic()
        results.append(TrackScores(
            name=track.name, duration=song.mix.shape[-1] / separator.samplerate, seconds=end - begin,
            seconds_scoring=end - between, fingerprint=marks.get(track.name, Marks()).song,
            estimates=marks.get(track.name, Marks()).estimates, **dataclasses.asdict(scores)))
        if save_to is not None:
            for source, estimate in zip(names, song.estimates):
                path = estimate_path(save_to, track.name, source)
                path.parent.mkdir(parents=True, exist_ok=True)
                reading.write(path, estimate, separator.samplerate)
        if keep is not None:
            keep(track.name, song.mix, song.references, song.estimates)
        if files is not None:
            files.add(results[-1], created=now())
        logger.info("Eval | track %d/%d | %s | %s | %.1f s%s", len(results), len(mine), track.name,
                    _means(scores, names), end - begin, clock.left(time.monotonic() - begin))
        if stop():
            return results
        del song, read
    if len(faults) == 1:
        raise next(iter(faults.values()))
    if faults:
        raise FaultyTracks(map(str, faults.values()))
    return results


def too_large(name: str, error: Exception) -> AudioError:
    """Error to raise for track `name`, from `error`, which reports that memory is exhausted. Its text names the kind of
    memory and advises smaller segments."""
    return AudioError(f"{name}: out of {exhausted_memory(error)}; smaller segments take less (--segment, in training "
                      f"model_segment), and tracks that are scored are not scored again")


def _read(separator: Separator, track: ReferenceTrack) -> Read:
    return separator.separate(track) if isinstance(separator, SeparatedFolder) else (track.read(), None)


def separate_track(separator: Separator, track: ReferenceTrack, *, read: Read, sources: tp.Sequence[str],
                   folded: tp.Mapping[str, str], seed: int, **settings: tp.Any) -> Separated:
    """Mixture, references and estimates of a track, at the separator's sample rate and number of channels. Previously
    computed estimates are used as they are, without conversion.

    Args:
        separator: model or bag, or the folder that the estimates come from.
        track: the track; random shifts depend on its name and on `seed`.
        read: its audio, and its estimates if they were computed before; otherwise (None) the separator computes them.
        sources: order of the estimates if `folded` is not empty; otherwise they have the separator's order.
        folded: sources of the separator that are added to another one, as {added: other}.
        seed: random seed of the shifts.
        settings: further keyword arguments of `separate_song`.

    Raises:
        AudioError, ConfigError: as `separate_song`.
    """
    song, estimates = read
    mix, references = song.mix, song.references
    if estimates is None:
        mix, references = (convert_audio(wav, song.samplerate, separator.samplerate, separator.audio_channels)
                           for wav in (song.mix, song.references))
        own = int(generator(seed, "evaluated track", zlib.crc32(os.fsencode(track.name))).integers(2 ** 31))
        estimates = separate_song(separator, mix, seed=own, **settings)
    if folded:
        named = dict(zip(separator.sources, estimates))
        for extra, other in folded.items():
            named[other] = named[other] + named[extra]
        estimates = torch.stack([named[source] for source in sources])
    return Separated(mix, references, estimates)


def _scoring_device(separator: Separator, device: Device) -> torch.device:
    """Device for scoring: the separation device if it is a CUDA device, otherwise the CPU, as other accelerators lack
    float64."""
    weights = separator.parameters() if isinstance(separator, nn.Module) else iter(())
    where = torch.device(next((tensor.device for tensor in weights), "cpu") if device is None else device)
    return where if where.type == "cuda" else torch.device("cpu")


def _score_anywhere(song: Separated, sources: tp.Sequence[str], samplerate: int, metrics: tp.Sequence[str], sums: bool,
                    device: torch.device) -> Scores:
    """`score` on `device`, or on the CPU if the memory of `device` does not suffice."""
    def on(where: torch.device) -> Scores:
        with computing_in("float32", where):
            return score(song.references.to(where), song.estimates.to(where), sources, samplerate, metrics=metrics,
                         sums=sums)
    try:
        return on(device)
    except torch.cuda.OutOfMemoryError:
        logger.warning("%s has too little memory left to score a song of %d s; the CPU does it", device,
                       song.mix.shape[-1] / samplerate)
    return on(torch.device("cpu"))


def _marks(separator: Separator, tracks: tp.Sequence[ReferenceTrack], faults: tp.Dict[str, DemucsError]
           ) -> tp.Dict[str, Marks]:
    """Fingerprints by name of track. Tracks that cannot be read are added to `faults` instead."""
    marks = {}
    for track in tracks:
        own = separator.files(track) if isinstance(separator, SeparatedFolder) else ()
        try:
            marks[track.name] = Marks(*(fingerprint(files) if files else "" for files in (track.files, own)))
        except AudioError as error:
            faults[track.name] = error
    return marks


def _done_before(tracks: tp.Sequence[ReferenceTrack], marks: tp.Mapping[str, Marks], files: Results,
                 save_to: tp.Optional[Path], sources: tp.Sequence[str]) -> tp.Dict[str, TrackScores]:
    """Scores of earlier evaluations that can be reused, by name of track."""
    done = {}
    for track in tracks:
        scores, reason = files.find(track.name, *marks[track.name])
        if scores is not None and save_to is not None and \
                not all(estimate_path(save_to, track.name, source).exists() for source in sources):
            scores, reason = None, f"its estimates are not all in {save_to}"
        if scores is not None:
            done[track.name] = scores
        elif reason:
            logger.info("Eval | %s was scored before, and is scored anew: %s", track.name, reason)
    if done:
        logger.info("Eval | %d of %d tracks were scored before, with these settings, and are not scored again",
                    len(done), len(tracks))
    return done


def estimate_path(folder: Path, name: str, source: str) -> Path:
    """File FOLDER/NAME/SOURCE.mp3 of the estimate of `source` in track `name`; `folder` is the argument `save_to` of
    `evaluate_tracks`."""
    return Path(folder) / name / f"{source}.mp3"


def _means(scores: Scores, sources: tp.Sequence[str]) -> str:
    """Means over the sources, for a log line."""
    parts = []
    for metric in ("nsdr", "SDR"):
        values = [scores.scores[source].get(metric) for source in sources]
        defined = [value for value in values if value is not None]
        if any(metric in row for row in scores.scores.values()):
            mean = float(np.mean(defined)) if defined else None
            parts.append(f"{metric} {number(mean, missing='undefined')}")
    return " | ".join(parts) + (" | ill-conditioned" if scores.ill_conditioned else "")


class _Clock:
    """Estimate of the remaining time from the mean time per finished track."""

    def __init__(self, tracks: int):
        self.tracks = tracks
        self.seconds: tp.List[float] = []

    def left(self, seconds: float) -> str:
        """After a track that took `seconds`: " | 0:12:30 left", or "" after the last one."""
        self.seconds.append(seconds)
        rest = round((self.tracks - len(self.seconds)) * sum(self.seconds) / len(self.seconds))
        return f" | {datetime.timedelta(seconds=rest)} left" if len(self.seconds) < self.tracks else ""
