"""Writes openunmix.npz: what the package openunmix 1.3.0 gives for openunmix_cases.py.

Run it in the environment of openunmix (`make oracle`):

    .openunmix/bin/python tests/golden/make_openunmix.py

Weights are seeded initial ones, so that only outputs are stored.
"""

import importlib.metadata
import math
from pathlib import Path

import numpy as np
import torch
from openunmix.model import OpenUnmix, Separator
from openunmix_cases import NETWORKS, SAMPLERATE, SETTINGS, STRIDE, magnitudes, mixture, randomise, separators

HERE = Path(__file__).resolve().parent


def network(channels, hidden_size, nfft, nhop, bandwidth, nb_layers=3, unidirectional=False):
    bins = nfft // 2 + 1
    cropped = sum(index * SAMPLERATE / nfft <= (bandwidth or math.inf) for index in range(bins))
    return OpenUnmix(nb_bins=bins, nb_channels=channels, hidden_size=hidden_size, nb_layers=nb_layers,
                     unidirectional=unidirectional, max_bin=cropped)


def main():
    arrays = {"versions": np.array([f"openunmix 1.3.0, torch {importlib.metadata.version('torch')}"])}
    for name, (settings, channels) in NETWORKS.items():
        torch.manual_seed(1)
        model = network(channels, **settings)
        state = model.state_dict()
        arrays[f"{name}/entries"] = np.array([f"{key} {tuple(value.shape)}" for key, value in state.items()])
        arrays[f"{name}/sums"] = np.array([value.double().sum().item() for value in state.values()])
        randomise(model, 2)
        x = magnitudes(3, channels, settings["nfft"] // 2 + 1)
        with torch.no_grad():
            for mode in ("eval", "train"):
                model.train(mode == "train")
                torch.manual_seed(4)                  # of the dropout
                arrays[f"{name}/{mode}"] = model(x.clone())[..., ::3, :].numpy()
        arrays[f"{name}/running_mean"] = model.bn3.running_mean.numpy()
    for seed, (targets, channels, settings, length, level) in enumerate(separators()):
        networks = {}
        for index, target in enumerate(targets):
            torch.manual_seed(10 * seed + index)
            networks[target] = network(channels, **SETTINGS)
            randomise(networks[target], 100 * seed + index)
        model = Separator(networks, n_fft=SETTINGS["nfft"], n_hop=SETTINGS["nhop"], nb_channels=channels,
                          sample_rate=SAMPLERATE, **settings).eval()
        with torch.no_grad():
            arrays[f"separator/{seed}"] = model(level * mixture(seed, 1, channels, length))[..., ::STRIDE].numpy()
    np.savez_compressed(HERE / "openunmix.npz", **arrays)


if __name__ == "__main__":
    main()
