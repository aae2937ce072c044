"""Public interface for separating tensors: `apply_model` and bags of models, with the arguments of published Demucs."""

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
    """Samples [offset, offset + length) of the last dimension of a tensor, or of another chunk, without a copy. The
    attribute `offset` counts from the start of the tensor.

    Raises AudioError if `offset` is out of range. A `length` beyond the end is shortened; None is all that follows.
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
        """Shape of the chunk: that of the tensor with `length` as its last dimension."""
        return [*self.tensor.shape[:-1], self.length]

    def padded(self, target_length: int) -> torch.Tensor:
        """Tensor [..., target_length]: the chunk extended on both sides, with the samples around it in the whole
        tensor, and with zeros beyond the ends of that.

        If an odd number of samples is added, the extra one is on the right. Raises AudioError if the chunk is longer
        than `target_length`.
        """
        if target_length < self.length:
            raise AudioError(f"a chunk of {self.length} samples does not fit in {target_length}")
        start = self.offset - (target_length - self.length) // 2
        stop, there = start + target_length, self.tensor.shape[-1]
        inside = self.tensor[..., max(0, start):min(there, stop)]
        return F.pad(inside, (max(0, -start), max(0, stop - there)))


def tensor_chunk(tensor_or_chunk: tp.Union[torch.Tensor, TensorChunk]) -> TensorChunk:
    """The given chunk itself, or a chunk of the whole given tensor."""
    return tensor_or_chunk if isinstance(tensor_or_chunk, TensorChunk) else TensorChunk(tensor_or_chunk)


def apply_model(model: tp.Union[BagOfModels, Model, nn.Module], mix: tp.Union[torch.Tensor, TensorChunk],
                shifts: int = 1, split: bool = True, overlap: float = 0.25, transition_power: float = 1.,
                progress: bool = False, device: tp.Union[None, str, torch.device] = None, num_workers: int = 0,
                segment: tp.Optional[float] = None, pool: tp.Optional[Executor] = None,
                lock: tp.Optional[tp.ContextManager[tp.Any]] = None, callback: tp.Optional[Callback] = None,
                callback_arg: tp.Optional[tp.Mapping[str, tp.Any]] = None, *, seed: int = 0) -> torch.Tensor:
    """Estimates [B, S, A, L] of the sources in `mix` [B, A, L], on the device of `mix`.

    As in published Demucs, computation is on the device of `mix` if `device` is None. In contrast to published Demucs,
    the model is returned to its own device and training mode, and the random shifts are determined by `seed`. See
    `separation.apply.separate` for the other arguments and the errors.

    Args:
        mix: the mixture. A `TensorChunk` is separated alone, as if it was surrounded by silence.
        progress: show the progress: a bar on a terminal, otherwise log lines.
        device: where to compute; None for that of `mix`.
        num_workers: number of threads on a CPU.
        pool: an executor whose number of threads replaces `num_workers` on a CPU; it is not used itself.
        lock: held during calls of `callback`.
        callback: called at the start and end of each segment; see `separation.progress.CallbackProgress` for its
            argument. An exception that it raises, for instance KeyboardInterrupt, ends the separation.
        callback_arg: additional entries of its argument.
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
