"""The table of runs: artificial folders in all states, with Slurm, without accounting, without Slurm, and with Slurm
hanging."""

import dataclasses
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time

import preloaded
import pytest
from conftest import REPOSITORY

from demucs import schema
from demucs.runs import jobs, ledger, overview
from demucs.schema import LedgerLine, RunStatus
from tools import runs as tool

pytestmark = pytest.mark.runs

NOW = time.time()      # of this module; `fresh_now` sets it for each test
MINUTE, HOUR = 60., 3600.
SETTINGS = ("model=hdemucs", "seed=42")


def at(age):
    """The moment `age` seconds ago."""
    return datetime.datetime.fromtimestamp(NOW - age, datetime.timezone.utc).isoformat(timespec="seconds")


def write_run(root, signature, state, *, age=10., argv=SETTINGS, log="", hours=None, **values):
    """A run folder as training leaves it, last heard of `age` seconds ago, with a ledger where it has `hours` of
    sessions on eight GPUs."""
    folder = root / "xps" / signature
    folder.mkdir(parents=True)
    (folder / ".argv.json").write_text(json.dumps(argv))
    if log:
        (folder / "train.log").write_text(f"[01-01 00:00:00] first\n{log}\n")
    if state is None:
        return folder
    status = RunStatus(**{**dict(
        signature=signature, state=state, reason="", epoch=37, step=200, steps=800, epochs=360, best_nsdr=6.4821,
        seconds_per_step=0.61, world_size=8, device="cuda: NVIDIA A100", host="node07", process=4711, job=None,
        restarts=0, started=at(age + 5 * HOUR), updated=at(age)), **values})
    schema.save(status, folder / "status.json")
    os.utime(folder / "status.json", (NOW - age, NOW - age))
    for number, length in enumerate(hours or ()):
        started = status.started if number == len(hours) - 1 else at(age + 500 * HOUR - number)
        line = LedgerLine(session=str(number), signature=signature, event="start", started=started, first_epoch=0,
                          first_step=0, epoch=0, step=0, steps=800, world_size=8, gpus={"NVIDIA A100": 8},
                          nodes=["node07"], host=status.host, process=status.process, job=status.job, restarts=number,
                          commit="")
        ledger.append(line, folder)
        if length is not None:
            ledger.append(dataclasses.replace(line, event="end", seconds=length * HOUR, state="stopped"), folder)
    return folder


class Queue(jobs.Slurm):
    """A Slurm with these jobs in its queue and in its past."""

    def __init__(self, queue=(), past=()):
        super().__init__()
        self.jobs, self.ended = queue, {job.number: job for job in past}

    def queue(self):
        return None if self.jobs is None else list(self.jobs)

    def past(self, numbers):
        return {number: job for number, job in self.ended.items() if number in numbers}


def job(number, state, reason="", *signatures):
    return jobs.Job(number, state, reason, "demucs", frozenset(signatures))


NO_SLURM = Queue(None)


@pytest.fixture(autouse=True)
def fresh_now():
    """A suite takes minutes, and ages are counted from now."""
    global NOW
    NOW = time.time()


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "outputs"


def state_of(outputs, slurm=NO_SLURM):
    row, = overview.rows(outputs / "xps", slurm=slurm)
    return row.state, row.why


def test_a_running_one(outputs):
    write_run(outputs, "cafe0001", "running", hours=[2, None],
              log="[01-01 00:00:09] Train | Epoch 37 | 200/800 \x1b[0m")
    row, = overview.rows(outputs / "xps", slurm=NO_SLURM)
    assert (row.state, row.why, row.epochs, row.best_nsdr) == ("running", "", 360, 6.4821)
    assert row.epochs_done == 36.25 and row.eta == pytest.approx((360 - 36.25) * 800 * 0.61)
    assert (row.sessions, row.restarts, row.gpu_hours_exact) == (2, 1, True)
    assert row.gpu_hours == pytest.approx(8 * (2 + 5))
    assert row.log == "[01-01 00:00:09] Train | Epoch 37 | 200/800 [0m" and 10 <= row.age < 60
    assert row.argv == SETTINGS


