"""Cases in which the variants of HTDemucs are compared with their author's code, for the script that writes its outputs and
for the test that reads them."""

import math
import zlib

import torch

SOURCES = ["drums", "bass", "other", "vocals"]
SEGMENT = 1            # seconds
LENGTH, SHORT = 40_009, 30_011        # samples of the mixture in evaluation mode (padded to the segment), in training
STRIDE = 61            # of the stored samples

# Commits of github.com/piusssss/demucs_learn.
LATER, EARLIER = "f13e4cf", "825a227"
# Variant: (commit, class, settings there, settings here); all others are the defaults.
CASES = {
    "p": (LATER, "p", {"channels": 8}, {}),
    "i": (LATER, "i", {"channels": 16}, {}),
    "c": (LATER, "c", {"channels": 8}, {}),
    "s": (LATER, "s", {"channels": 8}, {}),
    "d": (LATER, "d", {"channels": 16}, {}),
    "d2": (LATER, "d2", {"channels": 16}, {}),
    "d3": (LATER, "d3", {"channels": 8}, {}),
    "d4": (LATER, "d4", {"channels": 32}, {}),
    "n": (LATER, "n", {"channels": 8}, {}),
    "nn": (LATER, "nn", {"channels": 8}, {}),
    "nn_conv": (EARLIER, "nn", {"channels": 8}, {}),
    "nc": (LATER, "nc", {"channels": 8}, {}),
    "nf": (EARLIER, "nf", {"channels": 8}, {}),
    "dnf": (LATER, "dnf", {"channels": 8, "t_channels": 16}, {"fusion": {"channels": 16}}),
    "dn": (LATER, "dn", {"channels": 8, "t_channels": 8}, {"fusion": {"channels": 8}}),
}


def mixture(length):
    """Noise at the level of music, of which a part is silent."""
    mix = 0.2 * torch.randn(1, 2, length, generator=torch.Generator().manual_seed(2))
    mix[..., length // 2:length // 2 + 2000] = 0
    return mix


def ours(name):
    """Name of a parameter here, from its name in the code of 825a227, which has one attribute per resolution."""
    for index, size in enumerate((2048, 4096, 8192)):
        for theirs, here in (("encoder", "encoders."), ("decoder", "decoders."), ("freq_emb", "freq_embeddings.")):
            name = name.replace(f"{theirs}_{size}.", f"{here}{index}.")
    return name


def value(name, shape):
    """Value of a parameter or buffer, drawn with a seed from its name, such that every part has an effect."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    last = name.rpartition(".")[2]
    if last.endswith("ema"):
        return drawn.softmax(-1)
    if last == "scale":
        return 0.5 + 0.1 * drawn
    if "embedding" in name:
        return 0.1 * drawn
    if len(shape) == 0 or last.endswith("fusion_weights"):
        return drawn
    if len(shape) == 1:
        return 1 + 0.2 * drawn if last == "weight" else 0.1 * drawn
    return drawn / math.sqrt(drawn[0].numel())


@torch.no_grad()
def fill(model):
    """Set all parameters and buffers of a model; returns their names here and shapes."""
    entries = []
    for name, tensor in model.state_dict().items():
        tensor.copy_(value(ours(name), tensor.shape))
        entries.append(f"{ours(name)} {tuple(tensor.shape)}")
    return sorted(entries)
