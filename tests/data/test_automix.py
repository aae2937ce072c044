"""Remixes: what is found in songs of known tempo, first beat and key, and the dataset that is made of them."""

import hashlib
import json
import os
import shutil
import sys
import time

import numpy as np
import preloaded
import pytest
import soundfile
from conftest import require_program
from data import simple_songs
from omegaconf import OmegaConf
from training.small import TINY, settings, solver_in

from demucs import schema
from demucs.audio import soundstretch
from demucs.data.automix import analysis, dataset, study
from demucs.data.automix.matching import LEAD, Limits
from demucs.data.automix.songs import Song, find
from demucs.data.faults import FaultyTracks
from demucs.data.kinds.folders import folder_tracks
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.errors import ConfigError, DatasetError, ToolError
from demucs.schema import SOURCES, AutomixRecord
from tools import automix

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return simple_songs.write_musdb(tmp_path_factory.mktemp("automix") / "songs")


@pytest.fixture(scope="module")
def made(songs, tmp_path_factory):
    """(record, folder) of remixes of `songs`."""
    require_program("soundstretch")
    out = tmp_path_factory.mktemp("automix") / "out"
    return dataset.make(songs, out, mixes=2, seed=1), out


def analysed(folder, wavs):
    """Analysis of one song of these stems."""
    simple_songs.write_stems(folder / "songs" / "song", wavs)
    track, = folder_tracks(folder / "songs", SOURCES).tracks
    return analysis.analyse(Song(0, "train", track, "song"), SOURCES, folder / "cache", "1")


