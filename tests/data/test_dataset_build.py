import itertools

import numpy as np
import pytest
import soundfile
import torch

from demucs.data.build import build_policy, kind_sets, random_subset, training_sets
from demucs.data.faults import FaultyTracks
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.errors import ConfigError, DatasetError

RATE = 4000
SOURCES = ["drums", "vocals"]
FORM = dict(sources=SOURCES, policy=build_policy("grid", segment=0.5, shift=0.25, seed=0), samplerate=RATE, channels=1, normalize=True, full_cv=True)


def make_tracks(folder, names, seconds=1., sources=SOURCES):
    draw = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for source in sources:
            soundfile.write(folder / name / f"{source}.wav", draw.uniform(-.4, .4, (int(seconds * RATE), 2)), RATE)


@pytest.fixture
def folders(tmp_path):
    """MUSDB: 2 tracks to train on, 2 of the official validation tracks. wav: 4 and 3. wav2: 1 and 5."""
    make_tracks(tmp_path / "musdb" / "train", ["A - B", "C - D", *VALIDATION_TRACKS[:2]])
    for name, (train, valid) in dict(wav=(4, 3), wav2=(1, 5)).items():
        make_tracks(tmp_path / name / "train", [f"{name} t{i}" for i in range(train)])
        make_tracks(tmp_path / name / "valid", [f"{name} v{i}" for i in range(valid)])
    return tmp_path


def names(dataset):
    return sorted({dataset.describe(i).split(" at ")[0] for i in range(len(dataset))})


