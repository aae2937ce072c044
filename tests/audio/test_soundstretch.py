import os
import pickle
import shutil
import subprocess

import pytest
import soundfile
import torch
from conftest import require_program

from demucs.audio import programs, soundstretch
from demucs.errors import ToolError

RATE = 44100


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Every test looks for the program anew, and none inherits a choice from the environment."""
    monkeypatch.delenv("SOUNDSTRETCH", raising=False)
    soundstretch.find.cache_clear()
    yield
    soundstretch.find.cache_clear()


@pytest.fixture
def program():
    require_program("soundstretch")
    return soundstretch.find()


def music(seconds=1.0, channels=2):
    time = torch.arange(int(seconds * RATE)) / RATE
    noise = 0.1 * torch.randn(channels, len(time), generator=torch.Generator().manual_seed(0))
    return noise + 0.9 * torch.sin(2 * torch.pi * 440 * time)    # peaks above 0.99 are cut


def fake(folder, text):
    """A program that answers as the shell script `text` does."""
    path = folder / "soundstretch"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("voice", [False, True])
@pytest.mark.parametrize("pitch, tempo", [(0, 0.), (2, 12.), (-2, -12.), (1, 3.3333333)])
def test_same_samples_as_with_files(program, tmp_path, channels, voice, pitch, tempo):
    """Files as published Demucs writes them: cut at 0.99, 16 bits."""
    wav = music(channels=channels)
    rounded = (wav.clamp(-0.99, 0.99) * 32767).round().to(torch.int16)
    soundfile.write(tmp_path / "in.wav", rounded.T.numpy(), RATE, subtype="PCM_16")
    subprocess.run([program.path, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), f"-pitch={pitch}",
                    f"-tempo={tempo:.6f}", *(["-speech"] if voice else [])], check=True, capture_output=True)
    expected, rate = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    result = program.stretch(wav, RATE, pitch=pitch, tempo=tempo, voice=voice)
    assert rate == RATE and result.dtype == torch.float32
    assert torch.equal(result, torch.from_numpy(expected.T.copy()))
    assert result.shape[1] == pytest.approx(RATE / (1 + tempo / 100), abs=2)


def test_pitch_and_tempo_change_what_they_say(program):
    def peak(wav):   # Hz
        return float(torch.fft.rfft(wav[0]).abs()[1:].argmax() + 1) * RATE / wav.shape[1]
    wav = music(2.)
    assert peak(program.stretch(wav, RATE, pitch=2, tempo=0)) == pytest.approx(440 * 2 ** (2 / 12), rel=0.01)
    assert peak(program.stretch(wav, RATE, pitch=0, tempo=12)) == pytest.approx(440, rel=0.01)
    voice = program.stretch(wav, RATE, pitch=1, tempo=5, voice=True)
    assert not torch.equal(voice, program.stretch(wav, RATE, pitch=1, tempo=5))


def test_long_audio_does_not_block_the_pipes(program):
    wav = music(60.)
    assert program.stretch(wav, RATE, pitch=0, tempo=10).shape[1] == pytest.approx(60 * RATE / 1.1, abs=2)


@pytest.mark.parametrize("length", [1, 100, 3000])
def test_short_audio(program, length):
    assert program.stretch(music()[:, :length], RATE, pitch=-1, tempo=2).shape[0] == 2


def test_found_once_and_picklable(program, monkeypatch):
    assert program.version >= (2, 1, 2) and os.path.isabs(program.path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert soundstretch.find() is program and pickle.loads(pickle.dumps(program)) == program


def test_order_of_the_search(tmp_path, monkeypatch):
    paths = {}
    for name in ("chosen", "built", "path"):
        (tmp_path / name).mkdir()
        paths[name] = fake(tmp_path / name, "echo '   SoundStretch v2.4.0 - x' >&2; exit 1")
    monkeypatch.setenv("SOUNDSTRETCH", str(paths["chosen"]))
    monkeypatch.setattr(soundstretch, "BUILT_HERE", paths["built"])
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(soundstretch.subprocess, "run", run_with_path(os.defpath))
    for name in ("chosen", "built", "path"):
        soundstretch.find.cache_clear()
        assert soundstretch.find() == soundstretch.Soundstretch(str(paths[name]), (2, 4, 0))
        monkeypatch.delenv("SOUNDSTRETCH", raising=False)
        if name == "built":
            paths[name].unlink()


def run_with_path(path):
    """subprocess.run, for scripts that need `cat` or `echo` while PATH is narrowed for the search."""
    plain = subprocess.run
    return lambda *args, **settings: plain(*args, env={"PATH": path}, **settings)


def test_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(soundstretch, "BUILT_HERE", tmp_path / "absent")
    with pytest.raises(ToolError, match="not installed: run `make setup`.*apt.*conda.*SOUNDSTRETCH"):
        soundstretch.find()
    monkeypatch.setenv("SOUNDSTRETCH", str(tmp_path / "absent"))
    with pytest.raises(ToolError, match="absent, which is not a program"):
        soundstretch.find()


@pytest.mark.parametrize("text, words", [
    ("echo 'SoundStretch v2.1.1 - x' >&2", "version 2.1.1, but 2.1.2 or newer"),
    ("echo hello", "does not say which version"),
])
def test_wrong_program(monkeypatch, tmp_path, text, words):
    monkeypatch.setenv("SOUNDSTRETCH", str(fake(tmp_path, text)))
    with pytest.raises(ToolError, match=words):
        soundstretch.find()


def test_not_executable_here(monkeypatch, tmp_path):
    path = fake(tmp_path, "")
    path.write_bytes(b"\x7fELF of another machine")
    monkeypatch.setenv("SOUNDSTRETCH", str(path))
    with pytest.raises(ToolError, match="cannot be run.*make setup"):
        soundstretch.find()


@pytest.mark.parametrize("text, words", [
    ("cat > /dev/null; echo 'no memory' >&2; exit 3", r"exit code 3, 0 bytes.*-pitch=1 -tempo=2.000000: no memory"),
    ("cat > /dev/null", "exit code 0, 0 bytes.*no reason"),
    ("head -c 1000; cat > /dev/null", "exit code 0, 1000 bytes"),     # a wav file whose end is missing
    ("exit 1", "exit code 1"),                                        # closes the pipe before it is full
])
def test_failure_is_told(tmp_path, text, words):
    program = soundstretch.Soundstretch(str(fake(tmp_path, text)), (2, 3, 2))
    with pytest.raises(ToolError, match=words):
        program.stretch(music(3.), RATE, pitch=1, tempo=2)


def test_file_like_output_is_understood_too(tmp_path):
    """A version that knows the length when it writes the header: here, what it was given."""
    program = soundstretch.Soundstretch(str(fake(tmp_path, "cat")), (2, 3, 2))
    wav = music().clamp(-.9, .9)
    assert (program.stretch(wav, RATE, pitch=1, tempo=2) - wav).abs().max() <= 1.5 / 32768   # half a step, and in level


def test_a_program_that_a_signal_ends_is_started_again_a_few_times(tmp_path):
    """A scheduler's warning reaches every process of a job."""
    starts = tmp_path / "starts"
    ended = f"echo >> {starts}; [ $(wc -l < {starts}) -gt %d ] || kill -USR2 $$; exec cat"
    wav = music().clamp(-.9, .9)
    program = soundstretch.Soundstretch(str(fake(tmp_path, ended % 2)), (2, 3, 2))
    assert program.stretch(wav, RATE, pitch=1, tempo=2).shape == wav.shape
    assert len(starts.read_text().splitlines()) == 3
    program = soundstretch.Soundstretch(str(fake(tmp_path, ended % 1000)), (2, 3, 2))
    with pytest.raises(ToolError, match=r"exit code -12"):
        program.stretch(wav, RATE, pitch=1, tempo=2)
    assert len(starts.read_text().splitlines()) == 3 + programs.TRIES
