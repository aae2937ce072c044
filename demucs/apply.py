"""Public door to separating tensors: `apply_model` and bags of models, with the arguments of published Demucs."""

import contextlib
import logging
import typing as tp
from concurrent.futures import Executor

import torch
from torch import nn
from torch.nn import functional as F

from .demucs import Demucs
from .errors import AudioError
from .hdemucs import HDemucs
from .htdemucs import HTDemucs
from .separation.apply import separate
from .separation.bag import BagOfModels
from .separation.devices import usable_device
from .separation.progress import CallbackProgress, reporter, together

logger = logging.getLogger(__name__)

__all__ = ["BagOfModels", "Model", "TensorChunk", "apply_model", "tensor_chunk"]

Model = tp.Union[Demucs, HDemucs, HTDemucs]
Callback = tp.Callable[[tp.Dict[str, tp.Any]], None]


class TensorChunk:
    """Samples [offset, offset + length) of the last dimension of a tensor, or of another chunk.

    Raises AudioError where `offset` is outside. A `length` beyond the end is shortened.
    """

    def __init__(self, tensor: tp.Union[torch.Tensor, "TensorChunk"], offset: int = 0,
                 length: tp.Optional[int] = None):
        there = tensor.shape[-1]
        if not 0 <= offset < there:
            raise AudioError(f"a chunk cannot start at sample {offset} of {there}")
        self.length = there - offset if length is None else min(length, there - offset)
        self.tensor: torch.Tensor = tensor.tensor if isinstance(tensor, TensorChunk) else tensor
        self.offset = offset + (tensor.offset if isinstance(tensor, TensorChunk) else 0)
        self.device = self.tensor.device

    @property
    def shape(self) -> tp.List[int]:
        return [*self.tensor.shape[:-1], self.length]

    def padded(self, target_length: int) -> torch.Tensor:
        """[..., target_length]: the chunk in the middle of what is around it in the tensor, and zeros beyond its ends.

        Where the difference is odd, the extra sample is on the right. Raises AudioError where the chunk is longer.
        """
        if target_length < self.length:
            raise AudioError(f"a chunk of {self.length} samples does not fit in {target_length}")
        start = self.offset - (target_length - self.length) // 2
        stop, there = start + target_length, self.tensor.shape[-1]
        inside = self.tensor[..., max(0, start):min(there, stop)]
        return F.pad(inside, (max(0, -start), max(0, stop - there)))


def tensor_chunk(tensor_or_chunk: tp.Union[torch.Tensor, TensorChunk]) -> TensorChunk:
    """A chunk as it is, a tensor as the chunk of all of it."""
    return tensor_or_chunk if isinstance(tensor_or_chunk, TensorChunk) else TensorChunk(tensor_or_chunk)


def apply_model(model: tp.Union[BagOfModels, Model, nn.Module], mix: tp.Union[torch.Tensor, TensorChunk],
                shifts: int = 1, split: bool = True, overlap: float = 0.25, transition_power: float = 1.,
                progress: bool = False, device: tp.Union[None, str, torch.device] = None, num_workers: int = 0,
                segment: tp.Optional[float] = None, pool: tp.Optional[Executor] = None,
                lock: tp.Optional[tp.ContextManager[tp.Any]] = None, callback: tp.Optional[Callback] = None,
                callback_arg: tp.Optional[tp.Mapping[str, tp.Any]] = None, *, seed: int = 0) -> torch.Tensor:
    """Estimates [B, S, A, L] of the sources in `mix` [B, A, L], on the device of `mix`.

    As in published Demucs, computing is on the device of `mix` where `device` is not given; unlike there, the model
    comes back to its own device and training mode, and the random shifts follow from `seed`. See
    `separation.apply.separate` for the other arguments and the errors.

    Args:
        mix: of a `TensorChunk`, the chunk alone is separated, as if there were silence around it.
        pool: on a CPU, an executor: as many threads work as it has, instead of `num_workers`.
        lock: is held whenever `callback` is called.
        callback: called at the start and end of each piece; see `separation.progress.CallbackProgress` for its argument.
            What it raises, for instance KeyboardInterrupt, ends the separation.
        callback_arg: what it gets besides.
    """
    if device is not None:
        device = usable_device(str(device))
    if isinstance(mix, TensorChunk):
        mix = mix.padded(mix.length)
    listener = None
    if callback is not None:
        call, guard = callback, lock if lock is not None else contextlib.nullcontext()

        def guarded(state: tp.Dict[str, tp.Any]) -> None:
            with guard:
                call(state)

        listener = CallbackProgress(guarded, callback_arg)
    return separate(
        model, mix, shifts=shifts, split=split, overlap=overlap, transition_power=transition_power, segment=segment,
        device=mix.device if device is None else device, seed=seed,
        workers=num_workers if pool is None else getattr(pool, "_max_workers", 0),
        progress=together(reporter(logger, "separating") if progress else None, listener))
