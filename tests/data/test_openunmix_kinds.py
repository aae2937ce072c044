"""The layouts of Open-Unmix: which file is which source, random choices, and what its own datasets do wrong."""

import logging
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from data.openunmix_songs import RATE, make
from data.songs import noise, write

from demucs.data import kinds
from demucs.data.build import build_policy, kind_sets, require_one_length, training_sets
from demucs.data.faults import FaultyTracks
from demucs.data.kinds import KindSettings
from demucs.data.kinds.file_names import FileNames, check, chosen_sources, sources
from demucs.data.sampler import EpochSampler, ExampleKey
from demucs.data.segments import Chosen, count_tracks
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.evaluation import test_sets
from demucs.evaluation.tracks import kind_tracks, song_set
from demucs.schema import SOURCES

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


# What the files are.

def test_aligned_mixture_is_the_input_to_the_sample(tmp_path):
    root = make("aligned", tmp_path / "db")
    train, valid = sets("aligned", root, sampling="grid")
    song = root / "train" / "train 0"
    example = train[0]
    assert torch.equal(example[0], read(song / "vocals.wav")[:, :RATE])
    assert torch.equal(example.sum(0), read(song / "mixture.wav")[:, :RATE])
    mixture, vocals = valid[0]
    song = root / "valid" / "valid 0"
    assert torch.equal(mixture, read(song / "mixture.wav")) and torch.equal(vocals, read(song / "vocals.wav"))


def test_aligned_files_by_pattern(tmp_path):
    files = FileNames(input="mix*.wav", output="voc*", target="voice")
    for number, split in enumerate(("train", "valid")):
        write(tmp_path / "db" / split / "a" / f"mix {number}.wav", noise(1))
        write(tmp_path / "db" / split / "a" / f"voc{number}.flac", noise(2))
    assert sources("aligned", files) == ["voice"]
    train, _ = sets("aligned", tmp_path / "db", files=files)
    assert len(train) == 3
    write(tmp_path / "db" / "train" / "a" / "mix 1.wav", noise(1))
    found = listed("aligned", tmp_path / "db", files=files)
    assert not found.tracks and "2 files in" in found.faults[0] and "mix 0.wav, mix 1.wav" in found.faults[0]


