"""Audio files from any program: without lengths in headers, with junk around the sound, truncated, joined, in any
container."""

import logging
import os
import struct
import subprocess
import threading

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs import notes
from demucs.audio import reading, headers, mp3
from demucs.dsp import convert
from demucs.errors import AudioError
from demucs.separation.song import load_song

RATE = 44100
PLACEHOLDERS = [0x7FFFF000, 0x7FFFFFFF - 36, 0x7FFFFFFC, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFDB, 0]


def tone(seconds=1., channels=2, rate=RATE, pitch=440):
    time = np.arange(int(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * pitch * time)[:, None].repeat(channels, 1)


def load(path):
    return load_song(path, samplerate=RATE, channels=2)


def convert_with_ffmpeg(source, target, *options):
    subprocess.run([require_program("ffmpeg"), "-y", "-loglevel", "error", "-i", str(source), *options, str(target)], check=True)


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "good.wav", tone(), RATE)
    return tmp_path / "good.wav"


def frames(path, rate=RATE, channels=2, seconds=1.):
    """An mp3 file without tags, as bytes."""
    soundfile.write(path, tone(seconds, channels, rate), rate, format="MP3")
    data = path.read_bytes()
    return data[data.index(b"\xff"):]


@pytest.mark.parametrize("size", PLACEHOLDERS)
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF])
def test_wav_whose_length_was_not_known(wav, tmp_path, size, riff):
    data = bytearray(wav.read_bytes())
    place = data.index(b"data") + 4
    data[place:place + 4], data[4:8] = struct.pack("<I", size), struct.pack("<I", riff)
    (tmp_path / "a.wav").write_bytes(data)
    expected = torch.from_numpy(soundfile.read(wav, dtype="float32")[0].T)
    assert reading.probe(tmp_path / "a.wav").frames == RATE
    assert torch.equal(reading.read(tmp_path / "a.wav")[0], expected)
    assert torch.equal(reading.read(tmp_path / "a.wav", 100, 50)[0], expected[:, 100:150])
    assert torch.equal(load(tmp_path / "a.wav"), expected)


def test_wav_without_samples_but_with_another_chunk_is_empty(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), RATE)
    (tmp_path / "b.wav").write_bytes((tmp_path / "a.wav").read_bytes() + b"LIST\x04\0\0\0INFO")
    for name in "ab":
        with pytest.raises(AudioError, match=f"{name}.wav: .*zero length"):
            reading.read(tmp_path / f"{name}.wav")


@pytest.mark.parametrize("form, header", [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_24"), ("CAF", "PCM_16"),
                                          ("RF64", "FLOAT"), ("WAV", "FLOAT")])
def test_cut_files_are_refused_as_data_and_separated_as_songs(tmp_path, form, header, caplog):
    path = tmp_path / f"a.{form.lower()}"
    soundfile.write(path, tone(), RATE, format=form, subtype=header)
    whole = path.read_bytes()
    found = headers.promise(path)
    assert found is not None and not found.truncated and reading.read(path)[0].shape == (2, RATE)
    path.write_bytes(whole[:len(whole) // 2])
    assert headers.promise(path).truncated
    with pytest.raises(AudioError, match=f"a.{form.lower()}: .*(truncated|damaged).*again"):
        reading.read(path)
    with caplog.at_level(logging.WARNING):
        assert abs(load(path).shape[1] - RATE // 2) < 1024
    assert path.name in caplog.text


def test_flac_without_a_length(wav, tmp_path):
    with open(tmp_path / "a.flac", "wb") as file:      # a pipe cannot be rewound to fill it in
        subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-i", str(wav), "-f", "flac", "pipe:1"], check=True,
                       stdout=subprocess.PIPE)
        done = subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-i", str(wav), "-f", "flac", "pipe:1"],
                              check=True, stdout=subprocess.PIPE)
        file.write(done.stdout)
    assert soundfile.info(tmp_path / "a.flac").frames > 2 ** 40
    expected = reading.read(wav)[0]
    assert reading.probe(tmp_path / "a.flac") == reading.AudioInfo(RATE, RATE, 2)
    assert torch.equal(reading.read(tmp_path / "a.flac")[0], expected)
    assert torch.equal(reading.read(tmp_path / "a.flac", 5000, 300)[0], expected[:, 5000:5300])
    assert torch.equal(reading.read(tmp_path / "a.flac", RATE - 10, 300)[0], expected[:, -10:])
    assert reading.read(tmp_path / "a.flac", RATE + 5, 300)[0].shape == (2, 0)
    assert torch.equal(load(tmp_path / "a.flac"), expected)


def test_a_cut_flac_file(tmp_path, caplog):
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(size=(RATE, 2)) * 0.1, RATE)
    expected = reading.read(tmp_path / "a.flac")[0]
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[:len(data) // 2])
    with pytest.raises(AudioError, match="a.flac: truncated or damaged"):
        reading.read(tmp_path / "a.flac")
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path / "a.flac")
    assert 15000 < found.shape[1] < RATE // 2 + 4096 and torch.equal(found, expected[:, :found.shape[1]])
    assert "a.flac: truncated" in caplog.text


