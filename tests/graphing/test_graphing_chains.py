"""Results of other programs (logs, printed results, folders), and chains of runs that continue one another.

The samples beside this file are made up, in the layouts of published Demucs and museval.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from records import chains, readers, third_party

from demucs import schema
from demucs.errors import DemucsError
from demucs.metrics.aggregates import EVERY_FAMILY, NSDR_MEAN, SDR_MEAN_OF_MEDIANS, aggregate, logged_aggregate

SAMPLES = Path(__file__).resolve().parent / "samples"
RUNS, EXPERIMENTS = SAMPLES / "runs", SAMPLES / "experiments.json"
LOG = RUNS / "solver_of_0a1b2c3d.log"


def sample(pattern):
    found, = RUNS.glob(pattern)
    return found


def test_a_log_with_colours_is_the_history_to_its_decimals(results):
    """Four decimals of losses, three of nSDR, two of sizes."""
    logged = readers.find_run(str(LOG), results)
    history = schema.load_history(sample("history_0a1b2c3d*"))
    assert logged.logged and logged.first_epoch == 1 and len(logged.history) == len(history) == 4
    for mine, theirs in zip(logged.history, history):
        assert mine.chosen == theirs.chosen and list(mine.candidates) == [theirs.chosen]
        assert mine.best == pytest.approx(theirs.best, abs=5.1e-5)
        assert mine.penalty == pytest.approx(theirs.penalty, abs=5.1e-5)
        for key, tolerance in (("loss", 5.1e-5), ("reco", 5.1e-5), ("nsdr", 5.1e-4), ("ms", 5.1e-3)):
            assert mine.valid[key] == pytest.approx(theirs.valid[key], abs=tolerance)
        for key, tolerance in (("loss", 5.1e-5), ("grad", 5.1e-5), ("penalty", 5.1e-5), ("ms", 5.1e-3)):
            assert mine.train[key] == pytest.approx(theirs.train[key], abs=tolerance)
        assert third_party.agree(mine, theirs)
    assert logged.history[3].test == {"sdr": 2.125, "nsdr": 2.25, "sdr_bass": 2., "nsdr_bass": 2.1}
    assert not third_party.agree(logged.history[0], history[1])


def test_our_own_logs_are_read_too(tmp_path):
    (tmp_path / "train.log").write_text(
        "[11-21 00:04:50] Train Summary | Epoch 12 | Loss 0.2479 | Reco 0.2479 | Grad 0.0426\n"
        "[11-21 00:05:01] Valid Summary | Epoch 12 | Loss 0.2942 | Nsdr -2.084 | Best 0.2940 | by ema_batch_0\n"
        "[11-21 00:05:02] Test Summary | Epoch 12 | nsdr_drums 3.549 | nsdr nan\n")
    run = readers.find_run(str(tmp_path / "train.log"), tmp_path)
    assert run.first_epoch == 12 and run.name == tmp_path.name
    record, = run.history
    assert record.chosen == "ema_batch_0" and record.best == 0.294 and record.valid == {"loss": 0.2942, "nsdr": -2.084}
    assert record.train == {"loss": 0.2479, "reco": 0.2479, "grad": 0.0426} and record.test["nsdr_drums"] == 3.549


def test_what_is_logged_again_replaces_what_follows_it():
    """The first run of the sample died in epoch 3; what it logged of that epoch must not survive."""
    text = LOG.read_text()
    assert "Loss=0.9999" in text and "Replaying" in text and "Train Summary | Epoch 5" in text
    first, records = third_party.read_log(text, "log")
    assert first == 1 and [record.train["loss"] < 0.3 for record in records] == [True] * 4


@pytest.mark.parametrize("text, named", [
    ("Train Summary | Epoch 1 | Loss=1.0", "without a complete epoch"),
    ("Valid Summary | Epoch 1 | Loss=1 | Best=1\nValid Summary | Epoch 3 | Loss=1 | Best=1", "lacks epoch 2 of 1 to 3"),
    ("Valid Summary | Epoch 1 | Loss=1", "epoch 1: not the summary of an epoch"),
    ("Valid Summary | Epoch 1 | Loss=one | Best=1", "epoch 1: not the summary of an epoch")])
def test_a_log_that_tells_too_little_is_refused(text, named):
    with pytest.raises(DemucsError, match=named):
        third_party.read_log(text, "some.log")


def test_a_printed_result_becomes_aggregates_with_their_families():
    numbers = third_party.read_printed(sample("test_4e5f*").read_text(), "x")
    assert "sar_bass" not in numbers    # it was nan
    assert logged_aggregate(numbers, NSDR_MEAN, ["drums", "bass", "other", "vocals"]).values == {
        "drums": 3.25, "bass": 3., "other": 3.5, "vocals": 3.75, "all": 3.375}
    assert logged_aggregate(numbers, SDR_MEAN_OF_MEDIANS, ["drums"]).values["drums"] == 2.75
    for text in ("", "nothing here", "{'a': 1}", "{1: 2}", "{'nsdr': print(3)}"):
        with pytest.raises(DemucsError, match="neither the log of a solver nor a printed result"):
            third_party.read_printed(text, "x")


def test_a_printed_result_may_be_json(tmp_path):
    (tmp_path / "result.json").write_text('{"nsdr": 6.5, "nsdr_bass": NaN, "epochs": 4}')
    run = readers.find_run(str(tmp_path / "result.json"), tmp_path)
    assert run.printed == [readers.Printed(name="result", numbers={"nsdr": 6.5})]


def test_files_of_one_signature_are_one_run(results):
    first, second = readers.find_runs([str(RUNS)], results)
    assert [first.name, second.name] == ["0a1b2c3d", "4e5f6a7b"]
    assert not first.logged and len(first.history) == 4 and [item.epochs for item in first.printed] == [4]
    assert len(second.history) == 3 and second.printed[0].epochs == 7
    assert first.sources == ["drums", "bass", "other", "vocals"]
    assert first.notes == ["The log solver_of_0a1b2c3d is left out: there is a history of 0a1b2c3d."]
    with pytest.raises(DemucsError, match="holds 2 runs"):
        readers.find_run(str(RUNS), results)


@pytest.mark.parametrize("name, signature", [
    ("history_759c9a58_epochs_1_to_127", "759c9a58"), ("hdemucs_test2_44f697b5_218_epochs", "44f697b5"),
    ("log of 20250401", None), ("20250401_0123abcd", "0123abcd"), ("73126490", "73126490"), ("x0123abcde", None)])
def test_signatures_in_names(name, signature):
    assert readers.signature_in(name) == signature


def test_runs_are_joined_where_one_continues_another(results):
    chain, = chains.find_chains([str(RUNS)], results, experiments=EXPERIMENTS)
    assert [(part.run.name, part.first, part.last, part.best) for part in chain.parts] == [
        ("0a1b2c3d", 1, 4, 3), ("4e5f6a7b", 5, 7, 6)]
    assert chain.epochs == len(chain.history) == 7 and chain.joins == [5] and chain.name == "4e5f6a7b"
    assert [(test.epoch, test.numbers["nsdr"]) for test in chain.tests] == [(4, 2.875), (7, 3.375)]
    apart = chains.find_chains([str(RUNS)], results)
    assert [chain.name for chain in apart] == ["0a1b2c3d", "4e5f6a7b"]
    assert apart[1].tests[0].epoch == 3    # epoch 7 of a longer count lies beyond this run's: at its end
    backwards = chains.find_chains([str(RUNS / name) for name in (
        "history_4e5f6a7b_epochs_5_to_7.json", "history_0a1b2c3d_epochs_1_to_4.json")], results, continued=True)
    assert [part.run.name for part in backwards[0].parts] == ["4e5f6a7b", "0a1b2c3d"]


def test_cards_and_doras_folders_say_what_a_run_continues(results):
    toy = results / "runs" / "1a2b3c4d"
    child = results / "runs" / "aaaa0001"
    shutil.copytree(toy, child)
    card = schema.load(schema.RunCard, toy / "run_card.json")
    schema.save(dataclasses.replace(card, signature="aaaa0001", continued_from="1a2b3c4d"), child / "run_card.json")
    chain, = chains.find_chains(["aaaa0001"], results)    # the run before is found by itself
    assert [part.run.name for part in chain.parts] == ["1a2b3c4d", "aaaa0001"] and chain.epochs == 8
    (child / "run_card.json").unlink()
    (child / ".argv.json").write_text(json.dumps(["epochs=4", 'continue_from="1a2b3c4d"']))
    chain, = chains.find_chains(["aaaa0001"], results)
    assert chain.joins == [5] and chain.last.argv == ["epochs=4", 'continue_from="1a2b3c4d"']
    (child / ".argv.json").write_text(json.dumps(["continue_from=ffff0000"]))
    chain, = chains.find_chains(["aaaa0001"], results)
    assert len(chain.parts) == 1 and "aaaa0001 continues ffff0000, whose history was not found" in chain.last.notes[-1]


def test_a_circle_is_refused(results, tmp_path):
    (tmp_path / "e.json").write_text('{"0a1b2c3d": ["continue_from=4e5f6a7b"], "4e5f6a7b": ["continue_from=0a1b2c3d"]}')
    with pytest.raises(DemucsError, match="continue each other"):
        chains.find_chains([str(RUNS)], results, experiments=tmp_path / "e.json")
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(DemucsError, match="e.json"):
        chains.find_chains([str(RUNS)], results, experiments=tmp_path / "e.json")


def test_a_log_without_a_name_is_recognised_and_left_out(results, tmp_path):
    shutil.copytree(RUNS, tmp_path / "all")
    (tmp_path / "all" / LOG.name).rename(tmp_path / "all" / "whole.log")
    chain, = chains.find_chains([str(tmp_path / "all")], results, experiments=EXPERIMENTS)
    assert chain.last.notes == ["The log whole says the same of 4 epochs and is left out."]
    text = (tmp_path / "all" / "whole.log").read_text()
    (tmp_path / "all" / "whole.log").write_text(text.replace("Loss=0.2500", "Loss=0.2502"))
    assert len(chains.find_chains([str(tmp_path / "all")], results, experiments=EXPERIMENTS)) == 2


def test_runs_that_train_on_the_validation_songs_keep_their_newest_weights(results):
    run = readers.find_run("1a2b3c4d", results)
    part = chains.Part(run=run, first=11)
    assert part.best == 13    # the third of four
    run.card = dataclasses.replace(run.card, argv=["epochs=4", "dset.train_valid=true"])
    assert part.best == part.last == 14
    run.card = dataclasses.replace(run.card, argv=["dset.train_valid=true", "dset.train_valid=False"])
    assert part.best == 13


def test_museval_files_packed_or_not():
    run, = readers.read_folder(SAMPLES / "museval")
    assert [track.name for track in run.evaluation.tracks] == ["A - One", "B - Two"]
    assert run.sources == ["drums", "bass", "other", "vocals"]
    assert run.evaluation.dataset == "2 tracks read from museval"
    assert all(track.scores["bass"]["ISR"] == 7.25 and track.duration == 3. for track in run.evaluation.tracks)
    single = readers.read_file(SAMPLES / "museval" / "A - One.json.gz")
    assert single.evaluation.tracks == run.evaluation.tracks[:1] and single.name == "A - One"


def test_an_evaluation_of_the_variants_notes(tmp_path):
    plain = {"evaluation_metadata": {"model_name": "htdemucs", "shifts": 1, "overlap": 0.25}, "tracks": {
        "A": {"scores": {"NSDR": [8.5], "SDR": [float("nan"), 10., 4., 12.], "SIR": [float("inf")] * 4}}}}
    (tmp_path / "a.json").write_text(json.dumps(plain))
    run = readers.find_run(str(tmp_path / "a.json"), tmp_path)
    track, = run.evaluation.tracks
    assert track.scores == {"instrumental": {"nsdr": 8.5, "SDR": 10., "SIR": None}} and track.duration == 4.
    assert aggregate(run.evaluation, EVERY_FAMILY["sdr_pooled_mean"]).values["instrumental"] == pytest.approx(26 / 3)
    plain["tracks"]["A"]["scores"].pop("NSDR")
    plain["tracks"]["A"].pop("scores")
    (tmp_path / "a.json").write_text(json.dumps(plain))
    with pytest.raises(DemucsError, match="a.json: not an evaluation of the variants' notes"):
        readers.find_run(str(tmp_path / "a.json"), tmp_path)


def test_the_published_instrumental_numbers(reference):
    """VARIANTS' table: pooled mean 18.411, median 16.347; mean nSDR 14.716. Printed with three decimals."""
    run = readers.find_run(str(reference / "instrumental" / "academic_evaluation_htdemucs.json.gz"), reference)
    published = {"sdr_pooled_mean": 18.411, "sdr_pooled_median": 16.347, "nsdr_mean": 14.716}
    found = {key: aggregate(run.evaluation, EVERY_FAMILY[key]).values["instrumental"] for key in published}
    assert found == pytest.approx(published, abs=5.1e-4)