def test_fixed_files_of_unequal_length_end_in_silence(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    write(root / "valid" / "valid 0" / "bass.wav", noise(7, 1.))
    train, valid = sets("trackfolder_fix", root)
    assert train[0].shape == (3, 2, RATE)
    example = valid[0]
    assert example.shape == (4, 2, 2 * RATE) and not example[3, :, RATE:].any() and example[3, :, :RATE].any()
    torch.testing.assert_close(example[0], example[1:].sum(0), atol=1e-6, rtol=0)
    assert listed("trackfolder_fix", root).tracks[0].mixed == ("vocals", "drums", "bass")


def test_no_mixture_or_copy_of_the_target_is_among_the_interferers(tmp_path):
    files = FileNames(target="vocals.flac", ext="WAV", input="full song.wav")
    for split in ("train", "valid"):
        song = tmp_path / "db" / split / "a"
        write(song / "vocals.flac", noise(1))
        for name in ("drums.wav", "Horns.WAV", "mixture.wav", "mix.wav", "Mixture.wav", "full song.wav", "vocals.wav",
                     "instrumental.wav", "no_vocals.wav", "._drums.wav", "guitar.flac"):
            (song / name).write_bytes(b"") if name.startswith(".") else write(song / name, noise(len(name)))
    (track,) = listed("trackfolder_var", tmp_path / "db", files=files).tracks
    assert [path.name for path in track.stems["others/"]] == ["Horns.WAV", "drums.wav"]
    (tmp_path / "db" / "train" / "a" / "Horns.WAV").rename(tmp_path / "db" / "train" / "a" / "horns.wav")
    (tmp_path / "db" / "valid" / "a" / "Horns.WAV").unlink()
    train, valid = sets("trackfolder_var", tmp_path / "db", files=files, sampling="grid")
    song = tmp_path / "db" / "train" / "a"
    torch.testing.assert_close(train[0][1], (read(song / "horns.wav") + read(song / "drums.wav"))[:, :RATE], atol=1e-7, rtol=0)
    mixture, vocals = valid[0]
    torch.testing.assert_close(mixture - vocals, read(tmp_path / "db" / "valid" / "a" / "drums.wav"), atol=1e-6, rtol=0)


def test_log_names_mixtures_that_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    listed("trackfolder_var", make("trackfolder_var", tmp_path / "db"))
    assert "mixtures are no sources: mixture.wav (in 2 tracks)" in caplog.text


# Missing and damaged files.

def test_missing_files_are_named_all_at_once(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    (root / "train" / "train 0" / "bass.wav").rename(root / "train" / "train 0" / "Bass.wav")
    (root / "train" / "train 1" / "vocals.wav").unlink()
    with pytest.raises(FaultyTracks) as error:
        sets("trackfolder_fix", root)
    assert "train 0/bass.wav is missing" in str(error.value) and "Did you mean 'Bass.wav'?" in str(error.value)
    assert "train 1/vocals.wav is missing" in str(error.value) and "dset.missing=exclude" in str(error.value)


@pytest.mark.parametrize("kind,name", [("aligned", "vocals.wav"), ("trackfolder_fix", "bass.wav"),
                                       ("trackfolder_var", "vocals.wav")])
def test_tracks_with_missing_files_are_left_out_or_silent(tmp_path, caplog, kind, name):
    root = make(kind, tmp_path / "db", count=3)
    (root / "train" / "train 1" / name).unlink()
    train, _ = sets(kind, root, missing="exclude")
    assert train.names == ["train 0", "train 2"]
    assert f"1 of 3 tracks lack files and are left out: train 1 ({name})" in caplog.text
    train, _ = sets(kind, root, missing="silence")
    row = {"bass.wav": 2}.get(name, 0)
    for index in range(3, 6):                 # of the second track
        assert not train[index][row].any() and train[index][1].any()


def test_a_track_of_the_target_alone(tmp_path):
    root = make("trackfolder_var", tmp_path / "db")
    for file in (root / "train" / "train 0").glob("*.wav"):
        file.unlink() if file.name != "vocals.wav" else None
    train, _ = sets("trackfolder_var", root)
    assert train[0][0].any() and not train[0][1].any() and train[0].shape == train[3].shape
    (root / "train" / "train 0" / "vocals.wav").unlink()
    (fault,) = listed("trackfolder_var", root, missing="silence").faults
    assert "train 0/vocals.wav is missing, and so are other files *.wav" in fault
    assert [track.name for track in listed("trackfolder_var", root, missing="exclude").tracks] == ["train 1"]


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_file_is_an_error_and_no_neighbour_takes_its_place(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    train, _ = sets(kind, root)
    file = next(path for path in sorted(root.glob("train/**/*vocals*" if kind != "sourcefolder" else "train/vocals/*"))
                if path.is_file())
    bytes_ = file.read_bytes()
    file.write_bytes(bytes_[:len(bytes_) // 2])
    with pytest.raises(FaultyTracks, match=f"{file}.*truncated"):
        sets(kind, root)
    file.write_bytes(b"")
    with pytest.raises(AudioError, match=str(file)):          # damaged after the scan
        for index in range(len(train)):
            train[index]


@pytest.mark.parametrize("kind", ["aligned", "trackfolder_fix", "trackfolder_var"])
def test_no_track_is_left(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for file in root.glob("train/*/vocals.wav"):
        file.unlink()
    with pytest.raises(DatasetError, match="has no track with all files in it; .* expects TRACK/"):
        sets(kind, root, missing="exclude")
    with pytest.raises(DatasetError, match="nowhere.* does not exist"):
        sets(kind, tmp_path / "nowhere")


def test_folders_of_sources_that_are_missing_or_empty(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    found = listed("sourcefolder", root, files=FileNames(target="vocal", interferers=["drums", "bass"]))
    assert "train/vocal: no such folder" in found.faults[0] and "Did you mean 'vocals'?" in found.faults[0]
    found = listed("sourcefolder", root, files=FileNames(target="vocals", interferers=["drums"], ext=".ogg"))
    assert len(found.faults) == 2 and "has no file *.ogg" in found.faults[0] and "(there are *.wav)" in found.faults[0]
    for file in root.glob("valid/drums/*"):
        file.unlink()
    with pytest.raises(FaultyTracks, match="valid/drums: has no file"):
        sets("sourcefolder", root)


def test_exclude_is_refused_where_it_has_no_effect(tmp_path):
    with pytest.raises(ConfigError, match="dset.missing=exclude has no effect with dset.kind=wav"):
        kinds.tracks("wav", KindSettings(tmp_path, ("a",), missing="exclude"), "train")


# Sample rates and channels.

@pytest.mark.parametrize("kind", FILES)
def test_tracks_of_another_rate_are_resampled(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for file in sorted(root.glob("train/**/*.wav")):
        if "train 1" in str(file) or "sound 1" in str(file):
            constant(file, 0.25, 3., rate=2 * RATE, channels=2)
    train, _ = sets(kind, root)
    if kind == "sourcefolder":
        keys = [ExampleKey(0, 0, position, position) for position in range(40)]
        drawn = {name for key in keys for name in train.describe(key).split(" + ")}
        assert drawn == {f"{source}/sound {number}.wav" for source in ("vocals", "drums", "bass") for number in (0, 1)}
    examples = [train[index] for index in range(6)]
    assert all(example.shape == examples[0].shape for example in examples)
    whole = [example[0] for example in examples if abs(float(example[0].mean()) - .25) < 0.01]
    assert whole and all(float((wav[:, 100:-100] - .25).abs().max()) < 1e-3 for wav in whole)


@pytest.mark.parametrize("kind", ["aligned", "trackfolder_fix", "trackfolder_var"])
def test_rates_that_differ_within_a_track_are_an_error(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    constant(root / "train" / "train 1" / "vocals.wav", 0.1, rate=2 * RATE)
    with pytest.raises(FaultyTracks, match="train 1.*has (16000|8000) Hz, .* all files of a track must have the same rate"):
        sets(kind, root)


@pytest.mark.parametrize("kind", FILES)
def test_mono_among_stereo(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    mono = root / "train" / ("vocals" if kind == "sourcefolder" else "train 0")
    constant(mono / ("sound 0.wav" if kind == "sourcefolder" else "vocals.wav"), 0.1)
    train, _ = sets(kind, root)
    examples = [train[index] for index in range(12 if kind == "sourcefolder" else 6)]
    assert {example.shape[1:] for example in examples} == {(2, RATE)}
    assert any(torch.equal(wav[0], wav[1]) and round(float(wav.mean()), 4) == .1 for wav, *_ in examples)


# Random choices.

def sounds(root, counts=(3, 4), seconds=4.):
    """Sounds of constant values: 0.1, 0.2, ... of "target" and 0.01, 0.02, ... of "noise"."""
    for split in ("train", "valid"):
        for number in range(counts[0]):
            constant(root / split / "target" / f"{number}.wav", (number + 1) / 10, seconds)
        for number in range(counts[1]):
            constant(root / split / "noise" / f"{number}.wav", (number + 1) / 100, seconds)
    return FileNames(target="target", interferers=["noise"])


def test_sources_of_a_mixture_are_drawn_independently_and_uniformly(tmp_path):
    """Openunmix seeds its generator once per source in the validation, so that all sources get the same draws."""
    files = sounds(tmp_path / "db")
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, train_samples=2400, valid_draws=2400)
    assert (len(train), len(valid)) == (2400, 2400)
    for dataset in (train, valid):
        found = [dataset.describe(ExampleKey(0, 0, index, index)) for index in range(2400)]
        counts = {pair: found.count(pair) for pair in set(found)}
        assert set(counts) == {f"target/{a}.wav + noise/{b}.wav" for a in range(3) for b in range(4)}
        # a twelfth of 2400 examples each, within 4.5 standard deviations of a binomial distribution
        assert all(abs(count - 200) < 4.5 * (2400 * 11 / 144) ** .5 for count in counts.values())


def test_positions_of_the_sources_are_independent_and_uniform(tmp_path):
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for split in ("train", "valid"):
        for source in ("target", "noise"):
            write(tmp_path / "db" / split / source / "a.wav", ramp)
    files = FileNames(target="target", interferers=["noise"])
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, channels=1, segment=.04, train_samples=300, valid_draws=300)
    for dataset, first in ((train, 0), (valid, 1)):
        starts = np.array([dataset[ExampleKey(0, 0, index, index)][first:first + 2, 0, 0].tolist() for index in range(300)])
        # uniform in [0, 0.99], within 4.5 standard deviations
        assert abs(np.corrcoef(starts.T)[0, 1]) < 4.5 / 300 ** .5 and starts.max() < .9901
        assert np.abs(starts.mean(0) - .495).max() < 4.5 * .99 / 12 ** .5 / 300 ** .5


def test_the_validation_is_the_same_in_every_epoch_on_every_rank_and_for_every_seed(tmp_path):
    files = sounds(tmp_path / "db")
    _, valid = sets("sourcefolder", tmp_path / "db", files=files, valid_draws=20)
    _, other = sets("sourcefolder", tmp_path / "db", files=files, valid_draws=20, seed=5)
    expected = [levels(valid[index]) for index in range(20)]
    assert expected == [levels(other[index]) for index in range(20)]
    assert expected == [levels(valid[ExampleKey(7, 3, 1, index)]) for index in range(20)]
    ranks = [[levels(Chosen(valid, range(rank, 20, 3))[place]) for place in range(len(range(rank, 20, 3)))] for rank in range(3)]
    assert expected == [ranks[index % 3][index // 3] for index in range(20)]
    for mixture, target, interferer in expected:
        assert mixture == pytest.approx(target + interferer, abs=1e-4)


def test_mixtures_for_statistics_are_central_segments_of_all_combinations(tmp_path):
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for split in ("train", "valid"):
        for number in (1, 2):
            write(tmp_path / "db" / split / "target" / f"{number}.wav", ramp * number / 4)
        write(tmp_path / "db" / split / "noise" / "a.wav", 0 * ramp)
        write(tmp_path / "db" / split / "noise" / "short.wav", 0 * ramp[:RATE // 2] + .125)
    files = FileNames(target="target", interferers=["noise"])

    def mixtures(**more):
        return sets("sourcefolder", tmp_path / "db", files=files, channels=1, train_samples=60, **more)[0].mixtures
    found = mixtures()
    starts = [round(float(found.read(number)[0, 0]), 2) for number in range(len(found))]
    assert len(found) == 60 and set(starts) == {.09, .19, .22, .31}      # 1.5 s of 4 s, of a quarter or a half
    assert starts == [round(float(mixtures(seed=8).read(number)[0, 0]), 2) for number in range(60)]
    assert found.read(0).shape == (1, RATE) and found.name(0).startswith("target/")
    before = found.key()
    assert before == mixtures(seed=8).key() != mixtures(segment=2.).key()
    constant(tmp_path / "db" / "train" / "noise" / "a.wav", .5, 3.)
    assert before != mixtures().key()


def test_training_mixtures_are_new_in_every_epoch_and_keyed_by_seed_and_example(tmp_path):
    """Openunmix without loader workers repeats its mixtures in every epoch, since the validation seeds its generator."""
    files = sounds(tmp_path / "db", (5, 5))
    train, valid = sets("sourcefolder", tmp_path / "db", files=files, train_samples=16)

    def epoch(number, dataset=train, ranks=1):
        found = {}
        for rank in range(ranks):
            sampler = EpochSampler(16, batch_size=8, world_size=ranks, rank=rank, seed=0)
            sampler.set_epoch(number)
            found.update({key[:3]: levels(dataset[key]) for keys in sampler for key in keys})
        return found
    first = epoch(0)
    assert levels(valid[0]) and epoch(1) != first and sorted(epoch(1).values()) != sorted(first.values())
    assert epoch(0) == first == epoch(0, ranks=2)
    assert epoch(0, sets("sourcefolder", tmp_path / "db", files=files, train_samples=16, seed=1)[0]) != first


@pytest.mark.parametrize("kind", FILES)
def test_no_global_random_generator_is_used_or_seeded(tmp_path, kind):
    train, valid = sets(kind, make(kind, tmp_path / "db"))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    train[0], valid[0], train[1]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("kind", FILES)
def test_the_order_of_the_file_system_has_no_effect(tmp_path, monkeypatch, kind):
    root = make(kind, tmp_path / "db", count=3)
    before, _ = sets(kind, root)
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(sorted(iterdir(self))))
    after, _ = sets(kind, root)
    assert before.names == after.names == sorted(before.names) and len(before.names) == (9 if kind == "sourcefolder" else 3)
    assert all(torch.equal(before[index], after[index]) for index in range(6))


def tracks_of_constants(root, count=3):
    for split in ("train", "valid"):
        for number in range(count):
            for row, source in enumerate(("vocals", "drums", "bass")):
                constant(root / split / f"{number}" / f"{source}.wav", (number + 1) / 10 + row / 100, 4.)
    return root


def test_random_track_mix_takes_the_target_of_each_track_once(tmp_path):
    """As openunmix: an epoch has the target of every track, each with interferers of random tracks."""
    root = tracks_of_constants(tmp_path / "db")
    train, _ = sets("trackfolder_fix", root, sampling="random_mix", per_track=1)
    assert [levels(train[index])[0] for index in range(3)] == [.1, .2, .3] and len(train) == 3
    train, _ = sets("trackfolder_fix", root, sampling="random_mix", per_track=90, segment=.02)
    found = [levels(train[ExampleKey(0, 0, index, index)]) for index in range(270)]
    pairs = [(round(drums - .01, 4), round(bass - .02, 4)) for _, drums, bass in found]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert set(counts) == {(a, b) for a in (.1, .2, .3) for b in (.1, .2, .3)}
    # a ninth of 270 mixes each, within 4.5 standard deviations of a binomial distribution
    assert all(abs(count - 30) < 4.5 * (270 * 8 / 81) ** .5 for count in counts.values())


def test_random_interferer_mix_takes_all_interferers_of_one_track(tmp_path):
    root = tracks_of_constants(tmp_path / "db")
    fixed, _ = sets("trackfolder_fix", root, sampling="interferer_mix", per_track=20, segment=.02)
    found = [levels(fixed[ExampleKey(0, 0, index, index)]) for index in range(60)]
    assert [vocals for vocals, _, _ in found] == [.1] * 20 + [.2] * 20 + [.3] * 20
    assert all(round(bass - drums, 4) == .01 for _, drums, bass in found)
    assert {round(drums - vocals, 4) for vocals, drums, _ in found} == {-.19, -.09, .01, .11, .21}
    variable, _ = sets("trackfolder_var", root, sampling="interferer_mix", per_track=20, segment=.02)
    found = [levels(variable[ExampleKey(0, 0, index, index)]) for index in range(60)]
    assert {rest for _, rest in found} == {.23, .43, .63} and {vocals for vocals, _ in found} == {.1, .2, .3}
    # the target and its interferers are at places of their own
    ramp = np.linspace(0, 1, 4 * RATE)[:, None]
    for source in ("vocals", "drums", "bass"):
        for number in range(3):
            write(root / "train" / f"{number}" / f"{source}.wav", ramp)
    fixed, _ = sets("trackfolder_fix", root, sampling="interferer_mix", per_track=20)
    starts = [fixed[ExampleKey(0, 0, index, index)][:, 0, 0].tolist() for index in range(20)]
    assert all(drums == bass != vocals for vocals, drums, bass in starts)


def test_one_random_segment_of_each_track_per_epoch(tmp_path):
    train, _ = sets("trackfolder_fix", tracks_of_constants(tmp_path / "db"), per_track=1)
    assert [levels(train[index]) for index in range(3)] == [[.1, .11, .12], [.2, .21, .22], [.3, .31, .32]]


def test_one_file_of_each_source(tmp_path):
    files = sounds(tmp_path / "db", (1, 1))
    train, valid = sets("sourcefolder", tmp_path / "db", files=files)
    assert levels(train[5]) == [.1, .01] and levels(valid[0]) == [.11, .1, .01] and len(train) == 1000 and len(valid) == 100
    assert count_tracks(train) == 2


# Lengths.

@pytest.mark.parametrize("kind", FILES)
def test_files_shorter_than_a_segment_are_followed_by_silence(tmp_path, kind):
    """Openunmix leaves them out without a message."""
    train, _ = sets(kind, make(kind, tmp_path / "db", seconds=.5))
    for index in range(6):
        example = train[index]
        assert example.shape[-1] == RATE and example[..., :RATE // 2].any() and not example[..., RATE // 2:].any()


@pytest.mark.parametrize("kind", FILES)
def test_whole_tracks(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    for sampling in ("grid", "random", "balanced", "random_mix") + (("interferer_mix",) if kind != "sourcefolder" else ()):
        train, valid = sets(kind, root, segment=0, sampling=sampling)
        assert train[0].shape[1:] == valid[0].shape[1:] == (2, 2 * RATE)
        assert len(train) == (1000 if kind == "sourcefolder" else 2 if sampling in ("grid", "random") else 6)
        require_one_length(train, 4, 1)
    for file in root.glob("train/train 1/*.wav" if kind != "sourcefolder" else "train/drums/sound 1.wav"):
        write(file, noise(1, 3.))
    train, _ = sets(kind, root, segment=0, sampling="random_mix")
    assert {train[index].shape[-1] for index in range(6)} <= {2 * RATE, 3 * RATE}
    require_one_length(train, 1, 2)
    with pytest.raises(ConfigError, match="has 16000 samples and .* 24000; set batch_size=2"):
        require_one_length(train, 4, 2)


# Tests and evaluation.

@pytest.mark.parametrize("kind", FILES)
def test_the_songs_of_the_validation_are_tested_where_there_are_no_others(tmp_path, caplog, kind):
    root = make(kind, tmp_path / "db")
    layout = {"files": FILES[kind].text()}
    named = sources(kind, FILES[kind])
    own = song_set(root, sources=named, kind=kind, layout=layout)
    assert own.name == "db test" and len(own.tracks) == 2 and "has no folder test/" not in caplog.text
    for path in sorted((root / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "test").rmdir()
    found = song_set(root, sources=named, kind=kind, layout=layout)
    assert found.name == "db valid" and len(found.tracks) == 2 and "has no folder test/" in caplog.text
    song = found.tracks[0].read()
    found.tracks[0].check()
    assert song.references.shape == (len(named), 2, 2 * RATE) and song.mix.shape == (2, 2 * RATE)
    if kind in ("sourcefolder", "trackfolder_fix"):
        torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)


def test_sums_of_sources_are_tested_too(tmp_path):
    root = make("trackfolder_fix", tmp_path / "db")
    targets = {"vocals": ["vocals"], "band": ["drums", "bass"]}
    (track, _) = kind_tracks(root, kind="trackfolder_fix", layout={"files": FILES["trackfolder_fix"].text()},
                             sources=["vocals", "band"], targets=targets, stems=["vocals", "drums", "bass"])
    song = track.read()
    torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)


def test_test_songs_of_sounds_use_every_file_and_one_rate(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    write(root / "test" / "drums" / "sound 2.wav", noise(3, 1.), 2 * RATE)
    tracks = kind_tracks(root, kind="sourcefolder", layout={"files": FILES["sourcefolder"].text()},
                         sources=["vocals", "drums", "bass"])
    assert [track.name for track in tracks] == ["0001 sound 0", "0002 sound 1", "0003 sound 0"]
    song = tracks[2].read()
    assert song.samplerate == 2 * RATE and song.mix.shape == (2, 4 * RATE)
    torch.testing.assert_close(song.references.sum(0), song.mix, atol=1e-6, rtol=0)
    assert not song.references[1, :, 2 * RATE:].any() and [track.name for track in kind_tracks(
        root, kind="sourcefolder", layout={"files": FILES["sourcefolder"].text()}, sources=["bass", "drums", "vocals"])]


# Names.

@pytest.mark.parametrize("kind,names,message", [
    ("aligned", {"input": "a.wav"}, "dset.kind=aligned needs dset.files.output"),
    ("aligned", {"input": "a.wav", "output": "voc*.wav"}, "is a pattern; name the target by dset.files.target"),
    ("sourcefolder", {"target": "a"}, "needs dset.files.interferers: give the folders of the other sources"),
    ("sourcefolder", {"target": "a/b", "interferers": ["c"]}, "dset.files.target='a/b' must be the name of a folder"),
    ("trackfolder_fix", {"target": "a.wav", "interferers": ["a.flac"]}, "'a' is named twice"),
    ("trackfolder_fix", {"target": "../a.wav", "interferers": ["b.wav"]}, "dset.files.target='../a.wav' must be the name"),
    ("trackfolder_fix", {"target": "a.wav", "interferers": ["/b.wav"]}, "dset.files.interferers='/b.wav' must be the name"),
    ("trackfolder_fix", {"target": "rest.wav", "interferers": ["b.wav"]}, "'rest' cannot be the name of a source"),
    ("trackfolder_var", {}, "dset.kind=trackfolder_var needs dset.files.target: give the name of the file, such as"),
    ("trackfolder_var", {"target": "mixture.wav"}, "'mixture' cannot be the name of a source"),
    ("trackfolder_var", {"target": "a.wav", "ext": "/"}, "dset.files.ext='/' is no suffix"),
    ("trackfolder_var", {"target": "a.wav", "interferers": ["b.wav"]},
     "dset.files.interferers=.* has no effect with dset.kind=trackfolder_var; leave it out, or choose dset.kind=sourcefolder or "
     "trackfolder_fix"),
    ("musdb", {"target": "vocals.wav"}, "dset.files.target=vocals.wav has no effect with dset.kind=musdb"),
])
def test_names_that_cannot_be_used(kind, names, message):
    with pytest.raises(ConfigError, match=message):
        check(kind, FileNames(**names))


def test_sources_are_named_after_their_files():
    files = FileNames(target="lead.vocals.flac", interferers=["bass.flac", "stems/drums.flac"])
    check("trackfolder_fix", files)
    assert sources("trackfolder_fix", files) == ["lead.vocals", "bass", "drums"]
    assert sources("aligned", FileNames(input="noisy.wav", output="clean.wav")) == ["clean"]
    assert sources("sourcefolder", FILES["sourcefolder"]) == ["vocals", "drums", "bass"]
    assert sources("musdb", FileNames()) == []
    assert chosen_sources("musdb", FileNames(), ["a"], SOURCES) == ["a"]
    files = FILES["trackfolder_fix"]
    assert chosen_sources("trackfolder_fix", files, SOURCES, SOURCES) == ["vocals", "drums", "bass"]
    assert chosen_sources("trackfolder_fix", files, ["bass", "vocals", "drums"], SOURCES) == ["bass", "vocals", "drums"]
    with pytest.raises(ConfigError, match="dset.sources=.*vocal,drums,bass.* names the sources vocals, .*Did you mean 'vocals'"):
        chosen_sources("trackfolder_fix", files, ["vocal", "drums", "bass"], SOURCES)


def test_names_survive_a_record():
    for files in FILES.values():
        assert FileNames.parse(files.text()) == files
    assert FileNames().text() == "" and FileNames.parse("") == FileNames()
    for text in ("[]", "{", '{"target": 3}', '{"interferers": "a"}', '{"path": "x"}', '{"ext": null}'):
        with pytest.raises(ConfigError, match="are no names of files"):
            FileNames.parse(text)


def test_the_test_set_of_an_exported_model():
    settings = {"dset.kind": "trackfolder_fix", "dset.musdb": "/data", "dset.missing": "exclude",
                "dset.files.target": "vocals.wav", "dset.files.interferers": "[drums.wav,bass.wav]"}
    found = test_sets.from_overrides(settings, ["vocals", "drums", "bass"])
    assert found.kind == "trackfolder_fix" and found.stems == ["vocals", "drums", "bass"]
    assert FileNames.parse(found.layout["files"]) == FILES["trackfolder_fix"] and found.layout["missing"] == "exclude"
    same = test_sets.from_overrides({**settings, "dset.files.interferers": ["drums.wav", "bass.wav"]}, [])
    assert same.layout == found.layout


def test_through_the_settings_of_a_training(tmp_path):
    root = make("sourcefolder", tmp_path / "db")
    train, valid = training_sets(
        kind="sourcefolder", musdb=root, use_musdb=True, sources=["vocals", "drums", "bass"], samplerate=RATE, channels=2,
        policy=build_policy("random_mix", segment=1, shift=1, seed=0), normalize=True, full_cv=True, train_valid=True,
        cache_dir=tmp_path / "cache", files=FILES["sourcefolder"].text(), train_samples=30, valid_draws=7, valid_samples=5)
    assert len(train) == 37 and len(valid) == 5
    mixture = train[0].sum(0)
    assert abs(float(mixture.mean(0).std()) - 1) < .01 and abs(float(mixture.mean())) < .1
