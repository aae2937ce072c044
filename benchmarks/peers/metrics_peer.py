"""Measurement of scoring in a process of its own: seconds, peak memory and scores, by museval or by ours.

    python benchmarks/peers/metrics_peer.py museval|ours SECONDS ROUNDS OUTPUT.npz

It is called by bench_metrics.py for both, with the Python of our environment, which has museval. Both score the same
four stereo stems, ours with SDR alone and with all four measures; the best round of each counts. The last line is JSON;
memory is that of the whole process, including the signals.
"""

import json
import resource
import sys
import time

import numpy as np
import torch

RATE = 44100
METRICS = ("SDR", "ISR", "SIR", "SAR")


def signals(seconds: float) -> tuple:
    """References and estimates [4, 2, L] float32: noise of different spectra, and estimates with leakage and added
    noise."""
    draw = torch.Generator().manual_seed(0)
    shape = (4, 2, int(seconds * RATE))
    references = torch.randn(shape, generator=draw).mul_(0.1)
    for index, wav in enumerate(references):
        wav[..., 1:] += (0.6 - 0.3 * index) * wav[..., :-1].clone()     # from low-passed to high-passed
    estimates = torch.randn(shape, generator=draw).mul_(0.02)
    estimates += references
    for index in range(4):
        estimates[index] += 0.1 * references[index - 1]
    return references, estimates


def ours(references: torch.Tensor, estimates: torch.Tensor, rounds: int) -> dict:
    from demucs.metrics.bsseval import bss_eval
    measured: dict = {"sdr": [], "all": []}
    for _ in range(rounds):
        for name, measures in (("sdr", METRICS[:1]), ("all", METRICS)):
            begin = time.perf_counter()
            result = bss_eval(references, estimates, RATE, measures=measures)
            measured[name].append(time.perf_counter() - begin)
    return {**{name: min(several) for name, several in measured.items()}, "frames": result.frames}


def museval(references: torch.Tensor, estimates: torch.Tensor) -> dict:
    from museval import metrics
    if not hasattr(np.linalg, "linalg"):            # used by museval 0.4.1, removed in numpy 2.4
        np.linalg.linalg = np.linalg
    arrays = [wav.double().numpy().transpose(0, 2, 1) for wav in (references, estimates)]
    begin = time.perf_counter()
    values = metrics.bss_eval(*arrays, window=RATE, hop=RATE)
    return {"all": time.perf_counter() - begin, "frames": dict(zip(METRICS, values))}


def main() -> None:
    which, seconds, rounds, target = sys.argv[1:]
    song = signals(float(seconds))
    measured = museval(*song) if which == "museval" else ours(*song, int(rounds))
    np.savez(target, **measured.pop("frames"))
    print(json.dumps({**measured, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
