"""Training steps and validation passes of HDemucs in a persistent process, by the solver of published Demucs or our
stages.

    PYTHON benchmarks/peers/training_peer.py published|ours

It is called by bench_training.py, bench_validation.py and bench_checkpoint.py. Each line of standard input is a request
in JSON, which is answered by one line. Both sides build the model from the same seed, set its layer scales to 0.5, so
that every part of the model affects the output, and draw the same batches and the same directions for the randomised
SVD.
"""

import contextlib
import json
import sys
import time
from unittest import mock

from pathlib import Path

import numpy as np
import torch

SOURCES = ["drums", "bass", "other", "vocals"]
RATE = 44100
LR, BETAS, EMA_DECAYS = 3e-4, (0.9, 0.9998), (0.9995, 0.9999)


def batch_of(step: int, batch: int, seconds: float) -> torch.Tensor:
    """Sources [B, S, A, L] of step `step`: noise with a slowly varying level."""
    draw = torch.Generator().manual_seed(step)
    length = int(seconds * RATE)
    level = torch.rand(batch, 4, 2, 1 + length // 4410, generator=draw).repeat_interleave(4410, dim=-1)[..., :length]
    return level * torch.randn(batch, 4, 2, length, generator=draw)


class Published:
    """Solver of published Demucs without an experiment, with only the attributes that `_run_one_epoch` uses."""

    def __init__(self, settings: dict, svd: dict, segment: float):
        from demucs.ema import ModelEMA
        from demucs.hdemucs import HDemucs
        from demucs.solver import Solver
        from omegaconf import OmegaConf
        self.model = HDemucs(SOURCES, samplerate=RATE, segment=segment, **settings)
        self.solver = Solver.__new__(Solver)
        self.solver.args = OmegaConf.create({
            "max_batches": None, "misc": {"num_prints": 0}, "valid_apply": True, "debug": False, "flag": None,
            "weights": [1., 1., 1., 1.], "quant": {"diffq": None, "qat": None}, "svd": svd,
            "optim": {"loss": "l1", "clip_grad": 0}, "test": {"split": True}, "save_every": None})
        self.solver.model = self.solver.dmodel = self.model
        self.solver.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, betas=BETAS)
        self.solver.quantizer = None
        self.solver.device = "cpu"
        self.solver.augment = torch.nn.Identity()
        self.solver.emas = {"batch": [ModelEMA(self.model, decay) for decay in EMA_DECAYS], "epoch": []}

    def step(self, sources: torch.Tensor, step: int) -> dict:
        self.solver.loaders = {"train": [sources]}
        torch.manual_seed(step)
        return self.solver._run_one_epoch(0)

    @torch.no_grad()
    def validate(self, tracks: torch.Tensor) -> dict:
        from demucs.apply import random
        self.model.eval()
        self.solver.loaders = {"valid": [tracks]}
        # The shift trick draws a random delay: here it is the middle of the range, for both sides.
        with mock.patch.object(random, "randint", lambda low, high: (low + high) // 2):
            return self.solver._run_one_epoch(0, train=False)

    def save(self, folder: Path) -> dict:
        """Seconds until training can continue ("stalled"), and until the file is complete ("written")."""
        self._with_best(folder)
        begin = time.perf_counter()
        self.solver._serialize(0)
        seconds = time.perf_counter() - begin
        return {"stalled": seconds, "written": seconds}

    def restore(self, folder: Path) -> None:
        import demucs.solver         # the imports of `demucs.train`, whose configuration is not in the package
        import demucs.wav
        import dora
        import hydra
        self._with_best(folder)
        self.solver._reset()

    def _with_best(self, folder: Path) -> None:
        from demucs.ema import ModelEMA
        from demucs.states import copy_state
        solver = self.solver
        solver.checkpoint_file, solver.folder = folder / "checkpoint.th", folder
        solver.history, solver.best_changed = [], False
        solver.best_state = copy_state(self.model.state_dict())
        solver.emas["epoch"] = [ModelEMA(self.model, decay, device="cpu") for decay in EMA_DECAYS]


class Ours:
    """Our training and validation stages, without an experiment and data."""

    def __init__(self, settings: dict, svd: dict, segment: float):
        from demucs.separation import plan
        from demucs.data.targets import Targets
        from demucs.models import zoo
        from demucs.training import stages, validation
        from demucs.training.distributed import Group
        from demucs.training.ema import ModelEMA
        from demucs.training.objectives import WaveformObjective
        from demucs.training.optim import build_optimizer
        from demucs.training.svd import SvdSettings
        self.model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=segment,
                               **settings)
        self.stages, self.validation, self.plan = stages, validation, plan
        self.group = Group(0, 1, torch.device("cpu"))
        self.learnt = {"objective": WaveformObjective("l1", SOURCES, [1., 1., 1., 1.]), "targets": Targets(SOURCES)}
        optimizer = build_optimizer(self.model, kind="adam", lr=LR, momentum=BETAS[0], beta2=BETAS[1], weight_decay=0)
        self.train = stages.TrainStage(
            model=self.model, wrapped=self.model, optimizer=optimizer, loader=None, sampler=None, augment=None,
            averages=[ModelEMA(self.model, decay, device="cpu") for decay in EMA_DECAYS], group=self.group, seed=0,
            **self.learnt, svd=SvdSettings(**svd), clip_grad=0, prints=0,
            track_name=str)

    def step(self, sources: torch.Tensor, step: int) -> dict:
        @contextlib.contextmanager
        def seeded_as_published(*_, **__):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(step)
                yield
        with mock.patch.object(self.stages, "seeded_torch", seeded_as_published):
            return self.train.step(sources, epoch=0, step=step, names=[])

    def validate(self, tracks: torch.Tensor) -> dict:
        stage = self.validation.ValidStage(
            model=self.model, loader=[tracks], group=self.group, seed=0, **self.learnt,
            apply=True, split=True, max_batches=None, prints=0)
        with mock.patch.object(self.plan, "shift_leads", lambda *_: [RATE // 2 - RATE // 2 // 2]):
            return stage.run(0, "main")

    def save(self, folder: Path) -> dict:
        """Seconds until training can continue ("stalled"), and until the file is complete ("written")."""
        from demucs.training.state import random_states
        registry, checkpoints = self._registry(folder)
        begin = time.perf_counter()
        checkpoints.save({**registry.collect(), "random_states": [random_states()]})
        stalled = time.perf_counter() - begin
        checkpoints.wait()
        return {"stalled": stalled, "written": time.perf_counter() - begin}

    def step_beside_writing(self, folder: Path, sources: torch.Tensor, step: int) -> dict:
        registry, checkpoints = self._registry(folder)
        checkpoints.save(registry.collect())
        answer = timed(self.step, sources, step)
        checkpoints.wait()
        return answer

    def restore(self, folder: Path) -> None:
        import demucs.train          # the imports of a training process
        registry, checkpoints = self._registry(folder)
        package, path = checkpoints.read()
        registry.restore(package, str(path))

    def _registry(self, folder: Path) -> tuple:
        """State registry and checkpoints of a training, as in the solver."""
        from demucs.training.checkpoints import Checkpoints
        from demucs.training.ema import ModelEMA, copy_state
        from demucs.training.state import StateRegistry
        registry = StateRegistry()
        registry.add_object("state", self.model)
        registry.add_object("optimizer", self.train.optimizer)
        best = copy_state(self.model.state_dict())
        registry.add("best_state", lambda: best, best.update)
        epochs = [ModelEMA(self.model, decay, device="cpu") for decay in EMA_DECAYS]
        for kind, averages in (("batch", self.train.averages), ("epoch", epochs)):
            for index, average in enumerate(averages):
                registry.add_object(f"ema_{kind}_{index}", average)
        return registry, Checkpoints(folder)


def build(which: str, model: dict, svd: dict, segment: float):
    torch.manual_seed(0)
    side = {"published": Published, "ours": Ours}[which](model, svd, segment)
    for name, parameter in side.model.named_parameters():
        if name.endswith(".scale"):
            parameter.data.fill_(0.5)
    return side


def timed(function, *args) -> dict:
    """{"seconds": float, "metrics": {name: float}} of a call that gives metrics."""
    begin = time.perf_counter()
    metrics = function(*args)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "metrics": {key: float(value) for key, value in metrics.items()}}


def main() -> None:
    which, side = sys.argv[1], None
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("do")
        if task == "build":
            side = build(which, **request)
            answer = {"torch": torch.__version__, "threads": torch.get_num_threads(),
                      "parameters": sum(parameter.numel() for parameter in side.model.parameters())}
        elif task == "train":
            side.model.train()
            answer = timed(side.step, batch_of(request["step"], request["batch"], request["seconds"]), request["step"])
        elif task == "validate":
            sources = batch_of(0, 1, request["seconds"])
            answer = timed(side.validate, torch.cat([sources.sum(dim=1, keepdim=True), sources], dim=1))
        elif task == "train beside":
            answer = side.step_beside_writing(Path(request["folder"]), batch_of(0, 1, request["seconds"]), 0)
        elif task == "checkpoint":
            answer = side.save(Path(request["folder"]))
        elif task == "restore":
            answer = side.restore(Path(request["folder"])) or {}
        else:
            np.savez(request["path"], **{name: value.detach().numpy() for name, value in side.model.named_parameters()})
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
