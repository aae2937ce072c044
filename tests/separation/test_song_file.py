"""Songs read in blocks: the samples of `load_song`, the level of the whole song, and no more in memory than needed."""

import logging
import os
import subprocess
import threading

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs.api import LoadAudioError, Separator
from demucs.audio import decoders
from demucs.errors import AudioError
from demucs.separation import song_file
from demucs.separation.bag import BagOfModels
from demucs.separation.song import _level, load_song, separate_song
from demucs.separation.song_file import SongFile, Stopped, separate_in_blocks

RATE = 8000
ALIKE = dict(rtol=0, atol=1e-6)


class Gains(torch.nn.Module):
    """Model that multiplies the mixture by one number per source, and needs context."""
    sources, samplerate, audio_channels, segment = ["a", "b"], RATE, 2, 1.

    def __init__(self, normalizes_songs=True, gain=0.6):
        super().__init__()
        self.normalizes_songs = normalizes_songs
        self.gains = torch.nn.Parameter(torch.tensor([gain, 0.1]))
        self.largest = 0

    def valid_length(self, length):
        return length + 501

    def forward(self, mix):
        self.largest = max(self.largest, mix.shape[-1])
        return (mix + 0.1 * mix.roll(100, -1) ** 2)[:, None] * self.gains[:, None, None]


def noise(seconds, rate=RATE, channels=2, seed=0):
    draw = np.random.default_rng(seed)
    return (0.02 + 0.1 * draw.normal(size=(round(seconds * rate), channels))).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(decoders, "FRAMES", 5000)
    monkeypatch.setattr(song_file, "BLOCK", 1.5)
    monkeypatch.setattr(song_file, "BAG_BLOCK", 2.5)
    monkeypatch.setattr(song_file, "CALLS", 1)


def read_all(path):
    with SongFile(path, samplerate=RATE, channels=2) as song:
        song.kept = 0
        edges = [*range(0, song.length, 3000), song.length]
        return torch.cat([song.read(start, stop) for start, stop in zip(edges, edges[1:])], dim=-1), song.level


def write(path, rate, channels=2, seconds=6.):
    wav = noise(seconds, rate, channels)
    if path.suffix == ".m4a":
        soundfile.write(path.with_suffix(".wav"), wav, rate)
        subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-i", path.with_suffix(".wav"), path], check=True)
    else:
        soundfile.write(path, wav, rate)


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aiff"])
def test_same_samples_as_at_once(suffix, rate, tmp_path):
    path = tmp_path / f"a{suffix}"
    write(path, rate)
    expected = load_song(path, samplerate=RATE, channels=2)
    found, level = read_all(path)
    torch.testing.assert_close(found, expected, **ALIKE)
    mean, std = _level(expected)
    assert level == pytest.approx((float(mean), float(std)), abs=1e-8)


@pytest.mark.parametrize("channels", [1, 6])
def test_channels(channels, tmp_path, caplog):
    write(tmp_path / "a.wav", RATE, channels)
    found, _ = read_all(tmp_path / "a.wav")
    assert torch.equal(found, load_song(tmp_path / "a.wav", samplerate=RATE, channels=2))
    assert [record.getMessage() for record in caplog.records][:1] == \
        [f"{tmp_path / 'a.wav'} has 6 channels: only the first 2 are separated"] * (channels == 6)


@pytest.mark.parametrize("kind", ["joined", "cut flac", "cut mp3", "cut wav", "tagged mp3", "several mp3"])
def test_files_that_are_not_regular(kind, tmp_path, caplog):
    """With the warnings of the whole file, once."""
    for suffix in ("wav", "flac", "mp3"):
        write(tmp_path / f"a.{suffix}", 16000)
    write(tmp_path / "b.mp3", 44100)
    data = {suffix: (tmp_path / f"a.{suffix}").read_bytes() for suffix in ("wav", "flac", "mp3")}
    path = tmp_path / f"song.{kind.split()[-1]}"
    path.write_bytes({"joined": data["wav"] * 2, "tagged mp3": b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257) + data["mp3"],
                      "several mp3": data["mp3"] + (tmp_path / "b.mp3").read_bytes()}.get(
                          kind, data[kind.split()[-1]][:60_000 if kind != "cut mp3" else 20_000])
                     if kind != "joined" else data["wav"] * 2)
    with caplog.at_level(logging.WARNING):
        expected = load_song(path, samplerate=RATE, channels=2)
        said = [record.getMessage() for record in caplog.records]
        caplog.clear()
        found, _ = read_all(path)
    torch.testing.assert_close(found, expected, **ALIKE)
    assert [record.getMessage() for record in caplog.records] == said
    assert bool(said) == (kind != "tagged mp3")


@pytest.mark.parametrize("settings", [dict(shifts=0), dict(shifts=1, seed=4), dict(shifts=2), dict(shifts=0, split=False),
                                      dict(shifts=0, overlap=0.1, segment=0.7), dict(shifts=2, workers=2, batch=3)], ids=str)
@pytest.mark.parametrize("kind", ["normalised", "as it is", "bag", "mixed bag"])
def test_same_estimates_as_at_once(kind, settings, tmp_path):
    write(tmp_path / "a.wav", RATE, seconds=9.3)
    model = {"normalised": lambda: Gains(), "as it is": lambda: Gains(False),
             "bag": lambda: BagOfModels([Gains(), Gains(gain=0.9)]),
             "mixed bag": lambda: BagOfModels([Gains(), Gains(False, 0.9)], [[1., 3.], [2., 0.]])}[kind]()
    mix = load_song(tmp_path / "a.wav", samplerate=RATE, channels=2)
    expected = separate_song(model, mix, **settings)
    with SongFile(tmp_path / "a.wav", samplerate=RATE, channels=2) as song:
        parts = list(separate_in_blocks(model, song, **settings))
    assert len(parts) >= 3 or not settings.get("split", True)
    assert torch.equal(torch.cat([part for part, _ in parts], dim=-1), mix)
    torch.testing.assert_close(torch.cat([part for _, part in parts], dim=-1), expected, **ALIKE)


