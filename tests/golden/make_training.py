"""Writes training.npz: five steps of published Demucs's solver for the cases in training_cases.json.

Run it in the environment of published Demucs (`make oracle`): .published/bin/python tests/golden/make_training.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from demucs import svd
from demucs.ema import ModelEMA
from demucs.hdemucs import HDemucs
from demucs.solver import Solver
from omegaconf import OmegaConf

HERE = Path(__file__).resolve().parent
SOURCES = ["drums", "bass", "other", "vocals"]


def solver_for(model, case):
    """The published solver without an experiment: only the attributes that `_run_one_epoch` uses."""
    args = OmegaConf.create({
        "max_batches": None, "misc": {"num_prints": 0}, "valid_apply": True, "debug": False, "flag": None,
        "weights": case["weights"], "quant": {"diffq": None, "qat": None}, "svd": case["svd"],
        "optim": {key: case[key] for key in ("loss", "optim", "lr", "momentum", "beta2", "weight_decay", "clip_grad")}})
    solver = Solver.__new__(Solver)
    solver.args = args
    solver.model = solver.dmodel = model
    # demucs.train needs a configuration folder that its package lacks; for this model it builds just this.
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[case["optim"]]
    solver.optimizer = kind([{"params": list(model.parameters())}], lr=case["lr"],
                            betas=(case["momentum"], case["beta2"]), weight_decay=case["weight_decay"])
    solver.quantizer = None
    solver.device = "cpu"
    solver.augment = torch.nn.Identity()
    solver.emas = {"batch": [ModelEMA(model, 0.9)], "epoch": [ModelEMA(model, 0.5)]}
    return solver


def flat(tensors, stride):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])[::stride].numpy().copy()


def main():
    spec = json.loads((HERE / "training_cases.json").read_text())
    arrays = {}
    for name, case in spec["cases"].items():
        torch.manual_seed(3)
        svd.penalty_rng.seed(0)
        model = HDemucs(SOURCES, **spec["model"])
        for key, parameter in model.named_parameters():
            if key.endswith(".scale"):
                parameter.data[:] = 0.5
        solver = solver_for(model, case)
        parameters = list(model.parameters())
        gradients = []
        solver.optimizer.register_step_pre_hook(
            lambda *_: gradients.append(flat([p.grad for p in parameters], spec["stride"])))
        numbers = []
        model.train()
        for step in range(spec["steps"]):
            batch = torch.randn(spec["batch"], 4, 2, spec["length"], generator=torch.Generator().manual_seed(step))
            solver.loaders = {"train": [batch]}
            torch.manual_seed(1000 + step)     # of the randomised SVD
            losses = solver._run_one_epoch(step)
            numbers.append([losses[key] for key in ("loss", "reco", "grad", "reco_drums", "reco_vocals")]
                           + [losses.get("penalty", 0.)])
        arrays[name + "/numbers"] = np.array(numbers)
        arrays[name + "/gradients"] = np.stack(gradients)
        arrays[name + "/weights"] = flat(parameters, spec["stride"])
        for kind in ("batch", "epoch"):
            state = solver.emas[kind][0].state
            arrays[f"{name}/ema_{kind}"] = flat([state[key] for key, _ in model.named_parameters()], spec["stride"])
        arrays[name + "/exact_penalty"] = np.array(float(svd.svd_penalty(
            model, exact=True, **{k: v for k, v in case["svd"].items() if k != "penalty"})))
    np.savez_compressed(HERE / "training.npz", **arrays)


if __name__ == "__main__":
    main()
