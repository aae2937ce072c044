"""Writes cli/: small packages and bags by published Demucs 4.1.0, compressed songs, in cli.npz what its command line
makes of the calls in cli_cases.py, and in callbacks.json what its Separator tells a callback.

Run it in the environment of published Demucs (`make oracle`), with ffmpeg: .published/bin/python tests/golden/make_cli.py
"""

import contextlib
import json
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from cli_cases import BAGS, CASES, COMPRESSED, OTHER, RATE, SINGLE, TRANSFORMER, music, outputs, write_songs
from demucs.api import Separator
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.separate import main as separate
from demucs.states import save_with_checksum, serialize_model
from omegaconf import OmegaConf
from sharpen import sharpen

FOLDER = Path(__file__).resolve().parent / "cli"


def packages():
    common = {"channels": 4, "depth": 2, "nfft": 64, "samplerate": 8000, "segment": 0.5}
    for seed, (name, kind, settings) in enumerate((
            (SINGLE, HDemucs, {}), (OTHER, HDemucs, {}),
            (TRANSFORMER, HTDemucs, {"dconv_comp": 4, "bottom_channels": 8, "t_layers": 2, "t_heads": 2,
                                     "segment": Fraction(1, 2)}))):
        torch.manual_seed(seed)
        model = kind(["drums", "vocals"], **{**common, **settings})
        sharpen(model)
        for layer in (model.decoder[-1], model.tdecoder[-1]):      # loud enough to clip
            layer.conv_tr.weight.data *= 30
        save_with_checksum(serialize_model(model, OmegaConf.create({})), FOLDER / f"{name}.th")
    for name, content in BAGS.items():
        (FOLDER / f"{name}.yaml").write_text(content)


def callbacks():
    seen = {}
    for name in (SINGLE, "pair"):
        seen[name] = []
        separator = Separator(name, FOLDER, "cpu", shifts=0, callback=seen[name].append, callback_arg={"of": name})
        separator.separate_tensor(torch.from_numpy(music(RATE, 0.9, 2).T.copy()).float())
    (FOLDER / "callbacks.json").write_text(json.dumps(seen) + "\n")


def compressed_songs():
    for name in COMPRESSED:
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "f32le", "-ar", "48000", "-ac", "2", "-i", "pipe:0",
                   "-b:a", "64k", FOLDER / name]
        subprocess.run(command, input=music(48000, 0.6, 2).astype("<f4").tobytes(), check=True)


def main():
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    packages()
    compressed_songs()
    callbacks()
    golden = {}
    for name, (files, options) in CASES.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write_songs(Path(folder))
            for song in COMPRESSED:
                Path(song).write_bytes((FOLDER / song).read_bytes())
            separate(["--repo", str(FOLDER), "-n", SINGLE, "-d", "cpu", "--shifts", "0", *options, *files])
            made = Path("else where" if "-o" in options else "separated")
            golden.update({f"{name}:{path}": samples for path, samples in outputs(made).items()})
    np.savez_compressed(FOLDER / "cli.npz", **golden)


if __name__ == "__main__":
    main()
