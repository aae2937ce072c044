"""Training examples of Open-Unmix per second (`dset.sampling=random_mix`: each of four sources from a random place in a
random song, with random gain and channel swap), beside the MUSDB18 dataset of openunmix 1.3.0.

    python benchmarks/bench_openunmix_loader.py [--songs 20] [--seconds 240] [--per-track 32]

Both read the same songs of noise (44.1 kHz, stereo, 16 bit) in segments of 6 s and batches of 16, with the same number of
loader workers of one thread each, in turns; the best round counts. Ours includes the augmentation of the batch and the
sum of its sources, which a training computes outside of the workers. Files of the songs are links to those of five, so
that they fit into the file cache. openunmix reads through the package musdb, which starts ffmpeg for every source, of wav
files as well; the second row replaces that by soundfile. The largest difference is that of one segment. The last line is
JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.bench_loader import RATE, make_tracks
from benchmarks.environments import python, variables
from demucs.data.augment import Augment
from demucs.data.build import build_policy
from demucs.data.index import scan
from demucs.data.kinds.folders import folder_tracks
from demucs.data.sampler import EpochSampler
from demucs.data.segments import SegmentDataset
from demucs.schema import SOURCES
from demucs.training.batches import BatchLoader

WORKERS, BATCH, SECONDS = 2, 16, 6
READERS = {"ffmpeg": "as it is, with ffmpeg", "soundfile": "both reading with soundfile"}


def rate(dataset: SegmentDataset) -> float:
    """Examples per second in the second pass, as measured for the peer."""
    sampler = EpochSampler(len(dataset), batch_size=BATCH, seed=0)
    augment = Augment(seed=0, shift=0, remix_proba=0, remix_group=1)
    loader = BatchLoader(dataset, sampler, example=dataset[0].shape, batch_size=BATCH, workers=WORKERS, device=torch.device("cpu"))
    for epoch in range(2):
        sampler.set_epoch(epoch)
        begin = time.perf_counter()
        count = sum(len(augment(batch, epoch=epoch, step=step).sum(dim=1)) for step, batch in enumerate(loader))
        seconds = time.perf_counter() - begin
    return count / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--per-track", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, stored = Path(folder) / "musdb", Path(folder) / "segment.npy"
        make_tracks(root / "train", args.songs, args.seconds)
        index = scan(folder_tracks(root / "train", SOURCES), sources=SOURCES, normalize=False, cache_dir=Path(folder) / "cache")
        policy = build_policy("random_mix", segment=SECONDS, shift=0, seed=0, per_track=args.per_track)
        dataset = SegmentDataset(index, sources=SOURCES, policy=policy, samplerate=RATE, channels=2, normalize=False)
        command = [python("openunmix"), str(REPOSITORY / "benchmarks" / "peers" / "openunmix_loader_peer.py"), str(root), str(stored),
                   *map(str, (WORKERS, args.per_track, BATCH, SECONDS))]
        ours, peers = [], []
        for _ in range(args.rounds):
            ours.append(rate(dataset))
            done = subprocess.run(command, cwd=folder, env=variables("openunmix"), stdout=subprocess.PIPE, check=True)
            peers.append(json.loads(done.stdout.splitlines()[-1]))
        segment = np.stack([index.read(dataset.names[0], source, RATE, SECONDS * RATE).numpy() for source in SOURCES])
        error = float(np.abs(segment - np.load(stored)).max())
    results = []
    for reader, words in READERS.items():
        peer = max(each[reader] for each in peers)
        results.append({"name": f"loader of random mixes beside openunmix {words}", "ours": max(ours), "peer": peer,
                        "ratio": max(ours) / peer, "error": error, "unit": "examples/s"})
        print(f"{results[-1]['name']}: {max(ours):.1f} examples/s, openunmix {peer:.1f}, ratio {max(ours) / peer:.2f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
