"""Numerical precision of a separation.

"bf16": convolutions and matrix products are computed in bfloat16, which has the range of float32 and 8 bits of its
significand. Weights, spectrograms, statistics of the input, LSTMs on a GPU and the sum of the branches stay float32.
Processors with bfloat16 instructions are faster with it, others several times slower, which is a warning. The error is
some 40 dB below the estimates: both are measured in the rows "in bf16" of docs/benchmarks.md.

"tf32": NVIDIA GPUs from Ampere on multiply in TF32, which has the range of float32 and 10 bits of its significand.
Other devices compute in float32.

"float32": TF32 is disabled, although torch enables it by default in convolutions and LSTMs.
"""

import contextlib
import functools
import logging
import threading
import typing as tp
from pathlib import Path

import torch

from ..errors import ConfigError, did_you_mean

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bf16", "tf32")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}     # of processors with bfloat16 instructions, x86 and ARM
CPUINFO = Path("/proc/cpuinfo")
# (convolutions and LSTMs, matrix products)
TF32 = {"none": (False, False), "convolutions": (True, False), "all": (True, True)}


def check_precision(name: str) -> None:
    """Check that `name` is one of `PRECISIONS`.

    Raises:
        ConfigError: if it is not.
    """
    if name not in PRECISIONS:
        raise ConfigError(f"precision={name!r} is unknown; use one of {', '.join(PRECISIONS)}."
                          f"{did_you_mean(name, PRECISIONS)}")


def computing_in(name: str, device: torch.device) -> tp.ContextManager[tp.Any]:
    """Context in which models on `device` compute in the precision `name`, one of `PRECISIONS`. bfloat16 applies to the
    thread that enters the context. TF32 is switched for the whole process, and restored when the last context is left.

    Raises:
        ConfigError: for an unknown precision, when called.
    """
    check_precision(name)
    return _computing_in(name, device)


@contextlib.contextmanager
def _computing_in(name: str, device: torch.device) -> tp.Iterator[None]:
    with contextlib.ExitStack() as stack:
        if name == "bf16":
            if device.type == "cpu":
                _warn_of_slow_bf16()
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if device.type == "cuda":
            stack.enter_context(_switched("all" if name == "tf32" else "none"))
        yield


def has_bf16_instructions() -> tp.Optional[bool]:
    """Whether the processor has instructions for bfloat16; None if the system does not say."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return not BF16_FLAGS.isdisjoint(flags[0]) if flags else None


@functools.lru_cache(maxsize=None)
def _warn_of_slow_bf16() -> None:
    """Log a warning, once per process, if bfloat16 is slow on this processor."""
    if has_bf16_instructions() is False:
        logger.warning("this processor has no instructions for bfloat16 (avx512_bf16 or amx_bf16): bf16 is several times "
                       "slower on it than float32")


def use_tf32(where: str) -> None:
    """Set where GPUs multiply float32 numbers in TF32, for the whole process: `where` is "none", "convolutions" (and
    LSTMs; torch's default), or "all" (matrix products, too)."""
    convolutions, products = TF32[where]
    _set(*("tf32" if use else "ieee" for use in (convolutions, convolutions, products)))


def _get() -> tp.Tuple[str, str, str]:
    """torch's precision settings for convolutions, LSTMs and matrix products. `allow_tf32` is not used: reading it
    raises an error once a program has set these."""
    cudnn = tp.cast(tp.Any, torch.backends.cudnn)
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def _set(convolutions: str, recurrent: str, products: str) -> None:
    cudnn = tp.cast(tp.Any, torch.backends.cudnn)
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = convolutions, recurrent
    torch.backends.cuda.matmul.fp32_precision = products


_lock = threading.Lock()
_inside: tp.List[str] = []        # settings of the contexts that are open
_before = ("", "", "")            # torch's settings before the first of them was entered


@contextlib.contextmanager
def _switched(where: str) -> tp.Iterator[None]:
    """Context with the TF32 setting of `use_tf32`. If several threads are inside, the last one that leaves restores the
    settings from before the first one entered."""
    global _before
    with _lock:
        if not _inside:
            _before = _get()
        _inside.append(where)
        use_tf32(where)
    try:
        yield
    finally:
        with _lock:
            _inside.remove(where)
            if _inside:
                use_tf32(_inside[-1])
            else:
                _set(*_before)
