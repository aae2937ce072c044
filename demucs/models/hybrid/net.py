"""The assembler of hybrid models: views -> encoders -> mixers -> decoders -> views back -> fusion.

Modules are built in the published order (the encoders of all branches, then their decoders, level by level) while their names
and the order of parameters are those of published Demucs (all of `encoder`, then `decoder`, `tencoder`, `tdecoder`,
`freq_emb`, the parts of the mixers): seeded initial weights depend on the first, optimiser states on the second.
"""

import typing as tp

import torch
from torch import nn

from ...layers.bands import BandSplitDecoder, BandSplitEncoder
from ...layers.blocks import DecoderBlock, EncoderBlock
from ...layers.embedding import FrequencyEmbedding
from ...layers.initial import rescale_convolutions
from ..protocol import SeparationModel
from .branches import Branch
from .fusion import Fusion

EPSILON = 1e-5   # added to standard deviations, so that silence stays silence
BOTTOM = "bottom"

States = tp.Dict[str, torch.Tensor]
MakeMixer = tp.Callable[[int], nn.Module]


class Level(tp.NamedTuple):
    """Mean and standard deviation per example, to be restored."""
    mean: torch.Tensor
    std: torch.Tensor


def _normalise(x: torch.Tensor) -> tp.Tuple[torch.Tensor, Level]:
    """`x` [B, ...] with zero mean and unit standard deviation per example, and both for the way back."""
    dims = tuple(range(1, x.dim()))
    mean, std = x.mean(dims, keepdim=True), x.std(dims, keepdim=True)
    return (x - mean) / (EPSILON + std), Level(mean, std)


class Seen(tp.NamedTuple):
    """What a branch sees of a mixture: its input [B, C, F, T] or [B, C, L], the spectrogram behind it, and the level."""
    input: torch.Tensor
    spectrogram: tp.Optional[torch.Tensor]
    level: tp.Optional[Level]


