"""Golden separations of a toy model by published Demucs (4.1.0).

    .published/bin/python tests/golden/make_apply.py

writes apply.npz beside this file.
"""

from pathlib import Path
from unittest import mock

import numpy as np
import torch
from apply_cases import CASES, mixture, sampled
from demucs.apply import apply_model


def main() -> None:
    torch.set_num_threads(1)
    golden = {}
    for name, (kind, length, offsets, settings) in CASES.items():
        with mock.patch("random.randint", side_effect=list(offsets)):
            golden[name] = sampled(apply_model(kind(), mixture(length), shifts=len(offsets), **settings))
    np.savez_compressed(Path(__file__).with_name("apply.npz"), **golden)


if __name__ == "__main__":
    main()
