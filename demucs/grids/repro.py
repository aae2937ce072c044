"""The homogeneous reproduction on MUSDB18-HQ of the models of the MDX challenge, with ablations of the time-domain one
(Défossez 2021, "Hybrid Spectrogram and Waveform Source Separation"). `repro_ft` fine-tunes all of them."""

from ._explorers import TrainingExplorer

COMMON = {"ema.epoch": [0.9, 0.95], "ema.batch": [0.9995, 0.9999], "epochs": 600}
PENALTY = {"svd": "base2", "svd.penalty": 1e-5}
WITHOUT_BRANCHES = {"model": "demucs", "demucs.dconv_mode": 0, "demucs.gelu": False, "demucs.lstm_layers": 2,
                    "epochs": 360}
TIME = {"model": "demucs", "demucs.normalize": True}
HYBRID = {"model": "hdemucs"}
ABLATIONS = (
    {"ema.epoch": [], "ema.batch": []}, {"demucs.dconv_lstm": 10}, {"demucs.dconv_attn": 10},
    {"demucs.dconv_lstm": 10, "demucs.dconv_attn": 10, "demucs.lstm_layers": 2}, {"demucs.dconv_mode": 0},
    {"demucs.gelu": False},
)
# Two seeds each of the time-domain and the hybrid model are the bag `repro_mdx_a`.
IN_THE_BAG = tuple({**model, **PENALTY, **seed} for model in (TIME, HYBRID) for seed in ({}, {"seed": 43}))
EXPERIMENTS = tuple({**COMMON, **settings} for settings in (
    WITHOUT_BRANCHES, TIME, *IN_THE_BAG, *({**TIME, **PENALTY, **change} for change in ABLATIONS)))


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    for settings in EXPERIMENTS:
        launcher(settings)
