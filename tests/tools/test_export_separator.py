"""Folders for openunmix, and Separators of several experiments."""

import json
import logging
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from conftest import REPOSITORY
from golden.openunmix_files_cases import HOP, NETWORK, RATE, STRIDE, mixture

from demucs import schema
from demucs.errors import PackageError
from demucs.models import zoo
from demucs.models.separators import changed
from demucs.packages import openunmix, openunmix_export, package
from demucs.schema import EpochRecord, ReleaseCard, RunCard, Session
from demucs.separation.song import separate_song
from tools import export, export_separator

GOLDEN = REPOSITORY / "tests" / "golden"
FOLDER = GOLDEN / "openunmix_files" / "trained"
TARGETS = ["drums", "bass", "other", "vocals"]


def single(target, **settings):
    """The network of a target of the golden folder as a model of its own."""
    model = zoo.build("openunmix", sources=[target], audio_channels=2, samplerate=RATE, segment=24, nhop=HOP,
                      **{**NETWORK, **settings})
    if not settings:
        model.load_state_dict(openunmix.load(FOLDER).target_models[target].state_dict())
    return model


def experiment(tmp_path, signature, model, loss, seed=42):
    """An experiment of three epochs, of which the second was the best."""
    folder = tmp_path / "outputs" / "xps" / signature
    card = package.new_card(model, signature=signature, epochs_done=2, epochs=3,
                            valid={} if loss is None else {"loss": loss}, argv=["a=1"])
    package.save(model, folder / "best.th", card=card)
    run = RunCard(
        signature=signature, name="epochs=3", argv=["epochs=3"], model=model.zoo_name, model_settings={}, seed=seed,
        sources=model.sources, samplerate=RATE, audio_channels=2, parameters=1, epochs=3, epochs_done=3, batch_size=16,
        train_tracks=3, valid_tracks=1, commit="0123456789", versions={},
        sessions=[Session("2024-01-01", "2024-01-02", 1., 1, 3, 1, "cpu")])
    schema.save(run, folder / "run_card.json")
    if loss is not None:
        schema.save_history([EpochRecord(train={"loss": 2.}, candidates={"main": {"loss": value}}, chosen="main", best=loss,
                                         seconds={"train": 9.}) for value in (loss + 1, loss, loss + 0.5)],
                            folder / "history.json")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Experiments of the four targets, and a second one of vocals with a smaller loss and the golden weights."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for index, target in enumerate(TARGETS[:3]):
        experiment(tmp_path, f"cafe000{index}", single(target), 0.5 + index)
    worse = zoo.build("openunmix", sources=["vocals"], audio_channels=2, samplerate=RATE, segment=24, nhop=HOP, **NETWORK)
    experiment(tmp_path, "cafe0003", worse, 0.75)
    experiment(tmp_path, "cafe0004", single("vocals"), 0.25, seed=43)
    return tmp_path