def test_lost_without_slurm(outputs):
    here = platform.node()
    folder = write_run(outputs, "cafe0001", "running", host=here, process=2 ** 22 + 1, age=30.)
    assert state_of(outputs) == ("running", "")                        # within the grace
    os.utime(folder / "status.json", (NOW - 90, NOW - 90))
    assert state_of(outputs) == ("lost", f"process {2 ** 22 + 1} on {here} is gone")


def test_a_process_of_this_machine(outputs):
    """Silent for an hour, but there; and another one that was given its number later."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        folder = write_run(outputs, "cafe0001", "running", host=platform.node(), process=child.pid, age=HOUR,
                           started=at(-2))
        assert state_of(outputs) == ("running", "no sign of life for 1 h 00 min")
        status = schema.load(RunStatus, folder / "status.json")
        schema.save(dataclasses.replace(status, started=at(HOUR)), folder / "status.json")
        os.utime(folder / "status.json", (NOW - HOUR, NOW - HOUR))
        assert state_of(outputs)[0] == "lost"
    finally:
        child.communicate(b"\n", timeout=30)


def test_elsewhere_the_age_tells(outputs):
    folder = write_run(outputs, "cafe0001", "running", age=5 * MINUTE)
    assert state_of(outputs) == ("running", "no sign of life for 5 min")
    os.utime(folder / "status.json", (NOW - HOUR, NOW - HOUR))
    assert state_of(outputs) == ("lost", "no sign of life for 1 h 00 min")


def test_with_slurm(outputs):
    write_run(outputs, "cafe0001", "running", age=HOUR, job="7", updated=at(HOUR))
    for queue, past, expected in (
            ([job("7", "RUNNING")], [], ("running", "no sign of life for 1 h 00 min")),
            ([], [], ("lost", "job 7 is not in the queue any more")),
            ([], [job("7", "TIMEOUT", "0:0")], ("lost", "job 7 timeout")),
            ([], [job("7", "CANCELLED by 1000", "0:15")], ("lost", "job 7 cancelled by 1000 (0:15)")),
            ([], [job("7", "OUT_OF_MEMORY", "0:125")], ("lost", "job 7 out of memory (0:125)")),
            ([job("7", "PENDING", "BeginTime")], [],
             ("queued", "job 7 pending (BeginTime), job 7 is not in the queue any more")),
            ([job("8", "RUNNING", "", "cafe0001")], [], ("starting", "job 8 running"))):
        assert state_of(outputs, Queue(queue, past)) == expected


def test_stopped_and_failed_ones_that_go_on(outputs):
    write_run(outputs, "cafe0001", "stopped", reason="SIGUSR2", job="7")
    assert state_of(outputs, Queue()) == ("stopped", "SIGUSR2")
    assert state_of(outputs, Queue([job("7", "PENDING", "Priority")])) == (
        "queued", "job 7 pending (Priority), stopped: SIGUSR2 before")
    assert state_of(outputs, Queue([job("9", "RUNNING", "None", "cafe0001")])) == (
        "starting", "job 9 running, stopped: SIGUSR2 before")
    write_run(outputs, "cafe0002", "failed", reason="the loss is not finite")
    write_run(outputs, "cafe0003", "done", epoch=361, step=0)
    waiting = Queue([job("5", "PENDING", "", "cafe0003")])
    rows = {row.signature: row for row in overview.rows(outputs / "xps", slurm=waiting)}
    assert (rows["cafe0002"].state, rows["cafe0002"].why) == ("failed", "the loss is not finite")
    assert rows["cafe0003"].state == "done" and rows["cafe0003"].epochs_done == 360 and rows["cafe0003"].eta is None


def test_a_reason_that_the_log_ends_with_is_shown_once(outputs):
    write_run(outputs, "cafe0001", "failed", reason="no songs here", log="[01-01 00:00:09] no songs here")
    assert overview.table(overview.rows(outputs / "xps", slurm=NO_SLURM), 150).count("no songs here") == 1


def test_a_job_without_a_folder(outputs):
    queue = Queue([job("7", "PENDING", "Resources", "cafe0001"), job("8", "PENDING", "Dependency", "cafe0001"),
                   job("9", "PENDING", "Resources")])
    row, = overview.rows(outputs / "xps", slurm=queue)
    assert (row.signature, row.state, row.why) == ("cafe0001", "queued", "job 7 pending (Resources)")


def test_progress_that_stands_still_is_noted(outputs):
    write_run(outputs, "cafe0001", "running", age=10., updated=at(2 * HOUR))
    assert state_of(outputs) == ("running", "no progress for 2 h 00 min")


def test_runs_from_before_there_was_a_status(outputs, repository):
    folder = write_run(outputs, "4c3a4313", None)
    assert state_of(outputs) == ("new", "")
    for name in ("run_card.json", "history.json"):
        (folder / name).write_bytes((repository / "demucs_results" / "runs" / "4c3a4313" / name).read_bytes())
    row, = overview.rows(outputs / "xps", slurm=NO_SLURM)
    history = schema.load_history(folder / "history.json")
    assert (row.state, row.epochs_done, row.epochs) == ("done", len(history), len(history))
    assert row.best_nsdr == max(record.valid["nsdr"] for record in history)
    (folder / "run_card.json").unlink()
    assert state_of(outputs)[0] == "stopped"


@pytest.mark.parametrize("name, content, complaint", [
    ("status.json", b"{", "status.json: not a JSON file"), ("status.json", b"\xff", "status.json: not a JSON file"),
    ("status.json", b"[]", "status.json: expected an object"), ("status.json", b'{"version": 7}', "version 7"),
    ("status.json", b"", "status.json: not a JSON file"), (".argv.json", b"[", ".argv.json: not a JSON file")])
def test_what_cannot_be_read_is_a_row_that_says_so(outputs, name, content, complaint):
    folder = write_run(outputs, "cafe0001", "running")
    write_run(outputs, "cafe0002", "done")
    (folder / name).write_bytes(content)
    bad, good = overview.rows(outputs / "xps", slurm=NO_SLURM)
    assert bad.state == "damaged" and complaint in bad.why and str(outputs) not in bad.why
    assert good.state == "done"
    assert "damaged" in overview.table([bad, good], 150)


def test_fields_of_another_type(outputs):
    folder = write_run(outputs, "cafe0001", "running")
    plain = json.loads((folder / "status.json").read_text())
    for key, value in (("epoch", "three"), ("updated", "yesterday"), ("steps", None), ("state", 5), ("process", "x"),
                       ("started", 3), ("job", 7), ("epochs", [1]), ("best_nsdr", "x"),
                       ("seconds_per_step", []), ("host", None)):
        (folder / "status.json").write_text(json.dumps({**plain, key: value}))
        row, = overview.rows(outputs / "xps", slurm=Queue([job("7", "RUNNING")]))
        assert overview.table([row], 150) and overview.as_json([row]), key
    (folder / "status.json").write_text(json.dumps({**plain, "epoch": "three"}))
    assert state_of(outputs)[0] == "damaged"


def test_files_among_the_folders_and_no_folder(outputs, capsys):
    assert overview.rows(outputs / "xps", slurm=NO_SLURM) == []
    write_run(outputs, "cafe0001", "done")
    (outputs / "xps" / "notes.txt").write_text("x")
    assert len(overview.rows(outputs / "xps", slurm=NO_SLURM)) == 1


def call(outputs, *arguments, path=None, timeout=60):
    environment = {**os.environ, **({"PATH": path} if path is not None else {})}
    return preloaded.run("-m", "tools.runs", "--outputs", outputs, *arguments, env=environment, timeout=timeout)


def test_choice_and_order(outputs, monkeypatch, capsys):
    monkeypatch.setattr(tool.overview, "Slurm", lambda: NO_SLURM)
    write_run(outputs, "cafe0001", "done", best_nsdr=5., age=50., hours=[1])
    write_run(outputs, "cafe0002", "running", best_nsdr=None)
    write_run(outputs, "beef0001", "failed", best_nsdr=7., age=20., hours=[5])
    write_run(outputs, "beef0002", None)

    def signatures(*arguments):
        assert tool.main(["--json", "--outputs", str(outputs), *arguments]) == 0
        return [row["signature"] for row in json.loads(capsys.readouterr().out)]
    assert signatures() == ["cafe0002", "beef0001", "cafe0001"]
    assert signatures("--all") == ["cafe0002", "beef0001", "cafe0001", "beef0002"]
    assert signatures("beef") == ["beef0001", "beef0002"]
    assert signatures("--state", "done,running", "--sort", "signature") == ["cafe0001", "cafe0002"]
    assert signatures("--sort", "best") == ["beef0001", "cafe0001", "cafe0002"]
    assert signatures("--sort", "gpu-hours") == ["beef0001", "cafe0001", "cafe0002"]
    assert signatures("--sort", "updated") == ["cafe0002", "beef0001", "cafe0001"]
    for wrong in (["--state", "sleeping"], ["--watch", "0"], ["--watch", "soon"]):
        with pytest.raises(SystemExit):
            tool.main(wrong)
    assert "sleeping" in capsys.readouterr().err
    assert tool.main(["--outputs", str(outputs), "dada"]) == 0
    assert "none of 4 experiments" in capsys.readouterr().out


def test_no_torch_for_a_table_of_many_runs(outputs):
    for number in range(50):
        write_run(outputs, f"cafe{number:04d}", "done", log="last words" * 20, hours=[1] * 20)
    done = call(outputs, path=str(outputs))
    assert done.returncode == 0 and done.stdout.count("cafe") == 50, done.stderr
    code = "import sys, tools.runs; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=60).returncode == 0


def test_watching_reprints(outputs):
    write_run(outputs, "cafe0001", "running")
    watching = subprocess.Popen([sys.executable, "-m", "tools.runs", "--outputs", str(outputs), "--watch", "0.2"],
                                cwd=REPOSITORY, env={**os.environ, "PATH": ""}, stdout=subprocess.PIPE, text=True,
                                # As in a terminal, also where this suite itself runs in the background.
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        lines = [watching.stdout.readline() for _ in range(9)]
        assert sum("cafe0001" in line for line in lines) >= 2 and not any("\x1b" in line for line in lines)
    finally:
        watching.send_signal(2)
        assert watching.wait(timeout=30) == 0
        watching.stdout.close()


# ---------------------------------------------------------------------------------------------- commands of Slurm

def commands(folder, **scripts):
    """Programs of these names, as shell scripts."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


