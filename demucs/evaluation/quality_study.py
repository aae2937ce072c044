"""Study of the agreement between quality measures without references and true scores, for separators of many qualities.

There are three kinds of separators:

- "model": a trained model and degraded copies of it, with weights that are rounded, interpolated towards a random
  initialisation, or perturbed by noise. Like checkpoints of one training they share an architecture, and their
  separations can be repeated;
- "reference": separators that are not trained, or have only average spectra;
- "oracle": the true sources, degraded by known amounts. They only have measures that need no model.
"""

import copy
import itertools
import logging
import typing as tp
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..dsp.convert import convert_audio
from ..dsp.randomness import generator, seeded_torch
from ..dsp.spectral import istft, stft
from ..metrics.nsdr import nsdr
from ..metrics.quality.correlation import over_separators, over_tracks
from ..metrics.quality.measures import MEASURES, measure_song
from ..models import zoo
from ..packages import package
from ..runs.provenance import commit, now, versions
from ..schema import QualityColumn, QualityStudy, RankCorrelation, pack_frames, unpack_frames
from ..separation.song import separate_song
from . import passes
from .reference_separators import AverageSpectrumFilter, MixtureAsEstimate
from .tracks import ReferenceTrack, Song

logger = logging.getLogger(__name__)

MODEL, REFERENCE, ORACLE = "model", "reference", "oracle"
ALL = "all"                                        # of separators: every kind; of sources: the mean over them
KEPT = (1., 0.95, 0.9, 0.85, 0.75)                 # interpolation from initial (0) to trained weights (1)
NOISES = (0.1, 0.2, 0.3)                           # standard deviation of noise relative to that of a parameter tensor
LEAKS = (-20., -10., -5.)                          # level in dB of all other sources in an estimate
EXCHANGED = 0.3                                    # fraction of a source that is exchanged with the other sources
NOISE_LEVEL = -10.                                 # level in dB of white noise relative to the source
N_FFT = 4096

Separator = tp.Callable[[Song, int], torch.Tensor]     # (song, its index) -> estimates [S, A, L]


def degraded(model: nn.Module, *, kept: float = 1., noise: float = 0., seed: int = 0) -> nn.Module:
    """Degraded copy of a model of the zoo; `model` itself is not changed. Each parameter is `kept` times its own value
    plus 1 - `kept` times that of a random initialisation of `seed`. Then Gaussian noise is added, with a standard
    deviation of `noise` times that of the resulting tensor."""
    made = copy.deepcopy(model)
    with seeded_torch(seed, "fresh weights of a spoilt model"):      # a key of random numbers: must not change
        fresh = zoo.build(model.zoo_name, **model.zoo_kwargs).state_dict() if kept < 1 else model.state_dict()
    with torch.no_grad():
        for index, (name, weight) in enumerate(made.named_parameters()):
            draws = generator(seed, "noise on weights", index).standard_normal(tuple(weight.shape))
            weight.lerp_(fresh[name], 1 - kept)
            weight.add_(torch.from_numpy(draws).to(weight) * (noise * weight.std(correction=0)))
    return made


def model_variants(model: nn.Module, seed: int = 0) -> tp.Dict[str, nn.Module]:
    """The model itself ("trained") and degraded copies of it, by names that describe the degradation: weights rounded
    to float16, interpolated towards a random initialisation, or with noise. Random numbers depend on `seed`."""
    variants = {f"{part:.0%} trained": degraded(model, kept=part, seed=seed) for part in KEPT[1:]}
    variants.update({f"weights + {noise:.0%} noise": degraded(model, noise=noise, seed=seed) for noise in NOISES})
    return {"trained": model, "half precision": copy.deepcopy(model).half().float(), **variants}


def oracles(seed: int = 0) -> tp.Dict[str, Separator]:
    """Separators that compute estimates from the true sources, by names that describe the degradation: leakage,
    exchanged parts, noise (which depends on `seed`), or the ideal ratio mask."""
    def leaking(decibels: float) -> Separator:
        return lambda song, number: song.references + 10 ** (decibels / 20) * (
            song.references.sum(dim=0) - song.references)

    def exchanged(song: Song, number: int) -> torch.Tensor:
        others = song.references.sum(dim=0) - song.references
        return (1 - EXCHANGED) * song.references + EXCHANGED / (len(song.references) - 1) * others

    def noisy(song: Song, number: int) -> torch.Tensor:
        draws = generator(seed, "noise on an oracle", number).standard_normal(tuple(song.references.shape))
        level = song.references.square().mean(dim=(1, 2), keepdim=True).sqrt() * 10 ** (NOISE_LEVEL / 20)
        return song.references + level * torch.from_numpy(draws).to(song.references)

    return {**{f"sources + others at {decibels:.0f} dB": leaking(decibels) for decibels in LEAKS},
            f"sources, {EXCHANGED:.0%} exchanged": exchanged, f"sources + noise at {NOISE_LEVEL:.0f} dB": noisy,
            "ideal ratio mask": lambda song, number: ideal_ratio_mask(song.references, song.mix)}


