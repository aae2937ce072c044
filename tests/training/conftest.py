"""A small experiment: noise songs on disk, and the settings of a model that trains on them in a second."""

import numpy as np
import pytest
import soundfile

from demucs.data.musdb import VALIDATION_TRACKS
from demucs.schema import SOURCES

TINY = ["model=hdemucs", "hdemucs.channels=4", "hdemucs.nfft=512", "hdemucs.depth=4", "hdemucs.kernel_size=4",
        "hdemucs.stride=2", "hdemucs.dconv_lstm=9", "hdemucs.dconv_attn=9", "hdemucs.norm_starts=9",
        "dset.samplerate=8000", "dset.segment=1", "dset.shift=0.25", "augment.repitch.proba=0", "batch_size=4",
        "misc.num_workers=0", "epochs=3", "test.every=100", "test.workers=0", "test.sdr=False", "ema.batch=[0.9]",
        "ema.epoch=[0.5]", "svd.penalty=1e-4", "svd.min_size=0.001", "max_batches=2"]


def write_track(folder, seed, seconds=2., samplerate=8000):
    chance = np.random.default_rng(seed)
    stems = {name: 0.1 * chance.standard_normal((int(seconds * samplerate), 2)) for name in SOURCES}
    folder.mkdir(parents=True)
    for name, wav in {**stems, "mixture": sum(stems.values())}.items():
        soundfile.write(folder / f"{name}.wav", wav, samplerate, subtype="FLOAT")


@pytest.fixture
def songs(tmp_path):
    """A folder in the layout of MUSDB18-HQ: three songs to train on, one to validate, one to test."""
    root = tmp_path / "songs"
    for number in range(3):
        write_track(root / "train" / f"Song {number}", number)
    write_track(root / "train" / VALIDATION_TRACKS[0], 10)
    write_track(root / "test" / "Test song", 20)
    return root