LINE = r"printf '%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\n'"


def test_the_queue_is_read(tmp_path, monkeypatch):
    path = commands(tmp_path / "bin", squeue=(
        f"{LINE} 7 RUNNING None cafe0001 '(null)' /x/train_slurm.sh\n"
        f"{LINE} 8 PENDING Priority 'a name' '' '/x/continue_run_slurm.sh cafe0002 seed=1'\n"
        f"{LINE} 9 PENDING Priority other '' '/x/y abcdef123'\n"))
    monkeypatch.setenv("PATH", path)
    found = jobs.Slurm().queue()
    assert [(one.number, one.state, one.reason, set(one.signatures)) for one in found] == [
        ("7", "RUNNING", "None", {"cafe0001"}), ("8", "PENDING", "Priority", {"cafe0002"}),
        ("9", "PENDING", "Priority", set())]
    assert found[1].waits and not found[0].waits


@pytest.mark.parametrize("name, command, signatures", [
    ("cafe0001", "/a b/outputs/code/0123456789ab-deadbee1/slurm_scripts/train_slurm.sh 180 seed=1", {"cafe0001"}),
    ("demucs-train", "/home/deadbee1/outputs/code/0123456789ab-deadbee2/slurm_scripts/train_slurm.sh", set()),
    ("cafe0001-evaluate", "/x/outputs/code/0123456789ab/slurm_scripts/evaluate_slurm.sh cafe0001", {"cafe0001"}),
    ("release", "/deadbee1/slurm_release.sh cafe0001 /songs/cafe0002/mixture.wav", {"cafe0001", "cafe0002"}),
    ("demucs_cafe0001", "/x/outputs/xps/cafe0001/submitit/submission_file_3f.sh", {"cafe0001"}),
    ("demucs_array_deadbee1", "/x/outputs/grids/deadbee1", set()),
    ("wrap", "(null)", set()), ("wrap", "", set())])
