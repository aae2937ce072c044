"""Open-Unmix (Stöter, Uhlich, Liutkus and Mitsufuji 2019): one network per target, which masks the magnitude
spectrogram of the mixture, and the Separator of several targets with a multichannel Wiener filter.

Parameter names, shapes and seeded initial weights are those of the package openunmix 1.3.0. Magnitudes are trained on
spectrograms whose frames are not centred, and songs are separated with centred ones, as there.
"""

import math
import typing as tp

import torch
from torch import nn

from ..dsp import spectral
from ..dsp.framing import Frames, Overlap
from ..dsp.wiener import WINDOW, Planes, maximised
from .protocol import SeparationModel
from .spectral_mask import SpectralMask

EPSILON = 1e-10      # added to the sum of magnitudes in the soft mask
RESIDUAL = "residual"


def bins_below(bandwidth: tp.Optional[float], *, nfft: int, samplerate: int) -> int:
    """Number of frequencies of a spectrogram that are at most `bandwidth` Hz; all if that is 0 or None."""
    bins = nfft // 2 + 1
    return min(bins, math.floor(bandwidth * nfft / samplerate + 1e-9) + 1) if bandwidth else bins


class OpenUnmix(SpectralMask, SeparationModel):
    """Separation model of a single target, mixture [B, A, L] -> estimate [B, 1, A, L], for any L >= 1. The phase of the
    estimate is that of the mixture.

    Args:
        sources: name of the target.
        audio_channels, samplerate, segment: number of channels, sample rate in Hz, seconds per segment in separation.
        hidden_size, nb_layers, unidirectional: of the network, see `SpectralMask`.
        nfft, nhop: window length and hop of the spectrogram in samples.
        bandwidth: highest frequency in Hz that the network sees; 0 or None for all. The mask covers all.

    Raises:
        ValueError: for several sources, or settings that contradict each other.
    """

    normalizes_songs = False
    default_shifts = 0
    estimates_magnitudes = True

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, samplerate: int = 44100,
                 segment: float = 800, hidden_size: int = 512, nb_layers: int = 3, unidirectional: bool = False,
                 nfft: int = 4096, nhop: int = 1024, bandwidth: tp.Optional[float] = 16000):
        if len(sources) != 1:
            raise ValueError(f"a network of Open-Unmix has one target, got {', '.join(sources)}; set dset.targets to "
                             f"one of them, such as {{{sources[0]}: [{sources[0]}]}}, or take openunmix_separator")
        _check_hop(nfft, nhop)
        super().__init__(bins=nfft // 2 + 1, cropped=bins_below(bandwidth, nfft=nfft, samplerate=samplerate),
                         channels=audio_channels, hidden_size=hidden_size, nb_layers=nb_layers,
                         unidirectional=unidirectional)
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.nfft, self.nhop = nfft, nhop
        self.draws_in_training = nb_layers > 1

    def forward(self, mix: torch.Tensor, magnitudes: bool = False) -> torch.Tensor:
        """Estimate [B, 1, A, L] of the target in a mixture [B, A, L]. With `magnitudes` its magnitude spectrogram
        [B, 1, A, F, T] instead, that of `dsp.spectral.magnitudes`."""
        if magnitudes:
            return self.masked(spectral.magnitudes(mix, n_fft=self.nfft, hop=self.nhop))[:, None]
        return _separated([self], mix, n_fft=self.nfft, hop=self.nhop, block=None if self.training else WINDOW,
                          combine=lambda estimates, _: torch.complex(*estimates))


