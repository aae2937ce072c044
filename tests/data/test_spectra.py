"""Statistics of the magnitudes of training mixtures, beside torch's STFT and scikit-learn's scaler."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from data.songs import RATE, noise, write

from demucs.data import spectra
from demucs.data.build import build_policy, training_sets
from demucs.data.segments import Chosen, Joined
from demucs.dsp.spectral import magnitudes
from demucs.errors import DatasetError
from demucs.training import input_statistics
from demucs.training.distributed import Group

N_FFT, HOP = 256, 64
ALONE = Group(0, 1, torch.device("cpu"))
SOURCES = ["drums", "vocals"]


def song(folder, seed, seconds, level=1.):
    stems = {name: level * noise(seed + number, seconds) * np.linspace(0.2, 3, int(seconds * RATE))[:, None]
             for number, name in enumerate(SOURCES)}
    for name, wav in {**stems, "mixture": sum(stems.values())}.items():
        write(folder / f"{name}.wav", wav)


@pytest.fixture
def songs(tmp_path):
    for number, seconds in enumerate((2, 0.5, 1.25, 3)):
        song(tmp_path / "wav" / "train" / f"song {number}", 10 * number, seconds, level=0.1 + number)
    song(tmp_path / "wav" / "valid" / "v", 99, 1)
    return tmp_path


def train_set(songs, **more):
    policy = build_policy("random_mix", segment=0.5, shift=0.5, seed=1)
    settings = {"musdb": None, "use_musdb": False, "wav": songs / "wav", "sources": SOURCES, "policy": policy,
                "samplerate": RATE, "channels": 2, "normalize": False, "full_cv": True, "train_valid": False,
                "cache_dir": songs / "cache", **more}
    return training_sets(**settings)[0]


def measured(songs, group=ALONE, dataset=None):
    parts = spectra.mixtures(dataset or train_set(songs))
    return input_statistics.statistics(parts, n_fft=N_FFT, hop=HOP, group=group, cache_dir=songs / "cache")


def frames(wav):
    """Magnitudes [T, F] as in the training script of Open-Unmix."""
    return magnitudes(torch.as_tensor(wav), n_fft=N_FFT, hop=HOP).mean(0).T.numpy()


def test_as_scikit_learn_has_them(songs):
    from sklearn.preprocessing import StandardScaler

    mean, std = measured(songs)
    scaler = StandardScaler()
    for number in range(4):
        wav = train_set(songs).index.read(f"song {number}", "mixture")
        scaler.partial_fit(frames(wav))
    assert np.abs(mean / scaler.mean_ - 1).max() < 1e-6
    assert np.abs(std / np.maximum(scaler.scale_, 1e-4 * scaler.scale_.max()) - 1).max() < 1e-6
    assert mean.dtype == np.float64 and (mean > 0.05).any()


class Rank(Group):
    """A rank whose process is a thread of this one."""
    shared: list
    barrier: threading.Barrier

    def gather(self, value):
        self.shared[self.rank] = value
        self.barrier.wait()
        values = list(self.shared)
        self.barrier.wait()
        return values


def on_ranks(number, work):
    """Results of `work(group)` on each of several ranks."""
    shared, barrier = [None] * number, threading.Barrier(number, timeout=60)

    def of(rank):
        group = Rank(rank, number, torch.device("cpu"))
        vars(group).update(shared=shared, barrier=barrier)
        return work(group)
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(of, range(number)))


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_number_of_ranks_changes_no_bit(songs, ranks, monkeypatch):
    alone = measured(songs)
    for file in (songs / "cache").glob("spectra-*.json"):
        file.unlink()
    monkeypatch.setattr(input_statistics, "ROUND", 3)
    dataset = train_set(songs)
    for found in on_ranks(ranks, lambda group: measured(songs, group, dataset)):
        assert all(np.array_equal(*pair) for pair in zip(alone, found))


def test_what_one_rank_cannot_read_stops_all(songs):
    dataset = train_set(songs)
    (songs / "wav" / "train" / "song 2" / "mixture.wav").write_bytes(b"RIFF")

    def work(group):
        with pytest.raises(DatasetError, match="song 2.*mixture.wav"):
            measured(songs, group, dataset)
        return True
    assert all(on_ranks(2, work))


def test_blocks_change_no_more_than_rounding(songs, monkeypatch):
    wav = noise(3, 3.).T.astype(np.float32)
    monkeypatch.setattr(spectra, "BLOCK", 7)
    found = spectra.moments(wav, n_fft=N_FFT, hop=HOP)
    expected = frames(wav).astype(np.float64)
    assert found.frames == len(expected)
    assert np.allclose(found.mean, expected.mean(0), rtol=1e-6) and np.allclose(found.std, expected.std(0), rtol=1e-6)


def test_they_are_kept_until_a_song_changes(songs, caplog):
    before = measured(songs)
    with caplog.at_level("INFO"):
        again = measured(songs)
    assert "reading" not in caplog.text and all(np.array_equal(*pair) for pair in zip(before, again))
    song(songs / "wav" / "train" / "song 4", 55, 1)
    assert not np.array_equal(measured(songs)[0], before[0])
    assert len(list((songs / "cache").glob("spectra-*.json"))) == 2


@pytest.mark.parametrize("damage", ["", "{}", '{"version": 1, "mean": [1], "std": [1]}', '{"version": 1, "mean": "x"}',
                                    "[]"])
def test_a_damaged_cache_is_measured_again(songs, damage, caplog):
    before = measured(songs)
    (file,) = (songs / "cache").glob("spectra-*.json")
    file.write_text(damage)
    assert all(np.array_equal(*pair) for pair in zip(before, measured(songs)))
    assert "cannot be read" in caplog.text


def test_settings_that_change_the_samples_have_a_cache_of_their_own(songs):
    keys = {spectra.key(spectra.mixtures(train_set(songs, **more)), n_fft=n_fft, hop=64)
            for more, n_fft in (({}, 256), ({}, 512), ({"channels": 1}, 256), ({"samplerate": 4000}, 256),
                                ({"normalize": True}, 256))}
    assert len(keys) == 5


def test_each_song_counts_once_whatever_its_share(songs):
    dataset = train_set(songs)
    assert len(spectra.mixtures(Joined([dataset, dataset, Chosen(dataset, [1, 2])]))) == 2
    assert len(spectra.mixtures(Joined([dataset, dataset]))) == 1


def test_a_song_shorter_than_a_window_has_no_frame(songs):
    before = measured(songs)
    song(songs / "wav" / "train" / "a short one", 7, 0.02)
    assert all(np.array_equal(*pair) for pair in zip(before, measured(songs)))


def rewritten(songs, value):
    for folder in (songs / "wav" / "train").iterdir():
        for file in folder.iterdir():
            write(file, np.full((RATE, 2), value))


def test_silence(songs):
    rewritten(songs, 0.)
    with pytest.raises(DatasetError, match="all training songs are silent; give songs with sound"):
        measured(songs)


def test_only_short_songs(songs, monkeypatch):
    with pytest.raises(DatasetError, match="none of the training songs is as long as a window of 65536 samples"):
        input_statistics.statistics(spectra.mixtures(train_set(songs)), n_fft=65536, hop=64, group=ALONE,
                                    cache_dir=songs / "cache")


def test_faulty_songs_are_named_all(songs):
    dataset = train_set(songs)
    for number in (1, 3):
        wav = noise(1, (0.5, 3)[number == 3])
        wav[100] = np.nan
        write(songs / "wav" / "train" / f"song {number}" / "mixture.wav", wav)
    with pytest.raises(DatasetError, match=r"\(1\) track song 1: has samples that are not finite.*\(2\) track song 3"):
        measured(songs, dataset=dataset)
    (songs / "wav" / "train" / "song 2" / "mixture.wav").unlink()
    with pytest.raises(DatasetError, match="song 2/mixture.wav: cannot be read"):
        measured(songs, dataset=dataset)


def test_a_bin_without_deviation():
    """Its deviation is a part in ten thousand of the largest one, so that dividing by it is possible."""
    found = spectra.Moments(4, np.ones(3), np.array([0., 4., 1.]))
    assert found.std.tolist() == [1e-4, 1., 0.5]