def test_signatures_are_not_looked_for_in_the_path_of_a_script(tmp_path, monkeypatch, name, command, signatures):
    monkeypatch.setenv("PATH", commands(tmp_path / "bin", squeue=f"{LINE} 7 PENDING None '{name}' '' '{command}'"))
    (found,) = jobs.Slurm().queue()
    assert found.signatures == signatures


def test_the_past_from_the_accounts(tmp_path, monkeypatch):
    path = commands(tmp_path / "bin", sacct="echo '7|NODE_FAIL|1:0'; echo '7|TIMEOUT|0:0'; echo '8|RUNNING|0:0'",
                    scontrol="exit 1")
    monkeypatch.setenv("PATH", path)
    found = jobs.Slurm().past(["7", "8", "x; rm"])
    assert (found["7"].state, found["7"].ended, found["8"].ended) == ("TIMEOUT", True, False)
    assert str(found["7"]) == "job 7 timeout" and set(found) == {"7", "8"}


def test_the_past_without_accounts(tmp_path, monkeypatch):
    path = commands(tmp_path / "bin", sacct="echo Slurm accounting storage is disabled >&2; exit 1",
                    scontrol='[[ $4 == 7 ]] || exit 1; echo "JobId=7 JobName=x JobState=FAILED ExitCode=3:0 A=b c"')
    monkeypatch.setenv("PATH", path)
    slurm = jobs.Slurm()
    assert {number: str(one) for number, one in slurm.past(["6", "7"]).items()} == {"7": "job 7 failed (3:0)"}
    assert slurm.notes == []


