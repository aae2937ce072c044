"""Number formats to separate in.

In "bf16", convolutions and matrix products are computed in bfloat16, which has the range of float32 and 8 bits of its
digits; weights, spectrograms, statistics of the input, LSTMs on a GPU and the sum of the branches stay float32.
Processors with instructions for it multiply about twice as fast. The error lies some 40 dB below the estimates.

In "tf32", NVIDIA GPUs from Ampere on multiply in TF32, which has the range of float32 and 10 bits of its digits. On other
devices it is float32. In "float32" they do not, though torch by itself does so in convolutions and LSTMs.
"""

import contextlib
import threading
import typing as tp

import torch

from ..errors import ConfigError, did_you_mean

PRECISIONS = ("float32", "bf16", "tf32")
TF32 = {"none": (False, False), "convolutions": (True, False), "all": (True, True)}    # (convolutions and LSTMs, products)


def check_precision(name: str) -> None:
    """Raises ConfigError where there is no such precision."""
    if name not in PRECISIONS:
        raise ConfigError(f"precision={name!r} is unknown; use one of {', '.join(PRECISIONS)}."
                          f"{did_you_mean(name, PRECISIONS)}")


def computing_in(name: str, device: torch.device) -> tp.ContextManager[tp.Any]:
    """A context in which models on `device` compute in a precision. It holds for the thread that enters it, but TF32 is
    switched for the whole process.

    Raises:
        ConfigError: for an unknown precision.
    """
    check_precision(name)
    return _computing_in(name, device)


@contextlib.contextmanager
def _computing_in(name: str, device: torch.device) -> tp.Iterator[None]:
    with contextlib.ExitStack() as stack:
        if name == "bf16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        if device.type == "cuda":
            stack.enter_context(_switched("all" if name == "tf32" else "none"))
        yield


def use_tf32(where: str) -> None:
    """From now on GPUs multiply in TF32 in "none", in "convolutions" and LSTMs (torch's own default), or in "all"."""
    convolutions, products = TF32[where]
    _set(*("tf32" if use else "ieee" for use in (convolutions, convolutions, products)))


def _get() -> tp.Tuple[str, str, str]:
    """torch's switches for convolutions, LSTMs and matrix products. Not `allow_tf32`: torch refuses to tell that once a
    program has used these."""
    cudnn = tp.cast(tp.Any, torch.backends.cudnn)
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def _set(convolutions: str, recurrent: str, products: str) -> None:
    cudnn = tp.cast(tp.Any, torch.backends.cudnn)
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = convolutions, recurrent
    torch.backends.cuda.matmul.fp32_precision = products


_lock = threading.Lock()
_inside: tp.List[str] = []        # what those want who are inside
_before = ("", "", "")            # what was set before the first of them


@contextlib.contextmanager
def _switched(where: str) -> tp.Iterator[None]:
    """TF32 as in `use_tf32`, then as before. Of several threads the last that leaves brings back what was before the first.
    """
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
