"""`demucs.audio`: functions for programs written for published Demucs."""

import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs import audio
from demucs.audio import reading as stored
from demucs.errors import AudioError

RATE = 8000


def noise(channels=2, samples=4000, level=0.2):
    return torch.from_numpy(np.random.default_rng(channels).normal(size=(channels, samples))).float() * level


@pytest.fixture
def stems(tmp_path):
    """A file with three audio streams and a picture, and the content of the streams."""
    ffmpeg = require_program("ffmpeg")
    wavs = [noise(2) * gain for gain in (0.1, 0.2, 0.4)]
    command = [ffmpeg, "-loglevel", "error"]
    for index, wav in enumerate(wavs):
        soundfile.write(tmp_path / f"{index}.wav", wav.T.numpy(), RATE, subtype="FLOAT")
        command += ["-i", str(tmp_path / f"{index}.wav")]
    path = tmp_path / "-stems.mkv"                     # a name that looks like an option
    subprocess.run([*command, "-f", "lavfi", "-i", "color=size=16x16:duration=0.1", "-map", "3", "-map", "0", "-map",
                    "1", "-map", "2", "-c:a", "pcm_f32le", str(path)], check=True)
    return path, torch.stack(wavs)


def test_streams_of_a_file(stems, monkeypatch):
    path, wavs = stems
    monkeypatch.chdir(path.parent)
    file = audio.AudioFile(path.name)
    assert len(file) == 3 and file.samplerate() == RATE and file.channels(stream=2) == 2
    assert file.duration == pytest.approx(0.5, abs=0.01)
    assert file.info["streams"][0]["codec_type"] == "video"
    assert repr(file) == "AudioFile(path=-stems.mkv, samplerate=8000, channels=2, streams=3)"
    assert torch.equal(file.read(), wavs)
    assert torch.equal(file.read(streams=1), wavs[1])
    assert torch.equal(file.read(streams=[2, 0]), wavs[[2, 0]])
    assert torch.equal(file.read(streams=slice(1, None), channels=1), wavs[1:].mean(dim=1, keepdim=True))
    part = file.read(seek_time=0.1, duration=0.2, streams=0)
    assert torch.equal(part, wavs[0][:, 800:2400])
    assert file.read(samplerate=RATE // 2, duration=0.25, streams=-1).shape == (2, 1000)
    for streams in (3, [0, 3]):
        with pytest.raises(AudioError, match="3 audio streams, and no number 3"):
            file.read(streams=streams)


def test_what_is_not_a_file_with_audio(tmp_path):
    require_program("ffmpeg")
    (tmp_path / "text.mp4").write_text("text " * 100)
    for name, message in (("text.mp4", "not audio"), ("missing.mp4", "no such file")):
        with pytest.raises(AudioError, match=message):
            audio.AudioFile(tmp_path / name).read()
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "color=size=16x16:duration=0.1",
                    tmp_path / "mute.mkv"], check=True)
    with pytest.raises(AudioError, match="has no audio stream"):
        audio.AudioFile(tmp_path / "mute.mkv").read()


def test_streams_that_differ(tmp_path):
    ffmpeg = require_program("ffmpeg")
    for name, channels in (("a.wav", 1), ("b.wav", 2)):
        soundfile.write(tmp_path / name, noise(channels).T.numpy(), RATE)
    subprocess.run([ffmpeg, "-loglevel", "error", "-i", tmp_path / "a.wav", "-i", tmp_path / "b.wav", "-map", "0",
                    "-map", "1", "-c", "copy", tmp_path / "ab.mkv"], check=True)
    file = audio.AudioFile(tmp_path / "ab.mkv")
    with pytest.raises(AudioError, match="differ in shape"):
        file.read()
    assert file.read(channels=2).shape == (2, 2, 4000)