def test_slurm_that_does_not_answer(tmp_path, monkeypatch):
    path = commands(tmp_path / "bin", squeue="exec sleep 60")
    monkeypatch.setenv("PATH", path)
    slurm = jobs.Slurm(patience=0.3)
    assert slurm.queue() is None and slurm.past(["7"]) == {}
    assert "squeue did not answer within 0.3 s" in slurm.notes[0]
    path = commands(tmp_path / "broken", squeue="echo a >&2; echo 'squeue: error: no controller' >&2; exit 1")
    monkeypatch.setenv("PATH", path)
    assert slurm.queue() is None and slurm.notes == [
        "error: no controller (from squeue): what Slurm knows is missing here"]


# -------------------------------------------------------------------------------------------------- documentation

def test_the_sample_in_the_documentation(outputs, repository, monkeypatch, capsys):
    """docs/runs.md shows what the tool prints for these runs: write it anew from the message of this test."""
    monkeypatch.setattr(overview.time, "time", lambda: NOW)
    monkeypatch.setattr(overview, "seconds_since", lambda moment: 0.)
    queue = Queue([job("5121", "RUNNING"), job("5130", "PENDING", "Priority", "9a3f00d1"),
                   job("5123", "PENDING", "BeginTime")], [job("5090", "OUT_OF_MEMORY", "0:125")])
    monkeypatch.setattr(tool.overview, "Slurm", lambda: queue)
    write_run(outputs, "162f67a7", "running", job="5121", argv=["epochs=180", "model=hdemucs", "seed=42"], age=4.,
              epochs=180, hours=[24, 23.5, None],
              log="[07-14 09:12:44] Train | Epoch 37 | 200/800 | 1.64 it/s | 6 min 05 s left | Loss 0.1034")
    write_run(outputs, "9a3f00d2", "stopped", reason="SIGUSR2", job="5123", argv=["model=htdemucs"], age=150., epoch=12,
              step=0, hours=[24], best_nsdr=5.13)
    write_run(outputs, "77c0ffee", "running", job="5090", argv=["model=htdemucs", "batch_size=64"], age=3.2 * HOUR,
              epoch=2, step=17, hours=[None], best_nsdr=1.9,
              log="[07-14 05:58:02] Valid | Epoch 1 | ema_batch_0 | 12/14 | 3.10 s/it | 6 s left | Nsdr 1.871")
    write_run(outputs, "0badcafe", "failed", age=30 * HOUR, argv=["optim.lr=0.1"], epoch=1, step=310, hours=[0.2],
              best_nsdr=None, reason="the loss is not finite in epoch 1, step 311; the weights were not changed.")
    write_run(outputs, "955717e8", "done", age=200 * HOUR, argv=["model=htdemucs", "dset.segment=10"], epoch=361,
              step=0, hours=[90, 71.25], best_nsdr=7.52)
    assert tool.main(["--outputs", str(outputs)]) == 0
    sample = capsys.readouterr().out
    page = (repository / "docs" / "runs.md").read_text()
    assert f"```\n{sample}```\n" in page, sample


