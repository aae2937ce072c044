"""The instrumental experiment of the notes on variants of HTDemucs (docs/instrumental.md): HTDemucs and three variants
with several resolutions, trained for the instrumental alone on MUSDB18-HQ, with two schedules.

The notes call their trainings "10 epoch" and "13 epoch" and give no schedule. Here the learning rate is annealed to zero
over 10 epochs, and in the longer ones annealed again, from a third of the rate, over 3 more. The first 10 epochs of both
are the same. Learning rate, length of examples, optimiser and no moving averages are those of the only configuration of
n that the notes' repository has. Its batches of 2 and epochs of 400 batches are not: 9 hours of audio would be all that
a model hears.
"""

from ._explorers import TrainingExplorer

MODELS = ("htdemucs", "htdemucs_n", "htdemucs_nn", "htdemucs_nn_conv")
COMMON = {
    "variant": "instrumental", "dset.segment": 5, "dset.shift": 1, "augment.repitch.proba": 0, "model_segment": 10,
    "use_train_segment": False, "batch_size": 16, "optim.lr": 1e-3, "ema.epoch": [], "ema.batch": [], "test.every": 10,
    "schedule.kind": "cosine_restarts", "schedule.restarts": [10], "schedule.factor": 1 / 3,
}
SCHEDULES = ({"epochs": 10}, {"epochs": 13})


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=4, time=24 * 60)
    for model in MODELS:
        for schedule in SCHEDULES:
            launcher({"model": model}, COMMON, schedule)
