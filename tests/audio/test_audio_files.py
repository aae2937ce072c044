import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs.audio import reading, ffmpeg
from demucs.errors import AudioError, ToolError

RATE = 44100


def tone(seconds=0.5, channels=2, rate=RATE):
    """Sines with soft ends: codecs answer a hard start with more than they were given."""
    time = torch.arange(int(seconds * rate)) / rate
    level = 0.5 * (20 * torch.minimum(time, seconds - time)).clamp(max=1)
    return torch.stack([level * torch.sin(2 * torch.pi * (220 + 110 * c) * time) for c in range(channels)])


def convert(source, target, *options):
    command = [require_program("ffmpeg"), "-loglevel", "error", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("options, step", [(dict(bits=16), 1.5 * 2 ** -15), (dict(bits=24), 2 ** -23),
                                           (dict(bits=32), 2 ** -24), (dict(as_float=True), 0)])
def test_wav_round_trip(tmp_path, options, step):
    wav = torch.rand(3, 2000) * 1.9 - 0.95
    reading.write(tmp_path / "a.wav", wav, RATE, **options)
    back, rate = reading.read(tmp_path / "a.wav")
    assert rate == RATE and back.dtype == torch.float32
    assert (back - wav).abs().max() <= step
    assert reading.probe(tmp_path / "a.wav") == reading.AudioInfo(2000, RATE, 3)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_sixteen_bits_are_within_a_step_of_published(tmp_path, name):
    """Demucs 4.1.0 cuts x * 32767 off towards zero; before, through torchaudio, x * 32768 went to the nearest."""
    values = torch.cat([torch.tensor([1., -1., 0.99, -0.99, 2., -2.]), torch.rand(50_000) * 1.98 - 0.99]).numpy()
    reading.write(tmp_path / name, torch.from_numpy(values)[None], RATE, clip="none")
    found = soundfile.read(tmp_path / name, dtype="int16")[0].astype(int)
    assert np.abs(found - (values.clip(-1, 1) * 32767).astype("<i2")).max() == 1
    assert np.abs(found - np.rint(values.astype(float) * 32768).clip(-32768, 32767)).max() == 1
    assert found[:6].tolist() == [32767, -32767, 32439, -32439, 32767, -32767]


@pytest.mark.parametrize("bits", [16, 24])
def test_flac_round_trip(tmp_path, bits):
    wav = tone(1.)
    reading.write(tmp_path / "a.flac", wav, RATE, bits=bits)
    back, rate = reading.read(tmp_path / "a.flac")
    assert rate == RATE and (back - wav).abs().max() <= 1.5 * 2. ** (1 - bits)


def test_mp3_round_trip(tmp_path):
    wav = tone(1.)
    reading.write(tmp_path / "a.mp3", wav, RATE)
    back, rate = reading.read(tmp_path / "a.mp3")
    delay = 576 + 529   # samples, of LAME's encoder and of any decoder
    assert rate == RATE and back.shape[1] >= delay + wav.shape[1]
    assert (back[:, delay:delay + wav.shape[1]] - wav).abs().max() <= 0.01   # 320 kbit/s
    reading.write(tmp_path / "b.mp3", wav[:1], RATE, mp3_bitrate=64, mp3_preset=7)
    assert reading.probe(tmp_path / "b.mp3").channels == 1
    assert (tmp_path / "b.mp3").stat().st_size < (tmp_path / "a.mp3").stat().st_size / 4


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_part_of_a_file(tmp_path, suffix):
    path = tmp_path / f"-a b;$(x).{suffix}"
    reading.write(tmp_path / "a.wav", tone(2.), RATE)
    if suffix in ("wav", "flac", "mp3"):
        reading.write(path, tone(2.), RATE)
    else:
        convert(tmp_path / "a.wav", f"file:{path}")
    whole, rate = reading.read(path)
    assert rate == RATE and whole.shape[0] == 2 and (whole.abs().max() - 0.5).abs() < 0.05
    codec_frame = {"m4a": 1024, "mp3": 1152}.get(suffix, 0)
    assert abs(reading.probe(path).frames - whole.shape[1]) <= codec_frame
    for start, frames in ((0, 100), (30000, 5000), (whole.shape[1] - 10, 500)):
        part, _ = reading.read(path, start, frames)
        expected = whole[:, start:start + frames]
        assert part.shape == expected.shape
        assert (part - expected).abs().max() < 1e-4   # decoders of lossy formats keep a little state
    assert reading.read(path, whole.shape[1] + 5, 10)[0].shape == (2, 0)


def test_relative_path_that_looks_like_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-", "-i.wav"):
        soundfile.write(str(tmp_path / name), tone()[0].numpy(), RATE, format="WAV")
        assert reading.read(name)[0].shape == (1, RATE // 2)
    convert("file:-i.wav", "file:-version.m4a")
    assert reading.probe("-version.m4a").samplerate == RATE


@pytest.mark.parametrize("rate, channels", [(8000, 1), (96000, 2), (48000, 6)])
@pytest.mark.parametrize("suffix", ["wav", "flac", "m4a"])
def test_rates_and_channels(tmp_path, rate, channels, suffix):
    wav = tone(0.3, channels, rate)
    reading.write(tmp_path / "a.wav", wav, rate)
    path = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        convert(tmp_path / "a.wav", path, "-b:a", "256k")
    else:
        reading.write(path, wav, rate)
    back, found = reading.read(path)
    assert found == rate and back.shape[0] == channels and abs(back.shape[1] - wav.shape[1]) <= 1024


def test_files_that_are_not_audio(tmp_path):
    require_program("ffmpeg")
    for name, content in (("song.wav", b"hello, this is no sound " * 99), ("noise.raw", bytes(500)),
                          ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.mp3\n")):
        (tmp_path / name).write_bytes(content)
        for function in (reading.read, reading.probe):
            with pytest.raises(AudioError, match=name):
                function(tmp_path / name)
    with pytest.raises(AudioError, match="no such file"):
        reading.read(tmp_path / "absent.wav")
    with pytest.raises(AudioError, match="folder"):
        reading.read(tmp_path)
    (tmp_path / "empty.mp3").touch()
    with pytest.raises(AudioError, match="empty.mp3.*empty"):
        reading.read(tmp_path / "empty.mp3")


def test_video_without_sound(tmp_path):
    subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-f", "lavfi", "-i",
                    "color=size=32x32:duration=0.2", str(tmp_path / "v.mp4")], check=True)
    for function in (reading.read, reading.probe):
        with pytest.raises(AudioError, match="v.mp4.*no audio stream"):
            function(tmp_path / "v.mp4")


def test_zero_length(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), RATE)
    for function in (reading.read, reading.probe):
        with pytest.raises(AudioError, match="a.wav.*zero length"):
            function(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix, functions", [("wav", [reading.read, reading.probe]), ("flac", [reading.read])])
def test_truncated(tmp_path, suffix, functions):
    path = tmp_path / f"a.{suffix}"
    reading.write(path, torch.rand(2, RATE) - 0.5, RATE)
    path.write_bytes(path.read_bytes()[:-50000])
    for function in functions:
        with pytest.raises(AudioError, match=f"a.{suffix}.*(truncated|damaged).*again"):
            function(path)


def test_wav_of_unknown_length_is_read_to_its_end(tmp_path):
    """What a program that writes to a pipe leaves behind: 0xFFFFFFFF where the lengths should be."""
    reading.write(tmp_path / "a.wav", tone(), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at:at + 4] = struct.pack("<I", 0xFFFFFFFF)
    (tmp_path / "b.wav").write_bytes(data)
    assert torch.equal(reading.read(tmp_path / "b.wav")[0], reading.read(tmp_path / "a.wav")[0])


def test_long_wav_header_is_understood(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone().numpy().T, RATE, format="RF64")
    assert reading.read(tmp_path / "a.wav")[0].shape == (2, RATE // 2)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-1000])
    with pytest.raises(AudioError, match="truncated"):
        reading.probe(tmp_path / "a.wav")


def test_missing_ffmpeg_is_named(tmp_path, monkeypatch):
    ffmpeg.program.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "a.m4a").write_bytes(b"x" * 100)
    with pytest.raises(ToolError, match="ffprobe.*make setup"):
        reading.read(tmp_path / "a.m4a")


def test_not_finite():
    wav = torch.zeros(2, 2 * RATE)
    reading.require_finite(wav, "x.wav", RATE)
    wav[1, RATE + RATE // 4:RATE + RATE // 4 + 3] = float("nan")
    wav[0, -1] = float("inf")
    with pytest.raises(AudioError, match=r"x\.wav: 4 samples.*1\.250 s"):
        reading.require_finite(wav, "x.wav", RATE)


def test_clipping():
    wav = torch.tensor([[2.02, -1.]])
    assert torch.allclose(reading.prevent_clip(wav, "rescale"), wav / 2.0402)
    assert torch.equal(reading.prevent_clip(wav, "clamp"), torch.tensor([[0.99, -0.99]]))
    assert torch.equal(reading.prevent_clip(wav, "tanh"), wav.tanh())
    assert torch.equal(reading.prevent_clip(wav, "none"), wav)
    quiet = wav * 0.4
    assert torch.equal(reading.prevent_clip(quiet, "rescale"), quiet)
    with pytest.raises(AudioError, match="'soft'.*rescale, clamp"):
        reading.prevent_clip(wav, "soft")


@pytest.mark.parametrize("name, wav, options, words", [
    ("a.xyz", torch.zeros(2, 9), {}, "cannot write .xyz"),
    ("a.flac", torch.zeros(2, 9), dict(bits=32), "32 bits"),
    ("a.wav", torch.zeros(2, 9), dict(bits=12), "12 bits"),
    ("a.wav", torch.zeros(9), {}, r"\[channels, samples\]"),
    ("a.mp3", torch.zeros(6, 9), {}, "one or two channels, not 6"),
    ("a.wav", torch.full((2, 9), float("nan")), {}, "not finite"),
    ("no/folder/a.wav", torch.zeros(2, 9), {}, "cannot be written"),
    ("no/folder/a.mp3", torch.zeros(2, 9), {}, "cannot be written"),
])
def test_what_cannot_be_written(tmp_path, name, wav, options, words):
    with pytest.raises(AudioError, match=words):
        reading.write(tmp_path / name, wav, RATE, **options)
    assert not (tmp_path / name).exists()
