"""Cross-domain transformer (Rouard, Massa and Défossez 2022, "Hybrid Transformers for Music Source Separation",
arXiv:2211.08553, section 3). Layers with self-attention within the spectral and the temporal branch alternate with
layers with cross-attention between the two branches.

Tokens are [B, N, C]. Names and order of parameters, and the order in which initial weights are drawn, are those of
published Demucs. All attention goes through torch's `scaled_dot_product_attention`.
"""

import dataclasses
import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from .positions import POSITIONS, CapeTime, LearntTime, SinusoidalTime, sinusoids_2d
from .token_attention import DenseAttention, LinearAttention, MaskedAttention, MaskSpec

KERNELS = ("softmax", "linear")
PATTERNS = ("alternating", "cross", "self")     # which layers have cross-attention


@dataclasses.dataclass(frozen=True)
class TransformerSpec:
    """Settings of a transformer, shared by all its layers.

    Args:
        channels, heads: number of channels C, and the number of attention heads, which divides it.
        hidden_scale: width of the feed-forward network in multiples of C.
        layers: number of layers in each of the two branches; with `cross_first` the first one has cross-attention.
        pattern: "alternating" layers of self-attention and cross-attention, only "cross", or only "self".
        dropout: dropout probability in training, after attention and in the feed-forward network.
        norm_in: layer normalisation of the input tokens; if false, `norm_in_group` is the number of groups of a group
            normalisation over all tokens (0: none).
        group_norm: number of groups of a group normalisation over all tokens in the layers; 0: layer normalisation.
        norm_first: normalise before attention and feed-forward network instead of after them. Then `norm_out` is the
            number of groups (odd) of a group normalisation over all tokens at the end of each layer.
        layer_scale: learned gains of both residual branches, initialised to 1e-4.
        gelu: GELU instead of ReLU.
        positions: positional encoding of time, "sin", "cape" or "scaled"; `weight_positions` is its gain.
        max_positions: longest input of "scaled" in steps.
        max_period: longest period of sinusoidal encodings.
        random_shift: of "sin", in steps; `cape_*`: of "cape"; see `positions`.
        weight_decay, lr: of the optimiser for these parameters; `lr` None for that of all other parameters.
        sparse_self, sparse_cross: masks of self-attention and cross-attention; None for dense attention.
        kernel: "softmax", or "linear" for attention whose cost is linear in the number of tokens instead of quadratic.

    Raises:
        ValueError: for an unknown kernel, or a linear kernel with a mask.
    """
    channels: int
    heads: int = 8
    hidden_scale: float = 4.
    layers: int = 5
    cross_first: bool = False
    dropout: float = 0.
    norm_in: bool = True
    norm_in_group: int = 0
    group_norm: int = 0
    norm_first: bool = True
    norm_out: int = 1
    layer_scale: bool = True
    gelu: bool = True
    positions: str = "sin"
    weight_positions: float = 1.
    max_positions: int = 10000
    max_period: float = 10000.
    random_shift: int = 0
    cape_centred: bool = True
    cape_augment: bool = True
    cape_bounds: tp.Tuple[float, float, float] = (5000., 1., 1.4)
    weight_decay: float = 0.
    lr: tp.Optional[float] = None
    sparse_self: tp.Optional[MaskSpec] = None
    sparse_cross: tp.Optional[MaskSpec] = None
    kernel: str = "softmax"
    pattern: str = "alternating"

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel={self.kernel!r} is unknown; use one of {', '.join(KERNELS)}")
        if self.kernel == "linear" and (self.sparse_self or self.sparse_cross):
            raise ValueError("attention with a linear kernel has no sparse pattern: leave one of them out")
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern={self.pattern!r} is unknown; use one of {', '.join(PATTERNS)}")

    def check(self) -> None:
        """Check that the numbers fit together.

        Raises:
            ValueError: for channels that the heads or the positional encodings do not divide, or unknown positions.
        """
        if self.channels % self.heads:
            raise ValueError(f"{self.channels} channels at the bottom are not divisible by t_heads={self.heads}; "
                             f"change one of channels, growth, depth, bottom_channels and t_heads")
        if self.channels % 4:
            raise ValueError(f"{self.channels} channels at the bottom are not divisible by 4, as codes of position "
                             f"need")
        if self.positions not in POSITIONS:
            raise ValueError(f"t_emb={self.positions!r} is unknown; use one of {', '.join(POSITIONS)}")


class TokenScale(nn.Module):
    """Learned gain per channel of tokens [..., C], with the initial value `init`."""

    def __init__(self, channels: int, init: float = 1e-4):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x


