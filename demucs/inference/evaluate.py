"""Scores of a model on tracks with known sources, as published Demucs evaluates: separation and museval's scoring run
at the same time, the latter in other processes. Reference separators go through exactly what models go through.
"""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import time
import typing as tp
import zlib
from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data import audio
from ..dsp.convert import convert_audio
from ..dsp.randomness import generator
from ..errors import ConfigError
from ..metrics.bsseval import bss_eval, frame_medians
from ..metrics.nsdr import nsdr
from ..schema import TrackScores
from .song import separate_song
from .tracks import Track

logger = logging.getLogger(__name__)

METRICS = ("nsdr", "bsseval")
Scores = tp.Dict[str, tp.Dict[str, tp.Optional[float]]]
Keep = tp.Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]


def evaluate_tracks(model: nn.Module, tracks: tp.Sequence[Track], *,
                    metrics: tp.Sequence[str] = ("nsdr",), shifts: int = 1, overlap: float = 0.25, split: bool = True,
                    segment: tp.Optional[float] = None, seed: int = 0,
                    device: tp.Union[None, str, torch.device] = None, workers: int = 0,
                    save_to: tp.Optional[Path] = None, keep: tp.Optional[Keep] = None, rank: int = 0,
                    world_size: int = 1) -> tp.List[TrackScores]:
    """Scores of every `world_size`-th track, beginning with track `rank`, in the order of `tracks`.

    Args:
        model: a model or a bag, as `apply.separate` takes it.
        tracks: with references in the order of `model.sources`.
        metrics: "nsdr", and "bsseval" for SDR, ISR, SIR and SAR in frames of one second, as museval has them.
        shifts, overlap, split, segment, seed, device: as in `apply.separate`; each track draws its own shifts from
            `seed` and its name, so that a score does not depend on which other tracks are evaluated.
        workers: processes that score; with 0 it is done in this one. At most workers + 1 tracks are in memory.
        save_to: folder for the estimates, as TRACK/SOURCE.mp3.
        keep: called with name, mixture [A, L], references and estimates [S, A, L] of each track.

    Raises:
        ConfigError: for an unknown metric.
        AudioError, DatasetError: where a track cannot be read.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ConfigError(f"unknown metric {metric!r}; there are: {', '.join(METRICS)}")
    mine = list(tracks)[rank::world_size]
    settings = dict(shifts=shifts, overlap=overlap, split=split, segment=segment, device=device)
    results: tp.List[TrackScores] = []
    pending: tp.Deque[tp.Tuple[str, float, float, tp.Callable[[], tp.Tuple[Scores, float]]]] = deque()

    def finish() -> None:
        name, duration, separating, outcome = pending.popleft()
        scores, scoring = outcome()
        results.append(TrackScores(name=name, duration=duration, seconds=separating + scoring, scores=scores))
        means = {metric: np.mean([value[metric] for value in scores.values() if value[metric] is not None] or np.nan)
                 for metric in ("nsdr", "SDR") if metric in scores[model.sources[0]]}
        logger.info("Eval | track %d/%d | %s | %s | %.1f s", len(results), len(mine), name,
                    " | ".join(f"{metric} {mean:.2f}" for metric, mean in means.items()), results[-1].seconds)

    with _scoring(workers) as submit:
        for track in mine:
            begin = time.monotonic()
            mix, references, estimates = separate_track(model, track, seed=seed, **settings)
            if save_to is not None:
                for source, estimate in zip(model.sources, estimates):
                    path = Path(save_to) / track.name / f"{source}.mp3"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    audio.write(path, estimate, model.samplerate)
            if keep is not None:
                keep(track.name, mix, references, estimates)
            separating = time.monotonic() - begin
            outcome = submit(score, references.numpy(), estimates.numpy(), model.sources, model.samplerate, metrics)
            pending.append((track.name, references.shape[-1] / model.samplerate, separating, outcome))
            del mix, references, estimates, outcome
            while len(pending) > workers:
                finish()
        while pending:
            finish()
    return results


def separate_track(model: nn.Module, track: Track, *, seed: int, **settings: tp.Any
                   ) -> tp.Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mixture [A, L], references and estimates [S, A, L] of a track, at the model's rate."""
    song = track.read()
    mix = convert_audio(song.mix, song.samplerate, model.samplerate, model.audio_channels)
    references = convert_audio(song.references, song.samplerate, model.samplerate, model.audio_channels)
    own = int(generator(seed, "evaluated track", zlib.crc32(track.name.encode())).integers(2 ** 31))
    return mix, references, separate_song(model, mix, seed=own, **settings)


def score(references: np.ndarray, estimates: np.ndarray, sources: tp.Sequence[str], samplerate: int,
          metrics: tp.Sequence[str]) -> tp.Tuple[Scores, float]:
    """Scores of one track, computed in float64, and the seconds that took. Both signals are [S, A, L].

    The measures of BSSEval are medians over the frames that are defined; None where none is.
    """
    begin = time.monotonic()
    references, estimates = references.astype(np.float64), estimates.astype(np.float64)
    scores: Scores = {source: {} for source in sources}
    if "nsdr" in metrics:
        values = nsdr(torch.from_numpy(references), torch.from_numpy(estimates))
        for source, value in zip(sources, values.tolist()):
            scores[source]["nsdr"] = value
    if "bsseval" in metrics:
        measured = bss_eval(torch.from_numpy(references), torch.from_numpy(estimates), samplerate)
        for source, medians in zip(sources, frame_medians(measured.frames)):
            scores[source].update(medians)
    return scores, time.monotonic() - begin


@contextlib.contextmanager
def _scoring(workers: int) -> tp.Iterator[tp.Callable[..., tp.Callable[[], tp.Any]]]:
    """A function that has `function(*args)` computed, by other processes or by this one, and returns a way to wait."""
    def at_once(function: tp.Callable[..., tp.Any], *args: tp.Any) -> tp.Callable[[], tp.Any]:
        value = function(*args)
        return lambda: value

    if not workers:
        yield at_once
        return
    # spawn: a forked child of a process that has run torch's thread pool or CUDA may hang
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"),
                                                initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield lambda function, *args: pool.submit(function, *args).result
