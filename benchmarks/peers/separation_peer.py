"""Measurement of a separation in a process of its own: seconds and peak memory, by published Demucs or by ours.

    PYTHON benchmarks/peers/separation_peer.py published|ours hdemucs|htdemucs float32|bf16 INPUT.npy OUTPUT.npy

It is called by bench_separation.py, with the Python of that side. Both build the model with its
default arguments from the same seed and set the layer scales to 0.5, so that every part of the model affects the
output. The last line is JSON.
"""

import json
import resource
import sys
import time

import numpy as np
import torch

SOURCES = ["drums", "bass", "other", "vocals"]


def build(which: str, name: str, precision: str) -> tuple:
    """The model, and a function from (model, mixture [1, A, L]) to estimates [1, S, A, L]."""
    torch.manual_seed(0)
    if which == "published":
        assert precision == "float32", "published Demucs knows no other"
        from demucs.apply import apply_model
        from demucs.hdemucs import HDemucs
        from demucs.htdemucs import HTDemucs
        model = {"hdemucs": HDemucs, "htdemucs": HTDemucs}[name](SOURCES)
        return model, lambda model, mix: apply_model(model, mix, shifts=0)
    from demucs.separation.apply import separate
    from demucs.models import zoo
    model = zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=44100,
                      segment={"hdemucs": 40., "htdemucs": 10.}[name])
    return model, lambda model, mix: separate(model, mix, shifts=0, precision=precision)


def main() -> None:
    which, name, precision, source, target = sys.argv[1:]
    model, separate = build(which, name, precision)
    raised = 0
    for key, parameter in model.named_parameters():
        if key.endswith(".scale"):
            parameter.data.fill_(0.5)
            raised += 1
    mix = torch.from_numpy(np.load(source))[None]
    begin = time.perf_counter()
    estimates = separate(model.eval(), mix)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(target, estimates[0].numpy())
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "torch": torch.__version__,
                      "threads": torch.get_num_threads(), "raised_scales": raised}))


if __name__ == "__main__":
    main()