class OpenUnmixSeparator(SeparationModel):
    """Separation model of several targets, each with a network of its own, mixture [B, A, L] -> estimates [B, S, A, L],
    for any L >= 1.

    The estimates of the networks are refined by a multichannel Wiener filter (`dsp.wiener`), but not in training, where
    gradients through its iterations would not be stable.

    Args:
        sources: names of the outputs: the targets, "residual" after them with `residual`, or the keys of `aggregate`.
        audio_channels, samplerate, segment, hidden_size, nb_layers, unidirectional, nfft, nhop, bandwidth: as in
            `OpenUnmix`, equal in all networks.
        targets: names of the networks; the sources if None.
        niter: iterations of expectation-maximisation in the Wiener filter; 0 for none.
        softmask: initial estimates by the ratio of each magnitude to the sum of all, instead of the magnitude with the
            phase of the mixture.
        residual: filter with one more source, which is the mixture minus the initial estimates.
        wiener_win_len: frames that are filtered together; all if 0 or None. Memory is proportional to it.
        aggregate: {output: targets that are added up}; the outputs are the targets if None.

    Raises:
        ValueError: if `sources` are not the outputs of these settings, for iterations with a single target and no
            residual, or settings that contradict each other.
    """

    normalizes_songs = False
    default_shifts = 0
    estimates_magnitudes = True

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, samplerate: int = 44100,
                 segment: float = 800, hidden_size: int = 512, nb_layers: int = 3, unidirectional: bool = False,
                 nfft: int = 4096, nhop: int = 1024, bandwidth: tp.Optional[float] = 16000,
                 targets: tp.Optional[tp.Sequence[str]] = None, niter: int = 1, softmask: bool = False,
                 residual: bool = False, wiener_win_len: tp.Optional[int] = WINDOW,
                 aggregate: tp.Optional[tp.Mapping[str, tp.Sequence[str]]] = None):
        super().__init__()
        self.sources = list(sources)
        self.targets = list(sources) if targets is None else list(targets)
        estimated = outputs(self.targets, residual=residual)
        expected = outputs(self.targets, residual=residual, aggregate=aggregate)
        if self.sources != expected:
            raise ValueError(f"these settings have the outputs {', '.join(expected)}, not {', '.join(self.sources)}")
        for name, parts in (aggregate or {}).items():
            for part in parts:
                if part not in estimated:
                    raise ValueError(f"aggregate: {name!r} adds up {part!r}, which is none of {', '.join(estimated)}")
        if niter and len(estimated) < 2:
            raise ValueError(f"niter={niter} needs at least two sources, but there is only {estimated[0]!r}; set "
                             f"residual=true, or niter=0")
        for target in self.targets:
            if "." in target or hasattr(nn.ModuleDict(), target):
                raise ValueError(f"a network cannot be called {target!r}, which torch reserves; choose another name")
        _check_hop(nfft, nhop)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.nfft, self.nhop = nfft, nhop
        self.niter, self.softmask, self.residual, self.wiener_win_len = niter, softmask, residual, wiener_win_len
        self.draws_in_training = nb_layers > 1
        cropped = bins_below(bandwidth, nfft=nfft, samplerate=samplerate)
        self.target_models = nn.ModuleDict({
            target: SpectralMask(bins=nfft // 2 + 1, cropped=cropped, channels=audio_channels, hidden_size=hidden_size,
                                 nb_layers=nb_layers, unidirectional=unidirectional) for target in self.targets})
        self._sums = None if aggregate is None else [[estimated.index(part) for part in parts]
                                                     for parts in aggregate.values()]

    @property
    def networks(self) -> tp.List[SpectralMask]:
        """The networks, in the order of `targets`."""
        return [tp.cast(SpectralMask, self.target_models[target]) for target in self.targets]

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        return [block for network in self.networks for block in network.recomputable_blocks()]

    def forward(self, mix: torch.Tensor, magnitudes: bool = False) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L]. With `magnitudes` the magnitude spectrograms
        [B, N, A, F, T] of the N targets instead, those of `dsp.spectral.magnitudes`."""
        if magnitudes:
            x = spectral.magnitudes(mix, n_fft=self.nfft, hop=self.nhop)
            return torch.stack([network.masked(x) for network in self.networks], dim=1)
        block = None if self.training else self.wiener_win_len or None if self.niter else WINDOW
        return _separated(self.networks, mix, n_fft=self.nfft, hop=self.nhop, block=block, combine=self._combined)

    def _combined(self, y: Planes, x: Planes) -> torch.Tensor:
        """Complex outputs [B, S, A, T, F] of a block of frames, from the masked mixtures [B, N, A, T, F] and the
        mixture [B, A, T, F], as real and imaginary parts."""
        if self.softmask:
            magnitudes = (y[0].square() + y[1].square()).sqrt()
            ratio = magnitudes / (EPSILON + magnitudes.sum(1, keepdim=True))
            y = ratio * x[0][:, None], ratio * x[1][:, None]
        if self.residual:
            y = _with_residual(y[0], x[0]), _with_residual(y[1], x[1])
        z = maximised(y, x, 0 if self.training else self.niter, time=-2)
        return z if self._sums is None else _added(z, self._sums)


def outputs(targets: tp.Sequence[str], *, residual: bool = False,
            aggregate: tp.Optional[tp.Mapping[str, tp.Sequence[str]]] = None) -> tp.List[str]:
    """Names of the outputs of a Separator with these settings, in their order."""
    return list(aggregate) if aggregate else [*targets, RESIDUAL] if residual else list(targets)


def _check_hop(nfft: int, nhop: int) -> None:
    if nfft % 2 or nhop > nfft // 2:
        raise ValueError(f"nfft={nfft} must be even, and nhop={nhop} at most half of it, so that all samples are "
                         f"covered")


def _with_residual(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([y, x[:, None] - y.sum(1, keepdim=True)], dim=1)


def _added(y: torch.Tensor, sums: tp.Sequence[tp.Sequence[int]]) -> torch.Tensor:
    return torch.stack([y[:, list(parts)].sum(1) for parts in sums], dim=1)


def _separated(networks: tp.Sequence[SpectralMask], mix: torch.Tensor, *, n_fft: int, hop: int, block: tp.Optional[int],
               combine: tp.Callable[[Planes, Planes], torch.Tensor]) -> torch.Tensor:
    """Estimates [B, S, A, L] of the outputs of `combine` in a mixture [B, A, L].

    Spectra are computed in blocks of `block` frames, twice, instead of being stored: only the features of the networks
    are in memory for all frames. The whole song is one block if `block` is None, as batch normalisation needs in
    training.
    """
    frames = Frames(mix, n_fft=n_fft, hop=hop)
    blocks = frames.blocks(block)
    layers = [network.layers() for network in networks]
    encoded: tp.List[tp.List[torch.Tensor]] = [[] for _ in networks]
    for place in blocks:
        magnitudes = frames.spectrum(place).abs().permute(2, 0, 1, 3)                  # [T, B, A, F]
        for each, kept in zip(layers, encoded):
            kept.append(each.encode(magnitudes))
    features = [network.features(torch.cat(kept)) for network, kept in zip(networks, encoded)]
    del encoded
    out: tp.Optional[Overlap] = None
    for place in blocks:
        z = frames.spectrum(place)                                                     # [B, A, T, F]
        x = z.real.contiguous(), z.imag.contiguous()
        masks = [each.decode(kept[place]).permute(1, 2, 0, 3) for each, kept in zip(layers, features)]
        masked = [torch.stack([mask * part for mask in masks], dim=1) for part in x]
        estimates = combine((masked[0], masked[1]), x)
        out = out or Overlap(estimates.shape[:3], frames)
        out.add(place, estimates)
    assert out is not None
    return out.signals()
