"""Demucs in the time domain (Défossez et al. 2019, arXiv:1911.13254), optionally with the residual branches of the
hybrid models (Défossez 2021, arXiv:2111.03600).

The model is a U-Net of strided convolutions over time, optionally with a BiLSTM in the bottleneck. Parameter names,
shapes, order and seeded initial weights are those of published Demucs. Its parameter names contain the indices of the
modules in each level, so a level is a plain `nn.Sequential`.
"""

import functools
import math
import typing as tp

import julius
import torch
from torch import nn
from torch.nn import functional as F

from ..dsp.constants import may_store
from ..layers.dconv import DConv, DConvSpec
from ..layers.initial import rescale_convolutions
from ..layers.recurrent import BLSTM
from .protocol import SeparationModel

EPSILON = 1e-5   # added to the standard deviation, so that silence stays silence


def _centre(x: torch.Tensor, length: int) -> torch.Tensor:
    """The central `length` samples of [..., L]; if the excess is odd, one more sample is cut from the end."""
    start = (x.shape[-1] - length) // 2
    return x[..., start:start + length]


class Demucs(SeparationModel):
    """Time-domain separation model, mixture [B, A, L] -> estimates [B, S, A, L], for any L >= 1.

    Args:
        sources: names of the sources.
        audio_channels, samplerate, segment: number of channels, sample rate in Hz, seconds per segment in separation.
        channels: hidden channels of the first level; `growth` is their factor per level.
        depth: number of levels.
        rewrite: use the 1x1 convolution in each block.
        lstm_layers: number of layers of the BiLSTM in the bottleneck; 0 for none.
        kernel_size, stride: of the strided convolutions.
        context: half width of the rewrite convolutions in the decoder (0: kernel size 1).
        gelu: GELU instead of ReLU; glu: GLU instead of ReLU after the rewrite convolutions.
        norm_starts, norm_groups: first level (from 0) with group normalisation, and its number of groups.
        dconv_mode: residual branches in the encoder (1), the decoder (2), both (3) or neither (0).
        dconv_depth, dconv_comp, dconv_init: layers, compression and initial gain of the residual branches.
        dconv_attn, dconv_lstm: first level (from 0) whose residual branches have attention, an LSTM.
        normalize: normalise the input by mean and standard deviation of its mono mixture, and restore both in the
            output.
        resample: process the waveform at twice the sample rate.
        rescale: reference standard deviation of initial weights (0: keep torch's initialisation).

    Raises:
        ValueError: for settings that contradict each other; the message names them.
    """

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, channels: int = 64, growth: float = 2.,
                 depth: int = 6, rewrite: bool = True, lstm_layers: int = 0, kernel_size: int = 8, stride: int = 4,
                 context: int = 1, gelu: bool = True, glu: bool = True, norm_starts: int = 4, norm_groups: int = 4,
                 dconv_mode: int = 1, dconv_depth: int = 2, dconv_comp: float = 4, dconv_attn: int = 4,
                 dconv_lstm: int = 4, dconv_init: float = 1e-4, normalize: bool = True, resample: bool = True,
                 rescale: float = 0.1, samplerate: int = 44100, segment: float = 40):
        super().__init__()
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.depth = depth
        self.kernel_size = kernel_size
        self.stride = stride
        self.normalize = normalize
        self.resample = resample

        activation = nn.GELU if gelu else nn.ReLU
        gate, gated = (nn.GLU(dim=1), 2) if glu else (nn.ReLU(), 1)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        outer, inner = audio_channels, channels
        for index in range(depth):
            groups = norm_groups if index >= norm_starts else 0
            if groups and (inner % groups or outer % groups):
                raise ValueError(f"level {index} has {outer} and {inner} channels, which norm_groups={groups} does not "
                                 f"divide; choose another, or a higher norm_starts (now {norm_starts})")
            branch = DConvSpec(depth=dconv_depth, compress=dconv_comp, init=dconv_init, attention=index >= dconv_attn,
                               lstm=index >= dconv_lstm)

            def norm(size: int) -> nn.Module:
                return nn.GroupNorm(groups, size) if groups else nn.Identity()

            def rewritten(kernel: int) -> tp.List[nn.Module]:
                return [nn.Conv1d(inner, gated * inner, kernel, padding=kernel // 2), norm(gated * inner), gate] \
                    if rewrite else []
            down: tp.List[nn.Module] = [nn.Conv1d(outer, inner, kernel_size, stride), norm(inner), activation()]
            down += [DConv(inner, branch)] if dconv_mode & 1 else []
            self.encoder.append(nn.Sequential(*down, *rewritten(1)))

            up = rewritten(2 * context + 1)
            up += [DConv(inner, branch)] if dconv_mode & 2 else []
            target = outer if index else len(self.sources) * audio_channels
            up += [nn.ConvTranspose1d(inner, target, kernel_size, stride)]
            up += [norm(target), activation()] if index else []
            self.decoder.insert(0, nn.Sequential(*up))
            outer, inner = inner, int(growth * inner)
        self.lstm = BLSTM(outer, layers=lstm_layers) if lstm_layers else None
        if rescale:
            rescale_convolutions(self, rescale)
        self.register_load_state_dict_pre_hook(_rename_first_generation)

    def valid_length(self, length: int) -> int:
        """Smallest input length >= `length` that all strided convolutions cover without remainder, in samples."""
        length = 2 * length if self.resample else length
        for _ in range(self.depth):
            length = max(1, math.ceil((length - self.kernel_size) / self.stride) + 1)
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel_size
        return math.ceil(length / 2) if self.resample else length

    def input_length(self, length: int, segment: tp.Optional[float] = None) -> int:
        """`valid_length(length)`, for any segment."""
        return self.valid_length(length)

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        return [*self.encoder, *([] if self.lstm is None else [self.lstm]), *self.decoder]

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L], for any L >= 1."""
        length = mix.shape[-1]
        x, mean, std = mix, None, None
        if self.normalize:
            mono = mix.mean(dim=1, keepdim=True)
            mean = mono.mean(dim=-1, keepdim=True)
            std = mono.std(dim=-1, keepdim=True, correction=min(1, length - 1))     # for a single sample: 0, not NaN
            x = (mix - mean) / (EPSILON + std)
        padding = self.valid_length(length) - length
        x = F.pad(x, (padding // 2, padding - padding // 2))
        if self.resample:
            x = _resampled(x, 1, 2)

        skips = []
        for encode in self.encoder:
            x = encode(x)
            skips.append(x)
        if self.lstm is not None:
            x = self.lstm(x)
        for decode in self.decoder:
            x = decode(x + _centre(skips.pop(), x.shape[-1]))

        if self.resample:
            x = _resampled(x, 2, 1)
        if std is not None:
            x = x * std + mean
        return _centre(x, length).unflatten(1, (len(self.sources), self.audio_channels))


def _resampled(x: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """`x` [..., L] resampled from the rate `old` to `new`, by julius."""
    make = _stored_resampler if may_store(x) else _resampler
    return make(old, new, x.dtype, x.device)(x)


def _resampler(old: int, new: int, dtype: torch.dtype, device: torch.device) -> julius.ResampleFrac:
    return julius.ResampleFrac(old, new).to(device, dtype, non_blocking=True)


@functools.lru_cache(maxsize=16)
def _stored_resampler(old: int, new: int, dtype: torch.dtype, device: torch.device) -> julius.ResampleFrac:
    with torch.inference_mode(False):       # its kernel may also be used with gradients
        return _resampler(old, new, dtype, device)


def _rename_first_generation(model: Demucs, state: tp.Dict[str, torch.Tensor], prefix: str, *_: tp.Any) -> None:
    """Hook that renames weights of Demucs versions without normalisation modules, in which the index of the rewrite and
    transposed convolutions is one lower."""
    own = model.state_dict().keys()
    for index in range(model.depth):
        for part in ("encoder", "decoder"):
            for kind in ("weight", "bias"):
                new, old = f"{part}.{index}.3.{kind}", f"{part}.{index}.2.{kind}"
                if new in own and old not in own and prefix + old in state and prefix + new not in state:
                    state[prefix + new] = state.pop(prefix + old)
