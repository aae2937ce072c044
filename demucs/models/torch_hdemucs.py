"""torchaudio's implementation of HDemucs (Défossez 2021), as a model of the zoo."""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ..layers.recurrent import LSTM
from .protocol import SeparationModel

# torchaudio's names for the parts of HDemucs.
PARTS = {"freq_encoder": "encoder", "freq_decoder": "decoder", "time_encoder": "tencoder", "time_decoder": "tdecoder",
         "freq_emb": "freq_emb"}


class TorchHDemucs(SeparationModel):
    """Separation model, mixture [B, A, L] -> sources [B, S, A, L] (batch, source, channel, sample):
    `torchaudio.models.HDemucs` with the interface of the other models. Input shorter than `nfft` samples is padded
    with zeros, and the estimates are cut to its length.

    Args:
        sources, audio_channels, samplerate, segment: as in `HDemucs`. The network does not depend on the last two.
        all other arguments: those of `torchaudio.models.HDemucs`; `conf/models/torch_hdemucs.yaml` has the
            values of published Demucs.

    Raises:
        ValueError: for settings that torchaudio refuses; in `forward`, also for input of another shape.
    """

    def __init__(self, sources: tp.Sequence[str], audio_channels: int = 2, samplerate: int = 44100, segment: float = 40,
                 channels: int = 48, growth: int = 2, nfft: int = 4096, depth: int = 6, freq_emb: float = 0.2,
                 emb_scale: int = 10, emb_smooth: bool = True, kernel_size: int = 8, time_stride: int = 2,
                 stride: int = 4, context: int = 1, context_enc: int = 0, norm_starts: int = 4, norm_groups: int = 4,
                 dconv_depth: int = 2, dconv_comp: int = 4, dconv_attn: int = 4, dconv_lstm: int = 4,
                 dconv_init: float = 1e-4):
        from torchaudio.models import HDemucs   # here, because it loads a library that other models do not need

        super().__init__()
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.torch_hdemucs = HDemucs(
            self.sources, audio_channels=audio_channels, channels=channels, growth=growth, nfft=nfft, depth=depth,
            freq_emb=freq_emb, emb_scale=emb_scale, emb_smooth=emb_smooth, kernel_size=kernel_size,
            time_stride=time_stride, stride=stride, context=context, context_enc=context_enc, norm_starts=norm_starts,
            norm_groups=norm_groups, dconv_depth=dconv_depth, dconv_comp=dconv_comp, dconv_attn=dconv_attn,
            dconv_lstm=dconv_lstm, dconv_init=dconv_init)
        # The last level of the time branch has a normalisation that its forward pass does not use; distributed training
        # would wait for its gradient.
        self.torch_hdemucs.time_encoder[-1].norm1.requires_grad_(False)

        for module in self.torch_hdemucs.modules():
            if isinstance(module, nn.LSTM):
                module.__class__ = LSTM          # with the same parameters

        self._shortest = nfft

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        return [layer for name in PARTS if name != "freq_emb" for layer in getattr(self.torch_hdemucs, name)]

    @classmethod
    def published_name(cls, name: str) -> tp.Optional[str]:
        """Name of the parameter `name` in the equivalent `HDemucs`, as which this model is published. Of the unused
        normalisation of the last time level, which HDemucs does not have, it is a name without counterpart there."""
        _, part, rest = name.split(".", 2)
        return f"{PARTS[part]}.{rest}"

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L]; input too short for torchaudio is padded."""
        length = mix.shape[-1]
        return self.torch_hdemucs(F.pad(mix, (0, max(0, self._shortest - length))))[..., :length]
