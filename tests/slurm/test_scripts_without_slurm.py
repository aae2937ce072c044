"""The batch scripts on a machine without Slurm: refused arguments, dry runs, and local runs."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

from demucs.runs.local import free_port
from demucs.train import main as experiments

pytestmark = pytest.mark.runs


def test_settings_are_those_of_the_retrained_run(reference, checkout):
    runs = json.loads((reference / "signatures.json").read_text())["retrained_hdemucs_runs"]
    assert ["epochs=360", "test.every=180", *checkout.SETTINGS[1:]] == runs["759c9a58"]


def test_training_runs_here(no_slurm):
    strange = "comment='two  words' $HOME \"x\""
    result = no_slurm.script("train_slurm.sh", 180, f"dset.name={strange}", DEMUCS_LOCAL_TASKS="3")
    assert result.returncode == 0, result.stderr
    records = no_slurm.records()
    assert [record["argv"] for record in records] == [no_slurm.training(180, f"dset.name={strange}")] * 3
    assert [record["env"]["RANK"] for record in records] == ["0", "1", "2"]
    assert [record["env"]["LOCAL_RANK"] for record in records] == ["0", "1", "2"]
    assert {record["env"]["WORLD_SIZE"] for record in records} == {"3"}
    assert {record["env"]["MASTER_ADDR"] for record in records} == {"127.0.0.1"}
    assert len({record["env"]["MASTER_PORT"] for record in records}) == 1
    assert {record["cwd"] for record in records} == {str(no_slurm.root)}
    logs = list((no_slurm.root / "slurm_out").glob("*.out"))
    assert len(logs) == 1 and "3 process(es)" in logs[0].read_text()


def test_epochs_default_and_one_process_without_gpu(no_slurm):
    assert no_slurm.script("train_slurm.sh", CUDA_VISIBLE_DEVICES="").returncode == 0
    assert no_slurm.script("train_slurm.sh", "seed=1", CUDA_VISIBLE_DEVICES="4,6").returncode == 0
    records = no_slurm.records()
    assert sorted(record["env"]["WORLD_SIZE"] for record in records) == ["1", "2", "2"]
    assert [record["argv"] for record in records if record["env"]["WORLD_SIZE"] == "1"] == [no_slurm.training(390)]
    assert no_slurm.training(390, "seed=1") in [record["argv"] for record in records]


@pytest.mark.parametrize("script, arguments, message", [
    ("train_slurm.sh", ["ten"], "EPOCHS must be a whole number from 1 on, not 'ten'"),
    ("train_slurm.sh", ["0"], "not '0'"),
    ("train_slurm.sh", ["-5"], "not '-5'"),
    ("train_slurm.sh", [""], "not ''"),
    ("train_slurm.sh", ["5", "--clear"], "--clear is not an override"),
    ("train_slurm.sh", ["5", "seed"], "seed is not an override of the form key=value"),
    ("continue_run_slurm.sh", [], "which experiment?"),
    ("continue_run_slurm.sh", ["deadbeef"], "outputs/xps/deadbeef/.argv.json does not exist"),
    ("continue_train_slurm.sh", ["../xps/11111111"], "no experiment ../xps/11111111"),
    ("continue_run_slurm.sh", ["11111111", "five"], "EPOCHS must be a whole number from 1 on, not 'five'"),
    ("continue_run_slurm.sh", ["11111111", "5", "seed=1"], "leave out the number"),
    ("continue_run_slurm.sh", ["11111111", "--clear"], "--clear is not an override"),
    ("train_slurm.sh", ["5", "--test-only"], "there is no sbatch here"),
    ("pipeline_slurm.sh", ["5", "--seeds", "4,x"], "--seeds takes numbers"),
    ("pipeline_slurm.sh", ["5", "--seeds", "4"], "a sweep needs two trainings at least"),
    ("pipeline_slurm.sh", ["5", "--with", "optim.lr=1e-4"], "a sweep needs two trainings at least"),
    ("pipeline_slurm.sh", ["5", "--with", "seed=1", "--with", "seed=1"], "two of these are the same experiment"),
    ("pipeline_slurm.sh", ["five"], "EPOCHS must be a whole number"),
    ("report_slurm.sh", [], "which models?"),
    ("report_slurm.sh", ["deadbeef"], "none of these is evaluated: deadbeef"),
    ("slurm_release.sh", ["deadbeef"], "no experiment deadbeef"),
    ("slurm_release.sh", ["11111111", "22222222"], "experiment 22222222 has no weights yet"),
    ("evaluate_slurm.sh", [], "which model?"),
    ("evaluate_slurm.sh", ["deadbeef"], "no model deadbeef"),
    ("evaluate_slurm.sh", ["22222222"], "experiment 22222222 has no weights yet"),
    ("slurm_separate.sh", ["11111111"], "a file and a model are needed"),
    ("slurm_separate.sh", ["absent.wav", "11111111"], "no such file"),
    ("slurm_separate.sh", ["empty.wav", "11111111"], "the file is empty"),
    ("slurm_separate.sh", ["song.wav", "deadbeef"], "no model deadbeef"),
    ("slurm_separate.sh", ["slurm_out", "11111111"], "no such file"),
])
def test_refuses_at_once(no_slurm, script, arguments, message):
    (no_slurm.root / "empty.wav").touch()
    (no_slurm.root / "song.wav").write_bytes(b"audio")
    result = no_slurm.script(script, *arguments)
    assert result.returncode == 2
    assert message in result.stderr + result.stdout
    assert [record for record in no_slurm.records() if "--collect" not in record["argv"]] == []


def test_continuing_is_the_same_experiment_or_says_that_it_is_not(no_slurm):
    same = no_slurm.script("continue_run_slurm.sh", "11111111")
    other = no_slurm.script("continue_train_slurm.sh", "11111111", "optim.lr=1e-4")
    settings = ["misc.num_workers=4", "checkpoint.minutes=3"]         # no part of the signature
    also = no_slurm.script("continue_run_slurm.sh", "11111111", *settings)
    mixed = no_slurm.script("continue_run_slurm.sh", "11111111", "misc.num_workers=4", "seed=1")
    assert all("The same experiment goes on" in found.stdout for found in (same, also))
    assert all("A new experiment" in found.stdout for found in (other, mixed))
    argvs = [record["argv"] for record in no_slurm.records()]
    base = ["-m", "dora", "run", "-d", "-f", "11111111"]
    assert sorted(argvs) == sorted([base, base + settings, base + ["optim.lr=1e-4", 'continue_from="11111111"'],
                                    base + ["misc.num_workers=4", "seed=1", 'continue_from="11111111"']])


def test_more_epochs_are_another_experiment_with_all_that_the_first_has(no_slurm):
    result = no_slurm.script("continue_run_slurm.sh", "11111111", "500")
    assert result.returncode == 0, result.stderr
    assert "The training of 11111111 goes on for 500 epochs in all, as eeeeeeee" in result.stdout
    assert sorted(record["argv"] for record in no_slurm.records()) == [
        ["-m", "dora", "run", "-d", "-f", "eeeeeeee"], ["-m", "tools.extend", "11111111", "500"]]


def test_the_signature_before_anything_runs(no_slurm):
    for script, arguments in (("train_slurm.sh", ["180"]), ("continue_run_slurm.sh", ["11111111", "500"])):
        result = no_slurm.script(script, "--signature", *arguments)
        assert re.fullmatch(r"[0-9a-f]{8}\n", result.stdout), result.stdout + result.stderr
    assert no_slurm.script("continue_run_slurm.sh", "11111111", "--signature").stdout == "11111111\n"
    assert no_slurm.records() == []


@pytest.mark.parametrize("script, arguments, expected", [
    ("train_slurm.sh", ["5"], True), ("train_slurm.sh", ["5", "seed=1"], True),
    ("train_slurm.sh", ["5", "dset.use_musdb=true"], True), ("train_slurm.sh", ["5", "dset.use_musdb=false"], False),
    ("train_slurm.sh", ["--plain", "dset.wav=own", "dset.use_musdb=False"], False),
    ("train_slurm.sh", ["5", "dset.musdb=elsewhere"], False), ("train_slurm.sh", ["5", "dset=without"], False),
    ("train_slurm.sh", ["5", "dset=with"], True), ("train_slurm.sh", ["5", "dset=absent"], True),
    ("continue_run_slurm.sh", ["11111111", "misc.num_workers=1"], True),
    ("continue_run_slurm.sh", ["22222222", "misc.num_workers=1"], False),
    ("continue_run_slurm.sh", ["22222222", "optim.lr=1e-4"], False)])
def test_the_note_on_musdb_is_for_who_trains_on_it(no_slurm, script, arguments, expected):
    argv = no_slurm.root / "outputs" / "xps" / "22222222" / ".argv.json"
    argv.write_text('["dset.use_musdb=false", "dset.wav=own"]')
    (no_slurm.root / "conf" / "dset").mkdir(parents=True)
    for name, value in (("without", "false"), ("with", "true")):
        (no_slurm.root / "conf" / "dset" / f"{name}.yaml").write_text(f"dset:\n  use_musdb: {value}\n")
    result = no_slurm.script(script, "--dry-run", *arguments)
    assert result.returncode == 0, result.stderr
    assert ("Note: no folder datasets/musdbhq here" in result.stderr) is expected


def test_plain_training_has_no_settings_of_its_own(no_slurm):
    """In whatever order its arguments stand."""
    for number, (arguments, expected) in enumerate([
            (["--plain", "20", "model=htdemucs"], ["epochs=20", "model=htdemucs"]), (["--plain"], []),
            (["model=demucs", "--plain", "seed=1"], ["model=demucs", "seed=1"])]):
        result = no_slurm.script("train_slurm.sh", *arguments, CUDA_VISIBLE_DEVICES="", TEST_NUMBER=str(number))
        assert result.returncode == 0, result.stderr
        record, = (record for record in no_slurm.records() if record["env"]["TEST_NUMBER"] == str(number))
        assert record["argv"] == ["-m", "dora", "run", "-d", *expected]
    for script, *arguments in (("train_slurm.sh", "--plain", "ten"), ("train_slurm.sh", "--plain", "5", "--clear"),
                               ("train_slurm.sh", "--plain", ""), ("continue_run_slurm.sh", "11111111", "--plain")):
        assert no_slurm.script(script, *arguments).returncode == 2, arguments


@pytest.mark.parametrize("arguments, overrides", [
    (["180"], None), (["--plain", "20", "model=htdemucs", "optim.lr=1e-4"], ["model=htdemucs", "optim.lr=1e-4", "epochs=20"]),
    (["--plain"], []), (["--plain", "svd.penalty=0"], ["svd.penalty=0"])])
def test_signatures_are_those_of_dora(arguments, overrides):
    """Of the scripts as they are, with the real configuration."""
    expected = "162f67a7" if overrides is None else experiments.get_xp(overrides).sig
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "DEMUCS_"))}
    result = subprocess.run(["bash", str(REPOSITORY / "slurm_scripts" / "train_slurm.sh"), "--signature", *arguments],
                            env={**environment, "DEMUCS_PYTHON": sys.executable}, capture_output=True, text=True,
                            timeout=120)
    assert result.stdout == f"{expected}\n", result.stderr


@pytest.fixture
def login_node(no_slurm, tmp_path):
    """The same checkout where jobs can be submitted, though none of these tests does."""
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    return no_slurm


def test_a_signature_that_cannot_be_known_is_an_error_where_it_is_asked_for(login_node):
    """The packages may be missing on the node where jobs are submitted."""
    message = "lacks packages that the signature follows from: run this where they are, or set DEMUCS_PYTHON"
    asked = login_node.script("train_slurm.sh", "--signature", "5", TEST_NO_PACKAGES="3")
    assert asked.returncode == 2 and asked.stdout == "" and message in asked.stderr
    pipeline = login_node.script("pipeline_slurm.sh", "5", "--dry-run", TEST_NO_PACKAGES="3")
    assert pipeline.returncode == 2 and "sbatch" not in pipeline.stdout and message in pipeline.stderr
    submitted = login_node.script("train_slurm.sh", "5", "--dry-run", TEST_NO_PACKAGES="3")
    assert submitted.returncode == 0, submitted.stderr
    assert "known only once the job runs" in submitted.stderr and "Note" not in submitted.stdout
    assert "    sbatch " in submitted.stdout and "--job-name" not in submitted.stdout


def test_options_of_sbatch_may_stand_on_several_lines(login_node):
    (login_node.root / "slurm_scripts" / "cluster.env").write_text(
        "DEMUCS_SBATCH_ARGS='--account=a\n    --qos=b\n'\nDEMUCS_TRAIN_SBATCH_ARGS='--ntasks=3\n--mem=4'\n")
    planned = login_node.script("train_slurm.sh", "5", "--dry-run").stdout
    assert " --account=a --qos=b --ntasks=3 --mem=4 " in planned, planned


def test_release_takes_the_newest_experiment_with_weights(no_slurm):
    newest = no_slurm.add_experiment("33333333", "best.th")
    later = time.time() + 100
    os.utime(newest / "best.th", (later, later))
    result = no_slurm.script("slurm_release.sh", "--half")
    assert "The newest experiment with weights is 33333333" in result.stdout
    assert [record["argv"] for record in no_slurm.records()] == [["-m", "tools.export", "33333333", "--half"]]


def test_release_of_several_and_of_none(no_slurm):
    no_slurm.add_experiment("33333333", "best.th")
    assert no_slurm.script("slurm_release.sh", "11111111", "33333333").returncode == 0
    assert no_slurm.records()[0]["argv"] == ["-m", "tools.export", "11111111", "33333333"]
    for name in ("11111111", "33333333"):
        (no_slurm.root / "outputs" / "xps" / name / "best.th").unlink()
    result = no_slurm.script("slurm_release.sh")
    assert result.returncode == 2 and "has weights" in result.stderr


def test_evaluation_exports_only_what_is_not_exported(no_slurm):
    export = ["-m", "tools.export", "11111111"]
    evaluate = ["-m", "tools.test_pretrained", "--repo", "./release_models", "-n", "11111111", "--shifts", "2"]
    no_slurm.script("evaluate_slurm.sh", "11111111", "--shifts", "2")
    assert sorted(record["argv"] for record in no_slurm.records()) == [export, evaluate]
    (no_slurm.root / "release_models").mkdir()
    (no_slurm.root / "release_models" / "11111111.th").touch()
    no_slurm.script("evaluate_slurm.sh", "11111111", "--shifts", "2")
    assert sorted(record["argv"] for record in no_slurm.records()) == [export, evaluate, evaluate]
    # Trained further since: what was exported is no longer what the run card speaks of.
    later = time.time() + 10
    os.utime(no_slurm.root / "outputs" / "xps" / "11111111" / "best.th", (later, later))
    no_slurm.script("evaluate_slurm.sh", "11111111", "--shifts", "2")
    assert sorted(record["argv"] for record in no_slurm.records()) == [export, export, evaluate, evaluate, evaluate]


def test_evaluation_by_several_processes(no_slurm):
    (no_slurm.root / "release_models").mkdir()
    (no_slurm.root / "release_models" / "11111111.th").touch()
    result = no_slurm.script("evaluate_slurm.sh", "11111111", DEMUCS_LOCAL_TASKS="3")
    assert result.returncode == 0, result.stderr
    environments = [record["env"] for record in no_slurm.records()]
    assert [(env["RANK"], env["WORLD_SIZE"]) for env in environments] == [("0", "3"), ("1", "3"), ("2", "3")]
    assert {int(env["OMP_NUM_THREADS"]) >= 1 for env in environments} == {True}


def test_evaluation_of_published_models_and_of_separated_songs(no_slurm, tmp_path):
    shutil.copytree(REPOSITORY / "demucs" / "remote", no_slurm.root / "demucs" / "remote")
    (tmp_path / "my songs" / "their stems").mkdir(parents=True)
    for name in ("htdemucs_ft", "0d19c1c6", "hf://someone/model"):
        assert no_slurm.script("evaluate_slurm.sh", name, "--shifts", "2").returncode == 0
    result = no_slurm.script("evaluate_slurm.sh", "./their stems", "-n", "theirs", cwd=tmp_path / "my songs")
    assert result.returncode == 0, result.stderr
    assert sorted(record["argv"] for record in no_slurm.records()) == [
        ["-m", "tools.evaluate", str(tmp_path / "my songs" / "their stems"), "-n", "theirs"],
        *(["-m", "tools.test_pretrained", "-n", name, "--shifts", "2"]
          for name in ("0d19c1c6", "hf://someone/model", "htdemucs_ft"))]
    for unknown in ("19c1c6", "files", "./nothing"):
        assert "no model" in no_slurm.script("evaluate_slurm.sh", unknown).stderr


def test_separation_of_files_with_strange_names(no_slurm, tmp_path):
    folder = tmp_path / "my music"
    folder.mkdir()
    names = ["a b's \"song\" $HOME.wav", "-x.flac", "tab\there.mp3"]
    for name in names:
        (folder / name).write_bytes(b"audio")
    (no_slurm.root / "release_models").mkdir()
    (no_slurm.root / "release_models" / "mybag.th").touch()
    result = no_slurm.script("slurm_separate.sh", names[0], "./-x.flac", names[2], "mybag", "-o", "stems", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert [record["argv"] for record in no_slurm.records()] == [
        ["-m", "demucs", "--repo", "./release_models", "-n", "mybag", "-o", str(folder / "stems"),
         *(str(folder / name) for name in names)]]


@pytest.mark.parametrize("option", ["-r", "--recursive"])
def test_separation_of_a_folder(no_slurm, option, tmp_path):
    (tmp_path / "my music").mkdir()
    (no_slurm.root / "release_models").mkdir()
    (no_slurm.root / "release_models" / "mybag.th").touch()
    result = no_slurm.script("slurm_separate.sh", "my music", "mybag", option, "--skip-existing", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [record["argv"][6:] for record in no_slurm.records()] == [[option, "--skip-existing", str(tmp_path / "my music")]]


def test_dry_run_prints_and_runs_nothing(no_slurm):
    result = no_slurm.script("train_slurm.sh", "--dry-run", "180", "a=b c")
    assert result.returncode == 0
    assert "dora run -d epochs=180 test.every=100" in result.stdout and "'a=b c'" in result.stdout
    assert no_slurm.records() == []
    assert list((no_slurm.root / "slurm_out").iterdir()) == []


def test_pipeline_without_slurm_runs_all_steps_in_turn(no_slurm, tmp_path):
    signature = no_slurm.script("train_slurm.sh", "--signature", "7", "seed=3").stdout.strip()
    no_slurm.add_experiment(signature, "best.th")
    no_slurm.add_evaluation(signature)
    (tmp_path / "songs" / "test" / "A song").mkdir(parents=True)
    (tmp_path / "songs" / "test" / "A song" / "mixture.wav").write_bytes(b"audio")
    result = no_slurm.script("pipeline_slurm.sh", "7", "seed=3", DEMUCS_MUSDB=str(tmp_path / "songs"))
    assert result.returncode == 0, result.stdout + result.stderr
    done = sorted(no_slurm.records_folder.glob("*.json"), key=os.path.getmtime)
    words = [" ".join(json.loads(path.read_text())["argv"][:3]) for path in done]
    release = f"-m tools.export {signature}"
    steps = [word for word in words if word != release]      # each of the others exports, since the recorder never does
    assert steps == ["-m dora run", "-m tools.test_pretrained --repo", "-m demucs --repo",
                     "graphing_scripts/plot_scores.py --results demucs_results",
                     "graphing_scripts/report.py --results demucs_results"]
    assert words[1] == release

    failed = no_slurm.script("pipeline_slurm.sh", "7", "seed=4", DEMUCS_MUSDB=str(tmp_path / "songs"), TEST_FAIL_RANK="0")
    assert failed.returncode == 2 and "no training came to its end" in failed.stderr
    assert len(no_slurm.records()) == len(words) + 1


def test_a_plain_sweep(login_node):
    """Each of its trainings is what train_slurm.sh --plain trains, and is submitted so."""
    arguments = ["5", "model=htdemucs", "--plain", "--seeds", "1,2"]
    one = ("train_slurm.sh", "--signature", "--plain", "5", "model=htdemucs")
    expected = [login_node.script(*one, f"seed={seed}").stdout.strip() for seed in (1, 2)]
    planned = login_node.script("pipeline_slurm.sh", "--dry-run", *arguments)
    assert re.findall("Signature ([0-9a-f]{8})", planned.stdout) == expected, planned.stdout + planned.stderr
    for seed, signature in zip((1, 2), expected):
        assert re.search(rf"sbatch --job-name={signature} .*train_slurm.sh'? --plain 5 model=htdemucs seed={seed}\n",
                         planned.stdout), planned.stdout
    here = login_node.script("pipeline_slurm.sh", "--local", *arguments, TEST_FAIL_RANK="0")       # its trainings fail
    assert here.returncode == 2 and [record["argv"] for record in sorted(
        login_node.records(), key=lambda record: record["argv"])] == [
        ["-m", "dora", "run", "-d", "epochs=5", "model=htdemucs", f"seed={seed}"] for seed in (1, 2)]


@pytest.mark.parametrize("module, step", [("tools.export", "release"), ("tools.test_pretrained", "evaluation")])
def test_a_pipeline_says_which_step_failed(no_slurm, tmp_path, module, step):
    signature = no_slurm.script("train_slurm.sh", "--signature", "7", "seed=3").stdout.strip()
    no_slurm.add_experiment(signature, "best.th")
    failed = no_slurm.script("pipeline_slurm.sh", "7", "seed=3", TEST_FAIL_MODULE=module)
    assert failed.returncode == 2 and "no training came to its end" not in failed.stderr
    assert failed.stderr.splitlines()[-1].endswith(
        f"trained, but not scored, so there is nothing to report; what failed: {signature} ({step})")


def test_a_pipeline_separates_songs_of_the_test_set_that_the_model_is_scored_on(no_slurm, tmp_path):
    signature = no_slurm.script("train_slurm.sh", "--signature", "7", "dset.wav=own").stdout.strip()
    no_slurm.add_experiment(signature, "best.th")
    no_slurm.add_evaluation(signature)
    for place in ("musdb", "own songs"):
        (tmp_path / place / "test" / f"Of {place}").mkdir(parents=True)
        (tmp_path / place / "test" / f"Of {place}" / "mixture.wav").write_bytes(b"audio")
    result = no_slurm.script("pipeline_slurm.sh", "7", "dset.wav=own", DEMUCS_MUSDB=str(tmp_path / "musdb"),
                             TEST_SONGS=str(tmp_path / "own songs"))
    assert result.returncode == 0, result.stdout + result.stderr
    song = no_slurm.root / "separated" / "songs" / signature / "Of own songs.wav"
    separation, = (record["argv"] for record in no_slurm.records() if record["argv"][:2] == ["-m", "demucs"])
    assert separation[-1] == str(song) and os.path.realpath(song) == str(
        tmp_path / "own songs" / "test" / "Of own songs" / "mixture.wav")


@pytest.mark.parametrize("arguments, expected", [
    ("", 8), ("DEMUCS_SBATCH_ARGS=--ntasks=4", 4), ("DEMUCS_SBATCH_ARGS='-n 6 --mem=4'", 6),
    ("DEMUCS_SBATCH_ARGS=-n6; DEMUCS_TRAIN_SBATCH_ARGS=(--account=a --ntasks 3)", 3)])
def test_a_pipeline_is_checked_with_the_processes_that_its_training_will_have(login_node, arguments, expected):
    (login_node.root / "slurm_scripts" / "cluster.env").write_text(f"{arguments}\n")
    result = login_node.script("pipeline_slurm.sh", "5", "--dry-run", TEST_REFUSE="1")
    assert result.returncode == 2 and "sbatch" not in result.stdout and f"refused, in {expected} ranks" in result.stderr
    local = login_node.script("pipeline_slurm.sh", "5", "--local", TEST_REFUSE="1", DEMUCS_LOCAL_TASKS="5")
    assert local.returncode == 2 and "refused, in 5 ranks" in local.stderr and login_node.records() == []


def test_a_number_of_jobs_that_is_none_is_told_before_anything_is_submitted(no_slurm):
    for number in ("abc", "0", "-1"):
        result = no_slurm.script("pipeline_slurm.sh", "5", DEMUCS_EVALUATE_JOBS=number)
        assert result.returncode == 2 and f"a number from 1 on, not '{number}'" in result.stderr
    assert no_slurm.records() == []


def test_where_the_songs_are_does_not_depend_on_where_the_job_runs(no_slurm, tmp_path):
    (tmp_path / "my songs").mkdir()
    for number, (cwd, place, expected) in enumerate([
            (tmp_path, "my songs", tmp_path / "my songs"), (tmp_path, "datasets/x", no_slurm.root / "datasets" / "x"),
            (None, "/else where", "/else where")]):
        result = no_slurm.script("train_slurm.sh", "5", f"seed={number}", cwd=cwd, DEMUCS_MUSDB=place)
        assert result.returncode == 0, result.stderr
        record, = (record for record in no_slurm.records() if f"seed={number}" in record["argv"])
        assert record["env"]["DEMUCS_MUSDB"] == str(expected)


def test_a_failing_process_stops_the_others(no_slurm):
    result = no_slurm.script("train_slurm.sh", "5", DEMUCS_LOCAL_TASKS="3", TEST_FAIL_RANK="1", TEST_SLEEP="50")
    assert result.returncode == 3


def test_a_terminated_script_leaves_no_process(no_slurm):
    process = subprocess.Popen(["bash", str(no_slurm.root / "slurm_scripts" / "train_slurm.sh"), "5"],
                               env={**no_slurm.environment, "DEMUCS_LOCAL_TASKS": "2", "TEST_SLEEP": "50"},
                               stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(no_slurm.records_folder.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.stem.rsplit("-", 1)[1]) for path in no_slurm.records_folder.glob("*.json")]
    assert len(pids) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


STUB = """#!{python} -S
import os, signal, sys, time
# One call, so that what several write at once does not mix.
say = lambda words: os.write(1, f"rank {{os.environ['RANK']}} {{words}}\\n".encode())
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1) or say("notes SIGTERM"))
signal.signal(signal.SIGQUIT, lambda *_: say("prints its stacks"))
say("is child of its launcher: " + str(os.environ["DEMUCS_LAUNCHER"] == str(os.getppid())))
ready = sys.argv[0] + ".ready"       # the others listen to signals from here on
open(ready + os.environ["RANK"], "w").close()
if os.environ["RANK"] == "1" and "TEST_DIES" in os.environ:
    while not (os.path.exists(ready + "0") and os.path.exists(ready + "2")):
        time.sleep(0.05)
    sys.exit(3)
