import errno
import json
import logging
import os
import pickle
import threading

import numpy as np
import pytest
import soundfile
import torch

from demucs.audio import reading
from demucs.data import index
from demucs.data.faults import FaultyTracks
from demucs.data.index import cache_file, scan
from demucs.data.kinds.folders import folder_tracks
from demucs.data.tracks import MIXTURE
from demucs.dsp import arrays
from demucs.errors import DatasetError

RATE = 8000
SOURCES = ("drums", "vocals")


def make_track(folder, *, seconds=1., rate=RATE, scale=0.1, seed=0, mixture=True):
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    stems = {source: scale * draw.standard_normal((int(seconds * rate), 2)) + 0.01 for source in SOURCES}
    if mixture:
        stems[MIXTURE] = sum(stems.values())
    for name, samples in stems.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="FLOAT")


@pytest.fixture
def dataset(tmp_path):
    for seed, name in enumerate(("one", "group/two", "group/three")):
        make_track(tmp_path / "set" / name, seconds=1 + seed, seed=seed)
    return tmp_path / "set"


@pytest.fixture
def measured(monkeypatch):
    """Names of the tracks whose files are read, in order."""
    names = []
    plain = index._measure

    def measure(track, *args):
        names.append(track.folder.name)
        return plain(track, *args)
    monkeypatch.setattr(index, "_measure", measure)
    return names


def scanned(dataset, **settings):
    settings = {**dict(sources=SOURCES, normalize=True, cache_dir=dataset.parent / "cache"), **settings}
    return scan(folder_tracks(dataset, settings["sources"]), **settings)


def test_what_is_found(dataset):
    found = scanned(dataset)
    assert list(found.tracks) == ["group/three", "group/two", "one"] and len(found) == 3
    for name, meta in found.tracks.items():
        wav = torch.from_numpy(soundfile.read(dataset / name / "mixture.wav")[0]).mean(1)
        assert (meta.length, meta.samplerate) == (len(wav), RATE)
        assert meta.mean == pytest.approx(float(wav.mean()), abs=1e-9)   # channel means are float32
        assert meta.std == pytest.approx(float(wav.std()), rel=1e-8)
    plain = scanned(dataset, normalize=False).tracks["one"]
    assert (plain.mean, plain.std, plain.length) == (0, 1, RATE)
    assert list(found.select(lambda name: "group" in name).tracks) == ["group/three", "group/two"]


def test_long_mixtures_are_measured_in_parts(dataset, monkeypatch):
    whole = scanned(dataset)
    monkeypatch.setattr(arrays, "CHUNK", 777)
    parts = scanned(dataset, cache_dir=dataset.parent / "other")
    for name, meta in whole.tracks.items():
        assert parts.tracks[name].mean == pytest.approx(meta.mean, abs=1e-9)   # channel means are float32
        assert parts.tracks[name].std == pytest.approx(meta.std, rel=1e-9)


@pytest.mark.parametrize("mixture", [True, False])
def test_each_file_is_opened_once(tmp_path, monkeypatch, mixture):
    make_track(tmp_path / "set" / "song", mixture=mixture)
    opened = []
    plain = reading._open
    monkeypatch.setattr(reading, "_open", lambda path, **options: opened.append(path.name) or plain(path, **options))
    scanned(tmp_path / "set")
    assert sorted(opened) == sorted(path.name for path in (tmp_path / "set" / "song").iterdir())


