"""The command `demucs` with models of Open-Unmix: its options, the stems it writes, and errors of one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from golden.openunmix_files_cases import FOLDERS, RATE, SETTINGS, STANDARD, STRIDE, mixture

from demucs import separate
from demucs.audio import reading
from demucs.models import zoo
from demucs.packages import openunmix, package
from demucs.separation.song import separate_song

pytestmark = pytest.mark.runs

GOLDEN = REPOSITORY / "tests" / "golden"
SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def repo(tmp_path):
    for name in FOLDERS:
        shutil.copytree(GOLDEN / "openunmix_files" / name, tmp_path / "models" / name)
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=0.5, channels=4, depth=2, nfft=64)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "models" / "cafe0001.th", card=card)
    (tmp_path / "models" / "both.yaml").write_text("models: [trained, cafe0001]")
    return tmp_path / "models"


@pytest.fixture
def run(repo, tmp_path, monkeypatch):
    """Runs the command in a folder with the files a.wav and mono.wav; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    for name, channels in (("a.wav", 2), ("mono.wav", 1)):
        reading.write(tmp_path / name, mixture(channels), RATE, as_float=True)

    def call(*arguments, name="trained"):
        try:
            separate.main(["--repo", str(repo), "-n", name, "-d", "cpu", "--float32", "--clip-mode", "none", *map(str, arguments)])
        except SystemExit as end:
            return end.code
        return 0

    return call


def stems(tmp_path, name="trained", track="a"):
    return {path.stem: reading.read(path)[0] for path in (tmp_path / "separated" / name / track).iterdir()}


