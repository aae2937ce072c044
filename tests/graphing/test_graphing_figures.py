"""What the pictures show: the records' numbers, one family per axis, published rows told apart."""

import re

import baselines
import plot_results
import plot_scores
import pytest
import readers
import scores
import style
from score_table import score_table

from demucs.errors import DemucsError
from demucs.metrics.aggregates import FAMILIES, NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS, aggregate, track_values

TABLE = baselines.load()


def draw(function, *arguments, theme=style.LIGHT):
    with style.themed(theme):
        figure = function(*arguments)
        if figure is not None:
            figure.canvas.draw()
    return figure


def curves(run):
    return draw(plot_results.training_curves, run, style.LIGHT)


def bars(run, family):
    return draw(plot_scores.score_bars, run, family, style.LIGHT, TABLE)


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [label.get_text() for label in axes.get_yticklabels() if label.get_visible()]
        found += [text.get_text() for text in axes.texts]
    return found


def test_curves_are_those_of_the_published_history(reference):
    run = readers.find_run(str(reference / "runs" / "history_759c9a58_epochs_1_to_127.json"), reference)
    panels = {axes.get_title("left"): axes for axes in curves(run).axes}
    assert list(panels) == ["Loss", "nSDR", "SVD penalty", "Gradient norm"]
    assert all(axes.get_xlabel() == "epoch" and axes.get_ylabel() for axes in panels.values())
    lines = {line.get_label(): list(line.get_ydata()) for line in panels["Loss"].lines}
    assert lines["training"] == [record.train["loss"] for record in run.history]
    assert lines["validation, best weights of the epoch"] == [record.valid["loss"] for record in run.history]
    mean = [list(line.get_ydata()) for line in panels["nSDR"].lines if line.get_linewidth() == 2.4]
    assert mean == [[record.valid["nsdr"] for record in run.history]]


def test_the_best_epoch_is_marked_where_its_loss_is_lowest(reference):
    run = readers.find_run(str(reference / "runs" / "history_759c9a58_epochs_1_to_127.json"), reference)
    lowest = min(range(127), key=lambda place: run.history[place].valid["loss"]) + 1
    assert plot_results.best_epoch(run) == lowest
    for axes in curves(run).axes:
        assert any(line.get_linestyle() == ":" and set(line.get_xdata()) == {lowest} for line in axes.lines)


def test_best_weights_of_an_earlier_run_are_not_given_to_an_epoch_of_this_one(results):
    run = readers.find_run("1a2b3c4d", results)
    assert plot_results.best_epoch(run) == 3
    for record in run.history:
        object.__setattr__(record, "best", 0.1)   # better than any loss here: inherited
    assert plot_results.best_epoch(run) is None
    assert "from the run that this one continued" in " ".join(texts(curves(run)))


def test_tests_during_training_are_points_at_their_epochs(results):
    nsdr = next(axes for axes in curves(readers.find_run("1a2b3c4d", results)).axes if axes.get_title("left") == "nSDR")
    points = [line for line in nsdr.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in points] == [[2, 4], [2, 4]]   # drums and the mean were tested
    assert sorted(list(line.get_ydata()) for line in points) == [[1., 1.], [2., 2.]]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_bars_are_the_aggregates_and_the_axis_names_them(results, family):
    run = readers.find_run("759c9a58", results)
    figure = bars(run, family)
    assert figure.get_supxlabel() == family.label
    expected = aggregate(run.evaluation, family).values
    titles = {("all" if axes.get_title("left") == "mean" else axes.get_title("left")): axes for axes in figure.axes}
    assert list(titles) == ["drums", "bass", "other", "vocals", "all"]
    for source, axes in titles.items():
        widths = [patch.get_width() for patch in axes.patches]
        assert widths[0] == pytest.approx(expected[source])
        assert widths[1:] == [row.values[source] for row in baselines.select(TABLE, family)]
        assert [bool(patch.get_hatch()) for patch in axes.patches] == [False] + [True] * (len(widths) - 1)
        assert f"{widths[0]:.2f}" in [text.get_text() for text in axes.texts]


def test_no_figure_mentions_two_families(results):
    for name in ("1a2b3c4d", "759c9a58"):
        run = readers.find_run(name, results)
        for family in FAMILIES.values():
            said = " ".join(texts(bars(run, family)))
            assert [other.key for other in FAMILIES.values() if other.label in said] == [family.key]


def test_a_synthetic_run_is_not_put_beside_published_numbers_as_if_comparable(results):
    toy, real = readers.find_run("1a2b3c4d", results), readers.find_run("759c9a58", results)
    heading = "published, MUSDB18-HQ test (other songs: not comparable)"
    assert heading in texts(bars(toy, NSDR_MEAN)) and heading not in texts(bars(real, NSDR_MEAN))
    assert "published, MUSDB18-HQ test" in texts(bars(real, NSDR_MEAN))
    assert "no number here can be compared" in scores.comparison_note(toy)
    assert "synthetic (seed 7) test (6 tracks)" in scores.comparison_note(toy)
    assert "same 50 songs" in scores.comparison_note(real)
    real.evaluation.tracks.pop()
    assert "no number here can be compared" in scores.comparison_note(real)


