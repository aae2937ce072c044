"""The pipeline of one network per target, on a machine without Slurm: what it refuses, plans and runs."""

import hashlib
import json
import os
import re

import pytest
from conftest import REPOSITORY

pytestmark = pytest.mark.runs

TARGETS = ["--targets", "vocals,drums"]
COMMON = ["--plain", "3", "variant=openunmix"]


def trainings(checkout, seeds=()):
    """Overrides of each training, and its signature."""
    words = [["epochs=3", "variant=openunmix", f"dset.targets={{{target}:[{target}]}}", *seed]
             for target in ("vocals", "drums") for seed in ([f"seed={number}"] for number in seeds or ())] or [
        ["epochs=3", "variant=openunmix", f"dset.targets={{{target}:[{target}]}}"] for target in ("vocals", "drums")]
    signatures = [checkout.script("train_slurm.sh", "--signature", "--plain", "3", *each[1:]).stdout.strip()
                  for each in words]
    return words, signatures


def separator_of(signatures):
    return hashlib.sha1("".join(f"{signature}\n" for signature in signatures).encode()).hexdigest()[:8]


@pytest.mark.parametrize("arguments, message", [
    (["--targets"], "--targets takes two names of sources or more"),
    (["--targets", "vocals"], "--targets takes two names of sources or more"),
    (["--targets", "vocals,dr ums"], "--targets takes two names of sources or more"),
    ([*TARGETS, "--with", "seed=1"], "--with makes a sweep, and --targets one separator"),
    (["--with", "seed=1", *TARGETS], "--with makes a sweep, and --targets one separator"),
    ([*TARGETS, "--seeds", "4,x"], "--seeds takes numbers"),
    (["--targets", "vocals,vocals"], "two of these are the same experiment"),
    ([*TARGETS, "--seeds", "4,4"], "two of these are the same experiment")])
def test_what_is_refused(no_slurm, arguments, message):
    result = no_slurm.script("pipeline_slurm.sh", *COMMON, *arguments)
    assert result.returncode == 2 and message in result.stderr, result.stdout + result.stderr
    assert no_slurm.records() == []


def test_the_plan_has_a_training_for_each_target_and_seed(no_slurm, tmp_path):
    """The order of the arguments does not matter, and everything but targets and seeds applies to all trainings."""
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    for arguments in ([*TARGETS, "--seeds", "1,2", *COMMON], [*COMMON, "--seeds", "1,2", *TARGETS]):
        words, signatures = trainings(no_slurm, seeds=(1, 2))
        planned = no_slurm.script("pipeline_slurm.sh", "--dry-run", *arguments)
        assert planned.returncode == 0, planned.stderr
        assert re.findall("Signature ([0-9a-f]{8})", planned.stdout) == signatures
        lines = [line.strip() for line in planned.stdout.splitlines() if line.startswith("    sbatch ")]
        assert [line.count("train_slurm.sh") for line in lines] == [1, 1, 1, 1, 0, 0, 0]
        for line, signature, each in zip(lines, signatures, words):
            assert line.startswith(f"sbatch --job-name={signature} --dependency=singleton ")
            assert line.endswith(f"--plain 3 variant=openunmix '{each[2]}' {each[3]}"), line
        name = separator_of(signatures)
        assert f"--dependency=afterok:{':'.join(4 * ['<train>'])}'" in lines[4]
        assert f"--job-name={name}-release" in lines[4]
        assert lines[4].endswith(f"slurm_release.sh' --separator {' '.join(signatures)} --name {name}")
        assert lines[5].endswith(f"evaluate_slurm.sh' {name}") and lines[6].endswith(f"report_slurm.sh' {name}")
    assert no_slurm.records() == []


def test_all_steps_in_turn(no_slurm, tmp_path):
    words, signatures = trainings(no_slurm)
    name = separator_of(signatures)
    for signature in signatures:
        no_slurm.add_experiment(signature, "best.th")
    no_slurm.add_evaluation(name)
    (tmp_path / "songs" / "test" / "A song").mkdir(parents=True)
    (tmp_path / "songs" / "test" / "A song" / "mixture.wav").write_bytes(b"audio")
    result = no_slurm.script("pipeline_slurm.sh", *COMMON, *TARGETS, DEMUCS_MUSDB=str(tmp_path / "songs"),
                             TEST_EXPORTS=str(no_slurm.root))
    assert result.returncode == 0, result.stdout + result.stderr
    done = [json.loads(path.read_text())["argv"]
            for path in sorted(no_slurm.records_folder.glob("*.json"), key=os.path.getmtime)]
    assert done[:2] == [["-m", "dora", "run", "-d", *each] for each in words]
    assert done[2] == ["-m", "tools.export_separator", *signatures, "--name", name]
    assert done[3] == ["-m", "tools.test_pretrained", "--repo", "./release_models", "-n", name]
    assert done[4][:5] == ["-m", "demucs", "--repo", "./release_models", "-n"] and done[4][5] == name
    assert [call[0] for call in done[5:]] == ["graphing_scripts/plot_scores.py", "graphing_scripts/report.py"]
    assert all(call[-1] == name for call in done[5:])


@pytest.mark.parametrize("module, words", [
    ("dora", "no training came to its end"),
    ("tools.export_separator", "nothing to report; what failed: {name} (release)")])
def test_a_step_that_fails_is_named(no_slurm, module, words):
    _, signatures = trainings(no_slurm)
    for signature in signatures:
        no_slurm.add_experiment(signature, "best.th")
    failed = no_slurm.script("pipeline_slurm.sh", *COMMON, *TARGETS, TEST_FAIL_MODULE=module)
    words = words.format(name=separator_of(signatures))
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].endswith(words)


def test_export_of_a_separator_needs_networks_that_are_trained(no_slurm):
    for arguments, message in ((["--separator"], "which networks?"),
                               (["--separator", "--name", "x"], "which networks?"),
                               (["--separator", "11111111", "22222222"], "experiment 22222222 has no weights yet"),
                               (["--separator", "deadbeef"], "no experiment deadbeef")):
        refused = no_slurm.script("slurm_release.sh", *arguments)
        assert refused.returncode == 2 and message in refused.stderr
    assert no_slurm.records() == []


def test_the_command_of_the_page(no_slurm):
    """Four seeds for each of four targets."""
    page = (REPOSITORY / "docs" / "openunmix_training.md").read_text()
    command, = re.findall(r"^    bash slurm_scripts/pipeline_slurm.sh (.*--targets.*)$", page, re.M)
    planned = no_slurm.script("pipeline_slurm.sh", "--dry-run", *command.split())
    assert planned.returncode == 0, planned.stderr
    assert len(set(re.findall("Signature ([0-9a-f]{8})", planned.stdout))) == 16
    for target in ("vocals", "drums", "bass", "other"):
        for seed in (42, 43, 44, 45):
            assert f"variant=openunmix 'dset.targets={{{target}:[{target}]}}' seed={seed}\n" in planned.stdout