def test_the_student_projects_runs(reference):
    """Two of its three chained runs lie there, with the log of the first and two printed tests."""
    chain, = chains.find_chains([str(reference / "runs")], reference, experiments=reference / "signatures.json")
    assert [(part.run.name, part.first, part.last) for part in chain.parts] == [("759c9a58", 1, 127),
                                                                             ("44f697b5", 128, 218)]
    assert chain.last.notes == ["The log train_summary_epochs_1_to_127 says the same of 127 epochs and is left out."]
    published = [(test.epoch, round(logged_aggregate(test.numbers, SDR_MEAN_OF_MEDIANS).values["all"], 2))
                 for test in chain.tests]
    assert published == [(127, 6.09), (218, 6.30)]
    first, second = chain.parts
    assert first.record(first.best).valid["loss"] == min(record.valid["loss"] for record in first.run.history)
    assert second.best == 128 + min(range(91), key=lambda place: second.run.history[place].valid["loss"])


def test_its_log_is_its_history(reference):
    """All 127 epochs to the log's decimals, colour codes and all."""
    text = (reference / "runs" / "train_summary_epochs_1_to_127.log").read_text()
    assert "\x1b[1m" in text
    first, logged = third_party.read_log(text, "log")
    history = schema.load_history(reference / "runs" / "history_759c9a58_epochs_1_to_127.json")
    assert first == 1 and len(logged) == 127
    for mine, theirs in zip(logged, history):
        assert mine.chosen == theirs.chosen
        assert [mine.valid["loss"], mine.best, mine.penalty, mine.train["grad"]] == pytest.approx(
            [theirs.valid["loss"], theirs.best, theirs.penalty, theirs.train["grad"]], abs=5.1e-5)
        assert mine.valid["nsdr"] == pytest.approx(theirs.valid["nsdr"], abs=5.1e-4)

