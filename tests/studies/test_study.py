"""Studies: trainings with equal time, their order, continuation, scores and record."""

import dataclasses
import re
import signal

import numpy as np
import pytest
import yaml
from training.small import ALONE, TINY, write_track

from demucs import schema
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.errors import ConfigError, DatasetError, ToolError
from demucs.metrics.verdicts import INCONCLUSIVE
from demucs.packages import package
from demucs.schema import Evaluation, StudyResult, StudyTraining
from demucs.studies import report, timed
from demucs.studies.description import Description, ToolStep, TrainStep
from demucs.studies.study import FILTER, RECORD, Study
from tools import study as tool

pytestmark = pytest.mark.runs

LEFT_OUT = ("epochs", "test.every", "svd", "ema.epoch", "max_batches", "test.sdr")
SMALL = [override for override in TINY if not override.startswith(LEFT_OUT)]
COMMON = [*SMALL, "dset.musdb={out}/songs", "dset.metadata={out}/metadata", "test.shifts=0", "dset.valid_samples=1",
          "misc.num_prints=0", "batch_size=2", "augment.remix.group_size=1"]


def songs(root, test=5):
    """Noise: two songs to train on, one to validate, `test` to test."""
    for number, name in enumerate(["Song 0", "Song 1", VALIDATION_TRACKS[0]]):
        write_track(root / "train" / name, number)
    for number in range(test):
        write_track(root / "test" / f"Test {number}", 20 + number, seconds=1.)
    return root


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by a second with every step of a training, whatever the machine does."""
    monkeypatch.setattr(timed, "seconds_of", lambda solver: float(
        len(solver.history) * solver.train.sampler.steps + solver.position.step))


def description(**changes):
    return dataclasses.replace(Description(
        name="test", question="Is it?", arms={"plain": [], "fast": ["optim.lr=0.01"]}, comparisons=[("fast", "plain")],
        seeds=[1, 2], seconds=3., common=COMMON), **changes)


def study(tmp_path, tools=None, **changes):
    return Study(description(**changes), tmp_path / "out", tmp_path / "results", tools or {})


def test_a_whole_study(tmp_path, clock, caplog):
    songs(tmp_path / "out" / "songs")
    calls = []
    made = study(tmp_path, {"make": lambda arguments: calls.append(arguments) or 0},
                 steps=[ToolStep("make", ("{out}/a", "--x", "1")), TrainStep("teacher", ("optim.lr=0.002",), 2., 5)])
    with caplog.at_level("INFO"):
        result = made.run()
    assert calls == [[str(tmp_path / "out" / "a"), "--x", "1"]]
    assert "2 arms, 2 seeds: 4 trainings" in caplog.text and "3 of 4 trainings done" in caplog.text
    assert [(item.arm, item.seed, item.steps, item.seconds, item.weights) for item in result.trainings] == [
        ("plain", 1, 3, 3., "ema_batch_0"), ("plain", 2, 3, 3., "ema_batch_0"), ("fast", 1, 3, 3., "ema_batch_0"),
        ("fast", 2, 3, 3., "ema_batch_0")]
    assert result == schema.load(StudyResult, tmp_path / "results" / RECORD)
    assert result.comparisons[0].verdict == INCONCLUSIVE and "fixed filter" in result.comparisons[0].reason
    # The scores are those of the exported model, whose weights are the moving average.
    model = package.load(tmp_path / "out" / "models" / "fast-2.th")
    scores = schema.load(Evaluation, tmp_path / "results" / "fast-2.json")
    assert package.model_hash(model) == result.trainings[-1].model_hash == scores.model_hash
    assert [track.name for track in scores.tracks] == [f"Test {number}" for number in range(5)]
    teacher = schema.load(StudyTraining, tmp_path / "out" / "runs" / "teacher" / "training.json")
    assert (teacher.steps, teacher.seed, teacher.evaluation) == (2, 5, "")
    assert package.load(tmp_path / "out" / "models" / "teacher.th").sources == ["drums", "bass", "other", "vocals"]
    assert not list((tmp_path / "out" / "runs").rglob("checkpoint*.th"))
    # Again: nothing is trained, the steps that are tools are repeated, and the result is the same.
    files = {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.th")}
    again = made.run()
    assert len(calls) == 2 and files == {path: path.stat().st_ino for path in (tmp_path / "out").rglob("*.th")}
    assert dataclasses.replace(again, created=result.created) == result
    # The report has every arm, and a page takes it between its marks only.
    text = report.text(result, tmp_path / "results")
    assert re.search(r"^plain +-?\d", text, re.M) and "fast against plain is inconclusive" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    report.write_page(result, tmp_path / "results", page)
    written = report.page_text(result, tmp_path / "results")
    assert page.read_text() == f"before\n{report.BEGIN}{written}{report.END}after\n"
    assert "| fast minus plain |" in page.read_text() and "\nold\n" not in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ConfigError, match="no place for the results"):
        report.write_page(result, tmp_path / "results", page)


def test_arms_take_turns():
    made = Study.__new__(Study)
    made.arms, made.description = dict.fromkeys("abc"), description(seeds=[1, 2, 3, 4])
    order = made.order()
    assert order[:6] == [("a", 1), ("b", 1), ("c", 1), ("b", 2), ("c", 2), ("a", 2)] and len(order) == 12
    for arm in "abc":      # in three seeds, every arm was first, second and third
        assert sorted(index % 3 for index, (name, _) in enumerate(order[:9]) if name == arm) == [0, 1, 2]


def test_a_training_continues_where_a_signal_stopped_it(tmp_path, clock, monkeypatch):
    """The same weights as without an interruption, and no more steps."""
    songs(tmp_path / "out" / "songs")
    overrides = description().overrides([], tmp_path / "out")
    config = timed.compose(overrides, 1)

    def trained(name, seconds=7.):
        return timed.train(config, tmp_path / name, seconds=seconds, name=name, argv=[])
    whole = trained("whole")
    begin = timed.build_solver

    def interrupted(*arguments, **keywords):
        solver = begin(*arguments, **keywords)
        step = solver.train._queue

        def with_signal(*of_step, **more):
            if solver.position.step == 3:
                signal.raise_signal(signal.SIGTERM)
            return step(*of_step, **more)
        solver.train._queue = with_signal
        return solver
    monkeypatch.setattr(timed, "build_solver", interrupted)
    with pytest.raises(timed.Interrupted, match="SIGTERM"):
        trained("parts")
    monkeypatch.setattr(timed, "build_solver", begin)
    parts = trained("parts")
    assert (parts.steps, whole.steps) == (7, 7)
    assert package.model_hash(parts.model) == package.model_hash(whole.model)
    assert trained("parts").steps == 7                 # its time is over
    assert package.model_hash(trained("shorter", 6.).model) != package.model_hash(whole.model)


def test_seconds_are_those_of_the_passes_over_the_training_set(tmp_path, monkeypatch):
    """With a clock that runs in training steps and much faster in validation: only the former are counted."""
    songs(tmp_path / "out" / "songs")
    config = timed.compose(description().overrides(["max_batches=2"], tmp_path / "out"), 1)
    now = [0.]
    begin = timed.build_solver

    def slowed(*arguments, **keywords):
        solver = begin(*arguments, **keywords)
        for stage, method, seconds in ((solver.train, "_queue", 1.), (solver.valid, "run", 1000.)):
            def slow(*of_stage, _method=getattr(stage, method), _seconds=seconds, **more):
                now[0] += _seconds
                return _method(*of_stage, **more)
            setattr(stage, method, slow)
        save = solver.saving.save
        solver.saving.save = lambda **more: (now.__setitem__(0, now[0] + 500.), save(**more))
        return solver
    monkeypatch.setattr(timed, "build_solver", slowed)
    monkeypatch.setattr("demucs.training.solver.time.monotonic", lambda: now[0])
    trained = timed.train(config, tmp_path / "run", seconds=5., name="run", argv=[])
    assert (trained.steps, trained.seconds, trained.epochs) == (5, 5., 2)
    assert now[0] > 2000


def test_the_limit_does_not_change_a_training(tmp_path, clock):
    """The weights after the steps of an ordinary training of as many epochs are the same."""
    from demucs.building import build_solver
    songs(tmp_path / "out" / "songs")
    plain = timed.compose(description().overrides(["max_batches=2"], tmp_path / "out"), 1)
    (tmp_path / "ordinary").mkdir()
    solver = build_solver(dataclasses.replace(plain, epochs=2), tmp_path / "ordinary", ALONE, signature="ordinary")
    solver.run()
    trained = timed.train(plain, tmp_path / "limited", seconds=4., name="limited", argv=[])
    limited = trained.model.state_dict()
    average = solver.averages["ema_batch_0"].state
    assert trained.steps == 4 and all(np.array_equal(average[key], limited[key]) for key in average)


def test_what_is_done_with_other_settings_is_not_taken(tmp_path, clock):
    songs(tmp_path / "out" / "songs")
    study(tmp_path, seeds=[1]).run()
    with pytest.raises(ConfigError, match="fast-1: was trained with other settings.*optim.lr=0.01 optim.lr=0.02"):
        study(tmp_path, seeds=[1], arms={"plain": [], "fast": ["optim.lr=0.02"]}).run()
    with pytest.raises(ConfigError, match="plain-1: .*different: optim.loss=mse"):
        study(tmp_path, seeds=[1], common=[*COMMON, "optim.loss=mse"]).run()
    with pytest.raises(ConfigError, match="3 s\\) than these .seed 1, 4 s; different: none of the overrides"):
        study(tmp_path, seeds=[1], seconds=4.).run()
    more = study(tmp_path, seeds=[1, 2])
    with pytest.raises(DatasetError, match="not finished: plain, seed 2; fast, seed 2"):
        more.conclude()
    assert len(more.run().trainings) == 4                         # a further seed is added
    (tmp_path / "results" / f"{FILTER}.json").unlink()
    with pytest.raises(DatasetError, match="the fixed filter"):
        more.conclude()
    # Scores of other weights, as of another study of this name, are not taken: the model is scored, and not trained.
    (tmp_path / "results" / "plain-1.json").write_bytes((tmp_path / "results" / "plain-2.json").read_bytes())
    with pytest.raises(DatasetError, match="not finished: plain, seed 1; run"):
        more.conclude()
    before = (tmp_path / "out" / "models" / "plain-1.th").stat().st_ino
    more.run()
    scores = schema.load(Evaluation, tmp_path / "results" / "plain-1.json")
    assert scores.model_hash == package.model_hash(package.load(tmp_path / "out" / "models" / "plain-1.th"))
    assert (tmp_path / "out" / "models" / "plain-1.th").stat().st_ino == before


def test_what_cannot_be_compared(tmp_path):
    with pytest.raises(ConfigError, match="the arm other has other test songs"):
        study(tmp_path, arms={"plain": [], "other": ["dset.musdb=elsewhere"]})
    with pytest.raises(ConfigError, match="leave out test.nonhq"):
        study(tmp_path, common=[*COMMON, "test.nonhq=somewhere"])
    with pytest.raises(SystemExit, match="unknown key 'optim.rl'"):
        study(tmp_path, arms={"plain": [], "other": ["optim.rl=1"]})
    songs(tmp_path / "out" / "songs", test=4)
    with pytest.raises(DatasetError, match="has 4 test songs; a study needs 5"):
        study(tmp_path).run()


def test_a_step_that_fails_ends_the_study(tmp_path):
    with pytest.raises(ToolError, match="step 1 of 1 has failed: python -m tools.make x"):
        study(tmp_path, {"make": lambda arguments: 1}, steps=[ToolStep("make", ("x",))]).run()


def test_the_command_line(tmp_path, clock, capsys, monkeypatch):
    path = tmp_path / "mine.yaml"
    plain = dict(name="mine", question="Is it?", seconds=30, seeds=[1, 2], common=COMMON,
                 arms={"a": [], "b": ["optim.lr=0.01"]}, comparisons=[["a", "b"]])
    path.write_text(yaml.safe_dump(plain))
    songs(tmp_path / "out" / "songs")
    arguments = [str(path), "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results"), "--scale", "0.1",
                 "--seeds", "1"]
    assert tool.main([*arguments, "--report"]) == 1
    assert "not finished: a, seed 1; b, seed 1" in capsys.readouterr().err
    assert tool.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "a against b is inconclusive" in shown and "has one seed" in shown
    assert (tmp_path / "results" / "studies" / "mine" / RECORD).exists()
    assert tool.main([*arguments, "--report"]) == 0
    assert tool.main([str(tmp_path / "no.yaml")]) == 1
    monkeypatch.setattr(timed, "train", lambda *_, **__: (_ for _ in ()).throw(timed.Interrupted("SIGINT")))
    assert tool.main([*arguments[:-1], "2"]) == 130
    assert "stopped by SIGINT: the state is saved" in capsys.readouterr().err


def test_a_study_of_one_output_with_a_second_test_set(tmp_path, clock):
    """The fixed filter knows the mixture, and the scores on the second set are in the report and in no comparison."""
    songs(tmp_path / "out" / "songs")
    write_track(tmp_path / "real" / "An excerpt", 40, seconds=1.)
    given = dict(common=[*COMMON, "variant=instrumental"], also_scored={"excerpt": str(tmp_path / "real")}, seconds=1.)
    result = study(tmp_path, **given).run()
    assert result.sources == ["instrumental"] and result.also_scored == {"excerpt": f"{FILTER}_on_excerpt.json"}
    evaluated = {path.stem: schema.load(Evaluation, path) for path in (tmp_path / "results").glob("*_on_*.json")}
    assert set(evaluated) == {f"{name}_on_excerpt" for name in ("plain-1", "plain-2", "fast-1", "fast-2", FILTER)}
    assert {track.name for each in evaluated.values() for track in each.tracks} == {"An excerpt"}
    # Of four noises of one level the filter takes three quarters: 6 dB, where the mixture as it is has 4.8 dB.
    filtered = schema.load(Evaluation, tmp_path / "results" / result.reference)
    for each in (filtered, evaluated[f"{FILTER}_on_excerpt"]):
        assert each.tracks[0].scores["instrumental"]["nsdr"] == pytest.approx(6.0, abs=0.4)
    text = report.text(result, tmp_path / "results")
    row = re.search(r"^fast  .*$", text, re.M)[0]
    found = [evaluated[f"fast-{seed}_on_excerpt"].tracks[0].scores["instrumental"]["nsdr"] for seed in (1, 2)]
    assert "nSDR on excerpt" in text and row.endswith(
        f"{np.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})".replace("-0.00", "0.00"))
    assert "Scores on excerpt (1 song) are means over seeds" in " ".join(text.split())
    # A score that is missing is made again, without a training.
    (tmp_path / "results" / "plain-2_on_excerpt.json").unlink()
    with pytest.raises(DatasetError, match="not finished: plain, seed 2;"):
        study(tmp_path, **given).conclude()
    before = (tmp_path / "out" / "models" / "plain-2.th").stat().st_ino
    assert dataclasses.replace(study(tmp_path, **given).run(), created=result.created) == result
    assert (tmp_path / "out" / "models" / "plain-2.th").stat().st_ino == before


def test_schedules_that_need_a_number_of_epochs(tmp_path):
    for kind in ("cosine", "cosine_restarts"):
        with pytest.raises(ConfigError, match=f"schedule.kind={kind} ends with the number of epochs"):
            study(tmp_path, common=[*COMMON, f"schedule.kind={kind}"])
