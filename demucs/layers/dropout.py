"""Dropout whose masks may be drawn example by example, whatever the split of a batch over ranks."""

import contextlib
import typing as tp

import torch
from torch.nn import functional as F

_generators: tp.List[tp.Sequence[torch.Generator]] = []      # of the contexts that are open


@contextlib.contextmanager
def drawn_per_example(generators: tp.Sequence[torch.Generator]) -> tp.Iterator[None]:
    """Context of a forward pass in which `dropout` draws the mask of each example from a random generator of its own,
    one of `generators` per example of the batch, on the device of the batch. Not for several threads."""
    _generators.append(generators)
    try:
        yield
    finally:
        _generators.pop()


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout with probability `p` of features [T, B, H] in training: zeros, and all others divided by 1 - p. Masks are
    drawn from torch's global random generator, or as `drawn_per_example` says."""
    if not _generators:
        return F.dropout(x, p)
    assert len(_generators[-1]) == x.shape[1], (len(_generators[-1]), x.shape)
    masks = [torch.rand(x.shape[0], x.shape[2], generator=each, device=x.device) >= p for each in _generators[-1]]
    return x * torch.stack(masks, dim=1) / (1 - p)


def repeated() -> tp.ContextManager[None]:
    """Context in which the same masks are drawn as from now on, for another computation of the same activations."""
    if not _generators:
        return contextlib.nullcontext()
    return drawn_per_example([_copy(each) for each in _generators[-1]])


def _copy(generator: torch.Generator) -> torch.Generator:
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy
