"""A network of Open-Unmix for each of four targets on a real Slurm, from the pipeline to the report."""

import re

import pytest
import soundfile
from slurm.jobs import finish

from demucs import schema
from demucs.schema import SOURCES

pytestmark = pytest.mark.slurm

TINY = ["openunmix.hidden_size=8", "openunmix.nfft=512", "openunmix.nhop=128", "openunmix.nb_layers=1",
        "dset.samplerate=8000", "dset.segment=0.5", "dset.samples_per_track=2", "batch_size=2", "misc.num_workers=0",
        "test.sdr=false"]


def test_four_targets_become_one_separator(real):
    (real.root / "slurm_scripts" / "cluster.env").write_text(
        "DEMUCS_TRAIN_SBATCH_ARGS='--nodes=1 --ntasks=1 --gres=gpu:1 --cpus-per-task=1'\n")
    begun = real.script("pipeline_slurm.sh", "--plain", "2", "variant=openunmix", *TINY, "--targets",
                        "vocals,drums,bass,other", DEMUCS_EVALUATE_JOBS="1")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    jobs = re.findall(r"^    (\w+) +job (\d+)$", begun.stdout, re.MULTILINE)
    assert [step for step, _ in jobs] == [*4 * ["train"], "release", "evaluate", "separate", "report"]
    name = re.search("Separator ([0-9a-f]{8})", begun.stdout)[1]
    finish(real, jobs[-1][1])
    finish(real, jobs[-2][1])
    cards = [schema.load(schema.RunCard, path) for path in (real.root / "outputs" / "xps").glob("*/run_card.json")]
    assert sorted(card.sources[0] for card in cards) == sorted(SOURCES) and {card.epochs_done for card in cards} == {2}
    evaluation = schema.load(schema.Evaluation, real.root / "demucs_results" / "runs" / name / "evaluation.json")
    assert sorted(evaluation.sources) == sorted(SOURCES)
    assert [track.name for track in evaluation.tracks] == ["Test song"]
    for source in SOURCES:
        assert soundfile.info(real.root / "separated" / name / "Test song" / f"{source}.wav").frames == 16000
    report = (real.root / "demucs_results" / "report.html").read_text()
    assert name in report and "openunmix_separator" in report