def ideal_ratio_mask(references: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    """Estimates [S, A, L] of the ideal ratio mask: the spectrogram of the mixture `mix` [A, L], multiplied by the ratio
    of the magnitude of each reference [S, A, L] to the sum of their magnitudes, channel by channel."""
    magnitudes = stft(references, n_fft=N_FFT, hop=N_FFT // 4).abs()
    shares = magnitudes / magnitudes.sum(dim=0).clamp(min=torch.finfo(magnitudes.dtype).tiny)
    z = stft(mix, n_fft=N_FFT, hop=N_FFT // 4)
    return istft(shares * z, hop=N_FFT // 4, length=mix.shape[-1])


class Scored(tp.NamedTuple):
    """True nSDR in dB, one value per source, and measures {measure: one value per source} of one song."""
    nsdr: tp.List[float]
    values: tp.Dict[str, tp.List[tp.Optional[float]]]


def scored(song: Song, estimates: torch.Tensor, several: tp.Optional[tp.Mapping[str, np.ndarray]] = None) -> Scored:
    """True nSDR and quality measures of the `estimates` [S, A, L] of one song. `several` are repeated separations,
    {measure: passes [K, S, A, L]}, as for `measure_song`; without them, measures that need them are omitted."""
    return Scored(nsdr(song.references.double(), estimates.double()).tolist(),
                  measure_song(estimates.numpy(), song.samplerate, mixture=song.mix.numpy(), passes=several))


def study(model: nn.Module, tracks: tp.Sequence[ReferenceTrack], training: tp.Sequence[tp.Union[str, Path]], *,
          dataset: str, name: str, seed: int = 0, **settings: tp.Any) -> QualityStudy:
    """Record of a study: the quality measures and true nSDR of all songs, separated by `model`, its degraded copies,
    the reference separators and the oracles, and their rank correlations. Nothing is written.

    Args:
        model: of the zoo; its degraded copies and their passes take most of the time.
        tracks: songs with references in the order of `model.sources`.
        training: folders of songs that the average-spectrum filter is fitted on.
        dataset, name: names of the songs and of the study, for the record.
        seed: random seed of shifts, initial weights, noise and confidence intervals.
        settings: those of `separate_song`, without `shifts` and `seed`.

    Raises:
        DatasetError: if a track has faulty files, `training` names no usable song, or fewer than five songs have all
            values, which is found at the end.
        AudioError: if a track cannot be read.
    """
    audio_format = dict(audio_channels=model.audio_channels, samplerate=model.samplerate, segment=float(model.segment))
    references = {"mixture as estimate": MixtureAsEstimate(model.sources, **audio_format),
                  "average-spectrum filter": AverageSpectrumFilter.fit(training, model.sources, **audio_format)}
    kinds: tp.Dict[str, str] = {}
    found: tp.Dict[str, tp.List[Scored]] = {}

    def keep(separator: str, kind: str, result: Scored) -> None:
        kinds[separator] = kind
        found.setdefault(separator, []).append(result)
    variants = model_variants(model, seed)
    for number, track in enumerate(tracks):
        song = _converted(track.read(), model)
        for separator, variant in variants.items():
            shifted = passes.shifted(variant, song.mix, seed=seed, **settings)
            estimates = torch.from_numpy(shifted[0])
            remixed = passes.remixed(variant, estimates, seed=seed, **settings)
            keep(separator, MODEL, scored(song, estimates, {"shift_agreement": shifted, "remix_agreement": remixed}))
        for separator, reference in references.items():
            keep(separator, REFERENCE, scored(song, separate_song(reference, song.mix, shifts=0, **settings)))
        for separator, oracle in oracles(seed).items():
            keep(separator, ORACLE, scored(song, oracle(song, number)))
        logger.info("Study | song %d/%d | %s", number + 1, len(tracks), track.name)
    columns = [_column(separator, kinds[separator], results, model.sources) for separator, results in found.items()]
    return QualityStudy(
        name=name, dataset=dataset, tracks=[track.name for track in tracks], sources=list(model.sources),
        measures={key: measure.label for key, measure in MEASURES.items()},
        expected={key: measure.better for key, measure in MEASURES.items()}, columns=columns,
        correlations=correlations(columns, model.sources, seed=seed), settings={"seed": seed, **settings},
        model_hash=package.model_hash(model), commit=commit(), versions=versions(), created=now())


def _converted(song: Song, model: nn.Module) -> Song:
    mix, references = (convert_audio(wav, song.samplerate, model.samplerate, model.audio_channels)
                       for wav in (song.mix, song.references))
    return Song(mix, references, model.samplerate)


def _column(separator: str, kind: str, results: tp.Sequence[Scored], sources: tp.Sequence[str]) -> QualityColumn:
    def packed(values: tp.Iterable[tp.Optional[float]]) -> str:
        return pack_frames(np.nan if value is None else value for value in values)
    return QualityColumn(
        separator=separator, kind=kind,
        nsdr={source: packed(result.nsdr[index] for result in results) for index, source in enumerate(sources)},
        values={source: {key: packed(result.values[key][index] for result in results) for key in results[0].values}
                for index, source in enumerate(sources)})


def correlations(columns: tp.Sequence[QualityColumn], sources: tp.Sequence[str], *, seed: int = 0
                 ) -> tp.List[RankCorrelation]:
    """Spearman's rank correlations of every measure with nSDR, with intervals: over songs and over separators, for each
    source and for all sources ("all"). Each is computed among the separators of kind "model", and among those of all
    kinds. A measure that some separator of such a set lacks has no correlation there. `columns` are the separators with
    their values, `seed` is that of the bootstrap.

    Raises:
        DatasetError: if fewer than five songs have every value.
    """
    result = []
    for key, among in itertools.product(MEASURES, (MODEL, ALL)):
        chosen = [column for column in columns if among in (ALL, column.kind)]
        if not all(key in column.values[source] for column in chosen for source in sources):
            continue
        table = [[[unpack_frames(text) for text in (column.values[source][key], column.nsdr[source])]
                  for column in chosen] for source in sources]
        values, scores = np.moveaxis(np.array(table), 2, 0)                  # [sources, separators, songs] each
        for over, function in (("tracks", over_tracks), ("separators", over_separators)):
            for index, source in enumerate([*sources, ALL]):
                part = slice(None) if source == ALL else index
                rho, interval = function(values[part], scores[part], seed=seed)
                result.append(RankCorrelation(key, source, among, over, rho, interval.low, interval.high))
    return result
