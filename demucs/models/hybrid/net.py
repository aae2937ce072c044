"""Hybrid models: spectrograms -> encoders -> mixers -> decoders -> inverse transforms -> fusion.

Modules are created in the published order (level by level, the encoders of all branches, then their decoders), on which
seeded initial weights depend. Names and order of the parameters are those of published Demucs (all of `encoder`, then
`decoder`, `tencoder`, `tdecoder`, `freq_emb`, the children of the mixers), on which optimiser states depend.
"""

import typing as tp

import torch
from torch import nn

from ...layers.bands import BandSplitDecoder, BandSplitEncoder
from ...layers.blocks import DecoderBlock, EncoderBlock
from ...layers.embedding import FrequencyEmbedding
from ...layers.initial import rescale_convolutions
from ...layers.transformer import CrossTransformer, SelfTransformer
from ...schema import Combination, Metrics
from ..protocol import SeparationModel
from .branches import Branch
from .fusion import Fusion
from .part import Part

EPSILON = 1e-5   # added to standard deviations, so that silence stays silence
BOTTOM = "bottom"
ALL = "all"      # in the place of a source: of all sources

States = tp.Dict[str, torch.Tensor]
MakeMixer = tp.Callable[[int], nn.Module]


class Level(tp.NamedTuple):
    """Mean and standard deviation of each example, [B, 1, ...], for denormalisation."""
    mean: torch.Tensor
    std: torch.Tensor


def _normalise(x: torch.Tensor) -> tp.Tuple[torch.Tensor, Level]:
    """`x` [B, ...] normalised to zero mean and unit standard deviation per example, and the original values of both."""
    dims = tuple(range(1, x.dim()))
    mean, std = x.mean(dims, keepdim=True), x.std(dims, keepdim=True)
    return (x - mean) / (EPSILON + std), Level(mean, std)


