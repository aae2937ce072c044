"""docs/instrumental.md: its commands run, its numbers are those of the files, and what it says of the study is so."""

import re
import shlex

import pytest
import torch
from compositions import resolved

from demucs.building import build_model
from demucs.config import read
from demucs.metrics import instrumental, instrumental_text
from demucs.metrics.instrumental_json import read_file
from demucs.schema import StudyResult, load
from demucs.studies import description, report, timed
from demucs.tables import true_minus
from tools import evaluate_instrumental

pytestmark = pytest.mark.runs


@pytest.fixture
def page(repository):
    return (repository / "docs" / "instrumental.md").read_text()


def test_the_variant_and_the_grid(page):
    line = re.search(r"^    dora run (.*)$", page, re.M)[1]
    config = read(resolved(shlex.split(line)))
    assert config.model == "htdemucs_n" and config.target_names == ["instrumental"] and config.augment.same
    assert read(resolved(["variant=instrumental", "dset.targets={vocals: [vocals]}"])).target_names == ["vocals"]


def test_the_command_on_files(page, reference, tmp_path, monkeypatch, capsys):
    line = next(line for line in page.splitlines() if "tools.evaluate_instrumental results/" in line)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(reference / "instrumental")
    assert evaluate_instrumental.main(shlex.split(line)[3:]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^htdemucs +18.411 +16.347 +9.786 +17.048 +16.755 +14.716 +14.954", shown, re.M)
    assert re.search(r"^42eb2890 +14.675 +11.198 +10.316 +12.210 +11.313 +10.633 +10.065", shown, re.M)


def test_numbers_of_the_notes_are_those_of_the_files(page, reference):
    """As far as these files are at hand: each row of the table, and their difference."""
    between = page.split(instrumental_text.BEGIN)[1].split(instrumental_text.END)[0]
    found = {name: read_file(reference / "instrumental" / f"academic_evaluation_{name}.json.gz", name)
             for name in ("htdemucs", "42eb2890")}
    for each in found.values():
        assert f"| {' | '.join(instrumental_text.row(instrumental.scores(each)))} |" in between
    for item in instrumental.differences(found["42eb2890"], found["htdemucs"]):
        cells = (f"42eb2890 minus htdemucs | {instrumental_text.EVERY_FAMILY[item.family].short} | {item.value:+.3f} | "
                 f"{item.error:.3f} | ")
        assert true_minus(cells) in between
    assert "| 48f6aa15 | 18.183 | 12.556 | 13.523 |" in between and "| cad3ef69 | 18.474 | 12.561 | 13.898 |" in between


def test_what_is_said_of_the_study(page, repository):
    found = description.read(repository / "demucs" / "studies" / "instrumental.yaml", ("make_synthetic", "real_song"))
    words = " ".join(page.split())
    assert f"Training takes {found.training_seconds / 60:.0f} minutes" in words and found.seconds == 320
    assert list(found.arms) == ["htdemucs", "n", "nn", "nn_conv", "c", "nf"] and len(found.seeds) == 3
    assert found.comparisons[0] == ("n", "htdemucs") and list(found.also_scored) == ["real_excerpt"]
    arguments = found.steps[0].arguments
    train, valid, test = (int(arguments[arguments.index(flag) + 1]) for flag in ("--train", "--valid", "--test"))
    assert f"the instrumental of {train - valid} generated songs" in words and f"on {test} other songs" in words


def test_every_arm_of_the_study_is_a_model_of_one_output(repository, tmp_path):
    found = description.read(repository / "demucs" / "studies" / "instrumental.yaml", ("make_synthetic", "real_song"))
    for arm, own in found.arms.items():
        config = timed.compose(found.overrides(own, tmp_path), 1)
        assert config.target_names == ["instrumental"] and config.training_length == 2 * 44100, arm
        model = build_model(config)
        with torch.no_grad():
            assert model(torch.randn(1, 2, config.training_length)).shape == (1, 1, 2, config.training_length), arm


def test_results_are_those_of_the_record(page, repository):
    folder = repository / "demucs_results" / "studies" / "instrumental"
    between = page.split(report.BEGIN)[1].split(report.END)[0]
    if folder.exists():
        assert between == report.page_text(load(StudyResult, folder / "study.json"), folder)
    else:
        assert "Not run yet" in between
