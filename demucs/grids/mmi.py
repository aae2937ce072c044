"""HDemucs and HTDemucs with extra training data: context, depth, width, augmentation and sparsity
(Rouard, Massa and Défossez 2022, "Hybrid Transformers for Music Source Separation", tables 1 to 3)."""

from ._explorers import TrainingExplorer

COMMON = {
    "dset": "extra_mmi_goodclean", "test.shifts": 0, "model": "htdemucs", "htdemucs.dconv_mode": 3, "htdemucs.depth": 4,
    "htdemucs.t_dropout": 0.02, "htdemucs.t_layers": 5, "max_batches": 800, "ema.epoch": [0.9, 0.95],
    "ema.batch": [0.9995, 0.9999], "dset.segment": 10, "batch_size": 32,
}
SPARSE = {
    "batch_size": 24, "augment.remix.group_size": 3, "htdemucs.t_auto_sparsity": True,
    "htdemucs.t_sparse_self_attn": True, "htdemucs.t_sparse_cross_attn": True, "htdemucs.t_sparsity": 0.9,
    "dset.segment": 15, "htdemucs.t_layers": 7,
}
# Repitching shortens examples. Without it they are cut by the same amount, so that lengths are equal in this ablation.
UNREPITCHED_SEGMENT = 10 * 0.88


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    common = launcher.bind(COMMON)
    for dataset in ({}, {"dset": "extra44"}, {"dset": "musdb44"}):
        common({"model": "hdemucs"}, dataset)
    for layers in (5, 7):
        for channels in (0, 512):
            sub = common.bind({"htdemucs.t_layers": layers, "htdemucs.bottom_channels": channels})
            if (layers, channels) == (5, 0):
                sub({"augment.remix.proba": 0.0})
                sub({"augment.repitch.proba": 0.0, "dset.segment": UNREPITCHED_SEGMENT})
            if (layers, channels) == (5, 512):
                sub({"dset": "musdb44"})
                sub({"dset": "extra44"})
                sub(SPARSE)
            for seconds in (5, 10, 15):
                sub({"dset.segment": seconds})