def test_musdb_split(folders):
    settings = dict(**FORM, cache_dir=folders / "cache")
    train, valid = kind_sets("musdb", folders / "musdb", train_valid=False, **settings)
    assert names(train) == ["A - B", "C - D"] and len(train) == 6
    assert names(valid) == sorted(VALIDATION_TRACKS[:2]) and len(valid) == 2
    assert train[0].shape == (2, 1, RATE // 2) and valid[0].shape == (3, 1, RATE)
    torch.testing.assert_close(valid[0][0], valid[0][1:].sum(0) + mean_of(valid, 0), atol=1e-5, rtol=0)
    both, _ = kind_sets("musdb", folders / "musdb", train_valid=True, **settings)
    assert names(both) == sorted(["A - B", "C - D", *VALIDATION_TRACKS[:2]])
    _, cut = kind_sets("musdb", folders / "musdb", train_valid=False, **{**settings, "full_cv": False})
    assert len(cut) == 6 and cut[0].shape == (3, 1, RATE // 2)


def test_a_validation_song_stays_one_wherever_it_lies(folders):
    song = folders / "musdb" / "train" / VALIDATION_TRACKS[0]
    make_tracks(song, ["backup"])
    (folders / "musdb" / "train" / "second half").mkdir()
    other = folders / "musdb" / "train" / VALIDATION_TRACKS[1]
    other.rename(folders / "musdb" / "train" / "second half" / other.name)
    train, valid = kind_sets("musdb", folders / "musdb", train_valid=False, **FORM, cache_dir=folders / "cache")
    assert names(train) == ["A - B", "C - D"]
    assert names(valid) == sorted([VALIDATION_TRACKS[0], f"second half/{VALIDATION_TRACKS[1]}"])


def test_faulty_tracks_of_all_folders_are_named_at_once(folders):
    for track in ("musdb/train/A - B", "wav/train/wav t0", "wav/valid/wav v1", "wav2/valid/wav2 v2"):
        (folders / track / "drums.wav").write_bytes(b"")
    with pytest.raises(FaultyTracks, match=r"^4 tracks .*A - B.*wav t0.*wav v1.*wav2 v2"):
        training_sets(musdb=folders / "musdb", use_musdb=True, wav=folders / "wav", wav2=folders / "wav2",
                      train_valid=False, **FORM, cache_dir=folders / "cache")


def mean_of(dataset, track):
    """Mean of a mixture divided by its standard deviation, by which normalisation shifts each of the S stems."""
    meta = list(dataset.index.tracks.values())[track]
    return meta.mean / meta.std


def test_musdb_without_the_official_tracks(tmp_path):
    make_tracks(tmp_path / "train", ["A - B"])
    with pytest.raises(DatasetError, match="1 tracks to train on and 0 of the official"):
        kind_sets("musdb", tmp_path, train_valid=False, cache_dir=tmp_path / "cache", **FORM)


def test_wav(folders):
    train, valid = kind_sets("wav", folders / "wav", cache_dir=folders / "cache", **FORM)
    assert names(train) == [f"wav t{i}" for i in range(4)] and names(valid) == [f"wav v{i}" for i in range(3)]
    with pytest.raises(DatasetError, match="train does not exist"):
        kind_sets("wav", folders / "nowhere", cache_dir=folders / "cache", **FORM)


def build(folders, **changes):
    return training_sets(**{**FORM, "musdb": folders / "musdb", "use_musdb": True, "train_valid": False,
                            "cache_dir": folders / "cache", **changes})


def test_combinations(folders):
    wav, wav2 = folders / "wav", folders / "wav2"
    # examples per track: 3 for training, 1 for validation
    train, valid = build(folders)
    assert (len(train), len(valid)) == (6, 2)
    train, valid = build(folders, wav=wav)
    assert (len(train), len(valid)) == (6 + 12, 2 + 3)
    assert names(train)[:3] == ["A - B", "C - D", "wav t0"] and train.describe(0).startswith("A - B")
    train, valid = build(folders, use_musdb=False, wav=wav)
    assert (len(train), len(valid)) == (12, 3)
    train, valid = build(folders, wav=wav, wav2=wav2)
    assert (len(train), len(valid)) == (6 + 12 + 3, 5)
    train, valid = build(folders, wav=wav, wav2=wav2, wav2_valid=True)
    assert (len(train), len(valid)) == (21, 5 + 5)


def test_share_of_the_second_dataset(folders):
    # 3 extra examples as a twentieth: 6 of the others repeated round(3 / 6 * 19) = 10 times (round half to even: 9.5)
    train, valid = build(folders, wav2=folders / "wav2", wav2_weight=0.05)
    assert len(train) == 10 * 6 + 3
    assert [train.describe(i) for i in range(6)] == [train.describe(i) for i in range(54, 60)]
    assert len(valid) == 2
    # a share of two thirds of the validation set: twice as many as the 2 that are there
    train, valid = build(folders, wav2=folders / "wav2", wav2_weight=2 / 3, wav2_valid=True)
    assert (len(train), len(valid)) == (6 + 3, 2 + 4)
    for weight in (0., 1., -2):
        with pytest.raises(ConfigError, match="wav2_weight"):
            build(folders, wav2=folders / "wav2", wav2_weight=weight)


def test_validation_subset(folders):
    _, valid = build(folders, wav=folders / "wav", valid_samples=3)
    assert len(valid) == 3
    assert [valid.describe(i) for i in range(3)] == [build(folders, wav=folders / "wav")[1].describe(i)
                                                      for i in torch.randperm(5, generator=seeded())[:3].tolist()]
    assert len(build(folders, valid_samples=99)[1]) == 2
    with pytest.raises(ConfigError, match="valid_samples=0"):
        build(folders, valid_samples=0)
    assert random_subset([1, 2], 2) == [1, 2]


def seeded():
    return torch.Generator().manual_seed(42)   # as published


def test_more_sources_than_musdb_has(tmp_path):
    sources = ["drums", "bass", "other", "vocals", "guitar"]
    make_tracks(tmp_path / "wav" / "train", ["t"], sources=sources)
    make_tracks(tmp_path / "wav" / "valid", ["v"], sources=sources)
    train, valid = build(tmp_path, sources=sources, wav=tmp_path / "wav")   # MUSDB is not even looked for
    assert names(train) == ["t"] and train[0].shape[0] == 5 and names(valid) == ["v"]


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match="use_musdb"):
        build(tmp_path, use_musdb=False)
    with pytest.raises(ConfigError, match="DEMUCS_MUSDB"):
        build(tmp_path, musdb=None)
    with pytest.raises(DatasetError, match="musdb.*does not exist.*DEMUCS_MUSDB"):
        build(tmp_path)


def test_all_ranks_see_the_same_order(folders):
    first, second = (build(folders, wav=folders / "wav")[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in itertools.islice(zip(first, second), 18))