def digests(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*.wav"))}


@pytest.mark.parametrize("tempo, key, first_beat, tuning", [(80., 3, 0.4, 0.), (145., 9, 0.05, 0.),
                                                            (112.3, 6, 1.1, 0.3)])
def test_tempo_first_beat_key_and_tuning_are_found(tmp_path, tempo, key, first_beat, tuning):
    found = analysed(tmp_path, simple_songs.stems(tempo, key, first_beat=first_beat, tuning=tuning))
    assert found.doubt == "" and found.signature == key
    assert found.tempo == pytest.approx(tempo, rel=5e-4)
    assert found.first_beat == pytest.approx(first_beat, abs=0.012)
    assert found.tuning == pytest.approx(tuning, abs=0.06)
    assert all(len(levels) == int((20 - first_beat) * tempo / 240) for levels in found.levels.values())


def test_songs_in_doubt_say_why(tmp_path):
    wavs = simple_songs.stems(100., 0, seconds=24.)
    noise = {source: 0.1 * np.random.default_rng(number).standard_normal(wav.shape)
             for number, (source, wav) in enumerate(wavs.items())}
    for name, stems, doubt in (
            ("accelerating", simple_songs.stems(100., 0, seconds=24., rubato=0.06), "pulse|steady|tempos"),
            ("noise", noise, "no clear pulse"),
            ("silent", {source: 0 * wav for source, wav in wavs.items()}, "no pitched stems"),
            ("drums", {source: wav * (source == "drums") for source, wav in wavs.items()}, "no pitched stems"),
            ("short", {source: wav[:10 * simple_songs.RATE] for source, wav in wavs.items()}, "shorter than 15 s"),
            ("chromatic", {**noise, "drums": wavs["drums"]}, "the key is unsure")):
        found = analysed(tmp_path / name, stems).doubt
        assert any(part in found for part in doubt.split("|")), (name, found)


def test_generated_songs_agree_with_their_plans(tmp_path):
    """Of the songs that are used, none is wrong; docs/automix.md has the shares for many songs."""
    study.write_songs(tmp_path, train=6, valid=1, seconds=18., seed=2)
    truths, used = study.read_truth(tmp_path), 0
    for song in find(None, [tmp_path], SOURCES):
        found, truth = analysis.analyse(song, SOURCES, tmp_path / "cache", "1"), truths[song.title]
        if not found.doubt:
            used += 1
            assert found.tempo == pytest.approx(truth.tempo, rel=0.01)
            assert abs(study.distance_to_bar_line(found.first_beat, truth)) < 0.03
            assert found.signature == truth.signature
    assert used >= 5


def test_remixes_agree_with_the_truth_as_drawn_and_as_rendered(made):
    record, out = made
    truths = {song.title: study.Truth(tempo, first, key) for song, (tempo, key, first) in zip(
        (song for split in ("train", "valid") for song in sorted(
            (song for song in record.songs if song.split == split), key=lambda song: song.title)),
        (*simple_songs.TRAIN, *(simple_songs.VALID[VALIDATION_TRACKS.index(name)] for name in
                                sorted(VALIDATION_TRACKS[:2]))))}
    program = soundstretch.find()
    for mix in record.mixes:
        errors = study.compare_mix(mix, truths)
        assert errors.agrees and errors.tempo < 1e-3 and errors.begin < 0.015 and errors.end < 0.02
    spreads = [study.rendered_spread(mix, record, truths, program) for mix in record.mixes[::4]]
    assert max(spreads) < 0.03, spreads


def test_dataset_is_complete_and_sums_are_exact(made):
    record, out = made
    assert [mix.split for mix in record.mixes] == ["train"] * 8 + ["valid"] * 4 and not record.missing
    assert {str(path.relative_to(out)) for path in out.glob("*/*") if path.is_dir()} == \
        {f"{mix.split}/{mix.name}" for mix in record.mixes}
    for mix in record.mixes:
        folder = out / mix.split / mix.name
        wavs = {path.stem: soundfile.read(path, dtype="int16") for path in folder.iterdir()}
        assert set(wavs) == {*SOURCES, "mixture"}
        assert {(wav.shape, rate) for wav, rate in wavs.values()} == {((round(mix.seconds * 22050), 2), 22050)}
        assert np.array_equal(wavs["mixture"][0].astype(int), sum(wavs[source][0].astype(int) for source in SOURCES))
        assert all(20 * np.log10(np.sqrt(np.mean(wav.astype(float) ** 2)) / 32768) > -60 for wav, _ in wavs.values())
    assert schema.load(AutomixRecord, out / dataset.RECORD) == record
    songs = {song.title: song.split for song in record.songs}
    assert "Test song" not in songs and {songs[name] for name in VALIDATION_TRACKS[:2]} == {"valid"}


def test_drums_begin_on_the_first_beat(made):
    record, out = made
    for mix in record.mixes[::3]:
        wav, rate = soundfile.read(out / mix.split / mix.name / "drums.wav")
        low = np.convolve(np.abs(wav[:, 0]), np.ones(50) / 50, "same")
        start = low[:round((LEAD + 0.2) * rate)]
        attack = np.argmax(start > 0.4 * start.max()) / rate
        assert attack == pytest.approx(LEAD, abs=0.03)


def test_same_bytes_for_any_number_of_processes(made, songs, tmp_path):
    record, out = made
    again = dataset.make(songs, tmp_path / "again", mixes=2, seed=1, jobs=2)
    assert again == record and digests(tmp_path / "again") == digests(out)
    assert (tmp_path / "again" / dataset.RECORD).read_bytes() == (out / dataset.RECORD).read_bytes()


def test_killed_at_any_moment_it_is_completed(made, songs, tmp_path):
    """As documented, with the paths from the environment; killed after the analysis and after the first remixes."""
    record, out = made
    there = tmp_path / "there"
    environment = {"PATH": os.environ["PATH"], "DEMUCS_MUSDB": str(songs), "DEMUCS_AUTOMIX": str(there),
                   "NUMBA_NUM_THREADS": "1"}
    command = ["-m", "tools.automix", "--mixes", "2", "--seed", "1", "--jobs", "1"]
    for enough in (lambda: list((there / "analysis").glob("*.json")), lambda: list((there / "train").glob("0*"))):
        process = preloaded.Popen(*command, env=environment)
        while not enough() and process.returncode is None:
            time.sleep(0.02)
        process.kill()
        process.wait(60)
    (there / "train" / ".left.0000.partial").mkdir()
    done = preloaded.run(*command, env=environment)
    assert done.returncode == 0, done.stderr
    assert digests(there) == digests(out) and not list(there.glob("*/.*"))
    assert (there / dataset.RECORD).read_bytes() == (out / dataset.RECORD).read_bytes()
    assert "train: 8 remixes; 6 pairs of songs: 5 agree, 1 do not: the tempos are too far apart\n" \
           "valid: 4 remixes; 1 pair of songs: 1 agree\n" in done.stdout
    assert "complete already: " in done.stderr and "remix 1/" in done.stderr


def test_another_recipe_is_refused_and_nothing_is_lost(made, songs, tmp_path):
    _, out = made
    before = digests(out)
    with pytest.raises(DatasetError, match="another recipe.*different: seed"):
        dataset.make(songs, out, mixes=2, seed=2)
    with pytest.raises(DatasetError, match="different: max_tempo, mixes"):
        dataset.make(songs, out, mixes=3, seed=1, limits=Limits(10., 2))
    shutil.copytree(songs, tmp_path / "changed")
    shutil.rmtree(tmp_path / "changed" / "train" / "Song 0")
    with pytest.raises(DatasetError, match="different: songs"):
        dataset.make(tmp_path / "changed", out, mixes=2, seed=1)
    assert digests(out) == before
    (tmp_path / "other" / "train").mkdir(parents=True)
    with pytest.raises(DatasetError, match="not made by automix"):
        dataset.make(songs, tmp_path / "other")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / dataset.RECIPE).write_text("{")
    with pytest.raises(DatasetError, match="not a JSON file.*remove"):
        dataset.make(songs, tmp_path / "damaged")


def test_an_interrupted_analysis_is_cached_and_a_damaged_one_made_again(made, songs, tmp_path, monkeypatch):
    record, out = made
    shutil.copytree(out, tmp_path / "copy")
    damaged, *kept = sorted((tmp_path / "copy" / "analysis").iterdir())
    damaged.write_text(json.dumps({"version": 1, "tempo": "fast"}))
    calls, original = [], analysis._analysed

    def counted(song, *rest):
        calls.append(song.title)
        return original(song, *rest)
    monkeypatch.setattr(analysis, "_analysed", counted)
    assert dataset.make(songs, tmp_path / "copy", mixes=2, seed=1) == record
    assert len(calls) == 1 and len(kept) == 5


