"""Runs that differ only in their seed: configurations, their spread, and their comparison with others."""

import dataclasses
import sys

import numpy as np
import plot_comparison
import plot_scores
import pytest
from figures import seeds as figures
from figures import style
from graphing.conftest import SOURCES, make_card, make_evaluation, make_history, make_tracks
from pages import comparison_sections, elements, run_sections
from records import baselines, configurations, readers
from records.chains import find_chains
from report import comparison

from demucs import schema
from demucs.errors import DemucsError
from demucs.metrics.aggregates import ALL, NSDR_MEAN, NSDR_MEDIAN, FamilyError, aggregate
from demucs.metrics.statistics import seed_spread

TABLE = baselines.load()
A, B = ["aaaaaa42", "aaaaaa43", "aaaaaa44"], ["bbbbbb42", "bbbbbb43"]


def train(results, signature, seed, *, settings=(), better=0., count=12, delta=True):
    """Write the records of a run whose songs are those of the others, and whose level depends on its seed."""
    tracks = make_tracks(count, [4., 3., 1., 2.])
    chance = np.random.default_rng(seed)
    level = better + chance.normal(0, 0.15)
    for track in tracks:
        for scores in track.scores.values():
            change = level + chance.normal(0, 0.25)
            for metric in scores:
                scores[metric] += change
    folder = results / "runs" / signature
    given = dict(item.split("=") for item in settings)
    card = make_card(signature, seed=seed, argv=["epochs=4", *settings, f"seed={seed}"],
                     delta={**given, **({"seed": seed} if seed != 42 else {})} if delta else None)
    schema.save(card, folder / "run_card.json")
    schema.write_json(make_history(), folder / "history.json")
    schema.save(make_evaluation(signature, "hdemucs", tracks), folder / "evaluation.json")


@pytest.fixture(autouse=True)
def without_pictures(without_svg, monkeypatch):
    """Reports are read for their words here; drawing takes nine tenths of the time."""
    monkeypatch.setattr(elements, "picture", lambda draw, alt: f"<img alt='{alt}'>")
    for sections in (run_sections, comparison_sections):
        monkeypatch.setattr(sections, "picture", elements.picture)


@pytest.fixture
def swept(results):
    for signature, seed in zip(A, (42, 43, 44)):
        train(results, signature, seed)
    for signature, seed in zip(B, (42, 43)):
        train(results, signature, seed, settings=["optim.lr=0.1"], better=0.4)
    return results


def found(results, *names):
    return configurations.configurations(readers.find_runs(names, results))


def test_what_is_one_configuration(swept):
    groups = found(swept, *A, *B)
    assert [[run.name for run in group.runs] for group in groups] == [A, B]
    assert [group.name for group in groups] == ["aaaaaa42 (3 seeds)", "bbbbbb42 (2 seeds)"]
    mixed = found(swept, "bbbbbb43", A[2], "759c9a58", B[0], A[0])     # a run without a card stands alone
    assert [[run.name for run in group.runs] for group in mixed] == [["bbbbbb43", B[0]], [A[2], A[0]], ["759c9a58"]]
    train(swept, "dddddd42", 42)                                       # the same seed again is no further sample
    assert len(found(swept, A[0], "dddddd42")) == 2
    train(swept, "eeeeee45", 45, count=11)                             # other songs
    assert len(found(swept, A[0], "eeeeee45")) == 2


def test_older_cards_tell_it_by_their_overrides(results):
    train(results, "aaaaaa42", 42, delta=False)
    train(results, "aaaaaa43", 43, delta=False)
    train(results, "bbbbbb44", 44, settings=["optim.lr=1"], delta=False)
    assert [len(group.runs) for group in found(results, "aaaaaa42", "aaaaaa43", "bbbbbb44")] == [2, 1]


def test_the_spread_is_drawn(swept):
    groups = found(swept, *A, *B)
    spreads = {group.name: configurations.spread(group, NSDR_MEAN) for group in groups}
    with style.themed(style.LIGHT):
        figure = figures.spread_plot(spreads, SOURCES, style.LIGHT)
        figure.canvas.draw()
        assert figure.get_supxlabel() == NSDR_MEAN.label
        assert [axes.get_title("left") for axes in figure.axes] == [*SOURCES, "mean"]
        spans = {round(np.ptp(axes.get_ylim()), 9) for axes in figure.axes}
        assert len(spans) == 1                            # all panels show the same number of decibels
        for axes, source in zip(figure.axes, [*SOURCES, ALL]):
            drawn = [points.get_offsets()[:, 1].tolist() for points in axes.collections]
            expected = [[aggregate(run.evaluation, NSDR_MEAN).values[source] for run in group.runs] for group in groups]
            assert drawn == [pytest.approx(values) for values in expected]
            texts = [text.get_text() for text in axes.texts]
            assert texts == [f"{each.mean:.2f} \N{PLUS-MINUS SIGN} {each.deviation:.2f}\nrange {each.range:.2f}"
                             for each in (spreads[group.name][source] for group in groups)]
        width, height = figure.get_size_inches() * figure.dpi
        for text in figure.texts:
            box = text.get_window_extent()
            assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height, text.get_text()
        assert figures.spread_plot({"one": {}}, SOURCES, style.LIGHT) is None
        with pytest.raises(FamilyError, match="a plot of seeds"):
            figures.spread_plot({"a": spreads[groups[0].name], "b": configurations.spread(groups[1], NSDR_MEDIAN)}, SOURCES,
                                style.LIGHT)


