"""Track B of the Music Demixing challenge 2021, first stage of the four hybrid models of the bag `mdx_extra`: trained
on extra data, and on extra data with the test set of MUSDB, the latter also quantised. `dora info -f SIG` shows the
settings of the final models."""

from ._explorers import TrainingExplorer
from ._lineage import origin
from .mdx import QUANTISED

TRACK_B = ("e51eebcc", "a1d90b5c", "5d2d6c55", "cfa93e08")


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    for signature in TRACK_B:
        first = launcher.bind(origin(signature).argv)
        first({"dset": "extra44"})
        for quantised in ({}, *QUANTISED):
            first({"dset": "extra_test"}, quantised)
