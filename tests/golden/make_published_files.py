"""Writes published/: model files as published Demucs 4.1.0 leaves them, and what it makes of a mixture with each.

Run it in the environment of published Demucs (`make oracle`): .published/bin/python tests/golden/make_published_files.py
"""

import json
import logging
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import diffq
import numpy as np
import torch
from dora.link import Link
from demucs import solver as published_solver
from demucs import states
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import save_file
from sharpen import sharpen

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "published"
SOURCES = ["drums", "vocals"]
STRIDE = 13      # of the stored samples
CONFIG = OmegaConf.create({"epochs": 360, "dset": {"sources": SOURCES, "wav": None}, "optim": {"lr": 3e-4}})
RUN = json.loads((HERE / "published_run.json").read_text())      # argument list of the run


def built(kind, *args, **kwargs):
    torch.manual_seed(5)
    model = kind(*args, **kwargs).eval()
    sharpen(model)
    return model


def mixture():
    return torch.randn(1, 2, 5000, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def answer(model):
    return model.eval()(mixture())[..., ::STRIDE].numpy()


def flattened(value, tensors, name):
    """The nested state of a quantised model as `demucs.hf._unflatten_state` reads it."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"_tensor": name}
    if isinstance(value, dict):
        return {"_dict": [[key, flattened(item, tensors, f"{name}/{key}")] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "_tuple" if isinstance(value, tuple) else "_list"
        return {kind: [flattened(item, tensors, f"{name}/{index}") for index, item in enumerate(value)]}
    return {"_class": f"{value.__module__}.{value.__name__}"} if isinstance(value, type) else value


def write_safetensors(package, path):
    klass, kwargs = package["klass"], dict(package["kwargs"])
    if isinstance(kwargs.get("segment"), Fraction):
        segment = kwargs["segment"]
        kwargs["segment"] = {"_type": "fraction", "numerator": segment.numerator, "denominator": segment.denominator}
    metadata = {"klass": f"{klass.__module__}.{klass.__name__}", "args": json.dumps(package["args"]),
                "kwargs": json.dumps(kwargs)}
    tensors = package["state"]
    if "__quantized" in tensors:
        tensors = {}
        metadata["structure"] = json.dumps(flattened(package["state"], tensors, "state"))
    save_file(tensors, path, metadata=metadata)


def models():
    """name -> (package, answer): the kinds of packages."""
    kinds = {
        "hdemucs": built(HDemucs, SOURCES, channels=4, depth=2, nfft=64, segment=2, dconv_lstm=1, dconv_attn=1,
                         dconv_comp=2),
        "demucs": built(Demucs, SOURCES, 2, 8, depth=2, dconv_lstm=1, dconv_attn=1, dconv_comp=2, samplerate=44100,
                        segment=2),
        "htdemucs": built(HTDemucs, sources=SOURCES, channels=4, depth=2, nfft=64, dconv_comp=2, bottom_channels=8,
                          t_heads=2, t_layers=2, t_hidden_scale=2., segment=Fraction(7, 45)),
    }
    found = {}
    for name, model in kinds.items():
        found[name] = states.serialize_model(model, CONFIG, half=False)
        found[f"{name}_half"] = states.serialize_model(model, CONFIG)
    # Demucs 3 stored the configuration as an object, and the name of a parameter that is no more.
    found["hdemucs_half"].update(training_args=CONFIG, metrics=({"loss": 0.25, "main": {"loss": 0.25}}, None))
    found["hdemucs_half"]["kwargs"] = {**found["hdemucs_half"]["kwargs"], "norm_fantasy": 3}
    diffq_model, qat_model = kinds["hdemucs"], built(HDemucs, SOURCES, channels=4, depth=2, nfft=64, segment=2)
    quantizer = diffq.DiffQuantizer(diffq_model, min_size=0.001, group_size=8)
    for part in quantizer._qparams:      # as training leaves it: a different number of bits in each group
        part.logit.data.normal_(generator=torch.Generator().manual_seed(len(part.logit)))
    found["hdemucs_diffq"] = states.serialize_model(diffq_model, CONFIG, quantizer)
    unpacked = dict(found["hdemucs_diffq"], state={**quantizer.get_quantized_state(packed=False), "__quantized": True})
    found["hdemucs_diffq_unpacked"] = unpacked
    found["hdemucs_qat"] = states.serialize_model(
        qat_model, CONFIG, diffq.UniformQuantizer(qat_model, bits=6, min_size=0.001))
    old = built(Demucs, SOURCES, channels=8, depth=2, dconv_mode=0, lstm_layers=1)
    found["demucs_old"] = states.serialize_model(old, CONFIG)
    found["demucs_old"]["state"] = {   # names of the class before Demucs 3
        ".".join([*key.split(".")[:2], "2", key.split(".")[3]]) if key.split(".")[2] == "3" else key: value
        for key, value in found["demucs_old"]["state"].items()}
    return found


def trained():
    """Two epochs of the published solver, in published/run."""
    with initialize_config_dir(str(HERE.parents[1] / "conf"), version_base="1.1"):
        args = compose("config", overrides=RUN)
    folder = FOLDER / "run"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    model = built(HDemucs, sources=SOURCES, audio_channels=2, samplerate=44100, segment=0.8,
                  **OmegaConf.to_container(args.hdemucs, resolve=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.optim.lr)
    draw = torch.Generator().manual_seed(7)
    stems = torch.randn(3, 2, 2, 4000, generator=draw)
    songs = torch.randn(2, 1, 2, 2, 6000, generator=draw)
    loaders = {"train": [stems[:2], stems[1:]], "valid": [torch.cat([song.sum(1, keepdim=True), song], 1)
                                                          for song in songs]}
    experiment = SimpleNamespace(folder=folder, link=Link(folder / "history.json"))
    scores = {"nsdr": np.float64(1.5), "sdr_drums": np.float64(-0.25)}
    with mock.patch.object(published_solver, "get_xp", lambda: experiment), \
            mock.patch.object(published_solver, "evaluate", lambda *_, **__: scores):
        published_solver.Solver(loaders, model, optimizer, args).train()


def main():
    logging.disable()
    FOLDER.mkdir(exist_ok=True)
    answers = {}
    for name, package in models().items():
        path = FOLDER / f"{name}.th"
        torch.save(package, path)
        answers[name] = answer(states.load_model(path))
        if name in ("hdemucs_half", "demucs_half", "htdemucs_half", "hdemucs_diffq"):
            twin = path.with_suffix(".safetensors")
            write_safetensors(package, twin)
            assert np.array_equal(answer(load_safetensors_model(twin)), answers[name])
        if name in ("demucs_half", "htdemucs_half"):    # hdemucs_half.th is there for all
            path.unlink()
    trained()
    answers["run"] = answer(states.load_model(FOLDER / "run" / "best.th"))
    np.savez_compressed(FOLDER / "answers.npz", **answers)


if __name__ == "__main__":
    main()
