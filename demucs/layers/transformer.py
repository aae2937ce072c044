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
from .sparsity import attention_mask, check_kinds


KERNELS = ("softmax", "linear")


@dataclasses.dataclass(frozen=True)
class MaskSpec:
    """Sparsity pattern of an attention layer; see `sparsity.attention_mask`. A call with numbers of queries and keys
    and a device gives the mask."""
    kinds: tp.Tuple[str, ...]
    window: int
    global_window: int
    sparsity: float
    seed: int

    def check(self) -> None:
        """Check that all `kinds` are known patterns of `sparsity`.

        Raises:
            ValueError: for the first that is not.
        """
        check_kinds(self.kinds)

    def __call__(self, queries: int, keys: int, device: torch.device) -> torch.Tensor:
        return attention_mask(queries, keys, **dataclasses.asdict(self)).to(device)


@dataclasses.dataclass(frozen=True)
class TransformerSpec:
    """Settings of a transformer, shared by all its layers.

    Args:
        channels, heads: number of channels C, and the number of attention heads, which divides it.
        hidden_scale: width of the feed-forward network in multiples of C.
        layers: number of layers in each of the two branches; with `cross_first` the first one has cross-attention.
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

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel={self.kernel!r} is unknown; use one of {', '.join(KERNELS)}")
        if self.kernel == "linear" and (self.sparse_self or self.sparse_cross):
            raise ValueError("attention with a linear kernel has no sparse pattern: leave one of them out")


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


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, heads: int, dropout: float,
            mask: tp.Optional[torch.Tensor]) -> torch.Tensor:
    """Multi-head attention [B, N, C], [B, M, C], [B, M, C] -> [B, N, C]; zero for queries without any unmasked key."""
    split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value)]
    attended = F.scaled_dot_product_attention(*split, attn_mask=mask, dropout_p=dropout)
    return attended.transpose(1, 2).flatten(2)


class DenseAttention(nn.MultiheadAttention):
    """Dense multi-head attention with the parameters and initialisation of `nn.MultiheadAttention`, but a forward pass
    that is faster on CPUs (`benchmarks/bench_layers.py`)."""

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Attention of tokens `query` [B, N, C] to tokens `memory` [B, M, C], as keys and values: [B, N, C]."""
        channels = self.embed_dim
        if query is memory:
            parts = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            key_value = F.linear(memory, self.in_proj_weight[channels:], self.in_proj_bias[channels:])
            parts = (F.linear(query, self.in_proj_weight[:channels], self.in_proj_bias[:channels]),
                     *key_value.chunk(2, dim=-1))
        attended = _attend(*parts, heads=self.num_heads, dropout=self.dropout if self.training else 0., mask=None)
        return self.out_proj(attended)


class MaskedAttention(nn.Module):
    """Multi-head attention with the fixed sparsity pattern `mask`, and the parameter names of published Demucs."""

    def __init__(self, channels: int, heads: int, *, dropout: float, mask: MaskSpec):
        super().__init__()
        self.heads = heads
        self.mask = mask
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = dropout

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attention of tokens `query` [B, N, C] to those tokens `memory` [B, M, C] that the mask admits: [B, N, C]."""
        dropout = self.dropout if self.training else 0.
        attended = _attend(self.q(query), self.k(memory), self.v(memory), heads=self.heads, dropout=dropout,
                           mask=self.mask(query.shape[1], memory.shape[1], query.device))
        return F.dropout(self.proj(attended), dropout)


class LinearAttention(nn.Module):
    """Multi-head linear attention with the kernel phi(q) phi(k), phi(x) = ELU(x) + 1 (Katharopoulos et al. 2020,
    arXiv:2006.16236), without scaling. The sum over keys and values is computed once for all queries."""

    EPSILON = 1e-6       # added to the sum of the weights

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """Attention of tokens `query` [B, N, C] to tokens `memory` [B, M, C], as keys and values: [B, N, C]."""
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for layer, x in ((self.q, query), (self.k, memory), (self.v, memory)))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        weights = q @ k.sum(dim=2)[..., None]                         # [B, heads, N, 1]
        attended = q @ (k.transpose(2, 3) @ v) / (weights + self.EPSILON)
        return self.out(attended.transpose(1, 2).flatten(2))


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


class CrossTransformer(nn.Module):
    """Cross-domain transformer of a spectral branch [B, C, F, T] and a temporal branch [B, C, T'], whose outputs have
    the same shapes. Positional encodings are added to both inputs.

    Raises:
        ValueError: for inconsistent settings.
    """

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        if spec.channels % spec.heads:
            raise ValueError(f"{spec.channels} channels at the bottom are not divisible by t_heads={spec.heads}; "
                             f"change one of channels, growth, depth, bottom_channels and t_heads")
        if spec.channels % 4:
            raise ValueError(f"{spec.channels} channels at the bottom are not divisible by 4, as codes of position "
                             f"need")
        if spec.positions not in POSITIONS:
            raise ValueError(f"t_emb={spec.positions!r} is unknown; use one of {', '.join(POSITIONS)}")
        self.spec = spec
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

        def norm_in() -> nn.Module:
            if spec.norm_in:
                return nn.LayerNorm(spec.channels)
            return TokenGroupNorm(spec.norm_in_group, spec.channels) if spec.norm_in_group else nn.Identity()
        self.norm_in, self.norm_in_t = norm_in(), norm_in()
        self.layers, self.layers_t = nn.ModuleList(), nn.ModuleList()
        for index in range(spec.layers):
            kind = CrossLayer if (index % 2 == 0) == spec.cross_first else SelfLayer
            self.layers.append(kind(spec))
            self.layers_t.append(kind(spec))

    @property
    def draws_in_training(self) -> bool:
        """Whether the forward pass draws random numbers in training: for dropout or the positional encoding."""
        spec = self.spec
        return bool(spec.dropout or (spec.positions == "sin" and spec.random_shift)
                    or (spec.positions == "cape" and spec.cape_augment))

    def forward(self, spectral: torch.Tensor, temporal: torch.Tensor) -> tp.Tuple[torch.Tensor, torch.Tensor]:
        batch, channels, bins, frames = spectral.shape
        weight, device = self.spec.weight_positions, spectral.device
        encoding = sinusoids_2d(channels, bins, frames, self.spec.max_period, device)
        # Order of the tokens: frame by frame, and all frequencies within a frame.
        x = self.norm_in(spectral.permute(0, 3, 2, 1).flatten(1, 2))
        x = torch.add(x, encoding.permute(2, 1, 0).flatten(0, 1), alpha=weight)
        encoding_t = self.position_embeddings if self.spec.positions == "scaled" else self.time_encoding
        xt = self.norm_in_t(temporal.transpose(1, 2))
        xt = torch.add(xt, encoding_t(batch, xt.shape[1], device), alpha=weight)
        for layer, layer_t in zip(self.layers, self.layers_t):
            x, xt = layer(x, xt), layer_t(xt, x)
        return x.unflatten(1, (frames, bins)).permute(0, 3, 2, 1), xt.transpose(1, 2)

    def make_optim_group(self) -> tp.Dict[str, tp.Any]:
        """Parameter group of the optimiser for the parameters of this transformer, with its weight decay, and its
        learning rate if that is set."""
        group: tp.Dict[str, tp.Any] = {"params": list(self.parameters()), "weight_decay": self.spec.weight_decay}
        if self.spec.lr is not None:
            group["lr"] = self.spec.lr
        return group
