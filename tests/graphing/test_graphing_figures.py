"""Content of the figures: the numbers of the records, one family per axis, and distinguishable published rows."""

import dataclasses
import re
import textwrap
from pathlib import Path

import numpy as np
import plot_results
import plot_scores
import pytest
from figures import bars, curves, style, tracks
from records import baselines, readers, scores
from records.chains import Chain, Part, find_chains
from records.tracks import per_track
from score_table import score_table

from demucs.errors import DemucsError
from demucs.metrics.aggregates import (EVERY_FAMILY, FAMILIES, NSDR_MEAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS,
                                       FamilyError, aggregate, track_values)
from demucs.metrics.statistics import compare

TABLE = baselines.load()
SAMPLES = Path(__file__).resolve().parent / "samples"
RUNS, EXPERIMENTS = SAMPLES / "runs", SAMPLES / "experiments.json"


def draw(function, *arguments, theme=style.LIGHT):
    with style.themed(theme):
        figure = function(*arguments)
        if figure is not None:
            figure.canvas.draw()
    return figure


def alone(run):
    return Chain(parts=(Part(run=run, first=1),))


def training(chain):
    return draw(curves.training_curves, chain, style.LIGHT)


def score_bars(runs, family):
    return draw(bars.score_bars, scores.groups_of(runs, family, TABLE), runs[0].sources, "title", style.LIGHT)


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [label.get_text() for label in axes.get_yticklabels() if label.get_visible()]
        found += [text.get_text() for text in axes.texts]
    return found


def panels(figure):
    return {axes.get_title("left"): axes for axes in figure.axes}


@pytest.fixture
def sampled(results):
    """The two made-up quantised runs, one of which continues the other."""
    chain, = find_chains([str(RUNS)], results, experiments=EXPERIMENTS)
    return chain


def test_curves_are_those_of_the_published_history(reference):
    run = readers.find_run(str(reference / "runs" / "history_759c9a58_epochs_1_to_127.json"), reference)
    found = panels(training(alone(run)))
    assert list(found) == ["Loss", "Validation nSDR", "Weights that validated best", "SVD penalty", "Gradient norm"]
    assert all(axes.get_xlabel() == "epoch" for axes in found.values())
    drawn = [list(line.get_ydata()) for line in found["Loss"].lines]
    for expected in ([record.train["loss"] for record in run.history], [record.valid["loss"] for record in run.history],
                     [record.candidates["main"]["loss"] for record in run.history]):
        assert expected in drawn
    mean = [list(line.get_ydata()) for line in found["Validation nSDR"].lines if line.get_linewidth() == 2.4]
    assert mean == [[record.valid["nsdr"] for record in run.history]]
    assert found["Validation nSDR"].get_ylabel().replace("\n", " ") == NSDR_MEAN.label


def test_the_student_projects_curves_are_one_line_with_a_join(reference):
    chain, = find_chains([str(reference / "runs")], reference, experiments=reference / "signatures.json")
    loss = panels(training(chain))["Loss"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in loss.lines]
    for part, epochs in zip(chain.parts, (range(1, 128), range(128, 219))):
        for expected in ([record.train["loss"] for record in part.run.history],
                         [record.valid["loss"] for record in part.run.history]):
            assert (list(epochs), expected) in drawn
    assert [127.5, 127.5] in [xs for xs, _ in drawn]    # the join
    assert {"759c9a58", "44f697b5"} <= set(texts(loss.figure))
    tested = draw(curves.tested_curves, chain, style.LIGHT)
    axes = panels(tested)[SDR_MEAN_OF_MEDIANS.short]
    mean = next(line for line in axes.lines if line.get_linewidth() == 2.2)
    assert list(mean.get_xdata()) == [127, 218] and list(mean.get_ydata()) == pytest.approx([6.0873, 6.3045], abs=5e-5)


