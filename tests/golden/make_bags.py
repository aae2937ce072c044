"""Golden separations of bags of toy models by published Demucs (4.1.0).

    PYTHONPATH=tests .published/bin/python tests/golden/make_bags.py

writes bags.npz beside this file.
"""

import itertools
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from demucs.apply import BagOfModels, apply_model
from golden.apply_cases import mixture, sampled
from golden.bag_cases import CASES


def main() -> None:
    torch.set_num_threads(1)
    golden = {}
    for name, (kinds, weights, segment, length, offsets, settings) in CASES.items():
        bag = BagOfModels([kind() for kind in kinds], weights, segment)
        with mock.patch("random.randint", side_effect=list(itertools.chain(*offsets))):
            shifts = len(offsets[0]) if offsets else 0
            golden[name] = sampled(apply_model(bag, mixture(length), shifts=shifts, **settings))
        segments = [float(model.segment) for model in bag.models]
        golden[f"{name} segments"] = np.array(segments + [bag.max_allowed_segment])
    np.savez_compressed(Path(__file__).with_name("bags.npz"), **golden)


if __name__ == "__main__":
    main()