def test_sample_formats():
    wav = torch.tensor([[-2., -1., -0.5, 0., 0.99999, 1., 3.]])
    before = wav.clone()
    assert audio.i16_pcm(wav).tolist() == [[-32767, -32767, -16383, 0, 32766, 32767, 32767]]
    assert torch.equal(wav, before)
    steps = audio.i16_pcm(wav)
    assert torch.equal(audio.i16_pcm(steps), steps) and torch.equal(audio.f32_pcm(wav), wav)
    assert torch.equal(audio.f32_pcm(steps), steps.float() / 32767)
    assert torch.equal(audio.as_dtype_pcm(wav, torch.int16), steps)
    assert torch.equal(audio.as_dtype_pcm(steps, torch.float32), audio.f32_pcm(steps))


def test_clipping_is_prevented():
    loud = torch.tensor([[0.5, -2.]])
    assert torch.allclose(audio.prevent_clip(loud), loud / 2.02)
    assert torch.equal(audio.prevent_clip(loud / 4), loud / 4)
    assert torch.equal(audio.prevent_clip(loud, "clamp"), torch.tensor([[0.5, -0.99]]))
    assert torch.equal(audio.prevent_clip(loud, mode="tanh"), torch.tanh(loud))
    assert torch.equal(audio.prevent_clip(loud, "none"), loud) and torch.equal(audio.prevent_clip(loud, None), loud)
    with pytest.raises(AudioError, match="'softly'"):
        audio.prevent_clip(loud, "softly")
    with pytest.raises(AudioError, match="f32_pcm"):
        audio.prevent_clip(audio.i16_pcm(loud))


@pytest.mark.parametrize("name,settings,subtype,tolerance", [
    ("a.wav", {}, "PCM_16", 2 / 32767), ("a.wav", {"bits_per_sample": 24}, "PCM_24", 2 ** -22),
    ("a.WAV", {"bits_per_sample": 32}, "PCM_32", 2 ** -23), ("a.wav", {"as_float": True}, "FLOAT", 0),
    ("a.flac", {}, "PCM_16", 2 / 32767), ("a.flac", {"bits_per_sample": 24}, "PCM_24", 2 ** -22),
])
def test_written_samples(tmp_path, name, settings, subtype, tolerance):
    wav = noise()
    audio.save_audio(wav, str(tmp_path / name), RATE, clip="none", **settings)
    samples, rate = soundfile.read(tmp_path / name, dtype="float32")
    assert rate == RATE and soundfile.info(tmp_path / name).subtype == subtype
    np.testing.assert_allclose(samples.T, wav.numpy().clip(-1, 1), rtol=0, atol=tolerance)


def test_encoders_do_not_mind_the_suffix(tmp_path):
    wav = noise()
    audio.encode_wav(wav, tmp_path / "a", RATE, bits_per_sample=24)
    audio.encode_wav(wav, str(tmp_path / "b"), RATE, as_float=True)
    audio.encode_mp3(wav, tmp_path / "c", RATE, bitrate=64, quality=7)
    assert [soundfile.info(tmp_path / name).subtype for name in "abc"] == ["PCM_24", "FLOAT", "MPEG_LAYER_III"]
    assert soundfile.info(tmp_path / "c").channels == 2


@pytest.mark.parametrize("bits,tolerance", [(16, 2 / 32767), (24, 2 ** -22)])
def test_ffmpeg_writes_other_formats(tmp_path, monkeypatch, bits, tolerance):
    require_program("ffmpeg")
    monkeypatch.chdir(tmp_path)
    wav = noise()
    audio.encode_ffmpeg(wav, "-a.aiff", RATE, bits_per_sample=16)
    audio.encode_ffmpeg(wav, "-a.flac", RATE, bits_per_sample=bits)
    assert soundfile.info("-a.aiff").format == "AIFF"
    samples, _ = soundfile.read("-a.flac", dtype="float32")
    np.testing.assert_allclose(samples.T, wav.clamp(-1, 1), rtol=0, atol=tolerance)
    with pytest.raises(AudioError, match="a.nothing: ffmpeg cannot write it"):
        audio.encode_ffmpeg(wav, tmp_path / "a.nothing", RATE)


