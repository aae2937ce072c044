"""Adaptation of the scripts to their input: families, published rows, advice, number of the first epoch."""

import dataclasses
import shutil
import sys
from importlib import import_module

import pytest
from figures import bars, curves, style
from graphing.conftest import REAL, SOURCES, TOY, make_card, make_evaluation, make_history, make_tracks
from records import baselines, chains, readers, scores
from report import report
from score_table import score_table

from demucs import schema
from demucs.errors import DemucsError
from demucs.metrics import museval_json
from demucs.metrics.aggregates import NSDR_MEAN, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS
from demucs.schema import pack_frames

TABLE = baselines.load()


def museval_folder(folder, count=50):
    tracks = make_tracks(count, [6.8, 6.6, 4.4, 7.])
    tracks = [dataclasses.replace(track, name=f"Song {place}", frames={source: {metric: pack_frames([scores["SDR"]] * 2)
                                                                               for metric in museval_json.METRICS}
                                                                      for source, scores in track.scores.items()})
              for place, track in enumerate(tracks)]
    museval_json.write_folder(make_evaluation("x", "m", tracks), folder)
    return folder


@pytest.fixture
def theirs(tmp_path):
    """A folder of museval's files with the 50 songs of MUSDB18."""
    return museval_folder(tmp_path / "theirs")


@pytest.fixture
def script(results, without_svg, monkeypatch, capsys):
    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--results", str(results)])
        import_module(name).main()
        return capsys.readouterr().out
    return call


def test_every_script_takes_the_family_that_an_input_has(theirs, results, script):
    second = museval_folder(theirs.parent / "second")
    assert script("score_table", theirs).startswith(SDR_MEDIAN_OF_MEDIANS.label)
    assert "scores_sdr_median_of_medians.png" in script("plot_scores", theirs)
    assert SDR_MEDIAN_OF_MEDIANS.label in script("plot_comparison", theirs, second)
    assert SDR_MEDIAN_OF_MEDIANS.label in (results / "report.html").read_text() if script("report", theirs) else False
    only = schema.load(schema.Evaluation, results / "runs" / TOY / "evaluation.json")
    for track in only.tracks:
        for values in track.scores.values():
            values["si_sdr"] = values.pop("nsdr")
            values.pop("SDR")
    schema.save(only, results / "runs" / TOY / "evaluation.json")
    assert script("score_table", TOY).startswith("SI-SDR") and "scores_si_sdr_mean.png" in script("plot_scores", TOY)
    script("report", TOY)
    assert '<section id="scores">' in (results / "report.html").read_text()


@pytest.mark.parametrize("name", ["score_table", "plot_scores", "plot_comparison"])
def test_a_family_that_an_input_lacks_is_told_with_those_it_has(theirs, script, name):
    with pytest.raises(DemucsError, match="it has sdr_median_of_medians, sdr_mean_of_medians") as caught:
        script(name, theirs, *([theirs] if name == "plot_comparison" else []), "--family", "nsdr_mean")
    assert "evaluate_slurm" not in str(caught.value)


def test_inputs_without_a_family_in_common_are_told_which_each_has(theirs, results, script):
    evaluation = readers.find_run(TOY, results).evaluation
    for track in evaluation.tracks:
        for values in track.scores.values():
            values.pop("SDR", None)
    schema.save(evaluation, results / "runs" / TOY / "evaluation.json")
    with pytest.raises(DemucsError, match=r"no family of scores in common \(1a2b3c4d: nsdr_mean, nsdr_median; theirs: sdr_med"):
        script("plot_comparison", TOY, theirs)


def test_advice_fits_the_kind_of_input(results, script):
    folder = results / "runs" / TOY
    (folder / "evaluation.json").unlink()
    for name in ("score_table", "plot_scores", "plot_comparison"):
        with pytest.raises(DemucsError, match=rf"slurm_scripts/evaluate_slurm.sh {TOY}"):
            script(name, TOY, *([REAL] if name == "plot_comparison" else []))
    history = shutil.copy(folder / "history.json", results / "theirs.json")
    for name in ("score_table", "plot_scores", "plot_comparison"):
        with pytest.raises(DemucsError, match="it is a history; name its evaluation.json") as caught:
            script(name, history, *([REAL] if name == "plot_comparison" else []))
        assert "slurm" not in str(caught.value)
    page = report(chains.find_chains([str(history)], results)[0], results)
    assert "It has no scores: it is a history" in page and "evaluate_slurm" not in page


def test_each_release_of_musdb18_gets_its_rows(theirs, results):
    """Rows for orientation, and comparable ones once it is said what a model was trained on."""
    run = readers.find_run(str(theirs), results)
    assert run.evaluation.dataset == "MUSDB18 test"
    own, hq = (baselines.select(TABLE, SDR_MEDIAN_OF_MEDIANS, regime=f"{name} train", test_set=f"{name} test")
               for name in ("MUSDB18", "MUSDB18-HQ"))
    *_, last = scores.groups_of([run], SDR_MEDIAN_OF_MEDIANS, TABLE)
    assert last.heading == ("published, MUSDB18 test: for orientation, not recorded what this was trained on: give "
                            "--trained-on")
    assert [row.label for row in last.rows] == [row.label for row in own] and not any(row.comparable for row in last.rows)
    assert "scored on the same 50 songs (MUSDB18 test)" in scores.choose(run, SDR_MEDIAN_OF_MEDIANS, TABLE).sentence
    run.trained_on = "MUSDB18 train"
    *_, last = scores.groups_of([run], SDR_MEDIAN_OF_MEDIANS, TABLE)
    assert last.heading == "published, MUSDB18 test" and all(row.comparable for row in last.rows)
    assert [row.label for row in last.rows] == [row.label for row in own]
    real = readers.find_run(REAL, results)
    *_, last = scores.groups_of([real], SDR_MEDIAN_OF_MEDIANS, TABLE)
    assert [row.label for row in last.rows] == [row.label for row in hq]