@pytest.mark.parametrize("suffix, subtype", [(".wav", "PCM_16"), (".wav", "PCM_24"), (".wav", "FLOAT"), (".flac", "PCM_16"),
                                             (".aiff", "PCM_16"), (".ogg", "VORBIS"), (".mp3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("mixture", [True, False])
@pytest.mark.parametrize("chunk", [777, arrays.CHUNK])
def test_levels_are_those_of_files_that_are_opened_again(tmp_path, monkeypatch, suffix, subtype, mixture, chunk):
    make_track(tmp_path / "set" / "song", mixture=mixture)
    for path in (tmp_path / "set" / "song").glob("*.wav"):
        samples, rate = soundfile.read(path)
        path.unlink()
        soundfile.write(path.with_suffix(suffix), samples, rate, subtype=subtype)
    track, = folder_tracks(tmp_path / "set", SOURCES).tracks
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    once = index._measure(track, True)
    monkeypatch.setattr(reading, "probe_and_read", lambda path, frames: (reading.probe(path), None))
    assert once == index._measure(track, True)


def test_damage_behind_a_header_is_found(dataset):
    """Where the header has been read, the samples fail later."""
    samples, rate = soundfile.read(dataset / "one" / "mixture.wav")
    (dataset / "one" / "mixture.wav").unlink()
    soundfile.write(dataset / "one" / "mixture.flac", samples, rate)
    content = (dataset / "one" / "mixture.flac").read_bytes()
    (dataset / "one" / "mixture.flac").write_bytes(content[:len(content) // 2])
    with pytest.raises(DatasetError, match="^track one: .*mixture.flac: truncated or damaged: .* the header promises 8000"):
        scanned(dataset)


def test_second_scan_reads_nothing_and_changes_nothing(dataset, measured):
    before = sorted((str(path), path.stat().st_mtime_ns) for path in dataset.rglob("*"))
    first = scanned(dataset)
    assert sorted(measured) == ["one", "three", "two"]
    cache = cache_file(dataset, sources=SOURCES, normalize=True, cache_dir=dataset.parent / "cache")
    stamp = cache.stat().st_mtime_ns
    assert scanned(dataset) == first and len(measured) == 3
    assert cache.stat().st_mtime_ns == stamp
    assert sorted((str(path), path.stat().st_mtime_ns) for path in dataset.rglob("*")) == before


def test_only_what_changed_is_scanned_again(dataset, measured):
    scanned(dataset)
    measured.clear()
    make_track(dataset / "new")
    samples = soundfile.read(dataset / "one" / "mixture.wav")[0]
    soundfile.write(dataset / "one" / "mixture.wav", samples * 0.5, RATE, subtype="FLOAT")   # same size, new time
    old = scanned(dataset.parent / "set").tracks["one"]
    assert sorted(measured) == ["new", "one"]
    assert old.std == pytest.approx(float(torch.from_numpy(samples).mean(1).std()) * 0.5, rel=1e-6)
    measured.clear()
    for file in (dataset / "new").iterdir():
        file.unlink()
    (dataset / "new").rmdir()
    assert list(scanned(dataset).tracks) == ["group/three", "group/two", "one"] and not measured
    (dataset / "one" / "mixture.wav").unlink()
    assert not scanned(dataset).tracks["one"].has_mixture and measured == ["one"]


def test_sources_and_normalisation_have_their_own_caches(dataset, measured):
    scanned(dataset)
    scanned(dataset, sources=["drums"])
    scanned(dataset, normalize=False)
    assert len(measured) == 9
    assert len(list((dataset.parent / "cache").iterdir())) == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 0, "tracks": {}}', '{"tracks": 3}'])
def test_unreadable_cache_is_replaced(dataset, measured, content):
    first = scanned(dataset)
    cache = cache_file(dataset, sources=SOURCES, normalize=True, cache_dir=dataset.parent / "cache")
    cache.write_text(content)
    assert scanned(dataset) == first and len(measured) == 6
    assert json.loads(cache.read_text())["version"] == index.CACHE_VERSION


def test_scans_at_the_same_time(dataset):
    found = []
    threads = [threading.Thread(target=lambda: found.append(scanned(dataset, workers=2))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(each == found[0] for each in found)
    assert [path.suffix for path in (dataset.parent / "cache").iterdir()] == [".json"]


def test_progress_can_be_read_in_a_file(dataset, caplog):
    for number in range(37):
        os.symlink(dataset / "one", dataset / f"link {number}")   # links to folders are followed
    with caplog.at_level(logging.INFO):
        assert len(scanned(dataset)) == 40
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 11 and "40 tracks" in lines[0] and "Scanned 40/40" in lines[-1]


def test_hidden_folders_and_loops(dataset):
    make_track(dataset / ".trash" / "old")
    make_track(dataset / "one" / ".backup")
    (dataset / "README.txt").write_text("x")
    assert len(scanned(dataset)) == 3
    os.symlink(dataset, dataset / "group" / "up")
    with pytest.raises(DatasetError, match="up.*link"):
        scanned(dataset)


def test_silent_mixture_stays_finite(tmp_path):
    make_track(tmp_path / "set" / "silent", scale=0)
    meta = scanned(tmp_path / "set").tracks["silent"]
    assert meta.std == 1 and meta.mean == pytest.approx(0.02, abs=1e-6)


def test_mixture_is_summed_when_missing(dataset):
    with_file = scanned(dataset)
    for file in dataset.rglob("mixture.wav"):
        file.unlink()
    mono = soundfile.read(dataset / "one" / "drums.wav")[0][:, :1]
    soundfile.write(dataset / "one" / "drums.wav", mono, RATE, subtype="FLOAT")
    summed = scanned(dataset)
    for name in ("group/two", "group/three"):
        assert summed.tracks[name].std == pytest.approx(with_file.tracks[name].std, rel=1e-6)
        assert summed.tracks[name].mean == pytest.approx(with_file.tracks[name].mean, abs=1e-6)
    expected = torch.from_numpy(mono.T).float() + reading.read(dataset / "one" / "vocals.wav")[0]
    torch.testing.assert_close(summed.read("one", MIXTURE, 100, 50), expected[:, 100:150])
    assert not list(dataset.rglob("mixture.wav"))


def test_missing_or_empty_dataset(tmp_path):
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        scanned(tmp_path / "nowhere")
    make_track(tmp_path / "set")   # stems lie in the root itself
    with pytest.raises(DatasetError, match="set has no track folders.*drums.wav"):
        scanned(tmp_path / "set")


def test_track_without_a_stem(dataset):
    (dataset / "group" / "two" / "vocals.wav").unlink()
    with pytest.raises(DatasetError, match="track two: .*vocals.wav is missing"):
        scanned(dataset)


@pytest.mark.parametrize("change, words", [
    (lambda path: soundfile.write(path, np.zeros((50, 2)), RATE), "vocals.wav has 50 samples, drums.wav has 8000"),
    (lambda path: soundfile.write(path, np.zeros((RATE, 2)), 16000), "vocals.wav has 16000 Hz, drums.wav has 8000"),
    (lambda path: soundfile.write(path, np.zeros((0, 2)), RATE), "vocals.wav.*zero length"),
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), "vocals.wav.*truncated"),
    (lambda path: path.write_bytes(b""), "vocals.wav.*empty"),
    (lambda path: path.write_bytes(b"no sound at all"), "vocals.wav.*not audio"),
])
def test_bad_stem(dataset, change, words):
    change(dataset / "one" / "vocals.wav")
    with pytest.raises(DatasetError, match=f"track one: .*{words}"):
        scanned(dataset)


def test_mixture_that_is_not_finite(dataset):
    samples = np.zeros((RATE, 2), np.float32)
    samples[5] = np.nan
    soundfile.write(dataset / "one" / "mixture.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(DatasetError, match="one/mixture.wav.*not finite"):
        scanned(dataset)


def test_a_folder_with_stems_is_a_track_and_what_else_lies_in_it_is_named(dataset, caplog):
    make_track(dataset / "one" / "backup")
    make_track(dataset / "group" / "two" / "backup")
    (dataset / "one" / "notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert list(scanned(dataset).tracks) == ["group/three", "group/two", "one"]
    assert [record.getMessage() for record in caplog.records] == [
        f"Tracks in {dataset} hold more than their stems, which is not looked at: backup/ (in 2 tracks), notes.txt "
        f"(in 1 track)"]


@pytest.mark.parametrize("name", ["Drums.WAV", "VOCALS.flac"])
def test_a_track_whose_stems_have_other_names_is_not_replaced_by_what_lies_in_it(dataset, name):
    for file in (dataset / "one").iterdir():
        file.unlink()
    (dataset / "one" / name).write_bytes(b"x")
    make_track(dataset / "one" / "backup")
    with pytest.raises(DatasetError, match=r"^track one: .*drums\.wav, .*vocals\.wav are missing"):
        scanned(dataset)


def test_all_faulty_tracks_are_named_at_once_and_the_others_are_not_scanned_again(dataset, measured):
    for number in range(22):
        make_track(dataset / f"bad {number:02}")
        path = dataset / f"bad {number:02}" / "vocals.wav"
        path.unlink() if number % 2 else path.write_bytes(b"no sound")
    with pytest.raises(FaultyTracks) as caught:
        scanned(dataset)
    message = str(caught.value)
    assert message.startswith("22 tracks cannot be used: (1) track bad 01: ") and "\n" not in message
    assert sum(f"track bad {number:02}: " in message for number in range(22)) == 20
    assert message.endswith("(20) " + caught.value.faults[19] + "; and 2 more")
    assert str(pickle.loads(pickle.dumps(caught.value))) == message      # as it comes to other processes
    measured.clear()
    with pytest.raises(FaultyTracks):
        scanned(dataset)
    assert sorted(measured) == [f"bad {number:02}" for number in range(0, 22, 2)]


def test_links_to_nothing_are_named(dataset):
    os.symlink("gone", dataset / "group" / "lost song")
    (dataset / "one" / "mixture.wav").unlink()
    os.symlink("/gone/mixture.wav", dataset / "one" / "mixture.wav")
    (dataset / "group" / "two" / "vocals.wav").unlink()
    os.symlink("itself.wav", dataset / "group" / "two" / "vocals.wav")
    with pytest.raises(FaultyTracks) as caught:
        scanned(dataset)
    assert len(caught.value.faults) == 3
    for name, target in (("group/lost song", "gone"), ("one/mixture.wav", "/gone/mixture.wav"),
                         ("group/two/vocals.wav", "itself.wav")):
        assert f"{dataset / name}: a link to {target}, which is not there; mend the link" in str(caught.value)


def test_a_folder_that_may_not_be_read_is_named(dataset, monkeypatch):
    plain = os.scandir

    def refused(path):
        if str(path).endswith("group"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path)
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(FaultyTracks, match="group: cannot be read .Permission denied.; make it readable"):
        scanned(dataset)


def test_a_cache_that_cannot_be_written_costs_a_warning(dataset, measured, caplog):
    (dataset.parent / "cache").write_text("a file")
    with caplog.at_level(logging.WARNING):
        found = scanned(dataset)
    assert len(found) == 3 and scanned(dataset) == found and len(measured) == 6
    assert len(caplog.records) == 2 and "cannot be written" in caplog.text and "dset.metadata" in caplog.text


def test_a_cache_that_cannot_be_read_costs_a_warning(dataset, measured, caplog):
    found = scanned(dataset)
    cache = cache_file(dataset, sources=SOURCES, normalize=True, cache_dir=dataset.parent / "cache")
    cache.unlink()
    cache.mkdir()
    assert scanned(dataset) == found and len(measured) == 6 and "cannot be read" in caplog.text
