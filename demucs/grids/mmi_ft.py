"""HTDemucs fine-tuned for one source at a time (Rouard, Massa and Défossez 2022): 955717e8 gives the four models of the
bag `htdemucs_ft`, 2899e11a is the one with sparse attention."""

from ..train import main
from ._explorers import TrainingExplorer

SEGMENTS = {"2899e11a": (15, 18), "955717e8": (10, 15)}     # seconds to train on, by the model they start from
FINE_TUNING = {
    "continue_best": True, "optim.lr": 1e-4, "optim.optim": "adamw", "optim.clip_grad": 5,
    "htdemucs.t_weight_decay": 0.05, "augment.remix.proba": 0, "augment.scale.proba": 0, "augment.shift_same": True,
    "batch_size": 8, "epochs": 50, "dset.wav2_valid": True, "ema.epoch": [],
}


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=4, time=3 * 24 * 60)
    for parent, segments in SEGMENTS.items():
        trained = launcher.bind(main.get_argv_from_sig(parent))
        trained()
        for seconds in segments:
            for source in range(4):
                weights = [int(index == source) for index in range(4)]
                trained(FINE_TUNING, {"continue_from": parent, "weights": weights, "dset.segment": seconds})