def test_a_table_says_what_is_not_recorded(theirs, results, script):
    said = script("score_table", theirs, "--published")
    assert "published, not recorded what this was trained on: give --trained-on:" in said
    before, after = said.split("published, not comparable (other data, other test set):")
    assert "Demucs v2, mean of 3 seeds" in before and "HTDemucs (v4), MUSDB only" in after
    assert "give --trained-on" not in script("score_table", theirs, "--published", "--trained-on", "MUSDB18 train")
    run = readers.find_run(TOY, results)
    selection = baselines.choose(TABLE, scores.subject(run, NSDR_MEAN))
    assert "give --trained-on" not in score_table(run, NSDR_MEAN, selection)        # other songs: it would not help


def test_rows_that_cannot_be_compared_do_not_set_the_scale(results):
    run = readers.find_run(TOY, results)
    groups = scores.groups_of([run], SDR_MEDIAN_OF_MEDIANS, TABLE)

    def draw(*changed):
        figure = bars.score_bars(changed, SOURCES, "t", style.LIGHT)
        figure.canvas.draw()
        return figure
    with style.themed(style.LIGHT):
        figure = draw(*groups)
        larger = [dataclasses.replace(row, values={name: 3 * value for name, value in row.values.items()})
                  for row in groups[-1].rows]
        assert draw(*groups[:-1], dataclasses.replace(groups[-1], rows=larger)).axes[0].get_xlim() == figure.axes[0].get_xlim()
        comparable = [dataclasses.replace(row, comparable=True) for row in larger]
        wide = draw(*groups[:-1], dataclasses.replace(groups[-1], rows=comparable)).axes[0].get_xlim()
    assert any("longer than the scale" in text.get_text() for text in figure.texts)
    assert wide[1] > 3 * 8.24 > 2 * figure.axes[0].get_xlim()[1]
    for axes in figure.axes:
        for text in axes.texts:                         # numbers stand on the axis, also those of longer bars
            box, frame = text.get_window_extent(), axes.get_window_extent()
            assert box.x1 <= frame.x1 + 1, text.get_text()


def test_a_picture_per_family_has_a_name_per_family(results):
    import plot_scores
    runs = readers.find_runs([TOY, REAL], results)
    with style.themed(style.LIGHT):
        drawn, _ = plot_scores.figures_together(runs, [SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS], TABLE)
        assert {f"paired_{family.key}_{REAL}" for family in (SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS)} <= set(drawn)


def continued(results, after, *, parent_epochs=6):
    """A run of four epochs that continues another; `after` so many epochs of it."""
    parent, child = (results / "runs" / name for name in ("11111111", "22222222"))
    schema.save(make_card("11111111"), parent / "run_card.json")
    schema.write_json((make_history() * 2)[:parent_epochs], parent / "history.json")
    schema.save(make_card("22222222", continued_from="11111111", continued_after=after), child / "run_card.json")
    schema.write_json(make_history(), child / "history.json")
    return parent, child


def drawn(chain):
    with style.themed(style.LIGHT):
        figure = curves.training_curves(chain, style.LIGHT)
        return figure, [text.get_text() for text in figure.texts]


def test_epochs_count_from_where_a_run_began(results):
    parent, child = continued(results, 4)
    chain, = chains.find_chains(["22222222"], results)
    assert [(part.run.name, part.first, part.last) for part in chain.parts] == [("11111111", 1, 4), ("22222222", 5, 8)]
    assert any("11111111 was trained on after 22222222 had begun: 2 epochs" in note for note in chain.last.notes)
    shutil.rmtree(parent)
    for named in ("22222222", str(child / "history.json")):           # alone
        chain, = chains.find_chains([named], results)
        assert [(part.first, part.last) for part in chain.parts] == [(5, 8)]
        figure, texts = drawn(chain)
        assert any(text.startswith("epochs 5 to 8; ") for text in texts)
        assert figure.axes[0].get_xlim() == (4.5, 8.5)
    chain, = chains.find_chains(["22222222"], results)
    assert any("whose history was not found: it is drawn from its first epoch on, which is number 5." in note
               for note in chain.last.notes)
    assert "after 4 of the training that it continues" in report(chain, results)


def test_a_card_that_does_not_tell_is_counted_as_before(results):
    parent, _ = continued(results, None)
    chain, = chains.find_chains(["22222222"], results)
    assert [(part.first, part.last) for part in chain.parts] == [(1, 6), (7, 10)]
    shutil.rmtree(parent)
    chain, = chains.find_chains(["22222222"], results)
    assert chain.parts[0].first == 1 and "epochs are counted from the start of 22222222" in chain.last.notes[0]
