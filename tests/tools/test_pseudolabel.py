"""The command line of pseudo-labels: what cannot be used is one line, and nothing is lost."""

import numpy as np
import pytest
import soundfile
import torch

from demucs.models import zoo
from demucs.packages import package
from tools.pseudolabel import main

RATE = 8000


@pytest.fixture
def place(tmp_path):
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=["vocals", "rest"], audio_channels=1, samplerate=RATE, segment=2., channels=4,
                      depth=2, nfft=64)
    for name in ("one", "two"):
        package.save(model, tmp_path / "models" / f"{name}.th",
                     card=package.new_card(model, signature=name, epochs_done=1, epochs=1, valid={}, argv=[]))
        with torch.no_grad():
            next(model.parameters()).add_(0.1)
    (tmp_path / "models" / "pair.yaml").write_text("models: [one, two]\n")
    (tmp_path / "songs").mkdir()
    for number in range(2):
        wav = np.random.default_rng(number).normal(size=2 * RATE) / 10
        soundfile.write(tmp_path / "songs" / f"{number}.flac", wav, RATE)
    return tmp_path


def call(place, *options, model="one", out="out"):
    return main([model, str(place / "songs"), "--repo", str(place / "models"), "--out", str(place / out), *options])


def test_a_bag_and_what_is_printed(place, capsys):
    assert call(place, "--measure", "model_agreement,leakage", model="pair") == 0
    shown = capsys.readouterr().out
    assert "agreement of the models of a bag (dB)" in shown
    assert "1 songs to train on, 1 in valid/, of 2 labelled ones" in shown
    assert "rule: the best 1 of all labelled songs by the mean rank in model_agreement, leakage" in shown


@pytest.mark.parametrize("options, words", [
    (["--measure", "leakge"], "no measure is called 'leakge'"), (["--keep", "0"], "--keep=0.0 must be"),
    (["--measure", "model_agreement"], "needs the bag"), (["--threshold", "hnr=3"], "--measure chooses others"),
    (["--stems", "vocls"], "Did you mean 'vocals'"), (["--residual", "x"], "--residual x: must be one of vocals, rest"),
    (["--keep", "0.5"], "1 of 2 labelled songs are kept"), (["--threshold", "999"], "0 of 2 labelled songs are kept"),
    (["--random", "-1"], "--random=-1"), (["--overlap", "1"], "--overlap=1.0")])
def test_what_cannot_be(place, options, words, capsys):
    try:
        assert call(place, *options) == 1
    except SystemExit as end:
        assert end.code == 1
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("error: "))
    assert words in line and "Traceback" not in error and "unexpected" not in line
    assert not (place / "out" / "train").exists()


def test_other_faults(place, capsys):
    assert call(place, model="three") == 1
    assert "no model 'three'" in capsys.readouterr().err
    assert call(place, out="songs/inside") == 1
    assert "choose another --out" in capsys.readouterr().err
    assert main(["one", str(place / "nowhere"), "--repo", str(place / "models"), "--out", str(place / "out")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err
    (place / "file").write_text("")
    assert call(place, out="file") == 1
    assert "file" in capsys.readouterr().err.splitlines()[-1]


def test_a_song_that_cannot_be_read_is_named_and_the_others_are_used(place, capsys):
    (place / "songs" / "broken.wav").write_bytes(b"nothing")
    assert call(place, "--measure", "leakage") == 1
    streams = capsys.readouterr()
    assert f"error: {place / 'songs' / 'broken.wav'}: not audio" in streams.err
    assert "of 2 labelled ones; 1 could not be labelled" in streams.out
    assert (place / "out" / "pseudo_labels.json").exists()
