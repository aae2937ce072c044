"""The forest plot: its numbers, the family on its axis, and filled marks only where the interval excludes zero."""

import os
import subprocess
import sys

import plot_comparison
import pytest
from conftest import REPOSITORY
from figures import forest, style
from figures.style import LIGHT
from records import readers

from demucs import schema
from demucs.metrics.aggregates import NSDR_MEAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS, FamilyError
from demucs.metrics.statistics import BETTER, UNCLEAR, compare, seed_spread

pytestmark = pytest.mark.runs


def draw(*arguments):
    with style.themed(LIGHT):
        figure = forest.forest_plot(*arguments)
        figure.canvas.draw()
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.fixture
def pair(shared_results):
    """A run scored on 50 tracks, and another 0.3 dB below it on the vocals, alike elsewhere but for chance."""
    first = readers.find_run("759c9a58", shared_results).evaluation
    second = readers.find_run("759c9a58", shared_results).evaluation
    for number, track in enumerate(second.tracks):
        for source, scores in track.scores.items():
            for metric in scores:
                scores[metric] += (-0.3 if source == "vocals" else 0.) + 0.05 * ((number * 7) % 11 - 5)
    object.__setattr__(second, "name", "other")
    return first, second


def test_marks_and_intervals_are_those_of_the_comparison(pair):
    found = compare(*pair, SDR_MEDIAN_OF_MEDIANS)
    axes, table = draw([found], LIGHT).axes
    assert axes.get_xlabel() == f"Paired difference in {SDR_MEDIAN_OF_MEDIANS.label}"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["drums", "bass", "other", "vocals",
                                                                      "mean over sources"]
    marks = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2.2]
    for difference, mark, bar in zip(found.differences.values(), marks, bars, strict=True):
        assert mark.get_xdata()[0] == difference.value
        assert list(bar.get_xdata()) == [difference.interval.low, difference.interval.high]
        assert (mark.get_markerfacecolor() != LIGHT.background) == (difference.verdict != UNCLEAR)
        assert f"{difference.won}, {difference.lost}, {difference.tied}" in texts(table)
    assert found.differences["vocals"].verdict == BETTER and found.differences["drums"].verdict == UNCLEAR
    assert texts(table).count("not distinguishable") == 3 and texts(table).count("better") == 2


def test_several_runs_stand_under_the_name_of_the_source(pair):
    first, second = pair
    found = [compare(second, first, NSDR_MEAN), compare(first, first, NSDR_MEAN)]
    labels = [label.get_text() for label in draw(found, LIGHT).axes[0].get_yticklabels()]
    assert labels[:6] == ["drums", "other", "759c9a58", "bass", "other", "759c9a58"] and len(labels) == 15


def test_the_band_is_the_range_over_seeds_and_what_it_covers_is_told(pair):
    first, second = pair
    found = compare(first, second, NSDR_MEAN)
    spread = seed_spread([first, second], NSDR_MEAN)
    axes, table = draw([found], LIGHT, spread).axes
    bands = {round(patch.get_width() / 2, 9) for patch in axes.patches}
    assert bands == {round(item.range, 9) for item in spread.values()}
    assert "better, within seeds" in texts(table) and "better" not in texts(table)


def test_two_families_in_one_forest_plot_are_refused(pair):
    mean, median = (compare(*pair, family) for family in (SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS))
    with pytest.raises(FamilyError, match="a forest plot"):
        draw([mean, median], LIGHT)
    with pytest.raises(FamilyError, match="a forest plot"):
        draw([mean], LIGHT, seed_spread(pair, SDR_MEDIAN_OF_MEDIANS))


def test_long_names_do_not_leave_the_figure(pair):
    first, second = pair
    object.__setattr__(second, "name", "an evaluation of a run with a very long name, twice as long as one reads")
    figure = draw([compare(second, first, NSDR_MEAN), compare(first, first, NSDR_MEAN)], LIGHT)
    width, height = figure.get_size_inches() * figure.dpi
    for text in [*figure.texts, *figure.axes[0].get_yticklabels(), *figure.axes[1].texts]:
        box = text.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height, text.get_text()


@pytest.fixture
def typed(results, pair, tmp_path_factory):
    """Run the script as on the command line, from another folder, in a Python without torch."""
    schema.save(pair[1], results / "runs" / "other" / "evaluation.json")
    refused = tmp_path_factory.mktemp("refused")
    for name in ("torch", "torchaudio", "museval", "pandas", "dora", "hydra"):
        (refused / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")

    def call(*arguments):
        done = subprocess.run([sys.executable, str(REPOSITORY / "graphing_scripts" / "plot_comparison.py"), *arguments],
                              cwd=refused, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(refused), "OMP_NUM_THREADS": "1"})
        return done
    return call


def test_the_script_draws_without_torch(results, typed):
    done = typed("other", "759c9a58", "--results", str(results), "--family", "sdr_median_of_medians")
    assert done.returncode == 0, done.stderr
    folder = results / "figures" / "other+759c9a58"
    assert sorted(path.name for path in folder.iterdir()) == ["differences_sdr_median_of_medians.png",
                                                              "differences_sdr_median_of_medians.svg"]
    assert f"759c9a58 minus other; {SDR_MEDIAN_OF_MEDIANS.label}" in done.stdout
    assert "signed-rank p < 0.001: better" in done.stdout


def test_the_first_family_that_all_have_is_the_default_and_seeds_are_told(results, typed):
    done = typed("759c9a58", "other", "--seeds", "other", "--results", str(results), "--resamples", "500")
    assert done.returncode == 0, done.stderr
    assert NSDR_MEAN.label in done.stdout and "2 seeds of one configuration have a range of" in done.stdout


@pytest.mark.parametrize("arguments, says", [
    (["759c9a58"], "at least two runs"), (["759c9a58", "1a2b3c4d"], "share 0 tracks"),
    (["759c9a58", "nowhere"], "nowhere")])
def test_what_cannot_be_compared_is_one_line(results, typed, arguments, says):
    toy = results / "runs" / "1a2b3c4d" / "evaluation.json"
    toy.write_text(toy.read_text().replace("Song ", "Tune "))
    done = typed(*arguments, "--results", str(results))
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


def test_help_shows_an_example(typed):
    done = typed("--help")
    assert done.returncode == 0 and "python graphing_scripts/plot_comparison.py 4c3a4313" in done.stdout
    assert "--family" in done.stdout and plot_comparison.__doc__.splitlines()[0] in done.stdout
