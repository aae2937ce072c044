"""The command lines that score separations without references and write the tables of a study."""

import re

import numpy as np
import pytest
import soundfile

from demucs import schema
from demucs.errors import ConfigError
from demucs.evaluation import quality_page
from demucs.metrics.quality.measures import MEASURES
from demucs.schema import QualityColumn, QualityScores, QualityStudy, RankCorrelation
from tools.score_quality import get_parser, main

RATE = 16000


@pytest.fixture
def separated(tmp_path):
    """Three songs of noise and a tone with leaks of different size."""
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)[:, None]
    for name, leak in (("a middling song", 0.3), ("the best song", 0.02), ("the worst song", 0.9)):
        noise = 0.3 * rng.standard_normal((RATE, 1))
        folder = tmp_path / "sep" / name
        folder.mkdir(parents=True)
        for stem, wav in (("drums", noise + leak * tone), ("vocals", tone + leak * noise), ("mixture", tone + noise)):
            soundfile.write(folder / f"{stem}.wav", wav, RATE, subtype="FLOAT")
    return tmp_path / "sep"


def test_songs_are_printed_from_best_to_worst_and_kept_in_a_record(separated, capsys):
    assert main([str(separated)]) == 0
    shown = capsys.readouterr().out
    names = [line[:40].strip() for line in shown.splitlines()[2:5]]
    assert names == ["the best song", "a middling song", "the worst song"]
    assert "decisiveness" in shown.splitlines()[0]
    assert shown.splitlines()[1].split() == ["song", "place", "drums", "vocals"]
    record = schema.load(QualityScores, separated / "quality.json")
    assert set(record.measures) == {key for key, measure in MEASURES.items() if measure.needs != "model"}
    for key, label in record.measures.items():
        mean = np.mean([track.values["vocals"][key] for track in record.tracks])
        line = next(line for line in shown.splitlines() if line.startswith(label))
        assert line.split()[-1] == f"{round(mean, 1) + 0.:.1f}"


def test_measures_to_rank_by_and_place_of_the_record_may_be_chosen(separated, tmp_path, capsys):
    out = tmp_path / "scores" / "mine.json"
    assert main([str(separated), "--by", "leakage,hnr", "--sources", "vocals,drums", "--out", str(out)]) == 0
    head = capsys.readouterr().out.splitlines()[:2]
    assert head[0].split() == ["leakage", "hnr"] and head[1].split()[2:] == ["vocals", "drums"] * 2
    assert schema.load(QualityScores, out).sources == ["vocals", "drums"]
    assert not (separated / "quality.json").exists()


def test_what_cannot_be_scored_is_one_line(separated, tmp_path, capsys):
    assert main([str(separated), "--by", "shift_agreement"]) == 1
    assert re.fullmatch(r"error: shift_agreement was not measured: it needs the model.*\n", capsys.readouterr().err)
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "no separated song" in capsys.readouterr().err
    assert main([str(separated), "-n", "no_such_model", "--repo", str(tmp_path)]) == 1
    assert "no_such_model" in capsys.readouterr().err


def test_help_lists_every_measure():
    text = get_parser().format_help()
    assert all(key in text and measure.label in text for key, measure in MEASURES.items())


def study():
    cells = {("hnr", "a"): (0.5, 0.2, 0.7), ("hnr", "all"): (0.1, -0.1, 0.3),
             ("leakage", "a"): (0.5, 0.2, 0.7), ("leakage", "all"): (-0.001, -0.4, 0.2)}
    return QualityStudy(
        name="toy", dataset="songs", tracks=["x", "y"], sources=["a"],
        measures={"hnr": "HNR (dB)", "leakage": "leak (dB)"}, expected={"hnr": 1, "leakage": -1},
        columns=[QualityColumn("model", "model", {"a": "-1 4"}, {"a": {}})],
        correlations=[RankCorrelation(*key, "model", "tracks", *values) for key, values in cells.items()],
        settings={"seed": 3}, model_hash="", commit="", versions={"torch": "2"}, created="2026-01-02T00:00:00+00:00")


def test_tables_hold_the_numbers_and_mark_what_is_beyond_chance():
    text = quality_page.tables(study())
    assert "| model | model | 1.5 |" in text and "2 songs, 1 separators, seed 3; 2026-01-02, torch 2" in text
    assert "| `hnr`: HNR (dB) | + | **0.50 [0.20, 0.70]** | 0.10 [\N{MINUS SIGN}0.10, 0.30] |" in text
    assert ("| `leakage`: leak (dB) | \N{MINUS SIGN} | *0.50 [0.20, 0.70]* | 0.00 [\N{MINUS SIGN}0.40, 0.20] |") in text
    assert text.count("Which") == 1       # questions without an answer are not asked
    assert ("Beyond chance for every source: `hnr`. For some: none. The reverse of what was expected: `leakage` (a)."
            in text.replace("\n", " "))


def test_only_what_is_between_the_marks_is_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{quality_page.BEGIN}old\n{quality_page.END}after\n")
    for _ in range(2):
        quality_page.write_tables(study(), page)
        text = page.read_text()
        assert text == f"before\n{quality_page.BEGIN}{quality_page.tables(study())}{quality_page.END}after\n"
    page.write_text("no marks")
    with pytest.raises(ConfigError, match="page.md: has no place"):
        quality_page.write_tables(study(), page)
