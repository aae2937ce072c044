"""docs/quality.md: tables equal the record, statements follow from them, commands and pictures exist."""

import re
import shlex

import pytest

from demucs import schema
from demucs.evaluation import quality_page
from demucs.metrics.quality.measures import MEASURES
from demucs.schema import QualityStudy
from tools import make_synthetic, score_quality, study_quality

SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "quality.md").read_text(encoding="utf-8")


@pytest.fixture
def study(repository):
    return schema.load(QualityStudy, repository / "demucs_results" / "quality" / "4c3a4313" / "study.json")


def test_tables_are_those_of_the_record(page, study):
    assert page.split(quality_page.BEGIN)[1].split(quality_page.END)[0] == quality_page.tables(study)


def test_every_measure_is_explained_as_the_code_has_it(page):
    for key, measure in MEASURES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
        better, needs = [cell.strip() for cell in row.split("|")][3:5]
        assert (better, needs) == ("higher" if measure.better > 0 else "lower", measure.needs)


def test_what_is_said_is_what_came_out(study):
    """The section "What came out": a study done anew may make its sentences wrong."""
    assert "synthetic" in study.dataset

    def sources(measure, over, side):
        found = [item for item in study.correlations if (item.measure, item.among, item.over) ==
                 (measure, "model", over) and item.source != "all"]
        return [item.source for item in found
                if (item.low > 0 if side * study.expected[measure] > 0 else item.high < 0)]

    assert 0 < len(sources("hnr", "tracks", 1)) < 4 and 0 < len(sources("hpr", "tracks", 1)) < 4
    assert sources("reconstruction", "tracks", 1) == [] and sources("reconstruction", "separators", 1) == SOURCES
    for measure in ("leakage", "decisiveness", "remix_agreement"):
        assert sources(measure, "tracks", 1) == sources(measure, "separators", 1) == SOURCES
    assert sources("shift_agreement", "tracks", 1) == sources("level", "tracks", 1) == ["drums", "bass", "vocals"]
    assert sources("shift_agreement", "separators", 1) == sources("kurtosis_ratio", "separators", -1) == SOURCES


def test_pictures_and_files_are_there(page, repository):
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) == 4
    for link in links:
        assert (repository / "docs" / link).is_file(), link
    for picture in re.findall(r"!\[(.*?)\]", page):
        assert picture


def test_commands_are_understood(page, repository, capsys):
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("    python")]
    assert len(commands) == 5
    parsers = {"tools.score_quality": score_quality.get_parser, "tools.study_quality": study_quality.get_parser}
    for command in commands:
        if command[1] != "-m":
            assert (repository / command[1]).is_file()
        elif command[2] in parsers:
            assert parsers[command[2]]().parse_args(command[3:])
        else:
            assert command[2] == make_synthetic.__name__
            with pytest.raises(SystemExit) as stopped:
                make_synthetic.main([*command[3:], "--help"])
            assert stopped.value.code == 0