class TokenGroupNorm(nn.GroupNorm):
    """Group normalisation of tokens [B, N, C], with statistics over all N tokens and the channels of a group."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.num_groups == 1:
            # The statistics do not depend on the order of the axes, so no transposition is needed.
            mean, std = x.mean((1, 2), keepdim=True), x.var((1, 2), correction=0, keepdim=True)
            return torch.addcmul(self.bias, (x - mean) * (std + self.eps).rsqrt(), self.weight)
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Layer(nn.Module):
    """Base class of layers with self-attention and cross-attention."""

    def __init__(self, spec: TransformerSpec, attention: str, mask: tp.Optional[MaskSpec], norms: int):
        super().__init__()
        channels, hidden = spec.channels, int(spec.channels * spec.hidden_scale)
        dense = spec.kernel == "softmax"
        self.add_module(attention, DenseAttention(channels, spec.heads, dropout=spec.dropout, batch_first=True) if dense
                        else LinearAttention(channels, spec.heads))
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        if mask is not None:                     # replaces the dense one; its weights are drawn last
            self.add_module(attention, MaskedAttention(channels, spec.heads, dropout=spec.dropout, mask=mask))
        for index in range(1, norms + 1):
            self.add_module(f"norm{index}", TokenGroupNorm(spec.group_norm, channels) if spec.group_norm else
                            nn.LayerNorm(channels))
        # An even number of groups gives no normalisation: published Demucs tests `norm_first & norm_out`.
        self.norm_out = TokenGroupNorm(spec.norm_out, channels) if spec.norm_first and spec.norm_out % 2 else None
        self.gamma_1 = TokenScale(channels) if spec.layer_scale else nn.Identity()
        self.gamma_2 = TokenScale(channels) if spec.layer_scale else nn.Identity()
        self.norm_first = spec.norm_first
        self.dropout = spec.dropout
        self.activation = F.gelu if spec.gelu else F.relu

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x

    def _feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._drop(self.linear2(self._drop(self.activation(self.linear1(x)))))


class SelfLayer(_Layer):
    """Transformer layer with self-attention within a branch: [B, N, C] -> [B, N, C]. The argument `other` of `forward`
    is ignored."""

    def __init__(self, spec: TransformerSpec):
        super().__init__(spec, "self_attn", spec.sparse_self, norms=2)

    def forward(self, x: torch.Tensor, other: tp.Optional[torch.Tensor] = None) -> torch.Tensor:
        if not self.norm_first:
            x = self.norm1(x + self.gamma_1(self._self_attention(x)))
            return self.norm2(x + self.gamma_2(self._feed_forward(x)))
        x = x + self.gamma_1(self._self_attention(self.norm1(x)))
        x = x + self.gamma_2(self._feed_forward(self.norm2(x)))
        return x if self.norm_out is None else self.norm_out(x)

    def _self_attention(self, x: torch.Tensor) -> torch.Tensor:
        return self._drop(self.self_attn(x, x))


class CrossLayer(_Layer):
    """Transformer layer with cross-attention: the tokens of one branch [B, N, C] attend to those of the other [B, M,
    C]. The output has the shape of the first."""

    def __init__(self, spec: TransformerSpec):
        super().__init__(spec, "cross_attn", spec.sparse_cross, norms=3)
        if not spec.norm_first:
            # Published layers have this normalisation but do not use it; distributed training must not wait for its
            # gradient.
            self.norm3.requires_grad_(False)

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if not self.norm_first:
            x = self.norm1(x + self.gamma_1(self._drop(self.cross_attn(x, other))))
            return self.norm2(x + self.gamma_2(self._feed_forward(x)))
        x = x + self.gamma_1(self._drop(self.cross_attn(self.norm1(x), self.norm2(other))))
        x = x + self.gamma_2(self._feed_forward(self.norm3(x)))
        return x if self.norm_out is None else self.norm_out(x)


def _input_norm(spec: TransformerSpec) -> nn.Module:
    """Normalisation of the input tokens."""
    if spec.norm_in:
        return nn.LayerNorm(spec.channels)
    return TokenGroupNorm(spec.norm_in_group, spec.channels) if spec.norm_in_group else nn.Identity()


def _spectral_tokens(x: torch.Tensor, norm: nn.Module, spec: TransformerSpec) -> torch.Tensor:
    """Normalised tokens [B, T F, C] of a spectral branch [B, C, F, T], with positional encodings. They are in the order
    frame by frame, and all frequencies within a frame."""
    encoding = sinusoids_2d(*x.shape[1:], spec.max_period, x.device)
    tokens = norm(x.permute(0, 3, 2, 1).flatten(1, 2))
    return torch.add(tokens, encoding.permute(2, 1, 0).flatten(0, 1), alpha=spec.weight_positions)


class _Transformer(nn.Module):
    """Base class of transformers with the settings `spec`, with a parameter group of their own in the optimiser.

    Raises:
        ValueError: for inconsistent settings.
    """

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        spec.check()
        self.spec = spec

    def make_optim_group(self) -> tp.Dict[str, tp.Any]:
        """Parameter group of the optimiser for the parameters of this transformer, with its weight decay, and its
        learning rate if that is set."""
        group: tp.Dict[str, tp.Any] = {"params": list(self.parameters()), "weight_decay": self.spec.weight_decay}
        if self.spec.lr is not None:
            group["lr"] = self.spec.lr
        return group


class SelfTransformer(_Transformer):
    """Transformer with self-attention within a single branch [B, C, F, T] or [B, C, T], whose output has the same
    shape. Sinusoidal encodings of frequency and time are added to the input.

    With `unused` it has the input normalisation of a second branch, without gradients, as in published weights.
    """

    def __init__(self, spec: TransformerSpec, *, unused: bool = False):
        super().__init__(spec)
        self.norm_in = _input_norm(spec)
        if unused:
            self.norm_in_t = _input_norm(spec).requires_grad_(False)
        self.layers = nn.ModuleList(SelfLayer(spec) for _ in range(spec.layers))

    @property
    def draws_in_training(self) -> bool:
        """Whether the forward pass draws random numbers in training, for dropout."""
        return bool(self.spec.dropout)

    @property
    def blocks(self) -> tp.List[nn.Module]:
        """All layers."""
        return list(self.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 3:
            return self.forward(x[:, :, None])[:, :, 0]
        tokens = _spectral_tokens(x, self.norm_in, self.spec)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.unflatten(1, (x.shape[3], x.shape[2])).permute(0, 3, 2, 1)


class CrossTransformer(_Transformer):
    """Cross-domain transformer of a spectral branch [B, C, F, T] and a temporal branch [B, C, T'], whose outputs have
    the same shapes. Positional encodings are added to both inputs.

    Raises:
        ValueError: for inconsistent settings.
    """

    def __init__(self, spec: TransformerSpec):
        super().__init__(spec)
        if spec.positions == "scaled":
            if spec.max_positions < 1:
                raise ValueError(f"t_max_positions={spec.max_positions} must be at least 1")
            self.position_embeddings = LearntTime(spec.channels, steps=spec.max_positions)
        elif spec.positions == "cape":
            global_shift, local_shift, scale = spec.cape_bounds
            self.time_encoding = CapeTime(spec.channels, period=spec.max_period, centred=spec.cape_centred,
                                          augment=spec.cape_augment, global_shift=global_shift,
                                          local_shift=local_shift, scale=scale)
        else:
            self.time_encoding = SinusoidalTime(spec.channels, period=spec.max_period, random_shift=spec.random_shift)
        self.norm_in, self.norm_in_t = _input_norm(spec), _input_norm(spec)
        self.layers, self.layers_t = nn.ModuleList(), nn.ModuleList()
        for index in range(spec.layers):
            crossed = (index % 2 == 0) == spec.cross_first if spec.pattern == "alternating" else spec.pattern == "cross"
            kind = CrossLayer if crossed else SelfLayer
            self.layers.append(kind(spec))
            self.layers_t.append(kind(spec))

    @property
    def draws_in_training(self) -> bool:
        """Whether the forward pass draws random numbers in training: for dropout or the positional encoding."""
        spec = self.spec
        return bool(spec.dropout or (spec.positions == "sin" and spec.random_shift)
                    or (spec.positions == "cape" and spec.cape_augment))

    @property
    def blocks(self) -> tp.List[nn.Module]:
        """All layers of both branches."""
        return [*self.layers, *self.layers_t]

    def forward(self, spectral: torch.Tensor, temporal: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor]:
        batch, _, bins, frames = spectral.shape
        x = _spectral_tokens(spectral, self.norm_in, self.spec)
        encoding_t = self.position_embeddings if self.spec.positions == "scaled" else self.time_encoding
        xt = self.norm_in_t(temporal.transpose(1, 2))
        xt = torch.add(xt, encoding_t(batch, xt.shape[1], temporal.device), alpha=self.spec.weight_positions)
        for layer, layer_t in zip(self.layers, self.layers_t):
            x, xt = layer(x, xt), layer_t(xt, x)
        return x.unflatten(1, (frames, bins)).permute(0, 3, 2, 1), xt.transpose(1, 2)