def test_songs_of_further_datasets_and_the_test_songs_of_musdb(songs, tmp_path):
    """What auto_extra_test trains on; a song of the same name is another one."""
    simple_songs.write(tmp_path / "mine" / "train" / "Song 0", 102., 1, seed=30)
    without = find(songs, [tmp_path / "mine"], SOURCES)
    assert [song.title for song in without if song.split == "train"] == \
        ["Song 0", "Song 1", "Song 2", "Song 3", "Song 0 (2)"]
    found = find(songs, [tmp_path / "mine"], SOURCES, with_test=True)
    assert {song.title for song in found} - {song.title for song in without} == {"Test song"}
    assert {song.split for song in found if song.title == "Test song"} == {"train"}


def test_input_that_cannot_be_used(songs, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="missing.*does not exist"):
        dataset.make(tmp_path / "missing", tmp_path / "out")
    with pytest.raises(ConfigError, match="lies within the dataset"):
        dataset.make(songs, songs / "train" / "out")
    with pytest.raises(ConfigError, match="mixes=0"):
        dataset.make(songs, tmp_path / "out", mixes=0)
    alone = tmp_path / "alone"
    shutil.copytree(songs / "train" / "Song 0", alone / "train" / "Song 0")
    with pytest.raises(DatasetError, match="no songs of the split 'valid'"):
        dataset.make(alone, tmp_path / "out")
    shutil.copytree(songs / "train" / VALIDATION_TRACKS[0], alone / "train" / VALIDATION_TRACKS[0])
    with pytest.raises(DatasetError, match="no remix is possible among the songs of the split 'train'.*--max-tempo"):
        dataset.make(alone, tmp_path / "alone-out")
    (alone / "train" / "Song 0" / "bass.wav").write_bytes(b"RIFF")
    soundfile.write(alone / "train" / VALIDATION_TRACKS[0] / "bass.wav", np.zeros((50, 2)), 22050)
    with pytest.raises(FaultyTracks, match="2 tracks cannot be used.*stems of different length.*bass.wav"):
        dataset.make(alone, tmp_path / "faulty-out")
    (alone / "train" / "Song 0" / "bass.wav").unlink()
    with pytest.raises(FaultyTracks, match="bass.wav is missing"):
        dataset.make(alone, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(ToolError, match=r"librosa.*\[automix\]"):
        dataset.make(songs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_noticed_before(made, songs, tmp_path, monkeypatch):
    _, out = made
    shutil.copytree(out / "analysis", tmp_path / "out" / "analysis")
    monkeypatch.setattr(dataset.files, "free_bytes", lambda path: 10 ** 6)
    with pytest.raises(DatasetError, match=r"need 0\.0 GB, 0\.0 GB are free|need .* GB"):
        dataset.make(songs, tmp_path / "out", mixes=2, seed=1)


def test_defaults_are_the_paths_of_the_configuration(repository, monkeypatch):
    monkeypatch.delenv("DEMUCS_MUSDB", raising=False)
    monkeypatch.delenv("DEMUCS_AUTOMIX", raising=False)
    args = automix.get_parser().parse_args([])
    conf = repository / "conf"
    assert str(args.musdb) == str(OmegaConf.load(conf / "config.yaml").dset.musdb).removeprefix("./")
    assert str(args.out) == str(OmegaConf.load(conf / "dset" / "auto_mus.yaml").dset.wav).removeprefix("./")
    assert (args.mixes, args.with_test, args.wav) == (6, False, [])
    monkeypatch.setenv("DEMUCS_MUSDB", "/a")
    monkeypatch.setenv("DEMUCS_AUTOMIX", "/b")
    args = automix.get_parser().parse_args(["--wav", "x", "--wav", "y", "--with-test", "--mixes", "10"])
    assert [str(path) for path in (args.musdb, args.out, *args.wav)] == ["/a", "/b", "x", "y"]
    assert args.with_test and args.mixes == 10


def test_auto_mus_trains_on_the_remixes(made, songs, tmp_path, monkeypatch):
    record, out = made
    monkeypatch.setenv("DEMUCS_AUTOMIX", str(out))
    chosen = [item for item in TINY if item.split("=")[0] not in ("epochs", "test.every", "max_batches")]
    config = settings(songs, *chosen, "dset=auto_mus", "epochs=1", "max_batches=1", "dset.full_cv=false",
                      f"dset.metadata={tmp_path / 'cache'}", "dset.valid_samples=2")
    solver = solver_in(tmp_path / "run", config)
    card = solver.run() or schema.load(schema.RunCard, tmp_path / "run" / "run_card.json")
    assert card.train_tracks == len(simple_songs.TRAIN) + sum(mix.split == "train" for mix in record.mixes)
    assert np.isfinite(solver.history[-1].train["loss"])
