"""Time of the parts that have an implementation of their own for CPUs, compared with the usual one.

    python benchmarks/bench_layers.py [--rounds 3] [--seconds 40 7.8]

Both are our code, or torch's and scipy's where the name says so, on the same input in one process, at the shapes of
HDemucs and HTDemucs. They take turns in alternating order, after one call of each as a warm-up; the best round counts.
The last line is JSON; its error is the largest difference of the results.
"""

import argparse
import contextlib
import json
import sys
import time
import typing as tp
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy import ndimage

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import SIDES, in_turns
from demucs.dsp import spectral
from demucs.layers import attention, transformer
from demucs.layers.cpu import piecewise, toeplitz
from demucs.metrics.quality import percussive
from demucs.models import zoo
from demucs.schema import SOURCES

RATE, N_FFT = 44100, 4096
Function = tp.Callable[[], torch.Tensor]
Case = tp.Tuple[str, Function, Function]          # name of the row, ours, the peer


def usual(module: tp.Any) -> tp.ContextManager[tp.Any]:
    """Context in which `module` uses the implementation for other devices and for training."""
    return mock.patch.object(module, "eager_on_cpu", lambda x, **_: False)


def within(make: tp.Callable[[], tp.ContextManager[tp.Any]], function: Function) -> Function:
    """Function that calls `function` in the context that `make()` returns."""
    def call() -> torch.Tensor:
        with make():
            return function()
    return call


@contextlib.contextmanager
def one_thread() -> tp.Iterator[None]:
    """Context in which torch computes in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def models(seconds: tp.Sequence[float]) -> tp.Iterator[Case]:
    """Cases for whole models: HDemucs and HTDemucs on one segment of `seconds` (one number each)."""
    for (name, title), length in zip({"hdemucs": "HDemucs", "htdemucs": "HTDemucs"}.items(), seconds):
        model = zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=RATE, segment=length).eval()
        mix = torch.randn(1, 2, int(length * RATE))

        def forward(model: torch.nn.Module = model, mix: torch.Tensor = mix) -> torch.Tensor:
            return model(mix)
        where = f"{title}, segment of {length:g} s"
        yield f"{where}: encoders and decoders in pieces, beside whole ones", forward, \
            within(lambda: usual(piecewise), forward)
        yield f"{where}, one thread: 1x1 convolutions as dilated ones, beside usual ones", within(one_thread, forward), \
            within(one_thread, within(lambda: mock.patch.object(piecewise, "DILATED", 1), forward))


def parts(seconds: float) -> tp.Iterator[Case]:
    """Cases for single layers and transforms, at the shapes of `seconds` of a song."""
    frames = int(seconds * RATE / (N_FFT // 4))
    local, x = attention.LocalAttention(192), torch.randn(1, 192, frames)
    yield f"local attention over {frames} steps: blocks of queries, beside all at once", lambda: local(x), \
        within(lambda: usual(attention), lambda: local(x))
    z = torch.randn(8, N_FFT // 2 + 1, frames, dtype=torch.complex64)
    z[:, [0, -1]] = z[:, [0, -1]].real.to(z.dtype)

    def inverse() -> torch.Tensor:
        return spectral.istft(z, hop=N_FFT // 4, length=(frames - 1) * N_FFT // 4)

    def inverse_by_torch() -> torch.Tensor:
        return torch.istft(z, N_FFT, N_FFT // 4, window=torch.hann_window(N_FFT), normalized=True,
                           length=(frames - 1) * N_FFT // 4)

    def gradient(function: Function) -> torch.Tensor:
        with torch.enable_grad():
            z.requires_grad_()
            x = function()
            found, = torch.autograd.grad(x, z, x.detach())
        z.requires_grad_(False)
        return found
    yield f"inverse STFT of 8 channels of {frames} frames, beside torch.istft", inverse, inverse_by_torch
    yield f"inverse STFT of 8 channels of {frames} frames and its gradient, beside torch.istft", \
        lambda: gradient(inverse), lambda: gradient(inverse_by_torch)
    ours = transformer.DenseAttention(384, 8, batch_first=True).eval()
    peer = torch.nn.MultiheadAttention(384, 8, batch_first=True).eval()
    peer.load_state_dict(ours.state_dict())
    tokens, others = torch.randn(1, 8 * 336, 384), torch.randn(1, 1344, 384)
    for name, memory in (("self", tokens), ("cross", others)):
        def attend(memory: torch.Tensor = memory) -> torch.Tensor:
            return ours(tokens, memory)

        def attend_by_torch(memory: torch.Tensor = memory) -> torch.Tensor:
            return peer(tokens, memory, memory, need_weights=False)[0]
        yield f"{name}-attention from {tokens.shape[1]} to {memory.shape[1]} tokens, beside torch's", attend, \
            attend_by_torch
    samples = int(seconds * RATE)
    conv, planes = torch.nn.Conv2d(8, 8, (3, 129), padding=(0, 64), groups=4), torch.randn(1, 8, 3, samples)

    def fuse() -> torch.Tensor:
        return toeplitz.convolved(conv, planes)
    yield f"fusion of 3 resolutions of {seconds:g} s by a convolution: Toeplitz matrices, beside torch's", fuse, \
        within(lambda: usual(toeplitz), fuse)

    def trained() -> torch.Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(fuse().square().mean(), conv.weight)[0]
    yield "gradient of the same, beside torch's", trained, within(lambda: usual(toeplitz), trained)
    magnitude = np.random.default_rng(0).random((1025, 500), dtype=np.float32)

    def median(array: np.ndarray, size: int) -> np.ndarray:
        return ndimage.median_filter(array, size=(1, size), mode="reflect")

    def masks() -> torch.Tensor:
        return torch.from_numpy(percussive.masks(magnitude)[0])
    yield "median filters of a spectrogram of 500 frames in one dimension, beside scipy's in two", masks, \
        within(lambda: mock.patch.object(percussive, "_median", median), masks)


def compare(case: Case, rounds: int) -> tp.Dict[str, tp.Any]:
    """Result of a case, the best of `rounds` rounds of each side, as a dictionary for `run.Result`."""
    name, *functions = case
    call = dict(zip(SIDES, functions))
    results = {side: function() for side, function in call.items()}
    seconds: tp.Dict[str, tp.List[float]] = {side: [] for side in SIDES}
    for _, side in in_turns(rounds):
        begin = time.perf_counter()
        call[side]()
        seconds[side].append(time.perf_counter() - begin)
    ours, peer = (min(seconds[side]) for side in SIDES)
    error = float((results[SIDES[0]] - results[SIDES[1]]).abs().max())
    print(f"{name}: {ours:.4f} s, {peer:.4f} s, {peer / ours:.2f} times less, largest difference {error:.1e}", flush=True)
    return {"name": name, "ours": ours, "peer": peer, "ratio": peer / ours, "error": error, "unit": "s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="by each side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, nargs=2, default=(40., 7.8), metavar=("HDEMUCS", "HTDEMUCS"),
                        help="segments of both models (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    with torch.no_grad():
        results = [compare(case, args.rounds) for cases in (models(args.seconds), parts(args.seconds[0]))
                   for case in cases]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