def test_every_panel_of_a_quantised_run_is_there_and_its_size_in_megabytes(sampled):
    figure = training(sampled)
    found = panels(figure)
    assert list(found)[-1] == "Model size, quantised" and found["Model size, quantised"].get_ylabel() == "MiB"
    valid = [(list(line.get_xdata()), list(line.get_ydata())) for line in found["Model size, quantised"].lines
             if line.get_linestyle() == "-"]
    assert valid == [([1, 2, 3, 4], [30.5, 21.25, 17., 15.5]), ([5, 6, 7], [14., 13.5, 13.25])]
    assert "Training of 0a1b2c3d \N{RIGHTWARDS ARROW} 4e5f6a7b" in texts(figure)
    assert "7 epochs; best weights: epoch 6 (ema_batch_0)" in texts(figure)


def stars(axes):
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "*"]


def test_the_best_weights_are_marked_with_the_average_that_won(sampled):
    found = panels(training(sampled))
    history = sampled.history
    assert stars(found["Loss"]) == [(3, history[2].valid["loss"]), (6, history[5].valid["loss"])]
    assert stars(found["Validation nSDR"]) == [(3, history[2].valid["nsdr"]), (6, history[5].valid["nsdr"])]
    assert {"ema_epoch_0, epoch 3", "ema_batch_0, epoch 6"} <= set(texts(found["Loss"].figure))
    weights = found["Weights that validated best"]
    names = [label.get_text() for label in weights.get_yticklabels()]
    assert names == ["main (3)", "ema_batch_0 (3)", "ema_epoch_0 (1)"]
    ticks = [(list(line.get_xdata()), list(line.get_ydata())) for line in weights.lines if line.get_marker() == "|"]
    assert ticks == [([1, 2, 3, 4], [0, 1, 2, 0]), ([5, 6, 7], [1, 1, 0])]


def test_best_weights_of_an_earlier_run_are_not_given_to_an_epoch_of_this_one(results):
    chain = alone(readers.find_run("1a2b3c4d", results))
    assert stars(panels(training(chain))["Loss"])[0][0] == 3
    for record in chain.history:
        object.__setattr__(record, "best", 0.1)   # better than any loss here: inherited
    figure = training(chain)
    assert stars(panels(figure)["Loss"]) == []
    assert "from the run that this one continued" in " ".join(texts(figure))


def test_a_run_that_trained_on_the_validation_songs_is_not_said_to_have_chosen(results):
    chain = alone(readers.find_run("1a2b3c4d", results))
    chain.last.card = dataclasses.replace(chain.last.card, argv=["dset.train_valid=True"])
    figure = training(chain)
    assert stars(panels(figure)["Loss"])[0][0] == 4    # the last, not the third with the lowest loss
    assert "their scores choose nothing" in " ".join(texts(figure)) and "best weights" not in " ".join(texts(figure))


def test_a_log_says_that_its_numbers_are_rounded(results):
    chain = alone(readers.find_run(str(RUNS / "solver_of_0a1b2c3d.log"), results))
    figure = training(chain)
    assert "4 epochs; best weights: epoch 3 (ema_epoch_0, to the decimals of a log)" in texts(figure)


def test_tests_during_training_are_points_at_their_epochs(results):
    nsdr = panels(training(alone(readers.find_run("1a2b3c4d", results))))["Validation nSDR"]
    points = [line for line in nsdr.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in points] == [[2, 4], [2, 4]]   # drums and the mean were tested
    assert sorted(list(line.get_ydata()) for line in points) == [[1., 1.], [2., 2.]]


def test_tests_have_one_panel_for_each_family(sampled):
    figure = draw(curves.tested_curves, sampled, style.LIGHT)
    assert [axes.get_ylabel().replace("\n", " ") for axes in figure.axes] == [
        family.label for family in FAMILIES.values()]
    assert draw(curves.tested_curves, Chain(parts=sampled.parts[:1]), style.LIGHT) is None    # one test is no curve


def test_a_gradient_that_explodes_is_drawn_on_a_logarithmic_axis(results):
    chain = alone(readers.find_run("1a2b3c4d", results))
    assert panels(training(chain))["Gradient norm"].get_yscale() == "linear"
    chain.history[2].train["grad"] = 30.
    axes = panels(training(chain))["Gradient norm"]
    assert axes.get_yscale() == "log" and "logarithmic" in axes.get_ylabel()


