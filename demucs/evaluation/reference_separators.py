"""Trivial separators as lower bounds for a model's score.

They have the interface of a model, so they are separated and evaluated like one. The nSDR of `Silence` is 0 dB by
definition; that of `MixtureAsEstimate` is about -5 dB for four equally loud sources. `AverageSpectrumFilter` is the
best filter that follows from the average spectra of the sources: a fixed equaliser per source. A model that does not
exceed its score has learned no more than average spectra.
"""

import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..audio import reading
from ..dsp.spectral import istft, stft
from ..errors import DatasetError
from ..separation.bag import BagOfModels
from .tracks import ReferenceTrack, Sums, track_folders


class _Separator(nn.Module):
    """Base class of separators [B, A, L] -> [B, S, A, L], with the attributes of a model."""

    def __init__(self, sources: tp.Sequence[str], *, audio_channels: int = 2, samplerate: int = 44100,
                 segment: float = 10.):
        super().__init__()
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment


class Silence(_Separator):
    """Separator that estimates every source as silence."""

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(mix)[:, None].repeat(1, len(self.sources), 1, 1)


class MixtureAsEstimate(_Separator):
    """Separator that estimates every source as the mixture."""

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return mix[:, None].repeat(1, len(self.sources), 1, 1)


class AverageSpectrumFilter(_Separator):
    """Separator that multiplies the spectrogram of the mixture by one fixed gain per source and frequency bin: E|S|^2 /
    E|X|^2, the mean power of the source relative to that of the mixture over the training songs. It is the Wiener
    filter (Wiener 1949) for stationary sources with the same spectrum in every song.

    Args:
        sources: names of the S sources.
        gains: shape [S, F], between 0 and 1; F = n_fft // 2 + 1.
        audio_format: `audio_channels`, `samplerate` (Hz) and `segment` (seconds).
    """

    def __init__(self, sources: tp.Sequence[str], gains: torch.Tensor, **audio_format: tp.Any):
        super().__init__(sources, **audio_format)
        self.register_buffer("gains", gains)

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        n_fft = 2 * (self.gains.shape[-1] - 1)
        length = mix.shape[-1]
        # a centred STFT pads by reflection of half a window, which needs more than that many samples
        padded = nn.functional.pad(mix, (0, max(0, n_fft // 2 + 1 - length)))
        z = stft(padded, n_fft=n_fft, hop=n_fft // 4)
        estimates = z[:, None] * self.gains[:, None, :, None]
        return istft(estimates, hop=n_fft // 4, length=padded.shape[-1])[..., :length]

    @classmethod
    def fit_songs(cls, songs: tp.Iterable[ReferenceTrack], sources: tp.Sequence[str], *, audio_channels: int = 2,
                  samplerate: int = 44100, segment: float = 10., n_fft: int = 4096) -> "AverageSpectrumFilter":
        """Filter fitted on `songs`, with their own mixtures: the references of `sources` may be sums of stems, and need
        not add up to the mixture. Other arguments, and the memory, are those of `fit`.

        Raises:
            DatasetError: for no song, or a song of another format.
            AudioError: for a file that cannot be read.
        """
        power: tp.Union[int, torch.Tensor] = 0
        for song in songs:
            mix, references, rate = song.read()
            if rate != samplerate or len(mix) != audio_channels:
                raise DatasetError(f"{song.name}: {len(mix)} channels at {rate} Hz; wanted {audio_channels} channels "
                                   f"at {samplerate} Hz")
            power = power + _power(torch.cat([references, mix[None]]), n_fft)
        return cls(sources, _gains(power), audio_channels=audio_channels, samplerate=samplerate, segment=segment)

    @classmethod
    def fit(cls, tracks: tp.Iterable[tp.Union[str, Path]], sources: tp.Sequence[str], *, audio_channels: int = 2,
            samplerate: int = 44100, segment: float = 10., n_fft: int = 4096) -> "AverageSpectrumFilter":
        """Filter fitted on the songs in `tracks`, folders with one SOURCE.wav per source, all at `samplerate` Hz with
        `audio_channels` channels. Spectra have windows of `n_fft` samples. The mixture is the sum of the sources; gains
        are limited to 1. `segment` is only stored. One song is in memory at a time.

        Raises:
            DatasetError: for no song, or a song of another format.
            AudioError: for a file that cannot be read.
        """
        power: tp.Union[int, torch.Tensor] = 0          # [S + 1, F], the mixture last
        for folder in tracks:
            stems = []
            for source in sources:
                path = Path(folder) / f"{source}.wav"
                wav, rate = reading.read(path)
                if rate != samplerate or len(wav) != audio_channels or (stems and wav.shape != stems[0].shape):
                    raise DatasetError(f"{path}: {len(wav)} channels of {wav.shape[-1]} samples at {rate} Hz; wanted "
                                       f"{audio_channels} channels at {samplerate} Hz, all stems of one length")
                stems.append(wav)
            power = power + _power(torch.stack([*stems, torch.stack(stems).sum(0)]), n_fft)
        return cls(sources, _gains(power), audio_channels=audio_channels, samplerate=samplerate, segment=segment)


def _power(signals: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Energy [S, F] of `signals` [S, A, L] per frequency bin, up to a factor."""
    spectra = stft(signals, n_fft=n_fft, hop=n_fft // 4)
    return spectra.abs().square().double().mean(dim=(1, 3)) * signals.shape[-1]


def _gains(power: tp.Union[int, torch.Tensor]) -> torch.Tensor:
    """Gains [S, F] from the energies [S + 1, F] of sources and mixture, the mixture last."""
    if isinstance(power, int):
        raise DatasetError("the average-spectrum filter was given no song to fit; name at least one track folder")
    mixture = power[-1].clamp(min=torch.finfo(power.dtype).tiny)     # a bin silent in all songs gets the gain 0
    return (power[:-1] / mixture).clamp(max=1).float()


def reference_separators(model: nn.Module, sources: tp.Sequence[str], musdb: Path, *,
                         targets: tp.Optional[Sums] = None, stems: tp.Optional[tp.Sequence[str]] = None
                         ) -> tp.Dict[str, nn.Module]:
    """Reference separators by the names of their records: "silence", "mixture", and "average_filter", which is fitted
    on the songs in MUSDB/train. They have the number of channels, sample rate and segment of `model` (of a bag, the
    segment of its first model), and the sources `sources`. `targets` and `stems` are as in `track_folders`. With them,
    and for a single source, the filter is fitted with the mixtures of the songs, since the sources are not all of it.

    Raises:
        DatasetError, AudioError: as `AverageSpectrumFilter.fit`, for the training songs.
    """
    first = model.models[0] if isinstance(model, BagOfModels) else model
    sound: tp.Dict[str, tp.Any] = dict(audio_channels=model.audio_channels, samplerate=model.samplerate,
                                       segment=float(first.segment))
    songs = track_folders(musdb, sources=sources, split="train", targets=targets, stems=stems)
    if targets or len(sources) == 1:
        fitted = AverageSpectrumFilter.fit_songs(songs, sources, **sound)
    else:
        fitted = AverageSpectrumFilter.fit([musdb / "train" / song.name for song in songs], sources, **sound)
    return {"silence": Silence(sources, **sound), "mixture": MixtureAsEstimate(sources, **sound),
            "average_filter": fitted}
