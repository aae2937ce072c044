"""Writes quantisation.npz: five steps and a validation of published Demucs's solver for quantisation_cases.json.

Run it in the environment of published Demucs (`make oracle`): .published/bin/python tests/golden/make_quantisation.py
"""

import json

import numpy as np
import torch
from demucs import states, svd
from demucs.ema import ModelEMA
from demucs.hdemucs import HDemucs
from make_training import HERE, SOURCES, flat, solver_for
from omegaconf import OmegaConf


def layout(optimizer):
    """Group and number of values of every parameter, in the optimiser's order, and rate and decay of every group."""
    groups = optimizer.param_groups
    return (np.array([(index, p.numel()) for index, group in enumerate(groups) for p in group["params"]]),
            np.array([(group["lr"], group["weight_decay"]) for group in groups]))


def main():
    spec = json.loads((HERE / "quantisation_cases.json").read_text())
    arrays = {}
    for name, case in spec["cases"].items():
        torch.manual_seed(3)
        svd.penalty_rng.seed(0)
        model = HDemucs(SOURCES, **spec["model"])
        for key, parameter in model.named_parameters():
            if key.endswith(".scale"):
                parameter.data[:] = 0.5
        solver = solver_for(model, case)
        solver.args.quant = OmegaConf.create(case["quant"])
        solver.args.valid_apply = False
        solver.quantizer = states.get_quantizer(model, solver.args.quant, solver.optimizer)
        for key, parameter in model.named_parameters():
            if key.endswith("_diffq"):      # from 2.2 to 13 bits: noise that matters, and that differs
                parameter.data[:] = torch.linspace(*spec["bits"], len(parameter))
        solver.emas = {"batch": [ModelEMA(model, 0.9)], "epoch": [ModelEMA(model, 0.5)]}
        parameters = list(model.parameters())
        numbers = []
        model.train()
        for step in range(spec["steps"]):
            batch = torch.randn(spec["batch"], 4, 2, spec["length"], generator=torch.Generator().manual_seed(step))
            solver.loaders = {"train": [batch]}
            torch.manual_seed(1000 + step)     # of the noise
            losses = solver._run_one_epoch(step)
            numbers.append([losses[key] for key in ("loss", "reco", "ms", "grad")] + [losses.get("penalty", 0.)])
        arrays[name + "/numbers"] = np.array(numbers)
        arrays[name + "/weights"] = flat(parameters, spec["stride"])
        arrays[name + "/bits"] = flat([p for key, p in model.named_parameters() if key.endswith("_diffq")]
                                      or [torch.zeros(0)], 7)
        for kind in ("batch", "epoch"):
            state = solver.emas[kind][0].state
            arrays[f"{name}/ema_{kind}"] = flat([state[key] for key, _ in model.named_parameters()], spec["stride"])
        arrays[name + "/keys"] = np.array(list(model.state_dict()))
        arrays[name + "/layout"], arrays[name + "/groups"] = layout(solver.optimizer)

        sources = torch.randn(2, 4, 2, spec["length"], generator=torch.Generator().manual_seed(99))
        solver.loaders = {"valid": [torch.cat([sources.sum(1, keepdim=True), sources], dim=1)]}
        model.eval()
        validations = []
        with torch.no_grad():
            for context in (torch.no_grad, solver.emas["batch"][0].swap):
                with context():
                    losses = solver._run_one_epoch(0, train=False)
                validations.append([losses[key] for key in ("loss", "reco", "ms", "nsdr")])
        arrays[name + "/valid"] = np.array(validations)
        arrays[name + "/true_size"] = np.array(solver.quantizer.true_model_size())
        with solver.quantizer.enter_quantize():
            arrays[name + "/rounded"] = flat(parameters, spec["stride"])
    np.savez_compressed(HERE / "quantisation.npz", **arrays)


if __name__ == "__main__":
    main()
