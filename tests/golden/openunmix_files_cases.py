"""Cases of the files of openunmix, for the script that writes them and for the test that reads them."""

import torch

RATE = 8000
STRIDE = 7             # of the stored samples
LENGTH = 7000          # samples of the mixture: more than 100 frames
HOP = 64
NETWORK = dict(nfft=256, hidden_size=12, bandwidth=3000)

# Folder -> (targets, channels, layers, unidirectional)
FOLDERS = {
    "trained": (["vocals", "drums", "bass", "other"], 2, 3, False),
    "hashed": (["vocals", "vocals_lead", "drums"], 2, 3, False),
    "unidirectional": (["vocals", "drums"], 2, 2, True),
    "mono": (["speech", "noise"], 1, 3, False),
    "unfinished": (["vocals", "drums"], 2, 3, False),
}
STANDARD = '{"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}'

# Options of the command of openunmix, for the folder "trained"
SETTINGS = {
    "default": dict(),
    "no filter": dict(niter=0),
    "two iterations": dict(niter=2),
    "windows": dict(wiener_win_len=60),
    "whole": dict(wiener_win_len=None),
    "soft mask": dict(softmask=True),
    "residual": dict(residual=True),
    "two targets": dict(targets=["vocals", "bass"]),
    "one target and a residual": dict(targets=["vocals"], residual=True),
    "aggregate": dict(aggregate=STANDARD),
    "aggregate with the residual": dict(targets=["vocals"], residual=True,
                                        aggregate='{"vocals": ["vocals"], "rest": ["residual"]}'),
}


def mixture(channels):
    """Noise that is stronger at low frequencies, [channels, LENGTH], with a peak below 1."""
    noise = torch.randn(channels, LENGTH, generator=torch.Generator().manual_seed(5)) / 10
    return noise + noise.roll(1, -1) + noise.roll(2, -1)