def test_a_single_epoch_and_losses_that_are_no_numbers_are_drawn(results):
    chain = alone(readers.find_run("1a2b3c4d", results))
    last = chain.last.history[3]
    last.valid["loss"] = last.train["loss"] = last.valid["nsdr"] = float("nan")
    figure = training(chain)
    assert stars(panels(figure)["Loss"])[0][0] == 3 and panels(figure)["Loss"].get_ylim()[1] < 1.
    del chain.last.history[1:]
    figure = training(chain)
    assert "1 epoch; best weights: epoch 1 (ema_batch_0)" in texts(figure)
    assert [tick for tick in panels(figure)["Loss"].get_xticks() if 0.5 < tick < 1.5] == [1]


def test_runs_that_do_not_continue_one_another_are_drawn_beside_each_other(results, sampled):
    toy = alone(readers.find_run("1a2b3c4d", results))
    figure = draw(curves.comparison_curves, [toy, sampled], style.LIGHT)
    loss = panels(figure)["Validation loss"]
    assert [list(line.get_xdata()) for line in loss.lines] == [[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7]]
    looks = {(line.get_color(), str(line.get_linestyle())) for line in loss.lines}
    assert len(looks) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["1a2b3c4d", "4e5f6a7b"]
    assert draw(curves.comparison_curves, [toy], style.LIGHT) is None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_bars_are_the_aggregates_and_the_axis_names_them(results, family):
    run = readers.find_run("759c9a58", results)
    figure = score_bars([run], family)
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
            said = " ".join(texts(score_bars([run], family)))
            assert [other.key for other in FAMILIES.values() if other.label in said] == [family.key]


def test_rows_of_two_families_are_refused(results):
    run = readers.find_run("1a2b3c4d", results)
    rows = [*scores.measured(run, NSDR_MEAN), *scores.measured(run, SDR_MEAN_OF_MEDIANS)]
    with pytest.raises(FamilyError):
        scores.one_table(rows)


def test_a_synthetic_run_is_not_put_beside_published_numbers_as_if_comparable(results):
    toy, real = readers.find_run("1a2b3c4d", results), readers.find_run("759c9a58", results)
    apart = "published, MUSDB18-HQ test: for orientation, not comparable"
    assert apart in texts(score_bars([toy], NSDR_MEAN))
    assert "published, MUSDB18-HQ test: for orientation, not recorded what\nthis was trained on: give --trained-on" in texts(
        score_bars([real], NSDR_MEAN))
    real.trained_on = "MUSDB18-HQ train"
    assert "published, MUSDB18-HQ test" in texts(score_bars([real], NSDR_MEAN))
    real.evaluation.tracks.pop()
    assert apart in texts(score_bars([real], NSDR_MEAN))
    assert "no number here can be compared" in scores.choose(toy, SDR_MEDIAN_OF_MEDIANS, TABLE).sentence
    assert "synthetic (seed 7) test (6 tracks)" in scores.choose(toy, SDR_MEDIAN_OF_MEDIANS, TABLE).sentence


def test_printed_results_are_rows_the_latest_first(sampled):
    run = sampled.last
    run.printed = [*sampled.parts[0].run.printed, *run.printed]
    run.printed.sort(key=lambda item: -item.epochs)
    figure = score_bars([run], SDR_MEAN_OF_MEDIANS)
    assert [patch.get_width() for patch in figure.axes[0].patches[:2]] == [2.75, 2.25]
    assert "as printed by tests" in texts(figure) and "4e5f6a7b as printed, 7 epochs" in texts(figure)


def test_references_without_a_score_in_the_family_are_not_drawn(results):
    run = readers.find_run("1a2b3c4d", results)
    assert [row.label for row in scores.measured(run, NSDR_MEAN)] == [
        "hdemucs 1a2b3c4d", "average-spectrum filter", "silence", "mixture as estimate"]
    assert "silence" not in [row.label for row in scores.measured(run, SDR_MEDIAN_OF_MEDIANS)]


