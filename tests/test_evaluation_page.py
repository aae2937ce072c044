"""The commands of docs/evaluation.md run as described."""

import re
import shlex
import shutil
import sys
from importlib import import_module

import numpy as np
import pytest
import soundfile

from demucs import schema
from demucs.models import zoo
from demucs.packages import package
from demucs.schema import Evaluation

RATE, SOURCES = 8000, ["drums", "bass", "other", "vocals"]
NAMES = ["A - One", "B - Two"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "evaluation.md").read_text()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the model, the experiment, the test set and the separated songs that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMUCS_MUSDB", str(tmp_path / "songs"))
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=1, samplerate=RATE, segment=2., channels=4, depth=2,
                      nfft=64)
    card = package.new_card(model, signature="955717e8", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "release_models" / "955717e8.th", card=card)
    (tmp_path / "outputs" / "xps" / "162f67a7").mkdir(parents=True)
    shutil.copy("release_models/955717e8.th", "outputs/xps/162f67a7/best.th")
    for number, name in enumerate(NAMES):
        for place, stems in (("songs/test", SOURCES), ("separated/theirs", ["vocals", "no_vocals"])):
            (tmp_path / place / name).mkdir(parents=True)
            noise = np.random.default_rng(number).normal(size=(len(stems), 2 * RATE)) * 0.1
            for stem, wav in zip(stems, noise):
                soundfile.write(tmp_path / place / name / f"{stem}.wav", wav, RATE)
    return tmp_path


def test_commands(page, workplace, monkeypatch, capsys):
    commands = [shlex.split(line) for line in re.findall(r"^    python -m (tools\..*)$", page, flags=re.MULTILINE)]
    assert len(commands) == 8
    records = workplace / "demucs_results" / "runs"
    for number, (module, *arguments) in enumerate(commands):
        arguments = [argument.replace("/data/musdb18hq", "songs") for argument in arguments]
        if "--shard" in arguments and arguments[-1] == "0/2":
            shutil.rmtree(records / "955717e8")
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        assert import_module(module).main() == 0, arguments
        if "--shard" in arguments:
            assert (records / "955717e8" / "evaluation.json").exists() == (arguments[-1] == "1/2")
    found = {path.parent.name: schema.load(Evaluation, path) for path in records.glob("*/evaluation.json")}
    assert sorted(found) == ["162f67a7", "955717e8", "reread", "theirs"]
    assert found["162f67a7"].settings["shifts"] == 2 and found["reread"].model == "museval"
    for scores in found["955717e8"].tracks[0].scores, found["955717e8"].tracks[0].frames:
        assert set(scores) == {*SOURCES, "instrumental", "no_drums", "no_bass", "no_other"}
    assert {"nsdr", "si_sdr", "SDR", "ISR", "SIR", "SAR"} == set(found["955717e8"].tracks[0].scores["bass"])
    assert "nSDR (dB): whole track, mean over tracks; songs test, 2 tracks" in capsys.readouterr().out
    pytest.importorskip("museval")
    block, = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    exec(block)
    printed = capsys.readouterr().out
    assert "955717e8" in printed and all(source in printed for source in SOURCES)


def test_batch_commands_are_as_their_scripts_say(page, repository):
    usage = (repository / "slurm_scripts" / "evaluate_slurm.sh").read_text()
    commands = re.findall(r"sbatch (.*) slurm_scripts/evaluate_slurm.sh 955717e8", page)
    assert commands == ["--array=0-7", "--ntasks=4 --gres=gpu:4"]
    assert all(f"sbatch {options} slurm_scripts/evaluate_slurm.sh SIG" in usage for options in commands)