def tag(version, footer=False, size=700):
    sevens = bytes([0, 0, size >> 7, size & 127])
    return b"ID3" + bytes([version, 0, 0x10 if footer else 0]) + sevens + bytes(size) + (
        b"3DI" + bytes([version, 0, 0x10]) + sevens if footer else b"")


@pytest.mark.parametrize("before", [b"", bytes(5000), bytes(range(1, 250)) * 9, tag(4, footer=True), tag(3) + bytes(3000),
                                    tag(3) + tag(4, footer=True) + b"\xff\xfb\x90" * 20])
@pytest.mark.parametrize("after", [b"", b"TAG" + bytes(125), bytes(2000)])
def test_what_stands_around_the_frames_of_an_mp3(tmp_path, before, after, caplog):
    whole = frames(tmp_path / "a.mp3")
    expected, _ = mp3.read_with_padding(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_bytes(before + whole + after)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(load(tmp_path / "b.mp3"), expected)
    assert not caplog.records


def test_mp3_that_is_cut(tmp_path, caplog):
    whole = frames(tmp_path / "a.mp3", seconds=3.)
    expected, _ = mp3.read_with_padding(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_bytes(whole[:-100])
    assert torch.equal(load(tmp_path / "b.mp3"), expected[:, :-1152])
    assert not caplog.records                                    # a part of a frame
    (tmp_path / "c.mp3").write_bytes(whole[:len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path / "c.mp3")
    assert torch.equal(found, expected[:, :found.shape[1]]) and found.shape[1] > RATE
    assert len(caplog.records) == 1 and "c.mp3: cut: its encoder wrote" in caplog.text
    (tmp_path / "d.mp3").write_bytes(whole[1000:])
    assert load(tmp_path / "d.mp3").shape[1] > 2.8 * RATE


def test_joined_mp3_files(tmp_path, caplog):
    first, second = frames(tmp_path / "a.mp3"), frames(tmp_path / "b.mp3", rate=48000, channels=1, seconds=2.)
    expected = [mp3.read_with_padding(tmp_path / f"{name}.mp3") for name in "ab"]
    (tmp_path / "c.mp3").write_bytes(first + tag(3) + second)
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path / "c.mp3")
    length = expected[0][0].shape[1]
    assert torch.equal(found[:, :length], expected[0][0])
    torch.testing.assert_close(found[:, length:], convert.convert_audio(expected[1][0], 48000, RATE, 2), rtol=0, atol=1e-6)
    assert len(caplog.records) == 1 and "c.mp3: 2 files in one (44100 Hz with 2 channels, 48000 Hz with 1 channel)" in caplog.text
    (tmp_path / "d.mp3").write_bytes(first + first)
    assert abs(load(tmp_path / "d.mp3").shape[1] - 2 * length) <= 1152


def test_mp3_in_a_riff_container(wav, tmp_path):
    convert_with_ffmpeg(wav, tmp_path / "a.wav", "-c:a", "mp3", "-f", "wav")
    assert abs(load(tmp_path / "a.wav").shape[1] - RATE) < 3000
    assert abs(reading.read(tmp_path / "a.wav")[0].shape[1] - RATE) < 3000


@pytest.mark.parametrize("name, options", [
    ("a.eac3", ()), ("a.dts", ("-c:a", "dca", "-strict", "-2")), ("a.nut", ()), ("a.rm", ("-c:a", "real_144", "-ar", "8000", "-ac", "1")),
    ("a.mxf", ("-f", "lavfi", "-i", "color=size=64x64:rate=25:duration=1", "-ar", "48000")), ("a.wma", ()), ("a.mka", ()), ("a.ts", ()), ("a.aac", ()), ("a.ac3", ()),
    ("a.gsm", ("-ar", "8000", "-ac", "1")), ("b.wav", ("-c:a", "libgsm_ms", "-ar", "8000", "-ac", "1")), ("a.tta", ()),
    ("a.wv", ()), ("a.mp2", ()), ("a.caf", ()), ("a.opus", ()), ("a.flv", ("-ar", "44100")), ("a.voc", ())])
def test_containers_that_ffmpeg_reads(wav, tmp_path, name, options):
    convert_with_ffmpeg(wav, tmp_path / name, *options)
    found = load(tmp_path / name)
    assert found.shape[0] == 2 and abs(found.shape[1] - RATE) < 0.1 * RATE and found.abs().max() > 0.1
    part, rate = reading.read(tmp_path / name)
    assert abs(part.shape[1] / rate - 1) < 0.1 and reading.probe(tmp_path / name).samplerate == rate


@pytest.mark.parametrize("declared", [1, 6])
def test_m4a_whose_header_says_other_channels(wav, tmp_path, declared):
    convert_with_ffmpeg(wav, tmp_path / "a.m4a")
    data = bytearray((tmp_path / "a.m4a").read_bytes())
    place = data.index(b"mp4a") + 20                       # of the sample entry: channels
    data[place:place + 2] = struct.pack(">H", declared)
    entry = data.index(b"\x05\x80\x80\x80", data.index(b"esds")) + 6      # of the decoder's configuration
    data[entry] = data[entry] & 0x87 | declared << 3
    (tmp_path / "b.m4a").write_bytes(data)
    if declared == 1:
        assert abs(load(tmp_path / "b.m4a").shape[1] - RATE) < 3000
        assert reading.read(tmp_path / "b.m4a")[0].shape[0] in (1, 2)
    else:                                                  # for ffmpeg, too
        with pytest.raises(AudioError, match="b.m4a: "):
            load(tmp_path / "b.m4a")


def test_a_damaged_stream_says_so_with_its_name(wav, tmp_path, caplog):
    convert_with_ffmpeg(wav, tmp_path / "a.ts", "-t", "1")
    data = bytearray((tmp_path / "a.ts").read_bytes())
    data[4000:-2000] = bytes(len(data) - 6000)
    (tmp_path / "a.ts").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        try:
            load(tmp_path / "a.ts")
        except AudioError as error:
            assert "a.ts" in str(error)
        else:
            assert "a.ts" in caplog.text and len(caplog.records) == 1


def test_a_playlist_opens_nothing(wav, tmp_path):
    for name, text in (("a.m3u8", f"#EXTM3U\n#EXTINF:1,\n{wav}\n"), ("a.txt", f"ffconcat version 1.0\nfile {wav}\n"),
                       ("a.wav", f"ffconcat version 1.0\nfile {wav}\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match=name):
            load(tmp_path / name)


def test_a_pipe_is_read_to_its_end(wav, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(wav.read_bytes()))
    writer.start()
    found = load(tmp_path / "pipe")
    writer.join()
    assert torch.equal(found, reading.read(wav)[0])
    with pytest.raises(AudioError, match="pipe: is a pipe, which can be read only once"):
        reading.probe(tmp_path / "pipe")


def test_devices_links_and_names(tmp_path, wav):
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match="link.wav: is a link to .*gone.wav, which is not there"):
        load(tmp_path / "link.wav")
    with pytest.raises(AudioError, match="null: is a device"):
        load("/dev/null")
    with pytest.raises(AudioError, match="too long"):
        load(tmp_path / ("a" * 300 + ".wav"))
    with pytest.raises(AudioError, match="null"):
        load("a\0b.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a", "ogg"])
def test_names_that_are_not_text(wav, tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"caf\xe9 \xff." + suffix.encode())
    convert_with_ffmpeg(wav, f"file:{tmp_path / 'a'}.{suffix}")
    os.rename(f"{tmp_path / 'a'}.{suffix}", path)
    assert load(path).shape[0] == 2 and reading.probe(path).channels == 2 and reading.read(path)[0].shape[0] == 2


def test_notes_of_libraries_are_not_printed(capfd):
    with notes.without_library_notes():
        with notes.without_library_notes():
            os.write(2, b"a note\n")
        os.write(2, b"a note\n")
    os.write(2, b"a message\n")
    assert capfd.readouterr().err == "a message\n"


def test_nothing_is_printed_about_a_broken_mp3(tmp_path, capfd):
    data = bytearray(frames(tmp_path / "a.mp3", seconds=3.))
    data[3000:3400] = os.urandom(400)
    (tmp_path / "a.mp3").write_bytes(data)
    load(tmp_path / "a.mp3")
    reading.read(tmp_path / "a.mp3")
    assert capfd.readouterr().err == ""


def noise(seconds, channels=2, rate=44100):
    return np.random.default_rng(3).uniform(-0.5, 0.5, (int(seconds * rate), channels)).astype(np.float32)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_joined_files_come_out_whole(form, tmp_path, caplog):
    parts = [(44100, noise(0.5)), (22050, noise(0.5, 1, 22050)), (44100, noise(0.25))]
    names = []
    for number, (rate, wav) in enumerate(parts):
        names.append(tmp_path / f"{number}.{form.lower()}")
        soundfile.write(names[-1], wav, rate, format=form)
    joined = tmp_path / f"joined.{form.lower()}"
    joined.write_bytes(b"".join(name.read_bytes() for name in names))
    song = load_song(joined, samplerate=44100, channels=2)
    assert song.shape == (2, 22050 + 22050 + 11025)
    assert torch.equal(song[:, :22050], load_song(names[0], samplerate=44100, channels=2))
    assert torch.equal(song[:, -11025:], load_song(names[2], samplerate=44100, channels=2))
    message, = [record.getMessage() for record in caplog.records]
    assert str(joined) in message and "3 files in one" in message


def test_what_follows_damage_is_read(tmp_path, caplog):
    """libsndfile ends at the first frame that it cannot decode, ffmpeg goes on behind it."""
    require_program("ffmpeg")
    path = tmp_path / "song.flac"
    soundfile.write(path, noise(10), 44100)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 300] = bytes(300)
    path.write_bytes(data)
    assert load_song(path, samplerate=44100, channels=2).shape[-1] > 9.5 * 44100
    assert all(str(path) in record.getMessage() for record in caplog.records) and caplog.records
    with pytest.raises(AudioError, match="song.flac"):
        reading.read(path)


def test_a_flac_of_unknown_length_that_is_cut_says_so(tmp_path, caplog):
    require_program("ffmpeg")
    soundfile.write(tmp_path / "a.wav", noise(4), 44100)
    with open(tmp_path / "a.flac", "wb") as file:
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", tmp_path / "a.wav", "-f", "flac", "-"], stdout=file, check=True)
    whole = load_song(tmp_path / "a.flac", samplerate=44100, channels=2)
    assert whole.shape[-1] == 4 * 44100 and not caplog.records
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[:len(data) // 2])
    cut = load_song(tmp_path / "cut.flac", samplerate=44100, channels=2)
    assert 0 < cut.shape[-1] < 3 * 44100
    assert any("cut.flac" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("data", [b".snd", b".snd\0\0\0\x18", b"caff\0\1\0\0desc" + (2 ** 63 - 10).to_bytes(8, "big"),
                                  b"RIFF\xff\xff\xff\xffWAVE" + bytes(2 ** 20),
                                  b"riff" + bytes(36) + b"junk" * 4 + (2 ** 63 - 100).to_bytes(8, "little")])
def test_headers_that_lead_nowhere(data, tmp_path):
    path = tmp_path / "stem.wav"
    path.write_bytes(data)
    assert headers.promise(path) is None
    for read in (reading.probe, reading.read, lambda path: load_song(path, samplerate=44100, channels=2)):
        with pytest.raises(AudioError, match="stem.wav"):
            read(path)


def test_unforeseen_errors_name_the_file(wav, monkeypatch):
    def fails(path):
        raise struct.error("unpack requires a buffer")
    monkeypatch.setattr(headers, "promise", fails)
    for read in (reading.probe, reading.read):
        with pytest.raises(AudioError, match="good.wav: cannot be decoded .error: unpack"):
            read(wav)