@pytest.mark.parametrize("name,settings,message", [
    ("a.ogg", {}, "cannot write .ogg"), ("a.flac", {"bits_per_sample": 32}, "32 bits"),
    ("a.wav", {"bits_per_sample": 12}, "12 bits"), ("nowhere/a.wav", {}, "cannot be written"),
    ("nowhere/a.mp3", {}, "cannot be written"),
])
def test_what_cannot_be_written(tmp_path, name, settings, message):
    with pytest.raises(AudioError, match=message):
        audio.save_audio(noise(), tmp_path / name, RATE, **settings)


@pytest.mark.parametrize("rate,channels", [(RATE, 3), (0, 2)])
def test_what_mp3_does_not_hold(tmp_path, rate, channels):
    with pytest.raises(AudioError, match=f"LAME refuses {channels} channels, {rate} Hz"):
        audio.save_audio(noise(channels), tmp_path / "a.mp3", rate)


@pytest.mark.parametrize("wav,message", [(torch.zeros(10), "shape"), (torch.full((1, 9), np.nan), "not finite")])
def test_what_is_no_audio(tmp_path, wav, message):
    with pytest.raises(AudioError, match=message):
        audio.save_audio(wav, tmp_path / "a.wav", RATE)
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("rate", [0, -1, 10 ** 12, 44100.5, float("nan"), "44100", None])
def test_rates_that_no_file_has(tmp_path, suffix, rate):
    path = tmp_path / f"a.{suffix}"
    for write in (audio.save_audio, lambda wav, path, rate: stored.write(path, wav, rate)):
        with pytest.raises(AudioError, match=f"{path}: ") as caught:
            write(torch.zeros(2, 100), path, rate)
        assert str(rate) in str(caught.value) and not path.exists()


@pytest.mark.parametrize("rate,bitrate,fits", [
    (44100, 999, False), (44100, 320, True), (44100, 144, False), (44100, 8, True), (44100, 0, False), (44100, -1, False),
    (44100, 10 ** 12, False), (44100, 320.5, False), (44100, "320", False),
    (22050, 144, True), (22050, 256, True), (22050, 100, False),
    (22050, 320, True), (8000, 96, True), (8000, 72, False), (8000, 64, True), (8000, 320, True), (96000, 320, True),
])
def test_bit_rates_of_mp3(tmp_path, rate, bitrate, fits):
    wav, path = torch.zeros(2, 2000), tmp_path / "a.mp3"
    calls = (lambda: audio.save_audio(wav, path, rate, bitrate=bitrate), lambda: audio.encode_mp3(wav, path, rate, bitrate),
             lambda: stored.write(path, wav, rate, mp3_bitrate=bitrate))
    for call in calls:
        if fits:
            call()
            assert soundfile.info(path).frames
        else:
            with pytest.raises(AudioError, match=f"{path}: {bitrate!r} kbit/s is no bit rate of mp3 at {rate} Hz"):
                call()


@pytest.mark.parametrize("quality", [-1, 10, 99, 2.5, None])
def test_qualities_of_mp3(tmp_path, quality):
    with pytest.raises(AudioError, match=f"quality={quality} must be"):
        audio.save_audio(torch.zeros(2, 100), tmp_path / "a.mp3", 44100, preset=quality)


@pytest.mark.parametrize("name,value", [
    ("seek_time", -1), ("seek_time", float("nan")), ("duration", -1), ("duration", float("inf")), ("duration", "1"),
    ("samplerate", 0), ("samplerate", -8000), ("channels", 0), ("channels", 1.5),
])
def test_what_cannot_be_read(tmp_path, name, value):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 2)), 8000)
    with pytest.raises(AudioError, match=f"a.wav: {name}={value!r} must be"):
        audio.AudioFile(tmp_path / "a.wav").read(**{name: value})


@pytest.mark.parametrize("rates", [(float("nan"), 8000), (8000, float("inf")), (8000, 0), ("8000", 8000)])
def test_conversions_that_cannot_be(rates):
    with pytest.raises(AudioError, match="cannot resample from"):
        audio.convert_audio(torch.zeros(2, 100), *rates, 2)
    with pytest.raises(AudioError, match="channels=0 must be"):
        audio.convert_audio_channels(torch.zeros(2, 100), 0)