OPTIONS = {
    "default": [], "no filter": ["--niter", "0"], "two iterations": ["--niter", "2"], "windows": ["--wiener-win-len", "60"],
    "whole": ["--wiener-win-len", "0"], "soft mask": ["--softmask"], "residual": ["--residual"],
    "two targets": ["--targets", "vocals,bass"], "one target and a residual": ["--targets", "vocals", "--residual"],
    "aggregate": ["--aggregate", STANDARD],
    "aggregate with the residual": ["--targets=vocals", "--residual", "--aggregate", SETTINGS["aggregate with the residual"]
                                    ["aggregate"]],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_stems_of_openunmix(name, run, tmp_path):
    """The same samples as openunmix gives with the same options, without the shift trick and normalisation of Demucs."""
    assert run("a.wav", *OPTIONS[name]) == 0
    found = stems(tmp_path)
    with np.load(GOLDEN / "openunmix_files.npz") as golden:
        expected = {key.split("/")[2]: golden[key] for key in golden if key.startswith(f"trained/{name}/")}
    assert set(found) == set(expected)
    for source, wav in found.items():
        assert np.abs(wav[:, ::STRIDE].numpy() - expected[source]).max() <= 1e-5 * np.abs(expected[source]).max()


def test_a_residual_with_a_name(run, tmp_path, capsys):
    assert run("--residual", "accompaniment", "--targets", "vocals", "a.wav") == 0
    assert sorted(stems(tmp_path)) == ["accompaniment", "vocals"]
    assert run("--niter", "0", "--targets", "vocals", "--residual=rest", "a.wav", "-o", "other") == 0
    mix = mixture(2)
    found = {path.stem: reading.read(path)[0] for path in (tmp_path / "other" / "trained" / "a").iterdir()}
    torch.testing.assert_close(found["vocals"] + found["rest"], mix, rtol=0, atol=1e-6)
    capsys.readouterr()
    assert run("--residual", "a.wav") == 1
    assert "no audio file given (--residual took 'a.wav' as its NAME: write --residual=NAME)" in capsys.readouterr().err


def test_mono_and_other_folders(run, tmp_path):
    assert run("mono.wav", name="mono") == 0
    assert sorted(stems(tmp_path, "mono", "mono")) == ["noise", "speech"]
    assert run("a.wav", name="unidirectional") == 0
    with np.load(GOLDEN / "openunmix_files.npz") as golden:
        for source, wav in stems(tmp_path, "unidirectional").items():
            expected = golden[f"unidirectional/default/{source}"]
            assert np.abs(wav[:, ::STRIDE].numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_two_stems(run, tmp_path):
    assert run("a.wav", "--two-stems", "vocals", "--niter", "0") == 0
    assert sorted(stems(tmp_path)) == ["no_vocals", "vocals"]


def test_a_bag(run, repo, tmp_path, capsys):
    """The filter of its models of Open-Unmix can be set, their outputs cannot."""
    assert run("a.wav", "--niter", "0", "--shifts", "0", name="both") == 0
    first = openunmix.load(repo / "trained")
    first.niter = 0
    mix = mixture(2)
    expected = (separate_song(first, mix, shifts=0) + separate_song(package.load(repo / "cafe0001.th"), mix, shifts=0)) / 2
    for source, wav in zip(SOURCES, expected):
        torch.testing.assert_close(stems(tmp_path, "both")[source], wav, rtol=0, atol=1e-6)
    for options in (["--residual"], ["--targets", "vocals"], ["--aggregate", STANDARD]):
        assert run("a.wav", *options, name="both") == 1
        assert f"{options[0]} changes the outputs of a model, but both is a bag" in capsys.readouterr().err


def test_an_experiment_of_one_target(run, repo, tmp_path, monkeypatch):
    """A network alone gives its target; with a residual, it is filtered as a Separator."""
    model = zoo.build("openunmix", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=2, hidden_size=12, nfft=256,
                      nhop=64, bandwidth=3000)
    model.load_state_dict(openunmix.load(repo / "trained").target_models["vocals"].state_dict())
    card = package.new_card(model, signature="cafe0003", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "outputs" / "xps" / "cafe0003" / "best.th", card=card)
    for options, names in (([], ["vocals"]), (["--residual", "rest"], ["rest", "vocals"])):
        separate.main(["-s", "cafe0003", "-d", "cpu", "--float32", "--clip-mode", "none", "a.wav", *options])
        assert sorted(stems(tmp_path, "cafe0003")) == names


@pytest.mark.parametrize("options,status,message", [
    (["--targets", "vocal"], 1, "has no target 'vocal'. Did you mean 'vocals'?"),
    (["--targets", ","], 1, "no target is chosen"),
    (["--niter", "-1"], 1, "--niter=-1 must be"), (["--niter", "x"], 2, "'x' must be a whole number"),
    (["--wiener-win-len", "-5"], 1, "--wiener-win-len=-5 must be"),
    (["--aggregate", "{"], 1, "--aggregate '{' is not JSON"), (["--aggregate", "[1]"], 1, "must have the targets of each"),
    (["--aggregate", '{"a": ["drum"]}'], 1, "adds up 'drum', which is none of drums, bass, other, vocals. Did you mean 'drums'"),
    (["--aggregate", '{"a": ["drums"], "a": ["bass"]}'], 1, "has the output 'a' 2 times"),
    (["--aggregate", '{"../a": ["drums"]}'], 1, "cannot be the name of a source"),
    (["--targets", "vocals", "--niter", "1"], 1, "needs at least two sources"),
    (["--residual", "vocals"], 1, "the residual cannot be called 'vocals'"),
    (["--residual", "a/b"], 1, "cannot be the name of a source")])
def test_options_that_make_no_sense(options, status, message, run, tmp_path, capsys):
    assert run("a.wav", *options) == status
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "separated").exists()


def test_the_options_are_for_open_unmix(run, capsys):
    for options in (["--niter", "0"], ["--softmask"], ["--residual"], ["--targets", "vocals"], ["--wiener-win-len", "0"],
                    ["--aggregate", STANDARD]):
        assert run("a.wav", *options, name="cafe0001") == 1
        error = capsys.readouterr().err
        assert f"{options[0]}: only models of Open-Unmix have such settings, and cafe0001 is hdemucs; leave" in error
        assert len(error.strip().splitlines()) == 1


def test_list_of_models(run, capsys, tmp_path, monkeypatch):
    assert run("--list-models") == 0
    assert capsys.readouterr().out == ("Bag of models:\n    both\nSingle models:\n    cafe0001\n    hashed\n    mono\n"
                                       "    trained\n    unfinished\n    unidirectional\n")
    separate.main(["--list-models"])
    assert "Models of Open-Unmix:\n    umx\n    umxhq\n    umxl\n    umxse\n" in capsys.readouterr().out


def test_a_damaged_folder_is_one_line(run, repo, capsys):
    content = json.loads((repo / "trained" / "drums.json").read_text())
    content["args"]["hidden_size"] = 512
    (repo / "trained" / "drums.json").write_text(json.dumps(content))
    assert run("a.wav") == 1
    error = capsys.readouterr().err
    assert "drums.pth: its weights have hidden_size=12, its settings say 512" in error
    assert len(error.strip().splitlines()) == 1
