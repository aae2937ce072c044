"""The command line: any audio file in, stems out, and one clear line for what cannot be separated."""

import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs import pretrained, separate
from demucs.api import Separator
from demucs.audio import reading, writing
from demucs.dsp.convert import convert_audio
from demucs.errors import AudioError, ConfigError
from demucs.models import zoo
from demucs.packages import package
from demucs.separation import outputs
from demucs.separation.outputs import OutputFolder, two_stems
from demucs.separation.settings import RANGES
from demucs.separation.song import separate_song

pytestmark = pytest.mark.runs

SOURCES = ["drums", "bass", "other", "vocals"]
RATE = 16000


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=2., channels=4, depth=2,
                     nfft=64).eval()


@pytest.fixture
def repo(model, tmp_path):
    card = package.new_card(model, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "repo" / "cafe0001.th", card=card)
    return tmp_path / "repo"


@pytest.fixture
def run(repo, tmp_path, monkeypatch):
    """Runs the command in a fresh folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            separate.main(["--repo", str(repo), "-n", "cafe0001", "-d", "cpu", *map(str, arguments)])
        except SystemExit as end:
            return end.code
        return 0

    return call


def song(seconds=1., rate=RATE, channels=2, seed=0):
    """Noise that is not too loud, [A, L]."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.normal(size=(channels, round(seconds * rate)))).float() * 0.1


def stems(tmp_path, track):
    return {path.stem: reading.read(path) for path in (tmp_path / "separated" / "cafe0001" / track).iterdir()}


def test_wav_to_four_stems(run, model, tmp_path):
    reading.write(tmp_path / "my song.v2.wav", song(5.3), RATE, as_float=True)
    assert run("my song.v2.wav", "--float32", "--seed", 3, "--clip-mode", "none") == 0
    found = stems(tmp_path, "my song.v2")
    expected = separate_song(model, song(5.3), seed=3)
    assert sorted(found) == sorted(SOURCES)
    for name, estimate in zip(SOURCES, expected):
        wav, rate = found[name]
        assert rate == RATE
        torch.testing.assert_close(wav, estimate, atol=1e-6, rtol=0)


