"""Separation and training steps of a variant of HTDemucs in a persistent process, by its author's code or by ours.

    PYTHON benchmarks/peers/variants_peer.py ours|published

It is called by bench_variants.py. "published" is the package `demucs` of github.com/piusssss/demucs_learn, from the bare
clone in DEMUCS_LEARN. Each line of standard input is a request in JSON, which is answered by one line. Both sides draw
the same weights from the names of the parameters, and the same batches.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "golden"))
from variants_cases import CASES, SOURCES, fill

RATE, SEGMENT, LR = 44100, 10, 3e-4


class Published:
    """Model, separation and step of the author's code."""

    def __init__(self, variant: str, stack: contextlib.ExitStack):
        from make_variants import imported
        module = stack.enter_context(imported(os.environ["DEMUCS_LEARN"], variant))
        with contextlib.redirect_stdout(io.StringIO()):
            self.model = getattr(module, f"HTDemucs_{CASES[variant][1]}")(SOURCES, segment=SEGMENT)
        from demucs.apply import apply_model
        self.separate = lambda mix: apply_model(self.model, mix, shifts=0)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        self.after_step = lambda: None               # its forward pass updates the moving averages


class Ours:
    """Model, separation and step of this project."""

    def __init__(self, variant: str, stack: contextlib.ExitStack):
        from demucs.models import zoo
        from demucs.separation.apply import separate
        from demucs.training.optim import build_optimizer
        self.model = zoo.build(f"htdemucs_{variant}", sources=SOURCES, audio_channels=2, samplerate=RATE,
                               segment=SEGMENT, as_published=True)
        self.separate = lambda mix: separate(self.model, mix, shifts=0)
        self.optimizer = build_optimizer(self.model, kind="adam", lr=LR, momentum=0.9, beta2=0.999, weight_decay=0)
        self.after_step = self.model.after_step


def batch_of(step: int, batch: int, seconds: float) -> torch.Tensor:
    """Sources [B, S, A, L] of step `step`."""
    draw = torch.Generator().manual_seed(step)
    return 0.1 * torch.randn(batch, len(SOURCES), 2, int(seconds * RATE), generator=draw)


def train(side, *, step: int, batch: int, seconds: float) -> dict:
    """Seconds and loss of a step: forward pass, L1 loss, backward pass, Adam."""
    sources = batch_of(step, batch, seconds)
    side.model.train()
    begin = time.perf_counter()
    loss = torch.nn.functional.l1_loss(side.model(sources.sum(1)), sources)
    loss.backward()
    side.optimizer.step()
    side.optimizer.zero_grad()
    side.after_step()
    return {"seconds": time.perf_counter() - begin, "loss": loss.item()}


def separate(side, *, source: str, target: str) -> dict:
    """Seconds and peak memory of a separation of the song in `source` to `target`."""
    mix = torch.from_numpy(np.load(source))[None]
    begin = time.perf_counter()
    with torch.no_grad():
        estimates = side.separate(mix)
    seconds = time.perf_counter() - begin
    np.save(target, estimates[0].numpy())
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    side = None
    with contextlib.ExitStack() as stack:
        for line in sys.stdin:
            request = json.loads(line)
            task = request.pop("do")
            if task == "build":
                side = {"published": Published, "ours": Ours}[sys.argv[1]](request["variant"], stack)
                fill(side.model)
                side.model.eval()
                answer = {"torch": torch.__version__, "threads": torch.get_num_threads(),
                          "parameters": sum(parameter.numel() for parameter in side.model.parameters())}
            else:
                answer = {"train": train, "separate": separate}[task](side, **request)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
