"""Measurement of the data loader of published Demucs 4.1.0, called by bench_loader.py with the Python of that side.

Prints JSON. Sound files are read with soundfile, see `sound_files`.

    python loader_peer.py ROOT EXAMPLES.npz WORKERS SEGMENTS
"""

import json
import random
import sys
import time

import numpy as np
import sound_files
import torch
from demucs.repitch import RepitchedWrapper, repitch
from demucs.wav import Wavset, build_metadata
from torch.utils.data import DataLoader, Subset

SOURCES = ["drums", "bass", "other", "vocals"]


def rate(dataset, workers):
    """Segments per second in the second pass, when the workers have started and the file cache is filled."""
    loader = DataLoader(dataset, batch_size=4, num_workers=workers, persistent_workers=workers > 0, shuffle=True)
    for _ in range(2):
        begin = time.perf_counter()
        count = sum(len(batch) for batch in loader)
        seconds = time.perf_counter() - begin
    return count / seconds


def main():
    root, output, workers, segments = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    sound_files.provide()
    random.seed(0)
    metadata = dict(sorted(build_metadata(root, SOURCES).items()))
    dataset = Wavset(root, metadata, SOURCES, segment=11, shift=1)
    indices = np.linspace(0, len(dataset) - 1, 6).astype(int)
    examples = {f"plain {index}": dataset[index].numpy() for index in indices}
    for source, (pitch, tempo) in enumerate([(0, 0.), (2, 12.), (-2, -12.), (1, 3.2)]):
        examples[f"stretched {source}"] = repitch(dataset[0][source], pitch, tempo, voice=source == 3).numpy()
    np.savez(output, **examples)
    some = np.random.default_rng(1).choice(len(dataset), segments, replace=False)
    plain = Subset(dataset, some)
    stretched = RepitchedWrapper(Subset(dataset, some[:segments // 4]), proba=1)
    default = RepitchedWrapper(Subset(dataset, some), proba=.2)
    print(json.dumps({"plain": rate(plain, workers), "default": rate(default, workers), "repitch": rate(stretched, workers)}))


if __name__ == "__main__":
    main()
