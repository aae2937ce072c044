"""The pipeline on a real Slurm with the real programs: four tasks over two nodes train, then release, evaluate, separate
and draw; then again what each script does by itself."""

import re
import sys
import time

import pytest
import soundfile
from slurm.gate import Gate
from slurm.jobs import PATIENCE, finish, submit
from training.small import TINY

from demucs import schema
from demucs.schema import SOURCES

pytestmark = pytest.mark.slurm

OVERRIDES = [*[item for item in TINY if not item.startswith("epochs=")], "batch_size=8",
             "augment.remix.group_size=1", "ema.epoch=[]", "max_batches=1"]


def test_pipeline(real):
    (real.root / "slurm_scripts" / "cluster.env").write_text(
        "DEMUCS_TRAIN_SBATCH_ARGS='--nodes=2 --ntasks=4 --ntasks-per-node=2 --gres=gpu:2 --cpus-per-task=1'\n")
    begun = real.script("pipeline_slurm.sh", "1", *OVERRIDES, DEMUCS_EVALUATE_JOBS="2")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    signature = re.search("Signature ([0-9a-f]{8})", begun.stdout)[1]
    jobs = dict(re.findall(r"^    (\w+) +job (\d+)$", begun.stdout, re.MULTILINE))
    finish(real, jobs["report"])
    assert f"Report on {signature}" in (real.root / "demucs_results" / "report.html").read_text()
    log, = (real.root / "slurm_out").glob(f"{signature}-{jobs['train']}.out")
    assert "Process 1 of 4" in log.read_text() and "Valid Summary | Epoch 1" in log.read_text()
    experiment, = (real.root / "outputs" / "xps").iterdir()
    assert experiment.name == signature
    card = schema.load(schema.RunCard, experiment / "run_card.json")
    assert (card.epochs_done, card.sessions[0].world_size) == (1, 4) and card.sessions[0].job == jobs["train"]
    assert (real.root / "release_models" / f"{signature}.th").exists()
    for name in SOURCES:
        assert soundfile.info(real.root / "separated" / signature / "Test song" / f"{name}.wav").frames == 16000

    assert "All 1 epochs are done" in submit(real, "--ntasks=2", "--gres=gpu:2", "slurm_scripts/continue_run_slurm.sh",
                                              signature)
    assert signature in submit(real, "slurm_scripts/slurm_release.sh")
    submit(real, "slurm_scripts/evaluate_slurm.sh", signature, "--reference-separators")
    results = real.root / "demucs_results"
    evaluation = schema.load(schema.Evaluation, results / "runs" / signature / "evaluation.json")
    assert [track.name for track in evaluation.tracks] == ["Test song"]
    assert set(evaluation.tracks[0].scores["bass"]) == {"nsdr", "si_sdr", "SDR", "ISR", "SIR", "SAR"}
    silence = schema.load(schema.Evaluation, results / "runs" / signature / "evaluation_silence.json")
    assert abs(silence.tracks[0].scores["drums"]["nsdr"]) < 0.01     # the mean of the mixture comes back
    assert (results / "logs" / signature / "train.log").exists()

    drawn = real.run(sys.executable, "graphing_scripts/report.py", signature, "--results", results)
    assert drawn.returncode == 0, drawn.stderr
    report = (results / "report.html").read_text()
    assert signature in report
    for source in SOURCES:
        assert f"{evaluation.tracks[0].scores[source]['nsdr']:.2f}".replace("-", "") in report


def test_a_hung_rank_is_ended_with_the_stacks_of_all_and_the_job_goes_on(real, tmp_path):
    """The first rank stops where it reads audio, as for a dead file server."""
    gate = Gate(tmp_path / "gate")
    begun = real.run("sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--gres=gpu:1",
                     "--cpus-per-task=1", "slurm_scripts/train_slurm.sh", "3", *OVERRIDES, "misc.patience=0.15",
                     **gate.environment)
    assert begun.returncode == 0, begun.stderr
    job = begun.stdout.strip()

    def log():
        return "".join(path.read_text() for path in (real.root / "slurm_out").glob(f"*-{job}.out"))

    def until(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(log())
            time.sleep(0.05)
    until(lambda: list((real.root / "outputs" / "xps").glob("*/checkpoint.th")))
    until(lambda: "srun: error" in log())
    gate.open()
    text = finish(real, job)
    hung = text[text.index("Timeout (0:00:09)!"):text.index("Back into the queue")]
    assert "in behind_the_gate" in hung and "in all_reduce" in hung      # where the one stood, and the other
    assert text.count("Back into the queue") == 1 and "Valid Summary | Epoch 3 " in text
