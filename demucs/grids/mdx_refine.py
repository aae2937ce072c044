"""Track A of the Music Demixing challenge 2021, second stage: the models of `mdx` fine-tuned on remixes that match in
tempo and key. A quantised one starts from its quantised parent."""

from ..train import main
from ._explorers import TrainingExplorer
from ._lineage import origin
from .mdx import QUANTISED, TRACK_A


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    for signature in TRACK_A:
        second = launcher.bind(main.get_argv_from_sig(signature))
        second()
        first = origin(signature).argv
        for quantised in QUANTISED:
            parent = main.get_xp([*first, *main.value_to_argv(quantised)])
            second(quantised, {"continue_from": parent.sig})
