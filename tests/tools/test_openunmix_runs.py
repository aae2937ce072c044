"""Small trainings through the training script of Open-Unmix: like those of Dora, continued by the same command."""

import os
import re
import shlex

import preloaded
import pytest
from conftest import REPOSITORY
from training.small import write_track

from demucs.data.musdb import VALIDATION_TRACKS
from demucs.packages import package
from tools.train_openunmix import main

pytestmark = pytest.mark.runs

TINY = shlex.split("--root songs --target drums --epochs 2 --hidden-size 8 --nfft 512 --nhop 128 --batch-size 4 "
                   "--seq-dur 0.5 --samples-per-track 2 --quiet")
RATE = 44100


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three songs to train on, one to validate and one to test, of one second."""
    for number in range(3):
        write_track(tmp_path / "songs" / "train" / f"Song {number}", number, 1., RATE)
    write_track(tmp_path / "songs" / "train" / VALIDATION_TRACKS[0], 10, 1., RATE)
    write_track(tmp_path / "songs" / "test" / "Test song", 20, 1., RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(place, *words, module="tools.train_openunmix"):
    return preloaded.run("-m", module, *words, cwd=place, timeout=600,
                         env={**os.environ, "PYTHONPATH": str(REPOSITORY), "DEMUCS_DEVICE": "cpu"})


def signature_in(text):
    return re.search("^signature ([0-9a-f]{8}), in outputs/xps/\\1$", text, re.M)[1]


def test_a_training(place, capsys):
    assert main([*TINY, "--dry-run"]) == 0 and not (place / "outputs").exists()
    signature = signature_in(capsys.readouterr().out)
    begun = call(place, *TINY, "--no_cuda")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert signature_in(begun.stdout) == signature and "Epoch 2" not in begun.stdout
    folder = place / "outputs" / "xps" / signature
    assert "Epoch 2" in (folder / "train.log").read_text()             # quiet on the terminal only
    model = package.load(folder / "best.th")
    assert model.sources == ["drums"] and model.nfft == 512
    exported = sorted(re.sub("-[0-9a-f]{8}", "-HASH", path.name) for path in (place / "open-unmix").iterdir())
    assert exported == ["drums-HASH.pth", "drums.json", "separator.json"]
    # The line for Dora is the same training, which is done, and --checkpoint asks for what happens anyway.
    line, = re.findall("^DEMUCS_DEVICE=cpu dora (run .*)$", begun.stdout, re.M)
    again = call(place, "-P", "demucs", *shlex.split(line), "misc.quiet=false", module="dora")
    assert again.returncode == 0 and "All 2 epochs are done" in again.stdout, again.stdout + again.stderr
    once_more = call(place, *TINY, "--checkpoint", "open-unmix", "--output", "a copy")
    assert once_more.returncode == 0 and (place / "a copy" / "drums.json").exists(), once_more.stdout + once_more.stderr
    assert [path.name for path in (place / "outputs" / "xps").iterdir()] == [signature]


@pytest.mark.parametrize("words, message", [
    (["--target", "vocal"], "Did you mean 'vocals'"),
    (["--checkpoint", "open-unmix"], "give --model open-unmix instead"),
    (["--output", "songs"], "songs: is there already, and is no folder of openunmix"),
    (["--output", "a file"], "a file: is there already"), (["--model", "umxh"], "umxh")])
def test_what_cannot_be_is_one_line_before_the_training(place, words, message, capsys):
    (place / "a file").write_text("")
    assert main([*TINY, *words]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]
    assert not (place / "outputs").exists() and (place / "a file").read_text() == ""
