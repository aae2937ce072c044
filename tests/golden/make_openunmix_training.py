"""Writes openunmix_training.npz: five training steps of the package openunmix 1.3.0 for openunmix_training_cases.json.

Run it in an environment with openunmix 1.3.0 and torch 2.11:

    .openunmix/bin/python tests/golden/make_openunmix_training.py

Network, spectrograms and bandwidth are openunmix's own; loss and optimiser are those of its training script. Dropout is
switched off, since its masks are random. Weights are seeded initial ones.
"""

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
from openunmix.model import OpenUnmix
from openunmix.transforms import ComplexNorm, make_filterbanks
from openunmix.utils import bandwidth_to_max_bin

HERE = Path(__file__).resolve().parent


def statistics(bins):
    """Mean and standard deviation of an input scaler."""
    chance = np.random.default_rng(5)
    return chance.uniform(0.5, 3, bins), chance.uniform(0.5, 3, bins)


def batch(step, spec, channels):
    """Sources [B, 2, A, L], of which the second one is the target: noise whose level varies over time."""
    draw = torch.Generator().manual_seed(step)
    shape = spec["batch"], 2, channels
    level = torch.rand(*shape, spec["length"] // 1000, generator=draw).repeat_interleave(1000, dim=-1)
    return level * torch.randn(*shape, spec["length"], generator=draw)


def flat(tensors, stride):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])[::stride].numpy().copy()


def main():
    spec = json.loads((HERE / "openunmix_training_cases.json").read_text())
    arrays = {"versions": np.array(["openunmix 1.3.0", f"torch {importlib.metadata.version('torch')}"])}
    for name, case in spec["cases"].items():
        bins = case["nfft"] // 2 + 1
        mean, std = statistics(bins)
        stft, _ = make_filterbanks(n_fft=case["nfft"], n_hop=case["nhop"], sample_rate=spec["samplerate"])
        encoder = torch.nn.Sequential(stft, ComplexNorm(mono=case["channels"] == 1))
        most = bins
        if case["bandwidth"]:
            most = int(bandwidth_to_max_bin(spec["samplerate"], case["nfft"], case["bandwidth"]))
        torch.manual_seed(3)
        model = OpenUnmix(nb_bins=bins, nb_channels=case["channels"], hidden_size=case["hidden_size"],
                          nb_layers=case["nb_layers"], unidirectional=case["unidirectional"], max_bin=most,
                          input_mean=mean, input_scale=std)
        model.lstm.dropout = 0
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=spec["lr"], weight_decay=spec["weight_decay"])
        losses, gradients = [], []
        for step in range(spec["steps"]):
            sources = batch(step, spec, case["channels"])
            x, y = encoder(sources.sum(1)), encoder(sources[:, 1].contiguous())
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            losses.append(loss.item())
            gradients.append(flat([parameter.grad for parameter in model.parameters()], spec["stride"]))
            optimizer.step()
        arrays[f"{name}/losses"] = np.array(losses)
        arrays[f"{name}/gradients"] = np.stack(gradients)
        arrays.update({f"{name}/state/{key}": value.numpy() for key, value in model.state_dict().items()})
    np.savez_compressed(HERE / "openunmix_training.npz", **arrays)


if __name__ == "__main__":
    main()