def call(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    return module.main()


ALL = [f"cafe000{index}" for index in range(5)]


def test_a_separator_of_experiments(workplace, monkeypatch, capsys, caplog):
    """The better of two seeds; the card names the experiments; the samples are those of openunmix."""
    with caplog.at_level(logging.INFO):
        assert call(export_separator, monkeypatch, *reversed(ALL), "--name", "mine") == 0
    out = capsys.readouterr().out
    assert out.startswith("release_models/mine.th: openunmix_separator of drums=cafe0000, bass=cafe0001, other=cafe0002, "
                          "vocals=cafe0004, ")
    assert "vocals: experiment cafe0004 has the smallest loss on the validation set, 0.25 (cafe0003 0.75)" in caplog.text
    model = package.load("release_models/mine.th")
    assert model.sources == TARGETS and model.segment == openunmix.SEGMENT and model.niter == 1
    card = model.card
    assert card.argv == ["drums=cafe0000", "bass=cafe0001", "other=cafe0002", "vocals=cafe0004"]
    assert card.valid == {"loss_drums": 0.5, "loss_bass": 1.5, "loss_other": 2.5, "loss_vocals": 0.25}
    assert (card.signature, card.epochs_done, card.epochs) == ("mine", 3, 3)
    assert schema.load(ReleaseCard, "release_models/mine.json") == card
    found = separate_song(model, mixture(2), shifts=0)[..., ::STRIDE]
    with np.load(GOLDEN / "openunmix_files.npz") as golden:
        for target, wav in zip(TARGETS, found.numpy()):
            expected = golden[f"trained/default/{target}"]
            assert np.abs(wav - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_name_of_its_own_and_half_precision(workplace, monkeypatch, capsys):
    assert call(export_separator, monkeypatch, "cafe0000", "cafe0004", "--half", "-o", "models") == 0
    path, = (workplace / "models").glob("*.th")
    assert path.name.startswith("openunmix_") and len(path.stem) == len("openunmix_") + 8
    assert package.load(path).card.precision == "float16"
    assert call(export_separator, monkeypatch, "cafe0004", "cafe0000", "-o", "models") == 0
    assert list((workplace / "models").glob("*.th")) == [path], "the same experiments"
    assert call(export_separator, monkeypatch, "cafe0004", "-o", "alone") == 0
    assert package.load(next((workplace / "alone").glob("*.th"))).sources == ["vocals"]


@pytest.mark.parametrize("arguments,message", [
    (["cafe0000", "cafe0000"], "experiment cafe0000 is given more than once"),
    (["cafe0009"], "no experiment 'cafe0009'.*Did you mean"), (["cafe0000", "--name", "../x"], "is no name of a model"),
    (["cafe0000", "--name", ".x"], "is no name"), (["cafe0000", "--name", "x-01234567"], "is no name of a model.*checksum"),
    (["cafe0000", "--name", ""], "is no name"), (["beef0000", "cafe0000"], "trained hdemucs for a, b; a Separator is made of"),
    (["beef0001", "cafe0000"], r"hidden_size is 12 in experiment cafe0000 \(drums\) and 14 in experiment beef0001 \(noise\)"),
    (["beef0002", "cafe0004"], "beef0002 has no loss on the validation set, by which one of the 2 runs of vocals is chosen"),
    (["beef0003"], "beef0003 has no weights to export: no epoch has finished")])
def test_experiments_that_make_no_separator(arguments, message, workplace, monkeypatch, capsys):
    other = zoo.build("hdemucs", sources=["a", "b"], audio_channels=2, samplerate=8000, segment=2, channels=4, depth=2, nfft=64)
    experiment(workplace, "beef0000", other, 1.)
    experiment(workplace, "beef0001", single("noise", hidden_size=14), 1.)
    experiment(workplace, "beef0002", single("vocals"), None)
    (workplace / "outputs" / "xps" / "beef0003").mkdir()
    assert call(export_separator, monkeypatch, *arguments) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not list(workplace.glob("release_models/*"))


# Folders for openunmix

def test_the_format_of_openunmix(workplace, monkeypatch, capsys):
    """Names, entries and values are those of the golden folder, which openunmix wrote."""
    assert call(export, monkeypatch, "cafe0004", "--format", "openunmix") == 0
    assert capsys.readouterr().out.startswith("release_models/cafe0004: openunmix, ")
    folder = workplace / "release_models" / "cafe0004"
    weights, settings, transform = sorted(folder.iterdir(), key=lambda path: (path.suffix != ".pth", path.name == "separator.json"))
    assert transform.name == "separator.json" and settings.name == "vocals.json" and weights.name.startswith("vocals-")
    assert json.loads(transform.read_text()) == json.loads((FOLDER / "separator.json").read_text())
    found, expected = json.loads(settings.read_text()), json.loads((FOLDER / "vocals.json").read_text())
    assert set(found) == set(expected) and set(found["args"]) <= set(expected["args"])
    for key in ("target", "nfft", "nhop", "nb_channels", "hidden_size", "bandwidth", "unidirectional", "batch_size"):
        assert found["args"][key] == expected["args"][key], key
    assert (found["best_loss"], found["best_epoch"], found["num_bad_epochs"], found["commit"]) == (0.25, 2, 1, "0123456")
    assert found["valid_loss_history"] == [1.25, 0.25, 0.75] and found["epochs_trained"] == 3
    state, golden = (torch.load(path, weights_only=True) for path in (weights, FOLDER / "vocals.pth"))
    assert type(state) is type(golden) and list(state) == list(golden)
    assert all(torch.equal(state[name], golden[name]) and state[name].dtype == golden[name].dtype for name in golden)
    assert schema.load(ReleaseCard, "release_models/cafe0004.json").model_hash == package.model_hash(single("vocals"))
    assert openunmix.load(folder).sources == ["vocals"]


def test_all_targets_in_one_folder(workplace, monkeypatch, capsys):
    for options in ([], ["--half"], []):       # the second time other files replace those of the first
        assert call(export_separator, monkeypatch, *ALL, "--name", "mine", "--format", "openunmix", *options) == 0
        folder = workplace / "release_models" / "mine"
        assert len(list(folder.glob("*.pth"))) == 4 and len(list(folder.iterdir())) == 9
    assert "release_models/mine: openunmix_separator of drums=cafe0000" in capsys.readouterr().out
    again, golden = openunmix.load(folder), openunmix.load(FOLDER)
    assert package.model_hash(again) == package.model_hash(golden)
    assert json.loads((folder / "bass.json").read_text())["best_loss"] == 1.5


@pytest.mark.parametrize("settings,message", [
    (dict(nb_layers=2), "openunmix reads only networks with nb_layers=3, and this one has nb_layers=2"),
    (dict(unidirectional=True), "only networks with unidirectional=False")])
def test_what_openunmix_would_load_wrongly(settings, message, workplace, monkeypatch, capsys):
    experiment(workplace, "beef0000", single("vocals", **settings), 1.)
    assert call(export, monkeypatch, "beef0000", "--format", "openunmix") == 1
    error = capsys.readouterr().err
    assert message in error and "export it in plain format" in error and not (workplace / "release_models").exists()


def test_models_that_are_none_of_openunmix(workplace, tmp_path, monkeypatch, capsys):
    other = zoo.build("hdemucs", sources=["a", "b"], audio_channels=2, samplerate=8000, segment=2, channels=4, depth=2, nfft=64)
    experiment(workplace, "beef0000", other, 1.)
    assert call(export, monkeypatch, "beef0000", "--format", "openunmix") == 1
    assert "openunmix has no model hdemucs; export it in plain format" in capsys.readouterr().err
    assert call(export, monkeypatch, "cafe0000", "--format", "demucs") == 1
    assert "published Demucs has no class for a model openunmix" in capsys.readouterr().err


def test_folders_of_others_are_not_touched(workplace, tmp_path, caplog):
    model = openunmix.load(FOLDER)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    for name in ("file", "songs"):
        path = tmp_path / name
        path.write_text("") if name == "file" else (path.mkdir(), (path / "song.wav").write_text(""))
        with pytest.raises(PackageError, match="is there already, and is no folder of openunmix"):
            openunmix_export.save(model, path, card=card)
    openunmix_export.save(model, tmp_path / "x", card=card)
    with pytest.raises(PackageError, match="has the targets bass, other, vocals of another model"):
        openunmix_export.save(changed(model, targets=["drums"]), tmp_path / "x", card=card)
    ambiguous = openunmix.load(GOLDEN / "openunmix_files" / "hashed")
    with pytest.raises(PackageError, match="begins with 'vocals' for that target, so it would confuse it with 'vocals_lead'"):
        openunmix_export.save(ambiguous, tmp_path / "y", card=card)
    assert "do not have" not in caplog.text
    openunmix_export.save(changed(model, niter=2, softmask=True), tmp_path / "z", card=card)
    assert "the files of openunmix do not have niter=2, softmask=True" in caplog.text


LOADED = """
import sys, soundfile, torch, torchaudio
from openunmix import cli, data

def load_audio(path, start=0.0, dur=None):
    wav, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(wav.T.copy()), rate

def save(path, wav, sample_rate):
    soundfile.write(path, wav.T.numpy(), int(sample_rate), subtype="FLOAT")

data.load_audio, torchaudio.save = load_audio, save
cli.separate()
"""


@pytest.mark.runs
def test_openunmix_separates_with_it(workplace, openunmix_python, monkeypatch):
    """Its command `umx`, with files read and written by soundfile: torchaudio 2.11 needs torchcodec for that."""
    assert call(export_separator, monkeypatch, *ALL, "--name", "mine", "--format", "openunmix") == 0
    mix = mixture(2)
    soundfile.write("song.wav", mix.T.numpy(), RATE, subtype="FLOAT")
    subprocess.run([openunmix_python, "-c", LOADED, "song.wav", "--model", "release_models/mine", "--outdir", "out",
                    "--targets", *TARGETS], check=True)
    assert call(export_separator, monkeypatch, *ALL, "--name", "mine") == 0
    model = package.load("release_models/mine.th")
    for target, wav in zip(TARGETS, separate_song(model, mix, shifts=0).numpy()):
        estimate, rate = soundfile.read(f"out/song/{target}.wav", dtype="float32")
        assert rate == RATE and np.abs(wav - estimate.T).max() <= 1e-5 * np.abs(wav).max()
