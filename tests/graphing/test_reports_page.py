"""The commands of docs/reports.md run as described."""

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parent / "samples"


@pytest.fixture
def workplace(results, tmp_path, monkeypatch):
    """Artificial runs with the names in the page, and sample results of other programs."""
    for old, new in (("1a2b3c4d", "162f67a7"), ("759c9a58", "955717e8")):
        folder = (results / "runs" / old).rename(results / "runs" / new)
        for path in folder.iterdir():
            path.write_text(path.read_text().replace(old, new))
    seed = shutil.copytree(results / "runs" / "162f67a7", results / "runs" / "c4c9d5a8")     # of the same configuration
    for path in seed.iterdir():
        path.write_text(path.read_text().replace("162f67a7", "c4c9d5a8").replace('"seed": 42', '"seed": 43'))
    shutil.copytree(SAMPLES, tmp_path / "theirs")
    monkeypatch.chdir(tmp_path)
    return results


def test_commands(workplace, repository, without_svg, monkeypatch, capsys):
    """Which files they write; how they look is tested where they are looked at."""
    page = (repository / "docs" / "reports.md").read_text()
    commands = re.findall(r"^    python graphing_scripts/(\w+)\.py (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 11
    said = []
    for script, arguments in commands:
        monkeypatch.setattr(sys, "argv", [script, *shlex.split(arguments), "--results", str(workplace)])
        import_module(script).main()
        said.append(capsys.readouterr().out)
    figures = workplace / "figures"
    assert sorted(path.name for path in figures.iterdir()) == [
        "0a1b2c3d", "162f67a7", "162f67a7+955717e8", "162f67a7+c4c9d5a8", "4e5f6a7b", "museval"]
    written = {path.relative_to(figures).as_posix() for path in figures.rglob("*") if path.suffix != ".svg"}
    assert written >= {
        "162f67a7/report.html", "162f67a7+955717e8/report.html", "162f67a7/training_curves.png",
        "162f67a7+955717e8/scores_nsdr_mean.png",
        "162f67a7+955717e8/paired_nsdr_mean_955717e8.png", "162f67a7+955717e8/changes_nsdr_mean.png",
        "162f67a7+955717e8/differences_nsdr_mean.png", "162f67a7+c4c9d5a8/seeds_nsdr_mean.png",
        "4e5f6a7b/report.html", "0a1b2c3d/training_curves.png",
        "museval/scores_sdr_median_of_medians.png", "museval/tracks_sdr.png"}
    table = next(text for (script, _), text in zip(commands, said) if script == "score_table")
    assert table.startswith("nSDR (dB): whole track, mean over tracks") and "silence" in table
    theirs = (figures / "4e5f6a7b" / "report.html").read_text()
    assert "Gap to the best comparable published number" in theirs and "one model is compared with" in theirs
