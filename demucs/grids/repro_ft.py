"""The models of `repro`, fine-tuned on remixes that match in tempo and key; the last stage of the bag `repro_mdx_a`."""

from ..train import main
from ._explorers import TrainingExplorer
from .repro import EXPERIMENTS

FINE_TUNING = {
    "dset": "auto_mus", "dset.segment": 28, "dset.shift": 2, "model_segment": 44, "batch_size": 16, "epochs": 4,
    "optim.lr": 1e-4, "ema.epoch": [0.9, 0.95], "ema.batch": [0.9995, 0.9999], "test.every": 1, "test.sdr": True,
    "augment.remix.proba": 0, "augment.scale.proba": 0, "augment.shift_same": True,
}


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=300)
    for settings in EXPERIMENTS:
        parent = main.get_xp(main.value_to_argv(settings))
        launcher(settings, FINE_TUNING, {"continue_from": parent.sig})
