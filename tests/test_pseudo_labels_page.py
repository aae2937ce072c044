"""docs/pseudo_labels.md: its commands run as described, and what it says of the study is what the study has."""

import re
import shlex

import numpy as np
import pytest
import soundfile
import torch
from training.small import write_songs

from demucs import schema
from demucs.labels.labelling import PREFERRED, SHARED
from demucs.metrics.quality.measures import EVERY_MEASURE
from demucs.models import zoo
from demucs.packages import package
from demucs.schema import PseudoLabels, StudyResult
from demucs.signature import signature
from demucs.studies import report
from demucs.studies.description import ToolStep, read
from tools import pseudolabel

SOURCES = ["drums", "bass", "other", "vocals"]
RATE = 8000
# Small enough for songs of two seconds; nothing that the page speaks of.
TINY = ["hdemucs.channels=4", "dset.segment=1", "dset.shift=0.25", f"dset.samplerate={RATE}", "batch_size=4",
        "augment.repitch.proba=0", "model=hdemucs"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "pseudo_labels.md").read_text()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with four unlabelled songs in `songs`, a tiny model called teacher, and labelled songs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=2., channels=4, depth=2,
                      nfft=64)
    card = package.new_card(model, signature="teacher", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "release_models" / "teacher.th", card=card)
    for number in range(4):
        wav = np.random.default_rng(number).normal(size=(2 * RATE, 2)) / 10
        (tmp_path / "songs").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "songs" / f"Song {number}.wav", wav, RATE)
    monkeypatch.setenv("DEMUCS_MUSDB", str(write_songs(tmp_path / "labelled")))
    return tmp_path


def commands(page, tool):
    return [shlex.split(line)[3:] for line in page.splitlines() if line.startswith(f"    python -m tools.{tool} ")]


def test_commands(page, workplace, capsys):
    calls = commands(page, "pseudolabel")
    assert len(calls) == 4
    for call in calls:
        # A model without training has no song above a threshold.
        bound = [word if word != "3" else "-50" for word in call]
        assert pseudolabel.main(bound) == 0, capsys.readouterr().err
    datasets = workplace / "datasets"
    assert {path.name for path in datasets.iterdir()} == {"pseudo", "some", "strict", "vocals"}
    songs = {name: sorted(path.name for split in ("train", "valid") for path in (datasets / name / split).iterdir())
             for name in ("pseudo", "some", "strict", "vocals")}
    assert [len(each) for each in songs.values()] == [2, 2, 4, 4]
    files = {path.stem for path in (datasets / "pseudo" / "train" / songs["pseudo"][0]).parent.glob("*/*.wav")}
    assert files == {"mixture", *SOURCES}
    assert {path.stem for path in (datasets / "vocals" / "train").glob("*/*.wav")} == {"mixture", "vocals", "no_vocals"}
    assert not (datasets / "some" / "labels").exists()                  # it shares those of the first
    record = schema.load(PseudoLabels, datasets / "pseudo" / "pseudo_labels.json")
    assert record.measures == list(PREFERRED) and record.settings["residual"] == SHARED and len(record.songs) == 4
    for call in commands(page, "signature"):
        assert "/" in signature([*TINY, *call], ranks=1)


def test_the_measures_are_those_of_the_code(page):
    table = page[page.index("`--measure` names"):page.index("- Songs are ordered")]
    named = re.findall(r"`(\w+)`", table)
    assert named[:3] == list(PREFERRED) and named[3] == "model_agreement" and set(named) <= set(EVERY_MEASURE)


def test_what_is_said_of_the_study(page, repository):
    found = read(repository / "demucs" / "studies" / "pseudo_labels.yaml", ("make_synthetic", "pseudolabel"))
    assert f"Training takes {found.training_seconds / 60:.0f} minutes" in " ".join(page.split())
    assert list(found.arms) == ["labelled", "kept", "random", "all"] and found.comparisons[0] == ("kept", "random")
    assert found.seconds == 7 * 60 and len(found.seeds) == 3

    def argument(step, flag):
        return step.arguments[step.arguments.index(flag) + 1]
    tools = [step for step in found.steps if isinstance(step, ToolStep)]
    train, valid, test = (int(argument(tools[0], flag)) for flag in ("--train", "--valid", "--test"))
    words = " ".join(page.split())
    assert f"on {train - valid} labelled songs" in words and f"label {argument(tools[1], '--train')} others" in words
    assert f"scored on {test} other songs" in words and argument(tools[0], "--seed") != argument(tools[1], "--seed")
    assert [argument(step, "--keep") for step in tools[2:]] == ["0.5", "0.5", "1"] and "--random" in tools[3].arguments


def test_results_are_those_of_the_record(page, repository):
    folder = repository / "demucs_results" / "studies" / "pseudo_labels"
    between = page.split(report.BEGIN)[1].split(report.END)[0]
    if folder.exists():
        assert between == report.page_text(schema.load(StudyResult, folder / "study.json"), folder)
    else:
        assert "Not run yet" in between


def test_help_names_every_choice(capsys):
    with pytest.raises(SystemExit):
        pseudolabel.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in (*PREFERRED, "--keep", "--threshold", "--random", "--stems", "--residual", "--labels", "--repo"):
        assert word in text
