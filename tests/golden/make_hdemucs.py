"""Writes hdemucs.json and hdemucs.npz: what published Demucs gives for the cases in hdemucs_cases.json.

Run it in the environment of published Demucs (`make oracle`): .oracle/bin/python tests/golden/make_hdemucs.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from demucs.hdemucs import HDemucs
from sharpen import sharpen

HERE = Path(__file__).resolve().parent
SOURCES = ["drums", "bass", "other", "vocals"]
STRIDE = 61     # of the stored samples
SHORT = 30011    # samples of the training-mode check. With much fewer, Wiener EM is ill-conditioned in float32


def main():
    cases = json.loads((HERE / "hdemucs_cases.json").read_text())
    facts, arrays = {}, {}
    for name, case in cases.items():
        torch.manual_seed(1)
        model = HDemucs(case.get("sources", SOURCES), audio_channels=case.get("audio_channels", 2), **case["settings"])
        parameters = dict(model.named_parameters())
        facts[name] = {"parameters": [[key, list(p.shape), p.detach().double().sum().item()]
                                      for key, p in parameters.items()]}
        sharpen(model)
        mix = torch.randn(1, case.get("audio_channels", 2), case["length"],
                          generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            model.eval()
            arrays[name] = model(mix)[..., ::STRIDE].numpy()
            model.train()
            arrays[name + "/train"] = model(mix[..., :SHORT])[..., ::STRIDE].numpy()
    (HERE / "hdemucs.json").write_text(json.dumps(facts) + "\n")
    np.savez_compressed(HERE / "hdemucs.npz", **arrays)


if __name__ == "__main__":
    main()
