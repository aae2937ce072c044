"""Small datasets in the layouts of Open-Unmix, the settings that name their files, and the examples made of them."""

import numpy as np
import soundfile
import torch
from data.songs import noise, write

from demucs.data import kinds
from demucs.data.build import build_policy, kind_sets
from demucs.data.kinds import KindSettings
from demucs.data.kinds.file_names import FileNames, sources

RATE = 8000
NAMES = {"aligned": ["dset.files.input=mixture.wav", "dset.files.output=vocals.wav"],
         "sourcefolder": ["dset.files.target=vocals", "dset.files.interferers=[drums,bass]"],
         "trackfolder_fix": ["dset.files.target=vocals.wav", "dset.files.interferers=[drums.wav,bass.wav]"],
         "trackfolder_var": ["dset.files.target=vocals.wav"]}


def aligned(folder, seed, seconds=2.):
    vocals, noises = noise(seed, seconds), noise(seed + 1000, seconds)
    write(folder / "vocals.wav", vocals, subtype="PCM_16")
    write(folder / "mixture.wav", vocals + noises, subtype="PCM_16")


def fixed(folder, seed, seconds=2.):
    for number, source in enumerate(("vocals", "drums", "bass")):
        write(folder / f"{source}.wav", noise(seed + 1000 * number, seconds))


def variable(folder, seed, seconds=2.):
    fixed(folder, seed, seconds)
    write(folder / "mixture.wav", noise(seed, seconds))            # would spoil the sum
    for number in range(seed % 3):
        write(folder / f"instrument {number}.wav", noise(seed + 5000 + number, seconds))


def make(kind, root, *, seconds=2., splits=("train", "valid", "test"), count=2):
    """A dataset of noise of a kind, with `count` songs, or sounds per source, in each split."""
    for place, split in enumerate(splits):
        for number in range(count):
            seed = 10 * place + number
            if kind == "sourcefolder":
                for shift, source in enumerate(("vocals", "drums", "bass")):
                    write(root / split / source / f"sound {number}.wav", noise(seed + 1000 * shift, seconds))
            else:
                {"aligned": aligned, "trackfolder_fix": fixed, "trackfolder_var": variable}[kind](
                    root / split / f"{split} {number}", seed, seconds)
    return root


FILES = {"aligned": FileNames(input="mixture.wav", output="vocals.wav"),
         "sourcefolder": FileNames(target="vocals", interferers=["drums", "bass"]),
         "trackfolder_fix": FileNames(target="vocals.wav", interferers=["drums.wav", "bass.wav"]),
         "trackfolder_var": FileNames(target="vocals.wav")}


def sets(kind, root, *, sampling="balanced", segment=1., seed=0, per_track=3, files=None, samplerate=RATE, channels=2,
         missing="error", **more):
    """(training set, validation set) of a kind."""
    names = files or FILES[kind]
    policy = build_policy(sampling, segment=segment, shift=0, seed=seed, per_track=per_track, own=0)
    return kind_sets(kind, root, sources=sources(kind, names), policy=policy, samplerate=samplerate, channels=channels,
                     normalize=False, full_cv=True, cache_dir=root.parent / "cache", seed=seed,
                     layout={"missing": missing, "files": names.text()}, **more)


def listed(kind, root, split="train", files=None, **settings):
    names = files or FILES[kind]
    return kinds.tracks(kind, KindSettings(root, tuple(sources(kind, names)), files=names.text(), **settings), split)


def constant(path, value, seconds=2., rate=RATE, channels=1):
    write(path, np.full((int(seconds * rate), channels), value), rate)


def read(path):
    return torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


def levels(example):
    """Value of each source, which must be constant."""
    assert torch.equal(example, example[:, :1, :1].expand_as(example))
    return [round(float(value), 4) for value in example[:, 0, 0]]
