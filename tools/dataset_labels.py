"""Plausibility of labels by separation, for `tools.dataset check --model NAME`."""

import logging
import typing as tp
from pathlib import Path

import numpy as np
import torch

from demucs.audio import reading
from demucs.data.checks import labels
from demucs.data.checks.scan import relative
from demucs.data.tracks import Track, added
from demucs.dsp.convert import convert_audio
from demucs.errors import ConfigError, DemucsError
from demucs.pretrained import get_model
from demucs.schema import Finding
from demucs.separation.song import separate_song

logger = logging.getLogger(__name__)

SCANNED = 10.            # seconds of the pieces of which the excerpt begins at the loudest
FIX = "listen to the stem; rename the files if their labels were exchanged"


def checker(name: str, repo: tp.Optional[Path], sources: tp.Sequence[str], *, root: Path, device: str, seconds: float
            ) -> tp.Callable[[Track, str], tp.List[Finding]]:
    """Function from a song and its split to findings about its labels, with the model `name`.

    Raises:
        ModelLoadingError: if there is no such model.
        ConfigError: if the model and the dataset have fewer than two sources in common.
    """
    model = get_model(name, repo)
    common = [source for source in sources if source in model.sources]
    if len(common) < 2:
        raise ConfigError(f"--model={name} separates {', '.join(model.sources)}, the dataset has {', '.join(sources)}: "
                          f"labels can be judged with two sources in common at least; choose another model")
    return lambda track, split: of_track(model, track, split, common, root=root, device=device, seconds=seconds)


def of_track(model: tp.Any, track: Track, split: str, sources: tp.Sequence[str], *, root: Path,
             device: tp.Optional[str] = None, seconds: float = 30.) -> tp.List[Finding]:
    """Findings about the labels of one song, by separating its loudest excerpt. A song that cannot be separated has
    none: a warning is logged."""
    try:
        stems, estimates = separated(model, track, sources, device=device, seconds=seconds)
    except (DemucsError, OSError) as error:
        logger.warning("The labels of %s are not judged: %s", track.name, error)
        return []
    found = []
    for doubt in labels.doubts(sources, stems, estimates):
        path = relative(track.files(doubt.source)[0], root)
        what = (f"{doubt.source} resembles {doubt.other}: correlation {doubt.with_other:.2f} with the estimate of "
                f"{doubt.other}, {doubt.with_own:.2f} with that of {doubt.source}")
        found.append(Finding("warning", "label", split, track.name, doubt.source, path, what, FIX, doubt.with_other))
    return found


def separated(model: tp.Any, track: Track, sources: tp.Sequence[str], *, device: tp.Optional[str], seconds: float
              ) -> tp.Tuple[np.ndarray, np.ndarray]:
    """(stems, estimates), each [S, A, L] in the order of `sources`, of the loudest excerpt of a song. The mixture is
    the sum of the stems, so that errors of a mixture file do not count."""
    start, frames, rate = loudest(track, seconds)
    stems = {source: track.read(source, start, frames) if track.files(source) else None for source in track.stems}
    length = max(wav.shape[-1] for wav in stems.values() if wav is not None)
    wavs = {source: convert_audio(torch.nn.functional.pad(torch.zeros(1, length) if wav is None else wav,
                                                          (0, 0 if wav is None else length - wav.shape[-1])),
                                  rate, model.samplerate, model.audio_channels) for source, wav in stems.items()}
    mixed = [wavs[source] for source in (track.mixed or wavs)]
    estimates = separate_song(model, added(mixed), shifts=0, device=device)
    order = [list(model.sources).index(source) for source in sources]
    return torch.stack([wavs[source] for source in sources]).numpy(), estimates[order].cpu().numpy()


def loudest(track: Track, seconds: float) -> tp.Tuple[int, int, int]:
    """(first sample, number of samples, sample rate) of the excerpt in which the quietest stem is loudest: every source
    should be heard. Excerpts begin every `SCANNED` seconds."""
    sources = [source for source in track.stems if track.files(source)]
    info = reading.probe(track.files(sources[0])[0])
    rate, frames = info.samplerate, min(info.frames, round(seconds * info.samplerate))
    starts = list(range(0, max(info.frames - frames, 0) + 1, max(1, round(SCANNED * rate))))
    if len(starts) < 2:
        return 0, frames, rate
    piece = round(SCANNED * rate)
    powers = np.array([[_power(track, source, start, piece) for source in sources]
                       for start in range(0, info.frames, piece)])
    levels = np.log10(powers) - np.log10(powers.mean(axis=0))
    width = max(1, round(seconds / SCANNED))
    scores = [levels[place:place + width].mean(axis=0).min() for place in range(len(starts))]
    return starts[int(np.argmax(scores))], frames, rate


def _power(track: Track, source: str, start: int, frames: int) -> float:
    """Mean square of a piece of a stem, at least 1e-12."""
    wav = track.read(source, start, frames).numpy()
    return max(float(np.square(wav).mean()), 1e-12) if wav.size else 1e-12