def test_an_evaluation_in_progress_says_how_far_it_is(results):
    run = readers.find_run("1a2b3c4d", results)
    run.evaluation.expected.extend(f"Song {number}" for number in range(50))
    assert "synthetic (seed 7) test, 6 of 50 tracks" in texts(score_bars([run], NSDR_MEAN))


def test_what_variants_change_is_pale_where_nothing_can_be_said(results):
    """Two variants of the same 50 songs: one better by 1 dB on all, one by chance."""
    base = readers.find_run("759c9a58", results).evaluation
    def variant(name, change):
        rng = np.random.default_rng(1)
        tracks = [dataclasses.replace(track, scores={source: {"nsdr": values["nsdr"] + change(rng)}
                                                     for source, values in track.scores.items()})
                  for track in base.tracks]
        return dataclasses.replace(base, name=name, tracks=tracks)
    found = [compare(variant("clear", lambda rng: 1 + 0.1 * rng.normal()), base, NSDR_MEAN),
             compare(variant("chance", lambda rng: 0.3 * rng.normal()), base, NSDR_MEAN)]
    figure = draw(bars.ablation_bars, found, base.sources, style.LIGHT)
    assert figure.get_supxlabel() == f"change in {NSDR_MEAN.label}"
    assert [axes.get_title("left") for axes in figure.axes] == ["drums", "bass", "other", "vocals", "mean"]
    for axes, source in zip(figure.axes, [*base.sources, "all"]):
        assert [patch.get_width() for patch in axes.patches] == [item.differences[source].value for item in found]
        whiskers = [list(line.get_xdata()) for line in axes.lines[:2]]
        assert whiskers == [[item.differences[source].interval.low, item.differences[source].interval.high]
                            for item in found]
    clear, chance = figure.axes[-1].patches
    assert clear.get_alpha() > 0.9 > 0.5 > chance.get_alpha()


def test_each_track_is_a_point_of_the_paired_scatter(results):
    first = readers.find_run("759c9a58", results).evaluation
    second = dataclasses.replace(first, name="other", tracks=[
        dataclasses.replace(track, scores={source: {"SDR": values["SDR"] - 1}
                                           for source, values in track.scores.items()})
        for track in reversed(first.tracks)])
    second.tracks[-1].scores["bass"]["SDR"] = None
    figure = draw(tracks.paired_scatter, first, second, compare(first, second, SDR_MEDIAN_OF_MEDIANS), style.LIGHT)
    assert figure.get_supxlabel().startswith(per_track("SDR"))
    for axes, source in zip(figure.axes, first.sources):
        points = axes.collections[0].get_offsets()
        assert len(points) == (49 if source == "bass" else 50)
        assert np.allclose(points[:, 1] - points[:, 0], 1)
        count = 49 if source == "bass" else 50
        assert f"{count} won, 0 lost\nmedian +1.00 dB" in [text.get_text() for text in axes.texts]
        assert axes.get_xlim() == axes.get_ylim()


@pytest.mark.parametrize("metric", ["nsdr", "SDR"])
def test_every_track_is_a_point_at_its_score(results, metric):
    run = readers.find_run("759c9a58", results)
    run.evaluation.tracks[7].scores["bass"][metric] = None
    axes = draw(tracks.track_spread, run, metric, style.LIGHT).axes[0]
    assert axes.get_ylabel() == {"nsdr": "nSDR (dB): whole track",
                                 "SDR": "SDR (dB): median over 1 s frames of the track"}[metric]
    places = [item for item in axes.collections if len(item.get_offsets()) > 1]
    for place, (source, points) in enumerate(zip(run.sources, places)):
        values = track_values(run.evaluation.tracks, source, metric)
        assert len(values) == (49 if source == "bass" else 50)
        assert points.get_offsets()[:, 1].tolist() == values
        assert abs(points.get_offsets()[:, 0] - place).max() < 0.25
    assert axes.get_xticklabels()[1].get_text() == "bass (49)"