@pytest.mark.parametrize("kind", ["one", "bag"])
def test_what_is_kept_does_not_depend_on_the_length(kind, tmp_path):
    kept = {}
    for seconds in (15, 60):
        write(tmp_path / "a.wav", RATE, seconds=seconds)
        with SongFile(tmp_path / "a.wav", samplerate=RATE, channels=2) as song:
            model = Gains() if kind == "one" else BagOfModels([Gains(), Gains()])
            sizes = [(sum(block.numel() for block in song._blocks), estimates.numel())
                     for _, estimates in separate_in_blocks(model, song, shifts=0)]
        kept[seconds] = max(size for size, _ in sizes), max(size for _, size in sizes)
    assert kept[60] == kept[15] and kept[15][0] <= 2 * RATE * 8


@pytest.mark.parametrize("settings,expected", [
    (dict(), 10.), (dict(workers=1), 10.), (dict(workers=3), 45.), (dict(batch=4), 60.), (dict(shifts=2), 60.),
    (dict(shifts=2, batch=20), 150.),
    (dict(device="cuda"), 180.), (dict(device="cuda", batch=20), 300.), (dict(device=(torch.device("cpu"),) * 3), 45.),
    (dict(device=(torch.device("cuda:0"), torch.device("cuda:1")), batch=16), 480.), (dict(segment=4., workers=4), 24.)], ids=str)
def test_spans_are_long_enough_for_all_calls(settings, expected, monkeypatch):
    for name, value in (("BLOCK", 10.), ("BAG_BLOCK", 60.), ("CALLS", 2)):
        monkeypatch.setattr(song_file, name, value)
    model = Gains()
    model.segment = 10.
    chosen = {"shifts": 1, "overlap": 0.25, "segment": None, **settings}
    assert song_file._seconds_of_block(model, **chosen, seed=3) == expected
    assert song_file._seconds_of_block(BagOfModels([model, model]), **chosen) == max(expected, 60.)


def test_samples_that_are_not_finite(tmp_path):
    wav = noise(3.)
    wav[12_000:12_003] = np.nan
    wav[20_000, 1] = np.inf
    soundfile.write(tmp_path / "a.wav", wav, RATE, subtype="FLOAT")
    for read in (read_all, lambda path: load_song(path, samplerate=RATE, channels=2)):
        with pytest.raises(AudioError, match=r"a.wav: 4 samples are not .* the first at 1.500 s; render the file again"):
            read(tmp_path / "a.wav")


def test_estimates_that_are_not_finite(tmp_path):
    write(tmp_path / "a.wav", RATE)
    with SongFile(tmp_path / "a.wav", samplerate=RATE, channels=2) as song, \
            pytest.raises(AudioError, match="the output of the model is not finite"):
        list(separate_in_blocks(Gains(gain=float("inf")), song))


def test_a_pipe_is_kept_for_the_second_pass(tmp_path):
    write(tmp_path / "a.flac", RATE)
    os.mkfifo(tmp_path / "pipe")
    data = (tmp_path / "a.flac").read_bytes()
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    thread.start()
    found, _ = read_all(tmp_path / "pipe")
    thread.join()
    assert torch.equal(found, load_song(tmp_path / "a.flac", samplerate=RATE, channels=2))


def test_a_file_that_changes(tmp_path):
    write(tmp_path / "a.wav", RATE)
    with SongFile(tmp_path / "a.wav", samplerate=RATE, channels=2) as song:
        write(tmp_path / "a.wav", RATE, seconds=2.)
        with pytest.raises(AudioError, match="a.wav: has changed while it was separated; try again"):
            song.read(0, song.length)


def test_a_pass_that_is_stopped(tmp_path):
    write(tmp_path / "a.wav", RATE)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        SongFile(tmp_path / "a.wav", samplerate=RATE, channels=2, stop=stop).__enter__()


def test_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full((1, 2), 0.5), RATE)
    found, level = read_all(tmp_path / "a.wav")
    assert torch.equal(found, torch.full((2, 1), 0.5)) and level == pytest.approx((0.5, 1e-8))
    soundfile.write(tmp_path / "b.wav", np.full((1, 2), 0.5), 96000)
    with pytest.raises(AudioError, match="b.wav: is shorter than one sample at 8000 Hz"):
        read_all(tmp_path / "b.wav")


def test_parts_of_a_song_from_python(tmp_path):
    write(tmp_path / "a.wav", RATE)
    separator = Separator(Gains(), device="cpu")
    mix, stems = separator.separate_audio_file(tmp_path / "a.wav")
    parts = list(separator.stream_audio_file(tmp_path / "a.wav"))
    assert len(parts) > 2 and torch.equal(torch.cat([part for part, _ in parts], dim=-1), mix)
    for name, estimate in stems.items():
        torch.testing.assert_close(torch.cat([part[name] for _, part in parts], dim=-1), estimate, **ALIKE)
    with pytest.raises(LoadAudioError, match="b.wav: no such file"):
        next(separator.stream_audio_file(tmp_path / "b.wav"))