def test_jobs_that_use_a_training_do_not_say_how_it_stands(outputs):
    """The report of a sweep waits for all of them while one has failed; an evaluation runs beside one that is stopped."""
    report = jobs.Job("9", "PENDING", "Dependency", "cafe0001-report", frozenset({"cafe0001", "cafe0002"}), trains=False)
    evaluation = jobs.Job("8", "RUNNING", "None", "demucs-evaluate", frozenset({"cafe0002"}), trains=False)
    write_run(outputs, "cafe0001", "failed", reason="the loss is not finite")
    write_run(outputs, "cafe0002", "stopped", reason="SIGTERM")
    found = {row.signature: (row.state, row.why) for row in overview.rows(outputs / "xps", slurm=Queue([report, evaluation]))}
    assert found == {"cafe0001": ("failed", "the loss is not finite"), "cafe0002": ("stopped", "SIGTERM")}
    # Before its folder is there, a run stands as the job does that trains it.
    trains = job("7", "RUNNING", "None", "cafe0003")
    release = jobs.Job("6", "PENDING", "Dependency", "cafe0003-release", frozenset({"cafe0003"}), trains=False)
    row = {row.signature: row for row in overview.rows(outputs / "xps", slurm=Queue([release, trains]))}["cafe0003"]
    assert (row.state, row.job) == ("starting", "7")


@pytest.mark.parametrize("name, command, trains", [
    ("cafe0001", "/x/slurm_scripts/train_slurm.sh 180", True), ("demucs-continue", "/x/continue_run_slurm.sh cafe0001", True),
    ("demucs_cafe0001", "/x/submission_file_3f.sh", True), ("cafe0001-report", "/x/report_slurm.sh cafe0001", False),
    ("mine", "/a b/evaluate_slurm.sh cafe0001", False), ("cafe0001-separate", "(null)", False)])
def test_which_jobs_train(tmp_path, monkeypatch, name, command, trains):
    monkeypatch.setenv("PATH", commands(tmp_path / "bin", squeue=f"{LINE} 7 PENDING None '{name}' '' '{command}'"))
    (found,) = jobs.Slurm().queue()
    assert found.trains == trains


@pytest.mark.parametrize("wrong", [{"job": 5}, {"reason": 7}, {"host": None}, {"updated": 3}])
def test_a_status_with_wrong_types_is_damaged(outputs, capsys, wrong):
    folder = write_run(outputs, "cafe0001", "running")
    path = folder / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    assert tool.main(["--outputs", str(outputs)]) == 0
    assert "damaged" in capsys.readouterr().out


def test_texts_of_others_are_one_line(outputs, capsys):
    write_run(outputs, "cafe0001", "failed", reason="first\nsecond \x1b[2J", argv=("a=b\nc",),
              log="the last words\n-----------")
    assert tool.main(["--outputs", str(outputs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("a=b c") and "\x1b" not in "".join(lines)
    assert lines[2] == "    first second [2J" and lines[3] == "    the last words"


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert tool.main(["--json", "--outputs", str(tmp_path / "nowhere")]) == 0
    said = capsys.readouterr()
    assert isinstance(json.loads(said.out), list)
    assert f"no folder {tmp_path / 'nowhere' / 'xps'}" in said.err
