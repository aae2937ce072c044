"""Writes openunmix_files/: folders as the training script of openunmix 1.3.0 leaves them, what its Separator gives for a
mixture with each, and the addresses of its published weights.

Run it in an environment with openunmix 1.3.0 and torch 2.11:

    .openunmix/bin/python tests/golden/make_openunmix_files.py

The networks are seeded and small. The training script itself does not run with torchaudio 2.11; the files are written by
the function that it calls (utils.save_checkpoint), and the JSON files have its entries.
"""

import hashlib
import importlib.metadata
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import openunmix
import torch
from openunmix import utils
from openunmix.model import OpenUnmix, Separator
from openunmix_cases import randomise
from openunmix_files_cases import FOLDERS, HOP, LENGTH, NETWORK, RATE, SETTINGS, STRIDE, mixture

HERE = Path(__file__).resolve().parent
ROOT = HERE / "openunmix_files"


def network(channels, layers, unidirectional, seed):
    torch.manual_seed(seed)
    model = OpenUnmix(nb_bins=NETWORK["nfft"] // 2 + 1, nb_channels=channels, hidden_size=NETWORK["hidden_size"],
                      nb_layers=layers, unidirectional=unidirectional,
                      max_bin=int(utils.bandwidth_to_max_bin(RATE, NETWORK["nfft"], NETWORK["bandwidth"])))
    randomise(model, seed)
    return model.eval()


def settings(target, channels, unidirectional):
    """Content of TARGET.json after five epochs."""
    args = {"target": target, "output": "open-unmix", "dataset": "musdb", "epochs": 1000, "batch_size": 16, "lr": 0.001,
            "patience": 140, "lr_decay_patience": 80, "lr_decay_gamma": 0.3, "weight_decay": 1e-05, "seed": 42, "seq_dur": 6.0,
            "unidirectional": unidirectional, "nhop": HOP, "nb_channels": channels, **NETWORK}
    return {"epochs_trained": 5, "args": args, "best_loss": 0.75, "best_epoch": 4, "num_bad_epochs": 1, "commit": "fb672c9",
            "train_loss_history": [1.5, 1.25, 1.0, 1.0, 0.875], "valid_loss_history": [1.25, 1.0, 0.875, 0.75, 0.8125],
            "train_time_history": [2.0, 2.0, 2.0, 2.0]}


def trained(folder, target, model, best=True):
    """The files of one target, with an optimiser and a scheduler in the checkpoint."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=80, cooldown=10)
    scheduler.step(0.75)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = {"epoch": 6, "state_dict": model.state_dict(), "best_loss": 0.75, "optimizer": optimizer.state_dict(),
             "scheduler": scheduler.state_dict()}
    utils.save_checkpoint(state, is_best=best, path=str(folder), target=target)


def folder_of(name, targets, channels, layers, unidirectional):
    folder = ROOT / name
    folder.mkdir(parents=True)
    models = {target: network(channels, layers, unidirectional, 10 * len(name) + index)
              for index, target in enumerate(targets)}
    for target, model in models.items():
        trained(folder, target, model, best=name != "unfinished")
        (folder / f"{target}.json").write_text(json.dumps(settings(target, channels, unidirectional), indent=4,
                                                          sort_keys=True))
        if name != "unfinished":
            (folder / f"{target}.chkpnt").unlink()
        if name in ("hashed", "mono"):
            named_by_hash(folder, target, "_" if name == "mono" else "-")
    conf = {"nfft": NETWORK["nfft"], "nhop": HOP, "sample_rate": float(RATE), "nb_channels": channels}
    (folder / "separator.json").write_text(json.dumps(conf, indent=4, sort_keys=True))
    return folder, models


def named_by_hash(folder, target, joint):
    """As the published files are named; and with the entries that files of openunmix 1.0 have besides the network."""
    path = folder / f"{target}.pth"
    state = torch.load(path, weights_only=True)
    window = torch.hann_window(NETWORK["nfft"])
    state.update({"stft.window": window, "transform.0.window": window, "sample_rate": torch.tensor(RATE)})
    torch.save(state, path, _use_new_zipfile_serialization=False)      # as torch wrote in 2019
    path.rename(folder / f"{target}{joint}{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")


def estimates(separator, channels, aggregate=None):
    separator.freeze()
    found = separator(mixture(channels)[None])
    found = separator.to_dict(found, None if aggregate is None else json.loads(aggregate))
    return {target: wav[0, :, ::STRIDE].numpy() for target, wav in found.items()}


def addresses():
    """{name: {target: URL}} of the published weights, which are not downloaded, and settings of the Separators."""
    found = {}
    for name in ("umx", "umxhq", "umxl", "umxse"):
        urls = []
        with mock.patch("torch.hub.load_state_dict_from_url", lambda url, **_: urls.append(url) or {}):
            separator = getattr(openunmix, name)()
        models = separator.target_models
        first = next(iter(models.values()))
        found[name] = {
            "urls": dict(zip(models, urls)), "samplerate": int(separator.sample_rate), "nfft": separator.stft.n_fft,
            "nhop": separator.stft.n_hop, "hidden_size": first.hidden_size, "bins": int(first.nb_bins),
            "channels": first.fc3.out_features // first.nb_output_bins,
            "parameters": sum(parameter.numel() for parameter in first.parameters())}
    return found


def main():
    shutil.rmtree(ROOT, ignore_errors=True)
    arrays = {"versions": np.array([f"openunmix 1.3.0, torch {importlib.metadata.version('torch')}"])}
    for name, (targets, channels, layers, unidirectional) in FOLDERS.items():
        folder, models = folder_of(name, targets, channels, layers, unidirectional)
        options = SETTINGS if name == "trained" else {"default": dict(niter=1)}
        for label, given in options.items():
            given = dict(given)
            chosen, aggregate = given.pop("targets", targets), given.pop("aggregate", None)
            softmask = given.pop("softmask", False)                 # not an option of its command
            if name == "trained":
                separator = utils.load_separator(model_str_or_path=str(folder), targets=chosen, **given)
                separator.softmask = softmask
            else:
                separator = Separator({target: models[target] for target in chosen}, n_fft=NETWORK["nfft"], n_hop=HOP,
                                      sample_rate=float(RATE), nb_channels=channels, **given)
            for target, wav in estimates(separator, channels, aggregate).items():
                arrays[f"{name}/{label}/{target}"] = wav
    np.savez_compressed(HERE / "openunmix_files.npz", **arrays)
    (HERE / "openunmix_published.json").write_text(json.dumps(addresses(), indent=1) + "\n")
    print(f"{LENGTH} samples, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