def test_pictures_of_a_sweep(swept):
    """Of seeds alone there is a spread and no comparison; of two configurations one comparison over songs and seeds."""
    with style.themed(style.LIGHT):
        drawn, _ = plot_scores.figures_together(readers.find_runs(A, swept), [NSDR_MEAN], TABLE)
        assert list(drawn) == ["scores_nsdr_mean", "seeds_nsdr_mean"]
        drawn, _ = plot_scores.figures_together(readers.find_runs([*A, *B], swept), [NSDR_MEAN, NSDR_MEDIAN], TABLE)
        assert list(drawn) == [f"{kind}_{family}{name}" for family in ("nsdr_mean", "nsdr_median") for kind, name in (
            ("scores", ""), ("paired", "_bbbbbb42"), ("changes", ""), ("seeds", ""))]
    assert any("over songs and seeds" in text.get_text() for text in drawn["changes_nsdr_median"].texts)


def run_script(monkeypatch, capsys, results, *arguments):
    monkeypatch.setattr(sys, "argv", ["plot_comparison", *arguments, "--results", str(results), "--resamples", "300"])
    plot_comparison.main()
    return capsys.readouterr().out


def test_seeds_of_a_sweep_on_the_command_line(swept, monkeypatch, capsys):
    said = run_script(monkeypatch, capsys, swept, *A)
    assert "aaaaaa42 (3 seeds)" in said and "2.68 dB in the mean over 3 seeds" in said and "better" not in said
    said = run_script(monkeypatch, capsys, swept, A[0], "--seeds", *A[1:])       # the same, by hand
    assert "2.68 dB in the mean over 3 seeds" in said
    assert (swept / "figures" / "+".join(A) / "seeds_nsdr_mean.png").exists()
    said = run_script(monkeypatch, capsys, swept, *A, *B)
    assert "bbbbbb42 (2 seeds) minus aaaaaa42 (3 seeds)" in said and "the interval over songs and seeds" in said
    assert "signed-rank" not in said and "have a range of" not in said
    said = run_script(monkeypatch, capsys, swept, A[0], B[0], "--seeds", *A[1:])
    assert "bbbbbb42 minus aaaaaa42 (3 seeds)" in said and "note: bbbbbb42 has one seed" in said
    for arguments in (A[:1], [A[0], "--seeds", "1a2b3c4d"]):
        with pytest.raises(DemucsError, match="at least two runs|different tracks"):
            run_script(monkeypatch, capsys, swept, *arguments)


def test_a_report_on_seeds_has_no_rivals(swept):
    page = comparison(find_chains(A, swept), {})
    assert "<h1>Seeds of one configuration: aaaaaa42 and aaaaaa43, aaaaaa44</h1>" in page
    assert "3 seeds of one configuration: aaaaaa42 (seed 42), aaaaaa43 (seed 43), aaaaaa44 (seed 44)." in page
    assert '<section id="spread-over-seeds">' in page and '<section id="differences">' not in page
    assert "better" not in page.split("<main>")[1].split("Training")[0]
    spread = seed_spread([group.evaluation for group in readers.find_runs(A, swept)], NSDR_MEAN)[ALL]
    assert f"standard deviation {spread.deviation:.2f} dB, range {spread.range:.2f} dB" in page


def test_a_report_on_configurations_compares_them_over_songs_and_seeds(swept):
    page = comparison(find_chains([*A, *B], swept), {})
    assert "<h1>Comparison of" in page and page.count("bbbbbb42 (2 seeds) minus aaaaaa42 (3 seeds), 12 tracks") == 4
    assert "the interval over songs and seeds" in page and "signed-rank p" not in page and "no p value" in page
    assert '<section id="spread-over-seeds">' in page


def test_a_run_without_scores_is_named_beside_seeds(swept):
    (swept / "runs" / A[2] / "evaluation.json").unlink()
    page = comparison(find_chains(A, swept), {})
    assert "2 seeds of one configuration" in page and "aaaaaa44 has no scores." in page


def test_what_decides_stands_beside_the_verdict(swept):
    """Of different seeds: equal ones differ by the same on all songs here, and the exact test of so many ties takes long."""
    page = comparison(find_chains([A[0], B[1]], swept), {})
    assert "verdict, by the interval" in page and "The p value decides nothing" in page
    assert "(the interval over songs " in page


@pytest.mark.parametrize("shared, told", [
    (1, "have scores of 1 song in common, and a comparison needs 5"), (4, "have scores of 4 songs in common"),
    (0, "have no scores per track of the same songs")])
def test_too_few_songs_in_common_are_called_that(swept, shared, told):
    path = swept / "runs" / B[0] / "evaluation.json"
    made = schema.load(schema.Evaluation, path)
    tracks = [track if place < shared else dataclasses.replace(track, name=f"Other {place}")
              for place, track in enumerate(made.tracks)]
    schema.save(dataclasses.replace(made, tracks=tracks), path)
    page = comparison(find_chains([A[0], B[0]], swept), {})
    assert f"aaaaaa42 and bbbbbb42 {told}" in page and "nothing can be said about which is better" in page
    assert shared == 0 or "no scores per track of the same songs" not in page
    (swept / "runs" / B[0] / "evaluation.json").unlink()
    assert "of bbbbbb42 there are no scores per track" in comparison(find_chains([A[0], B[0]], swept), {})