def test_settings_reach_the_separation(run, model, tmp_path):
    reading.write(tmp_path / "a.wav", song(5.3), RATE, as_float=True)
    assert run("a.wav", "--float32", "--clip-mode", "none", "--shifts", 0, "--overlap", 0.5, "--segment", 1, "-j", 2,
               "-o", "elsewhere") == 0
    wav, _ = reading.read(tmp_path / "elsewhere" / "cafe0001" / "a" / "bass.wav")
    expected = separate_song(model, song(5.3), shifts=0, overlap=0.5, segment=1.)[1]
    torch.testing.assert_close(wav, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(wav, separate_song(model, song(5.3), shifts=0)[1], atol=1e-6)
    assert run("a.wav", "--float32", "--clip-mode", "none", "--shifts", 0, "--no-split") == 0
    torch.testing.assert_close(stems(tmp_path, "a")["bass"][0],
                               separate_song(model, song(5.3), shifts=0, split=False)[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["a.flac", "b.ogg", "c.mp3", "d.m4a"])
def test_compressed_formats(run, name, tmp_path):
    wav = song(2., 44100)
    if name.endswith("m4a"):
        reading.write(tmp_path / "in.wav", wav, 44100)
        subprocess.run([require_program("ffmpeg"), "-loglevel", "error", "-i", tmp_path / "in.wav", tmp_path / name],
                       check=True)
    elif name.endswith("ogg"):
        soundfile.write(tmp_path / name, wav.T.numpy(), 44100)
    else:
        reading.write(tmp_path / name, wav, 44100)
    assert run(name) == 0
    for wav, rate in stems(tmp_path, name[0]).values():
        assert rate == RATE
        assert abs(wav.shape[-1] - 2 * RATE) < 0.1 * RATE   # mp3 and aac add silence at the ends
        assert wav.shape[0] == 2


@pytest.mark.parametrize("rate", [8000, 96000])
def test_other_rates_come_out_at_the_models_rate(run, model, rate, tmp_path):
    reading.write(tmp_path / "a.wav", song(2., rate), rate, as_float=True)
    assert run("a.wav", "--float32", "--clip-mode", "none") == 0
    expected = separate_song(model, convert_audio(song(2., rate), rate, RATE, 2))
    for name, estimate in zip(SOURCES, expected):
        torch.testing.assert_close(stems(tmp_path, "a")[name][0], estimate, atol=1e-6, rtol=0)


def test_mono_becomes_both_channels(run, model, tmp_path):
    wav = song(channels=1)
    reading.write(tmp_path / "a.wav", wav, RATE, as_float=True)
    assert run("a.wav", "--float32", "--clip-mode", "none") == 0
    expected = separate_song(model, wav.expand(2, -1))
    torch.testing.assert_close(stems(tmp_path, "a")["vocals"][0], expected[3], atol=1e-6, rtol=0)


def test_of_six_channels_the_first_two_with_a_warning(run, model, tmp_path, caplog):
    wav = song(channels=6)
    reading.write(tmp_path / "a.wav", wav, RATE, as_float=True)
    with caplog.at_level(logging.WARNING):
        assert run("a.wav", "--float32", "--clip-mode", "none") == 0
    assert "6 channels: only the first 2" in caplog.text
    torch.testing.assert_close(stems(tmp_path, "a")["vocals"][0], separate_song(model, wav[:2])[3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("wav", [torch.zeros(2, RATE), torch.full((2, RATE), 0.25), torch.full((2, 1), 0.25)],
                         ids=["silence", "constant", "one sample"])
def test_songs_without_deviation(run, wav, tmp_path):
    reading.write(tmp_path / "a.wav", wav, RATE)
    assert run("a.wav", "--float32") == 0
    for estimate, _ in stems(tmp_path, "a").values():
        assert torch.isfinite(estimate).all() and estimate.shape == wav.shape


def test_bad_files_do_not_stop_the_others(run, tmp_path, capsys):
    reading.write(tmp_path / "good.wav", song(), RATE)
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nosamples.wav", np.zeros((0, 2)), RATE)
    (tmp_path / "text.mp3").write_text("this is not audio " * 100)
    (tmp_path / "folder.wav").mkdir()
    wav = song().T.numpy()
    wav[500] = np.nan
    soundfile.write(tmp_path / "nan.wav", wav, RATE, subtype="FLOAT")
    bad = ["missing.wav", "empty.wav", "nosamples.wav", "text.mp3", "folder.wav", "nan.wav"]
    assert run(*bad, "good.wav") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad)
    for line, name in zip(errors, bad):
        assert name in line
    assert [path.name for path in (tmp_path / "separated" / "cafe0001").iterdir()] == ["good"]
    assert sorted(stems(tmp_path, "good")) == sorted(SOURCES)


def test_output_that_is_not_finite_is_not_written(model):
    broken = zoo.build(model.zoo_name, **model.zoo_kwargs)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(AudioError, match="not finite"):
        separate_song(broken, song())


@pytest.mark.parametrize("arguments,subtype,extension", [
    ([], "PCM_16", "wav"), (["--int24"], "PCM_24", "wav"), (["--float32"], "FLOAT", "wav"),
    (["--flac"], "PCM_16", "flac"), (["--flac", "--int24"], "PCM_24", "flac"),
    (["--mp3", "--mp3-bitrate", "128", "--mp3-preset", "7"], "MPEG_LAYER_III", "mp3"),
])
def test_output_formats(run, arguments, subtype, extension, tmp_path):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", *arguments) == 0
    files = list((tmp_path / "separated" / "cafe0001" / "a").iterdir())
    assert sorted(path.name for path in files) == sorted(f"{name}.{extension}" for name in SOURCES)
    assert {soundfile.info(path).subtype for path in files} == {subtype}


@pytest.mark.parametrize("method,names", [
    ("add", ["no_vocals", "vocals"]), ("minus", ["minus_vocals", "vocals"]), ("none", ["vocals"])])
def test_two_stems(run, method, names, tmp_path):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", "--two-stems", "vocals", "--other-method", method) == 0
    assert sorted(stems(tmp_path, "a")) == names


def test_two_stems_of_a_model_with_one_source(run, repo, tmp_path):
    """Both are written: the only source, and the rest of the song."""
    torch.manual_seed(0)
    alone = zoo.build("hdemucs", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=2., channels=4, depth=2,
                      nfft=64)
    card = package.new_card(alone, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(alone, repo / "cafe0001.th", card=card)
    reading.write(tmp_path / "a.wav", song(), RATE, as_float=True)
    assert run("a.wav", "--two-stems", "vocals", "--float32", "--clip-mode", "none") == 0
    found = stems(tmp_path, "a")
    assert sorted(found) == ["no_vocals", "vocals"]
    mix, _ = reading.read(tmp_path / "a.wav")
    assert torch.equal(found["no_vocals"][0], mix - found["vocals"][0])
    assert found["no_vocals"][0].abs().max() > 0.01


def test_the_other_stem_is_what_its_name_says():
    mix = torch.full((2, 3), 10.)
    estimates = {name: torch.full((2, 3), value) for name, value in (("a", 1.), ("b", 2.), ("c", 4.))}
    assert torch.equal(two_stems(mix, estimates, "a", "add")["no_a"], torch.ones(2, 3) * 6)
    assert torch.equal(two_stems(mix, estimates, "a", "minus")["minus_a"], torch.ones(2, 3) * 9)


def test_tracks_of_the_same_name_do_not_overwrite_each_other(run, tmp_path):
    for folder, channels in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        reading.write(tmp_path / folder / "song.wav", song(seed=channels), RATE)
    assert run("one/song.wav", "two/song.wav", "--filename", "{track}_{stem}.{ext}") == 0
    names = {path.name for path in (tmp_path / "separated" / "cafe0001").iterdir()}
    assert names == {f"{track}_{stem}.wav" for track in ("song", "song (2)") for stem in SOURCES}


def test_template_that_cannot_tell_tracks_apart(tmp_path):
    outputs = OutputFolder(tmp_path, template="{stem}.{ext}")
    assert outputs.paths(tmp_path / "a.wav", ["drums"]) == {"drums": tmp_path / "drums.wav"}
    with pytest.raises(ConfigError, match="b.wav: its stems would overwrite"):
        outputs.paths(tmp_path / "b.wav", ["drums"])
    told_apart = OutputFolder(tmp_path, template="{trackext}/{stem}.{ext}")
    assert told_apart.paths(tmp_path / "a.wav", ["x"]) != told_apart.paths(tmp_path / "a.mp3", ["x"])


@pytest.mark.parametrize("template,message", [
    ("{track}/{stm}.{ext}", "cannot be filled in"), ("{track}.{ext}", "same name"), ("../{stem}.{ext}", "leads out"),
    ("/tmp/{stem}.{ext}", "leads out"), ("{stem}.ogg", "ends in none of"), ("{stem", "cannot be filled in"),
    ("{track[x]}/{stem}.{ext}", "there is no {track[x]}"), ("{track[0]}/{stem}.{ext}", "there is no {track[0]}"),
    ("{track.__class__}/{stem}.{ext}", "there is no {track.__class__}"), ("{}/{stem}.{ext}", "there is no {}"),
    ("{0}/{stem}.{ext}", "there is no {0}"), ("{track!z}/{stem}.{ext}", "cannot be filled in"),
    ("{track:d}/{stem}.{ext}", "cannot be filled in"), ("{track:9999999999}/{stem}.{ext}", "wider than a file name"),
    ("{track:{stem}}/{stem}.{ext}", "wider than a file name"), ("{track:>99999999999999999999}/{stem}.{ext}", "wider"),
    ("track}/{stem}.{ext}", "cannot be filled in"),
])
def test_impossible_templates(run, template, message, tmp_path, capsys):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", "--filename", template) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_format_in_a_template(tmp_path):
    outputs = OutputFolder(tmp_path, template="{track:.3}/{stem:_<8}.{ext}")
    assert outputs.paths(tmp_path / "a long name.mp3", ["bass"]) == {"bass": tmp_path / "a l" / "bass____.wav"}


@pytest.mark.parametrize("name", ["..wav", "...wav", ".wav", "noextension"])
def test_strange_file_names_stay_inside(name, tmp_path):
    path, = OutputFolder(tmp_path / "out").paths(tmp_path / name, ["drums"]).values()
    assert path.resolve().parent.parent == (tmp_path / "out").resolve()


def test_fields_of_a_file_without_extension(tmp_path):
    outputs = OutputFolder(tmp_path, template="{track}.{trackext}.{stem}.{ext}")
    assert outputs.paths(tmp_path / "song", ["x"])["x"].name == "song.song.x.wav"
    assert outputs.paths(tmp_path / "song.b.c", ["x"])["x"].name == "song.b.c.x.wav"


def test_names_that_clash_are_seen_before_anything_is_separated(run, tmp_path, capsys):
    for name in ("a.wav", "b.wav"):
        reading.write(tmp_path / name, song(), RATE)
    assert run("a.wav", "b.wav", "--filename", "{stem}.{ext}") == 1
    assert "b.wav: its stems would overwrite" in capsys.readouterr().err
    assert not (tmp_path / "separated").exists()


def test_what_is_said_on_the_way(run, tmp_path, capsys):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav") == 0
    assert capsys.readouterr().out == (f"Separated tracks will be stored in {tmp_path / 'separated' / 'cafe0001'}\n"
                                       f"Separating track a.wav\n")


def test_experiment_by_its_signature(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = package.new_card(model, signature="cafe0003", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "outputs" / "xps" / "cafe0003" / "best.th", card=card)
    reading.write(tmp_path / "a.wav", song(), RATE)
    separate.main(["-s", "cafe0003", "-d", "cpu", "a.wav"])
    assert len(list((tmp_path / "separated" / "cafe0003" / "a").iterdir())) == 4


def test_folder_of_a_model_from_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "get_model", lambda name, repo: {"hf://someone/some_model": model}[name])
    reading.write(tmp_path / "a.wav", song(), RATE)
    separate.main(["-n", "hf://someone/some_model", "-d", "cpu", "a.wav"])
    assert [path.name for path in (tmp_path / "separated").iterdir()] == ["someone_some_model"]


@pytest.fixture
def transformer(tmp_path):
    """A folder with an HTDemucs that was trained on 1.5 seconds, alone and in a bag."""
    htdemucs = zoo.build("htdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=1.5, channels=8,
                         depth=2, nfft=64, bottom_channels=8, t_layers=1, t_heads=2)
    card = package.new_card(htdemucs, signature="cafe0004", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(htdemucs, tmp_path / "repo" / "cafe0004.th", card=card)
    (tmp_path / "repo" / "several.yaml").write_text("models: [cafe0001, cafe0004]\n")


@pytest.mark.parametrize("name", ["cafe0004", "several"])
def test_a_transformer_has_a_longest_segment(run, transformer, name, tmp_path, capsys):
    reading.write(tmp_path / "a.wav", song(2.), RATE)
    assert run("-n", name, "--segment", "1.6", "a.wav") == 1
    assert "--segment 1.6" in capsys.readouterr().err and not (tmp_path / "separated").exists()
    assert run("-n", name, "--segment", "1.5", "a.wav") == 0
    assert len(list((tmp_path / "separated" / name / "a").iterdir())) == 4


@pytest.mark.parametrize("arguments", [
    ["--no-split", "--segment", "3"], ["--int24", "--float32"], ["--flac", "--mp3"], ["-s", "x"],
    ["--clip-mode", "tanh"], ["--mp3-preset", "1"], ["--shifts", "many"], ["--other-method", "all"]])
def test_combinations_that_make_no_sense(run, arguments, tmp_path, capsys):
    assert run("a.wav", *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("demucs: error: ") and "Traceback" not in error


@pytest.mark.parametrize("arguments,message", [
    (["a.wav", "--two-stems", "piano"], "drums, bass, other, vocals"), (["a.wav", "--overlap", "1"], "overlap=1.0"),
    (["a.wav", "--segment", "0"], "segment=0.0"), (["a.wav", "-n", "cafe0002"], "Did you mean 'cafe0001'"),
    (["a.wav", "-n", "../repo/cafe0001"], "path"), (["a.wav", "-d", "abacus"], "'abacus' cannot be used"),
    ([], "no audio file given"), (["a.wav", "--repo", "nowhere"], "nowhere: no such folder"),
])
def test_impossible_calls(run, arguments, message, tmp_path, capsys):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("separated/**/*.wav"))


@pytest.mark.parametrize("option", ["--shifts", "--overlap", "--segment", "--jobs", "--seed"])
def test_numbers_outside_their_ranges(run, option, capsys):
    """In one line, without the usage of all options before."""
    allowed = RANGES[option.strip("-")]
    texts = ["-1", "99999999999"] if allowed.whole else ["-1", "nan", "inf", "1e300"]
    for text in texts:
        assert run("a.wav", f"{option}={text}") == 1
        error, = capsys.readouterr().err.splitlines()
        assert error.startswith(f"error: {option}=") and str(allowed) in error
    for text in ["", "many", "1,5", "9" * 5000] + (["nan", "1.5"] if allowed.whole else []):
        assert run("a.wav", f"{option}={text}") in (1, 2)
        error, = capsys.readouterr().err.splitlines()
        assert f"argument {option}" in error or option in error


@pytest.mark.parametrize("rate", ["999", "0", "-1", "33", "321"])
def test_bit_rates_that_mp3_does_not_have(run, rate, capsys):
    assert run("a.wav", "--mp3", f"--mp3-bitrate={rate}") == 2
    error, = capsys.readouterr().err.splitlines()
    assert "--mp3-bitrate" in error and "320" in error


@pytest.mark.parametrize("rate,bitrate,fits", [(RATE, 256, True), (RATE, 144, True), (44100, 144, False), (44100, 8, True)])
def test_bit_rates_that_a_sample_rate_does_not_have(run, model, rate, bitrate, fits, capsys, tmp_path, monkeypatch):
    """Refused before anything is separated."""
    reading.write(tmp_path / "a.wav", song(), RATE)
    monkeypatch.setattr(Separator, "samplerate", rate)
    assert run("a.wav", "--mp3", "--mp3-bitrate", bitrate) == (0 if fits else 1)
    if not fits:
        error, = capsys.readouterr().err.splitlines()
        assert f"{bitrate} kbit/s is no bit rate of mp3 at {rate} Hz; use one of 8, 16, 24, 32" in error
    assert (tmp_path / "separated").exists() == fits


@pytest.mark.parametrize("device", ["meta", "xla", "cuda:99"])
def test_devices_that_are_not_there(run, device, capsys, tmp_path):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", "-d", device) == 1
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: device {device!r} cannot be used on this machine")


@pytest.mark.parametrize("error,words", [
    (RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
                  "allocate 99999999999 bytes. Error code 12 (Cannot allocate memory)"),
     "out of memory; use a smaller --segment"),
    (MemoryError("Unable to allocate 9 TiB"), "out of memory; use a smaller --segment, fewer --jobs"),
    (MemoryError("std::bad_alloc"), "out of memory"), (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory"),
    (RuntimeError("can't start new thread"), "out of memory"),
    (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory; use a smaller --segment, or -d cpu"),
    (RuntimeError("something else"), "unexpected RuntimeError: something else"),
])
def test_a_song_that_takes_too_much_does_not_stop_the_others(run, error, words, tmp_path, capsys, monkeypatch):
    for name in ("first", "big", "last"):
        reading.write(tmp_path / f"{name}.wav", song(), RATE)
    stream_song = Separator.stream_song

    def limited(self, song, *, name):
        if name == "big.wav":
            raise error
        return stream_song(self, song, name=name)
    monkeypatch.setattr(Separator, "stream_song", limited)
    assert run("first.wav", "big.wav", "last.wav") == 1
    line, = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"error: big.wav: {words}")
    assert sorted(path.name for path in (tmp_path / "separated" / "cafe0001").iterdir()) == ["first", "last"]


def test_list_models(run, capsys):
    assert run("--list-models") == 0
    assert capsys.readouterr().out == "Bag of models:\n    \nSingle models:\n    cafe0001\n"


def test_progress_in_a_log_file(run, tmp_path, caplog):
    reading.write(tmp_path / "a.wav", song(8.), RATE)
    with caplog.at_level(logging.INFO):
        assert run("a.wav", "--segment", 0.5) == 0
    lines = [record.getMessage() for record in caplog.records if "a.wav | " in record.getMessage()]
    assert 9 <= len(lines) <= 11
    assert "100 %" in lines[-1] and "times real time" in lines[-1]


@pytest.mark.parametrize("module", ["demucs", "demucs.separate"])
def test_help_does_not_wait_for_torch(module, repository):
    code = (f"import runpy, sys; sys.argv[1:] = ['--help']\ntry: runpy.run_module({module!r}, run_name='__main__')\n"
            f"except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.stdout.startswith("usage: demucs ") and done.stdout.endswith("0 False False\n"), done.stderr


def test_as_a_module_and_without_training_packages(repo, tmp_path, repository):
    code = ("import sys; import demucs.separate, demucs.apply, demucs.pretrained, demucs.audio; unwanted = "
            "{'dora', 'hydra', 'omegaconf', 'submitit', 'museval', 'musdb', 'pandas'}; "
            "print(sorted(unwanted & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.stdout == "[]\n", done.stderr
    reading.write(tmp_path / "a.wav", song(), RATE)
    done = subprocess.run([sys.executable, "-m", "demucs", "--repo", repo, "-n", "cafe0001", "-o", tmp_path / "out",
                           "-d", "cpu", tmp_path / "a.wav", tmp_path / "b.wav"], capture_output=True, text=True,
                          cwd=repository)
    assert done.returncode == 1
    assert f"error: {tmp_path / 'b.wav'}: no such file" in done.stderr and "Traceback" not in done.stderr
    assert len(list((tmp_path / "out" / "cafe0001" / "a").iterdir())) == 4


def test_two_stems_of_which_one_is_written_need_no_field_for_it(run, tmp_path):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", "--two-stems", "vocals", "--other-method", "none", "--filename", "{track}.{ext}") == 0
    assert [path.name for path in (tmp_path / "separated" / "cafe0001").iterdir()] == ["a.wav"]


def test_a_folder_of_stems_may_be_a_link(run, tmp_path):
    reading.write(tmp_path / "a.wav", song(), RATE)
    (tmp_path / "disk").mkdir()
    (tmp_path / "separated" / "cafe0001").mkdir(parents=True)
    (tmp_path / "separated" / "cafe0001" / "a").symlink_to(tmp_path / "disk")
    assert run("a.wav") == 0
    assert sorted(path.stem for path in (tmp_path / "disk").iterdir()) == sorted(SOURCES)


@pytest.mark.parametrize("template", ["../{track}/{stem}.{ext}", "/tmp/{track}/{stem}.{ext}", "a/../../{stem}.{ext}"])
def test_templates_stay_in_the_folder_also_where_it_is_relative(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (Path("out"), Path("."), Path("a/../out")):
        with pytest.raises(ConfigError, match="leads out of"):
            OutputFolder(folder, template=template)
        assert OutputFolder(folder, template="x/../{stem}.{ext}").paths(Path("a.wav"), ["b"])["b"].name == "b.wav"


def prepare(kind, place):
    """Makes it impossible to write stems of "bad.wav" in the folder `place`."""
    place.mkdir(parents=True)
    if kind == "file":
        (place / "bad").write_text("not a folder")
    elif kind == "link":
        (place / "bad").symlink_to(place / "not there")
    else:
        (place / "bad" / "drums.wav").mkdir(parents=True)


@pytest.mark.parametrize("kind, words", [("file", "is a file, not a folder"), ("link", "is a link to .* which is not there"),
                                         ("folder", "drums.wav: cannot be written: is a folder")])
def test_what_cannot_be_written_is_known_before_separating(run, kind, words, tmp_path, capsys, monkeypatch):
    for name in ("bad.wav", "good.wav"):
        reading.write(tmp_path / name, song(), RATE)
    prepare(kind, tmp_path / "separated" / "cafe0001")
    begun = []
    stream_song = Separator.stream_song
    monkeypatch.setattr(Separator, "stream_song",
                        lambda self, song, *, name: begun.append(name) or stream_song(self, song, name=name))
    assert run("bad.wav", "good.wav") == 1
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert re.search(words, error) and begun == ["good.wav"]
    assert sorted(stems(tmp_path, "good")) == sorted(SOURCES)


def test_a_name_that_is_too_long(run, tmp_path, capsys):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", "--filename", "x" * 300 + "{stem}.{ext}") == 1
    assert "is too long" in capsys.readouterr().err


@pytest.mark.parametrize("options, needed", [((), 4 * 32000 * 2), (("--float32",), 4 * 32000 * 4), (("--mp3",), 4 * 40000),
                                             (("--two-stems", "bass"), 2 * 32000 * 2)])
def test_stems_that_would_not_fit_are_not_made(run, options, needed, tmp_path, capsys, monkeypatch):
    reading.write(tmp_path / "a.wav", song(), RATE)
    monkeypatch.setattr(outputs, "free_bytes", lambda path: needed - 1)
    assert run("a.wav", *options) == 1
    assert re.search("no space left on device: [24] stems of 1 s need 1 MB, 0 MB are free", capsys.readouterr().err)
    assert not (tmp_path / "separated").exists()
    monkeypatch.setattr(outputs, "free_bytes", lambda path: needed)
    assert run("a.wav", *options) == 0


@pytest.mark.parametrize("error, words", [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
                                          (KeyboardInterrupt(), "interrupted")])
@pytest.mark.parametrize("form", [(), ("--flac",), ("--mp3",)])
def test_stems_of_before_stay_where_writing_fails(run, error, words, form, tmp_path, capsys, monkeypatch):
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run("a.wav", *form) == 0
    folder = tmp_path / "separated" / "cafe0001" / "a"
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(handle):
        raise error
    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    assert run("a.wav", *form, "--seed", 7) == (1 if isinstance(error, OSError) else 130)
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_among_the_songs(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading.write(tmp_path / "a.wav", song(), RATE)
    assert run(".", "/", "a.wav") == 1
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")] == [
        f"error: {folder}: is a folder; give the files in it" for folder in (".", "/")]


def test_a_missing_file_is_named_before_a_model_is_looked_for(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        separate.main(["--repo", "nowhere", "-n", "nothing", "missing.mp3"])
    assert capsys.readouterr().err == "error: missing.mp3: no such file\n"


def test_streams_of_a_program_with_a_window(run, tmp_path, monkeypatch):
    class WriteOnly:
        def write(self, text):
            pass
    reading.write(tmp_path / "a.wav", song(), RATE)
    for stream in (WriteOnly(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        assert run("a.wav") == 0


def test_a_title_that_is_no_text(run, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.wav")
    reading.write(tmp_path / name, song(), RATE)
    assert run(name, "-o", os.fsdecode(b"out\xff")) == 0
    assert sorted(path.stem for path in (tmp_path / os.fsdecode(b"out\xff/cafe0001/caf\xe9")).iterdir()) == sorted(SOURCES)
    assert "caf\\udce9" in capsys.readouterr().out


def test_more_than_four_gigabytes(tmp_path, monkeypatch):
    """RF64 from where the sizes of RIFF end; here that is at 1000 bytes."""
    monkeypatch.setattr(writing, "LARGEST_RIFF", 1000)
    for settings in (dict(), dict(bits=24), dict(as_float=True)):
        reading.write(tmp_path / "a.wav", song(), RATE, **settings)
        assert soundfile.info(tmp_path / "a.wav").format == "RF64"
        assert reading.read(tmp_path / "a.wav")[0].shape == (2, RATE)
    reading.write(tmp_path / "b.wav", song()[:, :200], RATE)
    assert soundfile.info(tmp_path / "b.wav").format == "WAV"