def test_a_few_tracks_make_points_without_a_box_and_none_make_no_figure(results):
    run = readers.find_run("1a2b3c4d", results)
    del run.evaluation.tracks[2:]
    with_points = draw(tracks.track_spread, run, "nsdr", style.LIGHT).axes[0]
    assert len(with_points.lines) == 4 and len(with_points.collections) == 4   # four medians, no box
    for track in run.evaluation.tracks:
        for source in track.scores.values():
            source.pop("SDR")
    assert draw(tracks.track_spread, run, "SDR", style.LIGHT) is None
    assert score_bars([run], SDR_MEDIAN_OF_MEDIANS) is None


def test_scores_that_depend_on_rounding_are_hollow(results):
    run = readers.find_run("1a2b3c4d", results)
    for number, track in enumerate(run.evaluation.tracks):
        for values in track.scores.values():
            values["SIR"] = values["nsdr"] + 3
        run.evaluation.tracks[number] = dataclasses.replace(track, ill_conditioned=number == 2)
    hollow = draw(tracks.track_spread, run, "SIR", style.LIGHT)
    points = [item for item in hollow.axes[0].collections if len(item.get_offsets()) > 1][0]
    assert [color[3] == 0 for color in points.get_facecolors()] == [False, False, True, False, False, False]
    assert "1 hollow points depend on rounding errors" in " ".join(texts(hollow))
    assert "hollow" not in " ".join(texts(draw(tracks.track_spread, run, "nsdr", style.LIGHT)))


def test_what_is_drawn_of_runs_by_file_name(results):
    toy, real = readers.find_run("1a2b3c4d", results), readers.find_run("759c9a58", results)
    with style.themed(style.LIGHT):
        assert list(plot_scores.figures_of(toy, FAMILIES.values(), TABLE)) == [
            *(f"scores_{key}" for key in FAMILIES), "tracks_nsdr", "tracks_sdr"]
        assert list(plot_scores.figures_of(toy, [EVERY_FAMILY["sdr_pooled_mean"]], TABLE)) == ["tracks_sdr"]
        drawn, notes = plot_scores.figures_together([toy, real], [NSDR_MEAN], TABLE)
        assert list(drawn) == ["scores_nsdr_mean", "paired_nsdr_mean_759c9a58", "changes_nsdr_mean"]
        assert any("synthetic" in note for note in notes)    # scored on other data
        assert list(plot_results.figures_of(alone(toy))) == ["training_curves", "tested_curves"]


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
        first, again = (style.save(tracks.track_spread(run, "nsdr", style.LIGHT), tmp_path / folder, "x")
                        for folder in ("a", "b"))
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


def test_score_table_letter_for_letter(results):
    run = readers.find_run("759c9a58", results)
    for track in run.evaluation.tracks:
        track.scores.update(drums={"nsdr": -1.25}, bass={"nsdr": -0.001}, other={"nsdr": 3.}, vocals={"nsdr": None})
    run.printed = [readers.Printed("log", {f"nsdr{of}": 6. for of in ("", "_drums", "_bass", "_other", "_vocals")}, 218)]
    assert score_table(run, NSDR_MEAN) == textwrap.dedent("""\
        nSDR (dB): whole track, mean over tracks, mean over sources at the right
        MUSDB18-HQ test, 50 tracks

                                            drums      bass     other    vocals      mean
        ---------------------------------------------------------------------------------
        hdemucs 759c9a58                    -1.25      0.00      3.00 undefined undefined
        759c9a58 as printed, 218 epochs      6.00      6.00      6.00      6.00      6.00
        Of 50 tracks some have no defined score and do not count: 50 for vocals.""")


def test_score_table_without_an_evaluation(results):
    (results / "runs" / "1a2b3c4d" / "evaluation.json").unlink()
    with pytest.raises(DemucsError, match="evaluate_slurm.sh 1a2b3c4d"):
        score_table(readers.find_run("1a2b3c4d", results), NSDR_MEAN)
