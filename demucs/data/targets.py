"""Targets of a model as sums of the stems of a dataset."""

import typing as tp

import torch

from ..errors import ConfigError, did_you_mean

REST = "rest"      # additional stem: the mixture minus the sources, if these do not add up to the song


class Targets:
    """Map from the stems of a dataset [..., S, A, L] to the targets of a model [..., T, A, L]: `targets(stems)`. The
    attribute `names` has the names of the targets.

    Args:
        stems: names of the stems, in their order.
        targets: name of each target -> the stems that add up to it; None if the targets are these stems. A further stem
            in the input, such as the rest of the song, is ignored.

    Raises:
        ConfigError: for a target without stems, or with a stem that is unknown or repeated.
    """

    def __init__(self, stems: tp.Sequence[str], targets: tp.Optional[tp.Mapping[str, tp.Sequence[str]]] = None):
        self.stems = list(stems)
        self.names = self.stems if targets is None else list(targets)
        self._parts: tp.Optional[tp.List[tp.List[int]]] = None
        if targets is None:
            return
        self._parts = []
        for name, parts in targets.items():
            if not isinstance(parts, (list, tuple)) or not parts:
                raise ConfigError(f"dset.targets.{name} must be a list of sources; give at least one of "
                                  f"{', '.join(self.stems)}")
            for part in parts:
                if not isinstance(part, str):
                    raise ConfigError(f"dset.targets.{name}: {part!r} must be the name of a source, a text; put it in double "
                                      f"quotes for Hydra")
                if part not in self.stems:
                    raise ConfigError(f"dset.targets.{name}: there is no source {part!r} in dset.sources "
                                      f"({', '.join(self.stems)}).{did_you_mean(part, self.stems)}")
                if list(parts).count(part) > 1:
                    raise ConfigError(f"dset.targets.{name} lists {part!r} twice; name each source once")
            self._parts.append([self.stems.index(part) for part in parts])

    def __call__(self, stems: torch.Tensor) -> torch.Tensor:
        if self._parts is None:
            return stems if stems.shape[-3] == len(self.stems) else stems[..., :len(self.stems), :, :]
        return torch.stack([stems[..., parts, :, :].sum(dim=-3) for parts in self._parts], dim=-3)
