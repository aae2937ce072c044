"""Writes cli/: two small packages and a bag by published Demucs 4.1.0, compressed songs, and in cli.npz what its
command line makes of the calls in cli_cases.py.

Run it in the environment of published Demucs (`make oracle`), with ffmpeg: .oracle/bin/python tests/golden/make_cli.py
"""

import contextlib
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from cli_cases import BAG, CASES, COMPRESSED, OTHER, SINGLE, music, outputs, write_songs
from demucs.hdemucs import HDemucs
from demucs.separate import main as separate
from demucs.states import save_with_checksum, serialize_model
from omegaconf import OmegaConf
from sharpen import sharpen

FOLDER = Path(__file__).resolve().parent / "cli"


def packages():
    for seed, name in enumerate((SINGLE, OTHER)):
        torch.manual_seed(seed)
        model = HDemucs(["drums", "vocals"], channels=4, depth=2, nfft=64, samplerate=8000, segment=0.5)
        sharpen(model)
        for layer in (model.decoder[-1], model.tdecoder[-1]):      # loud enough to clip
            layer.conv_tr.weight.data *= 30
        save_with_checksum(serialize_model(model, OmegaConf.create({})), FOLDER / f"{name}.th")
    (FOLDER / f"{BAG}.yaml").write_text(f"models: ['{SINGLE}', '{OTHER}']\nweights: [[1., 0.25], [3., 1.]]\n")


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
