"""Figures of a study of reference-free measures show its numbers."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from figures import correlations, style
from records import studies

from demucs import schema
from demucs.errors import ConfigError, SignatureError
from demucs.schema import QualityColumn, QualityStudy, RankCorrelation, SchemaError, pack_frames, unpack_frames

pytestmark = pytest.mark.runs

SCRIPT = Path(__file__).resolve().parents[2] / "graphing_scripts" / "plot_heuristics.py"
SOURCES = ["drums", "bass", "other", "vocals"]
MEASURES = {"leakage": "leakage (dB)", "hnr": "harmonics-to-noise ratio (dB)", "agreement": "agreement (dB)"}
EXPECTED = {"leakage": -1, "hnr": 1, "agreement": 1}
FIGURES = [f"{name}.{suffix}" for name in ("correlations_all", "correlations_model", "scatter")
           for suffix in ("png", "svg")]


def make_study(songs=6):
    rng = np.random.default_rng(0)
    columns = []
    for number, kind in enumerate(["model"] * 5 + ["reference", "oracle"]):
        known = [key for key in MEASURES if kind == "model" or key != "agreement"]
        columns.append(QualityColumn(
            f"separator {number}", kind, {source: pack_frames(rng.normal(5, 2, songs)) for source in SOURCES},
            {source: {key: pack_frames(rng.normal(0, 9, songs)) for key in known} for source in SOURCES}))
    correlations = []
    for key in MEASURES:
        for among in ("model", "all") if key != "agreement" else ("model",):
            for over in ("tracks", "separators"):
                for source in [*SOURCES, "all"]:
                    low, rho, high = np.sort(rng.uniform(-1, 1, 3)).tolist()
                    correlations.append(RankCorrelation(key, source, among, over, rho, low, high))
    return QualityStudy(name="toy", dataset="synthetic (seed 1) test", tracks=[f"song {n}" for n in range(songs)],
                        sources=SOURCES, measures=MEASURES, expected=EXPECTED, columns=columns,
                        correlations=correlations, settings={"seed": 0}, model_hash="00ff", commit="abc",
                        versions={"torch": "2.11.0"}, created="2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def study():
    return make_study()


def draw(function, *arguments):
    with style.themed(style.LIGHT):
        figure = function(*arguments, style.LIGHT)
        if figure is not None:
            figure.canvas.draw()
    return figure


@pytest.mark.parametrize("among", ["model", "all"])
def test_points_are_correlations_on_the_side_that_was_expected(study, among):
    keys = [key for key in MEASURES if among == "model" or key != "agreement"]
    figure = draw(correlations.correlations, study, among, list(MEASURES))
    found = {(item.measure, item.over, item.source): item for item in study.correlations if item.among == among}
    order = sorted(keys, key=lambda key: sum(found[key, over, "all"].rho for over in ("tracks", "separators"))
                   * EXPECTED[key])
    assert len(figure.axes) == 2
    for axes, over in zip(figure.axes, ("tracks", "separators")):
        points = [line for line in axes.lines if line.get_marker() in ("o", "D")]
        assert len(points) == 5
        for line, source in zip(points, [*SOURCES, "all"]):
            assert np.allclose(line.get_xdata(), [found[key, over, source].rho * EXPECTED[key] for key in order])
            assert line.get_color() == style.source_color(source, SOURCES, style.LIGHT)
        for lines, source in zip(axes.collections, [*SOURCES, "all"]):
            ends = [sorted(segment[:, 0]) for segment in lines.get_segments()]
            assert np.allclose(ends, [sorted((found[key, over, source].low * EXPECTED[key],
                                              found[key, over, source].high * EXPECTED[key])) for key in order])
        assert "nSDR" in axes.get_xlabel()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    better = {key: "higher" if EXPECTED[key] > 0 else "lower" for key in order}
    assert names == [f"{MEASURES[key].replace(' (dB)', '')}\n({better[key]} expected to be better)" for key in order]
    said = " ".join(text.get_text() for text in figure.texts)
    assert "synthetic (seed 1) test, 6 songs" in said and f"({7 if among == 'all' else 5})" in said


def test_scatter_has_a_point_per_song_and_separator(study):
    figure = draw(correlations.scatter, study, list(MEASURES))
    grid = np.array(figure.axes).reshape(3, 4)
    for row, key in zip(grid, MEASURES):
        assert MEASURES[key] in [axes.get_xlabel() for axes in row]
        for axes, source in zip(row, SOURCES):
            drawn = sorted(tuple(point) for line in axes.lines for point in line.get_xydata())
            expected = sorted((x, y) for column in study.columns if key in column.values[source]
                              for x, y in zip(unpack_frames(column.values[source][key]),
                                              unpack_frames(column.nsdr[source])))
            assert np.allclose(drawn, expected)


def test_undefined_values_are_left_out(study):
    values = {source: {**column, "hnr": "- " + column["hnr"].split(" ", 1)[1]}
              for source, column in study.columns[0].values.items()}
    first = dataclasses.replace(study.columns[0], values=values)
    holes = dataclasses.replace(study, columns=[first, *study.columns[1:]])
    figure = draw(correlations.scatter, holes, ["hnr"])
    xs = np.concatenate([line.get_xdata() for line in figure.axes[0].lines])
    assert np.isnan(xs).sum() == 1 and len(xs) == 42


def test_without_correlations_there_is_no_picture_of_them(study):
    assert draw(correlations.correlations, study, "all", ["agreement"]) is None


def test_studies_are_found_by_name_folder_and_file_and_the_newest_without(study, tmp_path):
    for name, age in (("old", 100), ("new", 1)):
        path = tmp_path / "quality" / name / "study.json"
        schema.save(dataclasses.replace(study, name=name), path)
        os.utime(path, (1e9 - age, 1e9 - age))
    for argument, name in ((None, "new"), ("old", "old"), (str(tmp_path / "quality" / "old"), "old"),
                           (str(tmp_path / "quality" / "old" / "study.json"), "old")):
        found, folder = studies.find_study(argument, tmp_path)
        assert found.name == name and folder == tmp_path / "quality" / name
    with pytest.raises(SignatureError, match="there are: old, new"):
        studies.find_study("other", tmp_path)
    (tmp_path / "quality" / "old" / "study.json").write_text("{}")
    with pytest.raises(SchemaError, match="study.json"):
        studies.find_study("old", tmp_path)
    with pytest.raises(ConfigError, match="there are: leakage, hnr, agreement"):
        studies.measures_of(study, ["loudness"])


@pytest.fixture
def typed(tmp_path):
    """Run the script as on the command line, from another folder, in a Python without torch."""
    refused = tmp_path / "refused"
    refused.mkdir()
    for name in ("torch", "torchaudio", "pandas", "dora", "hydra"):
        (refused / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")

    def call(*arguments):
        done = subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], cwd=refused, capture_output=True,
                              text=True, env={**os.environ, "PYTHONPATH": str(refused), "OMP_NUM_THREADS": "1"})
        return done
    return call


def test_the_script_draws_without_torch(typed, study, tmp_path):
    schema.save(study, tmp_path / "quality" / "toy" / "study.json")
    done = typed("toy", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "quality" / "toy"
    assert sorted(path.name for path in folder.iterdir()) == [*FIGURES, "study.json"]
    assert sorted(done.stdout.splitlines()) == [str(folder / name) for name in FIGURES]
    first = {name: (folder / name).read_bytes() for name in FIGURES}
    assert first["scatter.png"].startswith(b"\x89PNG") and b"<svg" in first["scatter.svg"]
    again = typed(folder, "--out", tmp_path / "again")
    assert again.returncode == 0
    assert first == {name: (tmp_path / "again" / name).read_bytes() for name in FIGURES}


def test_help_shows_an_example_and_errors_are_one_line(typed, tmp_path):
    shown = typed("--help")
    assert shown.returncode == 0 and "python graphing_scripts/plot_heuristics.py 4c3a4313" in shown.stdout
    failed = typed("toy", "--results", tmp_path)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: no study toy") and failed.stderr.count("\n") == 1