def _register(model: nn.Module, path: str, module: nn.Module) -> None:
    """Add `module` to `model` under the dotted name `path`, in a list of modules per name before a dot."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(model, parent):
            model.add_module(parent, nn.ModuleList())
        model = model.get_submodule(parent)
    model.add_module(name, module)


class Seen(tp.NamedTuple):
    """Analysis of a mixture by a branch: network input [B, C, F, T] or [B, C, L]; complex spectrogram [B, A, F, T],
    None for a branch without; and mean and standard deviation before normalisation, None if the input is not
    normalised."""
    input: torch.Tensor
    spectrogram: tp.Optional[torch.Tensor]
    level: tp.Optional[Level]


class HybridNet(SeparationModel):
    """Separation model with several parallel U-Nets as branches, mixture [B, A, L] -> estimates [B, S, A, L].

    Args:
        sources: names of the sources, in the order of the output.
        audio_channels, samplerate: number of channels and sample rate in Hz of the waveforms.
        segment: length in seconds of the segments into which separation cuts songs.
        branches: in the order in which their modules are created. A branch that joins another one comes after it.
        mixers: factories of mixers by site: "bottom" for the bottleneck, "encoder.K" after the encoders of level K,
            "decoder.K" before its decoders. A factory gets the number of channels of the first branch at the site. The
            mixer is called with the states of all branches that are not merged into another one at the site. The same
            factory at two sites makes one module for both. The children of a mixer are named like children of the
            model.
        fusion: combines the estimates of the branches.
        context, context_enc: half widths of the rewrite convolutions in decoder and encoder (0: kernel size 1).
        rescale: reference standard deviation of the initial weights of all branches; 0 keeps torch's initialisation.

    Raises:
        ValueError: for a mixer at an unknown site.
    """

    def __init__(self, sources: tp.Sequence[str], *, audio_channels: int, samplerate: int, segment: float,
                 branches: tp.Sequence[Branch], mixers: tp.Mapping[str, MakeMixer], fusion: Fusion, context: int,
                 context_enc: int, rescale: float):
        super().__init__()
        self.sources = list(sources)
        self.audio_channels = audio_channels
        self.samplerate = samplerate
        self.segment = segment
        self.branches = tuple(branches)
        self.depth = max(len(branch.rows) for branch in branches)

        for branch in branches:
            _register(self, branch.encoder, nn.ModuleList())
            _register(self, branch.decoder, nn.ModuleList())
        for index in range(self.depth):
            self._add_level(index, context=context, context_enc=context_enc)
        if rescale:
            rescale_convolutions(self, rescale)
        self._mixers = self._build_mixers(mixers)
        self._fusion = (fusion,)
        if fusion.published_names:
            fusion.give_to(self)
        else:
            self.fusion = fusion
        parts = [*self.modules(), *(mixer for mixer, in self._mixers.values()), fusion]
        self._hooked = tuple(dict.fromkeys(part for part in parts if part is not self and hasattr(part, "after_step")))

    def _add_level(self, index: int, *, context: int, context_enc: int) -> None:
        branches = [branch for branch in self.branches if index < len(branch.rows)]
        encoders = [EncoderBlock(branch.rows[index].layer, context=context_enc, dconv=branch.rows[index].dconv_down)
                    for branch in branches]
        for branch, encoder in zip(branches, encoders):
            split = bool(encoder.spec.bands)
            self.get_submodule(branch.encoder).append(BandSplitEncoder(encoder) if split else encoder)
        for branch in branches:
            row = branch.rows[index] if index else branch.rows[index].mirrored(len(self.sources))
            split = bool(row.layer.bands)
            decoder = DecoderBlock(row.layer, context=context, dconv=row.dconv_up, last=index == 0,
                                   context_over_frequency=not split)
            self.get_submodule(branch.decoder).insert(0, BandSplitDecoder(decoder) if split else decoder)
        for branch in branches if index == 0 else ():
            if branch.embedding is not None:
                row = branch.rows[0]
                _register(self, branch.embedding.name, FrequencyEmbedding(
                    row.bins_below, row.layer.inner, weight=branch.embedding.weight, scale=branch.embedding.scale,
                    smooth=branch.embedding.smooth))

    def _build_mixers(self, mixers: tp.Mapping[str, MakeMixer]) -> tp.Dict[str, tp.Tuple[nn.Module]]:
        """Mixers by site, each in a tuple to hide it from torch: only its children and parameters are registered, as
        those of the model."""
        sites = [f"{side}.{index}" for side in ("encoder", "decoder") for index in range(self.depth)]
        built: tp.Dict[MakeMixer, nn.Module] = {}
        found = {}
        for site, make in mixers.items():
            if site != BOTTOM and site not in sites:
                raise ValueError(f"there is no place {site!r} for a mixer in {self.depth} levels; there are: {BOTTOM}, "
                                 f"{', '.join(sites)}")
            index = self.depth - 1 if site == BOTTOM else int(site.partition(".")[2])
            if make not in built:
                mixer = built[make] = make(self.branches[0].rows[index].layer.inner)
                if isinstance(mixer, Part):
                    mixer.give_to(self)
                for name, part in mixer.named_children():
                    self.add_module(name, part)
                for name, parameter in mixer.named_parameters(recurse=False):
                    self.register_parameter(name, parameter)
            found[site] = (built[make],)
        return found

    @property
    def draws_in_training(self) -> bool:         # type: ignore[override]
        """Whether the forward pass draws random numbers in training, as that of some mixers does."""
        return any(mixer.draws_in_training for mixer, in self._mixers.values())

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        levels = [level for branch in self.branches for part in (branch.encoder, branch.decoder)
                  for level in self.get_submodule(part)]
        mixed = [layer for part in self.modules() if isinstance(part, (CrossTransformer, SelfTransformer))
                 for layer in part.blocks]
        return [*levels, *mixed]

    def after_step(self) -> None:
        """Call the hooks `after_step` of all parts, after an optimiser step."""
        for part in self._hooked:
            part.after_step()

    @torch.no_grad()
    def combination(self) -> tp.Optional[Combination]:
        resolutions = [branch.name for branch in self.branches if branch.view is not None]
        weights: tp.Dict[str, tp.Dict[str, Metrics]] = {}
        gates: Metrics = {}
        for part in dict.fromkeys([*(mixer for mixer, in self._mixers.values()), *self._fusion]):
            if isinstance(part, Part):
                gates.update(part.gate_values())
                for name, values in part.softmax_weights().items():
                    rows = self.sources if values.dim() == 2 else [ALL]
                    weights[name] = {row: dict(zip(resolutions, each)) for row, each in
                                     zip(rows, values.reshape(len(rows), -1).tolist(), strict=True)}
        return Combination(weights, gates) if weights or gates else None

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L], for any L >= 1."""
        seen = self.analyse(mix)
        outputs = self.core(*(each.input for each in seen))
        return self.synthesise(outputs, seen, mix)

    def analyse(self, mix: torch.Tensor) -> tp.List[Seen]:
        """Analysis of a mixture [B, A, L] by each branch, in the order of the branches."""
        seen = []
        for branch in self.branches:
            z = None if branch.view is None else branch.view.analyse(mix)
            x = mix if z is None else branch.representation.encode(z)
            normalised = _normalise(x) if branch.normalize else (x, None)
            seen.append(Seen(normalised[0], z, normalised[1]))
        return seen

    def synthesise(self, outputs: tp.Sequence[torch.Tensor], seen: tp.Sequence[Seen], mix: torch.Tensor
                   ) -> torch.Tensor:
        """Estimates [B, S, A, L] from `outputs`, the results of `core` for the inputs in `seen`: denormalisation,
        inverse transforms and fusion. `mix` is the mixture [B, A, L] that was analysed."""
        length = mix.shape[-1]
        estimates: States = {}
        for branch, output, (_, z, level) in zip(self.branches, outputs, seen):
            shape = (length,) if z is None else z.shape[-2:]
            features = output.view(len(mix), len(self.sources), -1, *shape)
            if level is not None:
                features = features * level.std[:, None] + level.mean[:, None]
            if z is not None:
                features = branch.view.synthesise(branch.representation.decode(features, z, self.training), length)
            estimates[branch.name] = features
        fusion, = self._fusion
        if not fusion.at_unit_level:
            return fusion(estimates)
        std = mix.std((1, 2), keepdim=True)[:, None]
        return fusion({name: estimate / (EPSILON + std) for name, estimate in estimates.items()}) * std

    def core(self, *inputs: torch.Tensor) -> tp.Tuple[torch.Tensor, ...]:
        """Outputs of the network without transforms: real tensors, one per branch. The input of a branch is [B, C, F,
        T] or [B, C, L]; its output has the same size with S times the channels."""
        states: States = {branch.name: x for branch, x in zip(self.branches, inputs)}
        skips: tp.Dict[str, tp.List[torch.Tensor]] = {name: [] for name in states}
        lengths: tp.Dict[str, tp.List[int]] = {name: [] for name in states}      # of the last axis, before each level
        for index in range(self.depth):
            self._encode(index, states, skips, lengths)
            self._mix(f"encoder.{index}", states)
            for branch in self.branches:
                if branch.skips_mixed and index < len(branch.rows) and not branch.rows[index].layer.merge:
                    skips[branch.name][-1] = states[branch.name]
        self._mix(BOTTOM, states)
        for index in reversed(range(self.depth)):
            self._mix(f"decoder.{index}", states)
            self._decode(index, states, skips, lengths)
        return tuple(states[branch.name] for branch in self.branches)

    def _encode(self, index: int, states: States, skips: tp.Dict[str, tp.List[torch.Tensor]],
                lengths: tp.Dict[str, tp.List[int]]) -> None:
        joining: States = {}
        for branch in reversed(self.branches):           # a joining branch is encoded before the branch it is added to
            if index >= len(branch.rows):
                continue
            lengths[branch.name].append(states[branch.name].shape[-1])
            encode = self.get_submodule(branch.encoder)[index]
            if branch.rows[index].layer.merge:
                joining[tp.cast(str, branch.joins)] = states[branch.name] = encode(states[branch.name])
                if index + 1 < self.depth:               # in the innermost level, the mixer also gets its state
                    del states[branch.name]
                continue
            x = encode(states[branch.name], joining.get(branch.name))
            if index == 0 and branch.embedding is not None:
                x = self.get_submodule(branch.embedding.name)(x)
            states[branch.name] = x
            skips[branch.name].append(x)

    def _decode(self, index: int, states: States, skips: tp.Dict[str, tp.List[torch.Tensor]],
                lengths: tp.Dict[str, tp.List[int]]) -> None:
        parting: tp.Dict[str, tp.Optional[torch.Tensor]] = {}
        for branch in self.branches:
            if index >= len(branch.rows):
                continue
            decode = self.get_submodule(branch.decoder)[len(branch.rows) - 1 - index]
            length = lengths[branch.name].pop()
            if branch.rows[index].layer.merge:           # input of the other branch's transposed convolution
                before = tp.cast(torch.Tensor, parting[tp.cast(str, branch.joins)])
                states[branch.name], _ = decode(before[:, :, 0], None, length)
            else:
                states[branch.name], parting[branch.name] = decode(states[branch.name], skips[branch.name].pop(),
                                                                   length)
            if index and branch.rows[index - 1].layer.axis == "frequency" and states[branch.name].dim() == 3:
                states[branch.name] = states[branch.name][:, :, None]    # the single frequency of the next level

    def _mix(self, site: str, states: States) -> None:
        if site in self._mixers:
            names = [branch.name for branch in self.branches if branch.name in states]
            mixer, = self._mixers[site]
            states.update(zip(names, mixer(*(states[name] for name in names))))