while not asked or "TEST_HANGS" in os.environ:
    time.sleep(0.05)
time.sleep(8)                 # longer than ranks get when one has died
say("has saved")
"""


@pytest.fixture
def stub(no_slurm, tmp_path):
    """Starts training on three ranks that are stubs, in a session of its own as in a terminal."""
    path = tmp_path / "stub"
    path.write_text(STUB.format(python=sys.executable))
    path.chmod(0o755)
    runs = []

    def start(**variables):
        with open(tmp_path / "output", "w") as output:
            runs.append(subprocess.Popen(
                [sys.executable, "-m", "tools.launch", "tasks", "--", str(path), "train"], start_new_session=True,
                cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT,
                env={**no_slurm.environment, "DEMUCS_LOCAL_TASKS": "3", **variables}))
        return runs[0]
    yield start, lambda words, count: until((tmp_path / "output").read_text, words, count)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(runs[0].pid, signal.SIGKILL)


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def until(read, words, count):
    """The output, once `words` stand `count` times in it."""
    deadline = time.monotonic() + 60
    while read().count(words) < count:
        if time.monotonic() > deadline:
            pytest.fail(read())
        time.sleep(0.05)
    return read()


def test_ranks_that_hang_since_one_is_dead_are_ended(stub):
    """By TERM, QUIT and KILL, as in a job: they only note the first while they wait for the dead one."""
    start, output = stub
    run = start(TEST_DIES="1", TEST_HANGS="1")
    assert run.wait(60) == 3
    text = output("is child of its launcher: True", 3)
    for rank in (0, 2):
        notes, stacks = (text.find(f"rank {rank} {words}") for words in ("notes SIGTERM", "prints its stacks"))
        assert 0 <= notes < stacks, text
    assert "has saved" not in text
    until(lambda: "gone" if not alive(run.pid) else "", "gone", 1)      # the kernel ends them after that of the script


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ranks_that_are_asked_to_stop_have_time_to_save(stub, number, status):
    start, output = stub
    run = start()
    output("is child of its launcher", 3)
    os.kill(run.pid, number)
    assert run.wait(60) == status
    text = output("has saved", 3)
    assert "Asked to stop" in text and "stacks" not in text


def test_a_second_ctrl_c_ends_all_at_once(stub):
    start, output = stub
    run = start(TEST_HANGS="1")
    output("is child of its launcher", 3)
    os.killpg(run.pid, signal.SIGINT)
    output("notes SIGTERM", 3)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(60) == 130
    assert "stacks" not in output("Asked to stop", 1)
    until(lambda: "gone" if not alive(run.pid) else "", "gone", 1)      # the kernel ends them after that of the script


def test_cluster_file(no_slurm, tmp_path):
    (no_slurm.root / "slurm_scripts" / "cluster.env").write_text(
        'false || echo $undefined_variable\nexport TEST_FROM_FILE="with space"\n'
        'cluster_setup() { export TEST_FROM_SETUP=called; }\n')
    assert no_slurm.script("train_slurm.sh", "5").returncode == 0
    environment = no_slurm.records()[0]["env"]
    assert environment["TEST_FROM_FILE"] == "with space" and environment["TEST_FROM_SETUP"] == "called"

    other = tmp_path / "other cluster"
    other.write_text("export TEST_FROM_FILE=other\n")
    no_slurm.script("train_slurm.sh", "6", DEMUCS_CLUSTER=str(other))
    assert "other" in {record["env"]["TEST_FROM_FILE"] for record in no_slurm.records()}
    missing = no_slurm.script("train_slurm.sh", "6", DEMUCS_CLUSTER="nowhere")
    assert missing.returncode == 2 and "DEMUCS_CLUSTER names no file: nowhere" in missing.stderr


def test_python_of_the_repository_is_preferred_over_the_one_in_path(no_slurm):
    del no_slurm.environment["DEMUCS_PYTHON"]
    assert "no Python at python3" in no_slurm.script("train_slurm.sh", "5").stderr
    (no_slurm.root / ".venv" / "bin").mkdir(parents=True)
    (no_slurm.root / ".venv" / "bin" / "python").symlink_to(no_slurm.python)
    assert no_slurm.script("train_slurm.sh", "5").returncode == 0
    assert len(no_slurm.records()) == 1


def test_help(no_slurm):
    for script in ("train_slurm.sh", "continue_run_slurm.sh", "continue_train_slurm.sh", "slurm_release.sh",
                   "evaluate_slurm.sh", "slurm_separate.sh"):
        result = no_slurm.script(script, "--help")
        assert result.returncode == 0 and "sbatch slurm_scripts/" in result.stdout


def test_a_port_somebody_listens_on_is_passed_over():
    with socket.socket() as listener:
        port = next(port for port in range(20000, 20100) if listener.connect_ex(("127.0.0.1", port)))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        assert free_port(port - 10000) == port
        listener.listen()
        other = free_port(port - 10000)
    assert other != port and 10000 <= other < 32000


def test_a_script_that_finds_no_repository_says_so(no_slurm, tmp_path):
    result = no_slurm.script("train_slurm.sh", "5", DEMUCS_REPO=str(tmp_path))
    assert result.returncode == 2 and "submit in the repository or set DEMUCS_REPO" in result.stderr


def test_missing_programs_are_named_to_who_cannot_install_them(no_slurm, tmp_path):
    for name, body in (("id", "echo 1000"), ("apt-get", "exit 1"), ("gcc", "true"), ("slurmctld", "true"),
                       ("slurmd", "true")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    no_slurm.environment.pop("SOUNDSTRETCH", None)
    result = no_slurm.script("install_programs.sh", PYTHON="/no/python", CI="")
    assert result.returncode == 0
    missing = "soundstretch ffmpeg slurm-client"
    assert f"Not installed: {missing}\n    sudo apt-get install -y {missing}\n" in result.stdout
    assert "the same scripts run without Slurm" in result.stdout


def test_log_folders_exist_in_a_clone():
    for folder in ("slurm_out", "slurm_scripts/slurm_out"):
        assert subprocess.run(["git", "ls-files", "--error-unmatch", f"{folder}/.gitkeep"], cwd=REPOSITORY,
                              capture_output=True).returncode == 0
