"""Baselines for the Sound Demixing challenge 2023: training on stems with bleeding, and on stems with wrong labels.
They train the base configuration, which is Demucs in the time domain; `dora run -f SIG model=hdemucs` trains another
model on the same data."""

from ._explorers import TrainingExplorer


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    for dataset in ("sdx23_bleeding", "sdx23_labelnoise"):
        launcher({"dset": dataset, "dset.use_musdb": False})
