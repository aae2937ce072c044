"""A training on each kind of dataset through the batch scripts, and an evaluation on its test songs."""

import pytest
from data.songs import moises_song, noise, slakh_song, write
from slurm.jobs import finish, submit
from training.small import TINY

from demucs import schema

pytestmark = pytest.mark.slurm

OVERRIDES = [*[item for item in TINY if not item.startswith(("epochs=", "batch_size="))], "batch_size=2",
             "augment.remix.group_size=1", "ema.epoch=[]", "ema.batch=[]", "svd.penalty=0", "max_batches=1",
             "dset.sources=[drums,bass]", "weights=[1,1]"]
OWN = """
from demucs.data.kinds.folders import folder_tracks

def tracks(settings, split):
    return folder_tracks(settings.root / split, settings.sources)
"""


def songs(root, split, song):
    for source in ("drums", "bass"):
        write(root / split / song / f"{source}.wav", noise(len(source)))


def moises(root, split, song):
    moises_song(root / split / song, {stem: [noise(len(song))] for stem in ("drums", "bass", "vocals")}, song=song)


def slakh(root, split, song):
    slakh_song(root / {"valid": "validation"}.get(split, split) / song, [("drums", noise(1, 2., 1)), (33, noise(2, 2., 1))])


KINDS = {"moises": moises, "slakh": slakh, "songs": songs, "songs_of_mine:tracks": songs, "trackfolder_fix": songs}
FILES = {"trackfolder_fix": ["dset.files.target=drums.wav", "dset.files.interferers=[bass.wav]", "dset.sampling=random_mix"]}


def test_every_kind(real, tmp_path):
    (real.root / "songs_of_mine.py").write_text(OWN)
    jobs = []
    for kind, write_song in KINDS.items():
        root = tmp_path / f"data of {kind.partition(':')[0]}"
        for split in ("train", "valid", "test"):
            for number in range(2):
                write_song(root, split, f"{split} {number}")
        begun = real.run("sbatch", "--parsable", "--ntasks=1", "--gres=gpu:1", "slurm_scripts/train_slurm.sh", "--plain", "1",
                         *OVERRIDES, *FILES.get(kind, []), f"dset.kind={kind}", f"dset.musdb={root}", f"dset.metadata={tmp_path / 'meta'}")
        assert begun.returncode == 0, begun.stderr
        jobs.append(begun.stdout.strip())
    for job in jobs:
        finish(real, job)
    cards = [schema.load(schema.RunCard, path) for path in (real.root / "outputs" / "xps").glob("*/run_card.json")]
    signatures = {card.test_set.kind: card.signature for card in cards if card.epochs_done == 1}
    assert set(signatures) == set(KINDS)
    submit(real, "slurm_scripts/evaluate_slurm.sh", signatures["moises"])
    evaluation = schema.load(schema.Evaluation, real.root / "demucs_results" / "runs" / signatures["moises"] / "evaluation.json")
    assert len(evaluation.tracks) == 2 and evaluation.sources == ["drums", "bass"]