class HybridNet(SeparationModel):
    """A separator whose branches are U-nets beside one another.

    Args:
        sources: names of the sources, in the order of the output.
        audio_channels, samplerate: of the waveforms, in Hz.
        segment: seconds of audio that separation cuts songs into.
        branches: in the order in which their modules are built. One that joins another comes after it.
        mixers: what happens between the blocks, by site: "bottom" between the way down and the way up, "encoder.K" after the
            encoders of level K, "decoder.K" before its decoders. A mixer is built by a function of the number of channels that
            the first branch has there, and called with the states of all branches that are not joined there. The same function
            at two sites makes one module for both. Its parts are named like children of the net.
        fusion: makes one estimate of those of the branches.
        context, context_enc: half widths of the 1x1 convolutions in decoder and encoder.
        rescale: reference standard deviation of the initial weights of all branches; 0 leaves torch's.

    Raises:
        ValueError: for a mixer at a site that is not there.
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
            self.add_module(branch.encoder, nn.ModuleList())
            self.add_module(branch.decoder, nn.ModuleList())
        for index in range(self.depth):
            self._add_level(index, context=context, context_enc=context_enc)
        if rescale:
            rescale_convolutions(self, rescale)
        self._mixers = self._build_mixers(mixers)
        self.fusion = fusion
        parts = [*self.modules(), *(mixer for mixer, in self._mixers.values())]
        self._hooked = tuple(dict.fromkeys(part for part in parts if part is not self and hasattr(part, "after_step")))

    def _add_level(self, index: int, *, context: int, context_enc: int) -> None:
        here = [branch for branch in self.branches if index < len(branch.rows)]
        encoders = [EncoderBlock(branch.rows[index].layer, context=context_enc, dconv=branch.rows[index].dconv_down)
                    for branch in here]
        for branch, encoder in zip(here, encoders):
            split = bool(encoder.spec.bands)
            getattr(self, branch.encoder).append(BandSplitEncoder(encoder) if split else encoder)
        for branch in here:
            row = branch.rows[index] if index else branch.rows[index].mirrored(len(self.sources))
            split = bool(row.layer.bands)
            decoder = DecoderBlock(row.layer, context=context, dconv=row.dconv_up, last=index == 0,
                                   context_over_frequency=not split)
            getattr(self, branch.decoder).insert(0, BandSplitDecoder(decoder) if split else decoder)
        for branch in here if index == 0 else ():
            if branch.embedding is not None:
                row = branch.rows[0]
                self.add_module(branch.embedding.name, FrequencyEmbedding(
                    row.bins_below, row.layer.inner, weight=branch.embedding.weight, scale=branch.embedding.scale,
                    smooth=branch.embedding.smooth))

    def _build_mixers(self, mixers: tp.Mapping[str, MakeMixer]) -> tp.Dict[str, tp.Tuple[nn.Module]]:
        """The mixers by site, each in a tuple, in which torch does not see it: only its parts are registered, under our
        name."""
        sites = [f"{side}.{index}" for side in ("encoder", "decoder") for index in range(self.depth)]
        built: tp.Dict[MakeMixer, nn.Module] = {}
        found = {}
        for site, make in mixers.items():
            if site != BOTTOM and site not in sites:
                raise ValueError(f"there is no place {site!r} for a mixer in {self.depth} levels; there are: {BOTTOM}, "
                                 f"{', '.join(sites)}")
            index = self.depth - 1 if site == BOTTOM else int(site.partition(".")[2])
            if make not in built:
                built[make] = make(self.branches[0].rows[index].layer.inner)
                for name, part in built[make].named_children():
                    self.add_module(name, part)
                for name, parameter in built[make].named_parameters(recurse=False):
                    self.register_parameter(name, parameter)
            found[site] = (built[make],)
        return found

    @property
    def draws_in_training(self) -> bool:         # type: ignore[override]
        """Whether the forward pass draws random numbers in training."""
        return any(mixer.draws_in_training for mixer, in self._mixers.values())

    def after_step(self) -> None:
        for part in self._hooked:
            part.after_step()

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] of the sources in a mixture [B, A, L], for any L >= 1."""
        seen = self.analyse(mix)
        outputs = self.core(*(each.input for each in seen))
        return self.synthesise(outputs, seen, mix)

    def analyse(self, mix: torch.Tensor) -> tp.List[Seen]:
        """What each branch sees of a mixture [B, A, L]."""
        seen = []
        for branch in self.branches:
            z = None if branch.view is None else branch.view.analyse(mix)
            x = mix if z is None else branch.representation.encode(z)
            normalised = _normalise(x) if branch.normalize else (x, None)
            seen.append(Seen(normalised[0], z, normalised[1]))
        return seen

    def synthesise(self, outputs: tp.Sequence[torch.Tensor], seen: tp.Sequence[Seen], mix: torch.Tensor) -> torch.Tensor:
        """Estimates [B, S, A, L] from what `core` makes of the inputs in `seen`."""
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
        if not self.fusion.at_unit_level:
            return self.fusion(estimates)
        std = mix.std((1, 2), keepdim=True)[:, None]
        return self.fusion({name: estimate / (EPSILON + std) for name, estimate in estimates.items()}) * std

    def core(self, *inputs: torch.Tensor) -> tp.Tuple[torch.Tensor, ...]:
        """The network on real tensors alone: the inputs of all branches, [B, C, F, T] or [B, C, L], to their outputs of the
        same size with S times the channels."""
        states: States = {branch.name: x for branch, x in zip(self.branches, inputs)}
        skips: tp.Dict[str, tp.List[torch.Tensor]] = {name: [] for name in states}
        lengths: tp.Dict[str, tp.List[int]] = {name: [] for name in states}      # of the last axis, before each level
        for index in range(self.depth):
            self._down(index, states, skips, lengths)
            self._mix(f"encoder.{index}", states)
        self._mix(BOTTOM, states)
        for index in reversed(range(self.depth)):
            self._mix(f"decoder.{index}", states)
            self._up(index, states, skips, lengths)
        return tuple(states[branch.name] for branch in self.branches)

    def _down(self, index: int, states: States, skips: tp.Dict[str, tp.List[torch.Tensor]],
              lengths: tp.Dict[str, tp.List[int]]) -> None:
        joining: States = {}
        for branch in reversed(self.branches):           # those that join before those that they join
            if index >= len(branch.rows):
                continue
            lengths[branch.name].append(states[branch.name].shape[-1])
            encode = getattr(self, branch.encoder)[index]
            if branch.rows[index].layer.merge:
                joining[tp.cast(str, branch.joins)] = states[branch.name] = encode(states[branch.name])
                if index + 1 < self.depth:               # at the bottom the mixer sees it, too
                    del states[branch.name]
                continue
            x = encode(states[branch.name], joining.get(branch.name))
            if index == 0 and branch.embedding is not None:
                x = getattr(self, branch.embedding.name)(x)
            states[branch.name] = x
            skips[branch.name].append(x)

    def _up(self, index: int, states: States, skips: tp.Dict[str, tp.List[torch.Tensor]],
            lengths: tp.Dict[str, tp.List[int]]) -> None:
        parting: tp.Dict[str, tp.Optional[torch.Tensor]] = {}
        for branch in self.branches:
            if index >= len(branch.rows):
                continue
            decode = getattr(self, branch.decoder)[len(branch.rows) - 1 - index]
            length = lengths[branch.name].pop()
            if branch.rows[index].layer.merge:           # it starts from what enters the other's transposed convolution
                before = tp.cast(torch.Tensor, parting[tp.cast(str, branch.joins)])
                states[branch.name], _ = decode(before[:, :, 0], None, length)
            else:
                states[branch.name], parting[branch.name] = decode(states[branch.name], skips[branch.name].pop(), length)

    def _mix(self, site: str, states: States) -> None:
        if site in self._mixers:
            names = [branch.name for branch in self.branches if branch.name in states]
            mixer, = self._mixers[site]
            states.update(zip(names, mixer(*(states[name] for name in names))))
