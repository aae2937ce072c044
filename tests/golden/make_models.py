"""Writes MODEL.npz for demucs, hdemucs and htdemucs: what published Demucs gives for MODEL_cases.json.

Run it in the environment of published Demucs (`make oracle`):

    .published/bin/python tests/golden/make_models.py [MODEL...]

Published sparse attention needs a library that is no longer made. Its masks are computed by published code, and what the
library would do with them is written out here, densely.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from demucs import transformer
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from sharpen import sharpen

HERE = Path(__file__).resolve().parent
MODELS = {"demucs": Demucs, "hdemucs": HDemucs, "htdemucs": HTDemucs}
SOURCES = ["drums", "bass", "other", "vocals"]
STRIDE = 61      # of the stored samples
SHORT = 30011    # samples of the training-mode check. With much fewer, Wiener EM is ill-conditioned in float32
SEED = 3         # of all generators in training mode


def masked_softmax(settings):
    """What the library was asked for: softmax over the keys that the mask of these settings allows.

    The mask that published layers hand over is not used: it has the size of the batch rather than of the sequence, since
    they take their first axis for time.
    """
    arguments = [settings.get("t_mask_type", "diag").split("_"), settings.get("t_sparse_attn_window", 500),
                 settings.get("t_global_window", 100), settings.get("t_mask_random_seed", 42),
                 settings.get("t_sparsity", 0.95), "cpu"]

    def softmax(query, key, att_mask):
        kinds, *rest = arguments
        masks = [transformer.get_elementary_mask(key.shape[1], query.shape[1], kind, *rest) for kind in kinds]
        scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
        weights = scores.masked_fill(~torch.stack(masks).any(0), -torch.inf).softmax(-1)
        return weights.nan_to_num()          # a query that sees no key
    return softmax


def with_newer_torch(attend):
    """Published sparse attention as newer versions of torch call it, with one argument more."""
    return lambda *args, is_causal=False, **kwargs: attend(*args, **kwargs)


def main():
    transformer.MultiheadAttention.forward = with_newer_torch(transformer.MultiheadAttention.forward)
    drawn = random.randrange
    for name in sys.argv[1:] or MODELS:
        arrays = {}
        for case_name, case in json.loads((HERE / f"{name}_cases.json").read_text()).items():
            transformer.scaled_query_key_softmax = masked_softmax(case["settings"])
            torch.manual_seed(1)
            channels = case.get("audio_channels", 2)
            model = MODELS[name](case.get("sources", SOURCES), audio_channels=channels, **case["settings"])
            parameters = dict(model.named_parameters())
            arrays[case_name + "/parameters"] = np.array([f"{key} {tuple(p.shape)}" for key, p in parameters.items()])
            arrays[case_name + "/sums"] = np.array([p.detach().double().sum().item() for p in parameters.values()])
            sharpen(model)
            mix = torch.randn(1, channels, case["length"], generator=torch.Generator().manual_seed(2))
            with torch.no_grad():
                model.eval()
                random.randrange = lambda stop: 0          # a random start of positions is for training
                arrays[case_name] = model(mix)[..., ::STRIDE].numpy()
                random.randrange = drawn
                random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)
                model.train()
                arrays[case_name + "/train"] = model(mix[..., :SHORT])[..., ::STRIDE].numpy()
        np.savez_compressed(HERE / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
