"""The synthetic dataset: exact sums, repeatable bytes, and stems that agree on tempo and key."""

import hashlib
import json
import math

import musdb
import numpy as np
import pytest
import soundfile
import yaml

from demucs.data.musdb import VALIDATION_TRACKS
from demucs.data.synthetic import dataset
from demucs.data.synthetic.plan import SAMPLERATE
from demucs.errors import ConfigError, DatasetError
from demucs.schema import SOURCES

pytestmark = pytest.mark.runs

SONGS = [(seed, split, index) for seed, split, index in
         [(1, "train", 0), (1, "train", 1), (1, "test", 0), (7, "train", 5), (7, "test", 3), (9, "train", 31)]]


@pytest.fixture(scope="module")
def songs():
    """Plans and audio of a few songs of ten seconds."""
    return [(dataset.song_plan(*song, 10.), dataset.render_song(*song, 10.)) for song in SONGS]


def digests(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*.wav"))}


def test_layout_names_and_format(tmp_path):
    root = dataset.generate(tmp_path / "set", train=3, test=2, seconds=1.5, seed=4, valid=2, processes=1)
    train, test = (sorted(path.name for path in (root / split).iterdir()) for split in ("train", "test"))
    assert set(VALIDATION_TRACKS[:2]) < set(train) and len(train) == 3 and len(test) == 2
    assert not set(train) & set(test)
    for track in [*(root / "train").iterdir(), *(root / "test").iterdir()]:
        assert sorted(path.stem for path in track.iterdir()) == sorted([*SOURCES, "mixture"])
        stored = {}
        for path in track.iterdir():
            info = soundfile.info(str(path))
            assert (info.samplerate, info.channels, info.subtype, info.frames) == (44100, 2, "PCM_16", 66150)
            stored[path.stem] = soundfile.read(str(path), dtype="int16")[0].astype(int)
        assert np.array_equal(stored["mixture"], sum(stored[source] for source in SOURCES))


def test_names_follow_the_official_validation_split():
    path = musdb.__path__[0] + "/configs/mus.yaml"
    official = set(yaml.safe_load(open(path))["validation_tracks"])
    names = dataset.track_names(40, 5, 14)
    assert set(names["train"][:14]) == official and not official & set(names["train"][14:] + names["test"])
    assert len(set(names["train"] + names["test"])) == 45
    assert not official & set(dataset.track_names(5, 0, 0)["train"])


def test_same_seed_same_bytes_whatever_the_number_of_tracks_and_processes(tmp_path):
    few = dataset.generate(tmp_path / "few", train=1, test=1, seconds=1, seed=3, processes=1)
    many = dataset.generate(tmp_path / "many", train=3, test=2, seconds=1, seed=3, processes=2)
    other = dataset.generate(tmp_path / "other", train=1, test=1, seconds=1, seed=5, processes=1)
    first, second, third = digests(few), digests(many), digests(other)
    assert first.items() <= second.items()
    assert set(first) == set(third) and not set(first.values()) & set(third.values())
    assert len(set(second.values())) == len(second)    # no two files are equal: test songs are no training songs


def test_interrupted_generation_is_completed_and_other_recipes_are_refused(tmp_path):
    root = dataset.generate(tmp_path / "set", train=2, test=1, seconds=1, seed=3, processes=1)
    before = digests(root)
    lost = root / "train" / VALIDATION_TRACKS[0]
    lost.rename(lost.with_name(f".{lost.name}.partial"))          # as an interrupted run leaves it
    (lost.with_name(f".{lost.name}.partial") / "bass.wav").write_bytes(b"half")
    kept = next((root / "test").iterdir()) / "bass.wav"
    written = kept.stat().st_mtime_ns
    dataset.generate(root, train=2, test=1, seconds=1, seed=3, processes=1)
    assert digests(root) == before and kept.stat().st_mtime_ns == written
    with pytest.raises(DatasetError, match="another recipe"):
        dataset.generate(root, train=2, test=1, seconds=1, seed=4)
    (root / dataset.MANIFEST).write_text("{")
    with pytest.raises(DatasetError, match="not a JSON file"):
        dataset.generate(root, train=2, test=1, seconds=1, seed=3)
    (root / dataset.MANIFEST).unlink()
    with pytest.raises(DatasetError, match="not synthetic"):
        dataset.generate(root, train=2, test=1, seconds=1, seed=3)


@pytest.mark.parametrize("wrong", [{"train": 0, "test": 0}, {"train": -1}, {"valid": 15, "train": 20}, {"valid": 3},
                                   {"seconds": 0.5}, {"seconds": math.nan}, {"seed": -1}])
def test_impossible_recipes_are_refused_before_anything_is_written(tmp_path, wrong):
    with pytest.raises(ConfigError):
        dataset.generate(tmp_path / "set", **{"train": 2, "test": 1, "seconds": 1, **wrong})
    assert not (tmp_path / "set").exists()


def test_manifest_says_how_the_dataset_was_made(tmp_path):
    root = dataset.generate(tmp_path, train=7, test=0, seconds=1, seed=2)
    assert json.loads((root / dataset.MANIFEST).read_text()) == {
        "generator": "demucs.data.synthetic", "version": dataset.VERSION, "seed": 2, "train": 7, "test": 0,
        "valid": 1, "seconds": 1.}


def test_nothing_clips_and_no_stem_is_silent(songs):
    for plan, song in songs:
        stems = np.stack([song[source] for source in SOURCES]).astype(np.float64)
        assert np.array_equal(song["mixture"], stems.sum(0))      # no overflow of int16 either
        assert max(np.abs(wav.astype(int)).max() for wav in song.values()) < 32767
        levels = 10 * np.log10(np.mean(stems ** 2, axis=(1, 2)))
        assert np.ptp(levels) < 8.1                               # dB: within +-4, and rounding
        assert levels.min() > 20 * np.log10(300)                  # far above the last bit
        np.testing.assert_allclose(levels - levels[0], [plan.levels[s] - plan.levels["drums"] for s in SOURCES],
                                   atol=0.05)                     # dB, from rounding to 16 bits
        halves = np.mean(stems.reshape(4, 2, 2, -1) ** 2, axis=(1, 3))
        assert 10 * np.log10(halves.min(axis=1) / halves.mean(axis=1)).min() > -12


def test_shortest_song_has_all_stems():
    for index in range(4):
        song = dataset.render_song(11, "train", index, dataset.SHORTEST)
        assert all(np.abs(song[source].astype(int)).max() > 500 for source in SOURCES)


def novelty(wav, hop=441):
    """Rise of the level from one stretch of `hop` samples to the next."""
    frames = wav.astype(np.float64).mean(0)[:wav.shape[1] // hop * hop].reshape(-1, hop)
    level = np.log(np.mean(frames ** 2, axis=1) + 1e2)
    return np.maximum(np.diff(level), 0)


def pulse(onsets, tempo):
    """How strongly onsets repeat with the beat of `tempo`, from the first eight harmonics of the beat."""
    time = np.arange(len(onsets)) / 100
    beats = time * tempo / 60
    return sum(abs(np.sum(onsets * np.exp(2j * np.pi * h * beats))) ** 2 for h in range(1, 9)) / np.sum(onsets) ** 2


def test_stems_of_a_song_share_the_tempo_of_its_plan(songs):
    """The plan's tempo explains the onsets of all stems better than tempos 4 to 15 % away do."""
    wrong = [1 + sign * step / 100 for sign in (-1, 1) for step in range(4, 16)]
    for source in ("drums", "bass", "other"):
        ratios = []
        for plan, song in songs:
            onsets = novelty(song[source])
            ratios.append(pulse(onsets, plan.tempo) / np.median([pulse(onsets, plan.tempo * w) for w in wrong]))
        assert np.median(ratios) > 3 and min(ratios) > 1.2, (source, ratios)


def test_tonal_stems_of_a_song_share_its_key(songs):
    """At least three quarters of the power of fundamentals lie on the scale (by chance: seven twelfths)."""
    shares = {source: [] for source in ("bass", "other", "vocals")}
    for plan, song in songs:
        scale = {pitch % 12 for pitch in plan.scale(48, 60)}
        for source, found in shares.items():
            spectrum = np.abs(np.fft.rfft(song[source].astype(np.float64).mean(0))) ** 2
            hertz = np.fft.rfftfreq(song[source].shape[1], 1 / SAMPLERATE)
            bins = (hertz > 40) & (hertz < 500)
            classes = np.rint(69 + 12 * np.log2(hertz[bins] / 440)).astype(int) % 12
            found.append(spectrum[bins][np.isin(classes, list(scale))].sum() / spectrum[bins].sum())
    assert all(np.mean(found) > 0.75 for found in shares.values()), shares


def pitch_of_partials(wav, low, high, size=8192):
    """Frequency [T] of the strongest partial between `low` and `high` Hz, per eighth of a window, in semitones."""
    x = wav.astype(np.float64).mean(0)
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::size // 8] * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames, 4 * size))
    hertz = np.fft.rfftfreq(4 * size, 1 / SAMPLERATE)
    bins = (hertz > low) & (hertz < high)
    return 12 * np.log2(hertz[bins][spectra[:, bins].argmax(1)] / 440)


def test_textures_tell_the_stems_apart(songs):
    """Within a fiftieth of a second drums rise most; and partials wander in the voice, but stand in the other stem."""
    crest = {s: np.median([np.quantile(novelty(song[s], 882), 0.95) for _, song in songs]) for s in SOURCES}
    assert crest["drums"] > 2 * crest["other"], crest

    def wander(source):
        return np.median([np.mean((steps > 0.02) & (steps < 0.9)) for _, song in songs
                          for steps in [np.abs(np.diff(pitch_of_partials(song[source], 200, 1200)))]])
    assert wander("vocals") > 2 * wander("other"), (wander("vocals"), wander("other"))