def test_references_without_a_score_in_the_family_are_not_drawn(results):
    run = readers.find_run("1a2b3c4d", results)
    assert [row.label for row in scores.measured(run, NSDR_MEAN)] == [
        "hdemucs 1a2b3c4d", "average-spectrum filter", "silence", "mixture as estimate"]
    assert "silence" not in [row.label for row in scores.measured(run, SDR_MEDIAN_OF_MEDIANS)]


@pytest.mark.parametrize("metric", ["nsdr", "SDR"])
def test_every_track_is_a_point_at_its_score(results, metric):
    run = readers.find_run("759c9a58", results)
    run.evaluation.tracks[7].scores["bass"][metric] = None
    axes = draw(plot_scores.track_spread, run, metric, style.LIGHT).axes[0]
    assert axes.get_ylabel() == plot_scores.METRICS[metric]
    for place, (source, points) in enumerate(zip(run.sources, axes.collections)):
        values = track_values(run.evaluation.tracks, source, metric)
        assert len(values) == (49 if source == "bass" else 50)
        assert points.get_offsets()[:, 1].tolist() == values
        assert abs(points.get_offsets()[:, 0] - place).max() < 0.25
    assert axes.get_xticklabels()[1].get_text() == "bass (49)"


def test_a_few_tracks_make_points_without_a_box_and_none_make_no_figure(results):
    run = readers.find_run("1a2b3c4d", results)
    del run.evaluation.tracks[2:]
    with_points = draw(plot_scores.track_spread, run, "nsdr", style.LIGHT).axes[0]
    assert len(with_points.lines) == 4 and len(with_points.collections) == 4   # four medians, no box
    for track in run.evaluation.tracks:
        for source in track.scores.values():
            source.pop("SDR")
    assert draw(plot_scores.track_spread, run, "SDR", style.LIGHT) is None
    assert bars(run, SDR_MEDIAN_OF_MEDIANS) is None


def luminance(color):
    parts = [int(color[place:place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=lambda theme: theme.name)
def test_every_source_has_one_colour_that_stands_out(theme):
    """Contrast of 3 is what WCAG 2 asks of graphics."""
    sources = ["drums", "bass", "other", "vocals", "guitar", "piano", "choir", "strings"]
    colors = [style.source_color(source, sources, theme) for source in sources]
    assert len(set(colors)) == len(sources)
    for color in [*colors, theme.muted, theme.text]:
        low, high = sorted((luminance(color), luminance(theme.background)))
        assert (high + 0.05) / (low + 0.05) >= 3, color


def test_files_are_png_and_svg_and_the_same_every_time(results, tmp_path):
    run = readers.find_run("1a2b3c4d", results)
    with style.themed(style.LIGHT):
        first = style.save(plot_scores.score_bars(run, NSDR_MEAN, style.LIGHT, TABLE), tmp_path / "a", "x")
        again = style.save(plot_scores.score_bars(run, NSDR_MEAN, style.LIGHT, TABLE), tmp_path / "b", "x")
    assert [path.name for path in first] == ["x.png", "x.svg"]
    assert first[0].read_bytes().startswith(b"\x89PNG") and "<svg" in first[1].read_text()
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_score_table_as_text(results):
    run = readers.find_run("1a2b3c4d", results)
    run.evaluation.tracks[0].scores["vocals"]["nsdr"] = None
    lines = score_table(run, NSDR_MEAN).splitlines()
    assert lines[0].startswith(NSDR_MEAN.label) and lines[1] == "synthetic (seed 7) test, 6 tracks"
    assert lines[3].split() == ["drums", "bass", "other", "vocals", "mean"]
    rows = {re.split(r"\s{2,}", line)[0]: line.split()[-5:] for line in lines[5:9]}
    assert list(rows) == ["hdemucs 1a2b3c4d", "average-spectrum filter", "silence", "mixture as estimate"]
    values = aggregate(run.evaluation, NSDR_MEAN).values
    assert rows["hdemucs 1a2b3c4d"] == [f"{values[source]:.2f}" for source in [*run.sources, "all"]]
    assert rows["silence"] == ["0.00"] * 5 and float(rows["mixture as estimate"][-1]) < -3
    assert lines[9] == "Of 6 tracks some have no defined score and do not count: 1 for vocals."


def test_score_table_without_an_evaluation(results):
    (results / "runs" / "1a2b3c4d" / "evaluation.json").unlink()
    with pytest.raises(DemucsError, match="evaluate_slurm.sh 1a2b3c4d"):
        score_table(readers.find_run("1a2b3c4d", results), NSDR_MEAN)
