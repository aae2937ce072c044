"""Segments per second of the training data loader, with and without pitch shifting (repitch), compared with published
Demucs.

    python benchmarks/bench_loader.py

Both read the same four generated tracks of 30 s (44.1 kHz, stereo, 16 bit) in segments of 11 s with the same number of
loader workers of one thread each, in turns; the best round counts. Both read files with soundfile: published Demucs
asks torchaudio for them, which has no reader of its own since version 2.9 (`benchmarks/peers/sound_files.py`). So the
rows compare the loaders, not the readers; torchaudio 2.8 read with FFmpeg where it was installed, which is slower. With
repitch, every segment is stretched (proba 1). The last line is JSON: one entry per case, with the largest difference
between examples of both. Stretched examples differ by some 16-bit steps (3e-5 each), because published Demucs truncates
samples before stretching, and ours rounds them.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import python, variables
from demucs.audio import soundstretch
from demucs.data.index import scan
from demucs.data.kinds.folders import folder_tracks
from demucs.data.repitch import RepitchDataset
from demucs.data.sampler import EpochSampler
from demucs.data.segments import Chosen, Grid, SegmentDataset
from demucs.schema import SOURCES

RATE, SECONDS, WORKERS, ROUNDS = 44100, 30, 2, 2


def make_tracks(root: Path) -> None:
    """Write four tracks of noise to `root`, as folders with one wav file per stem and the mixture."""
    draw = np.random.default_rng(0)
    for track in range(4):
        (root / f"track {track}").mkdir(parents=True)
        stems = {source: 0.1 * draw.standard_normal((SECONDS * RATE, 2)) for source in SOURCES}
        for name, samples in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(root / f"track {track}" / f"{name}.wav", samples, RATE, subtype="PCM_16")


def rate(dataset) -> float:
    """Segments per second that a loader yields from `dataset` in its second pass, as measured for the peer."""
    loader = DataLoader(dataset, batch_sampler=EpochSampler(len(dataset), batch_size=4, seed=0), num_workers=WORKERS,
                        persistent_workers=True)
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        begin = time.perf_counter()
        count = sum(len(batch) for batch in loader)
        seconds = time.perf_counter() - begin
    return count / seconds


def largest_difference(dataset, examples) -> dict:
    """Largest difference of a sample between our examples and those of the peer, by case: "plain" and "repitch"."""
    error = {"plain": 0., "repitch": 0.}
    for index in np.linspace(0, len(dataset) - 1, 6).astype(int):
        error["plain"] = max(error["plain"], float(np.abs(dataset[index].numpy() - examples[f"plain {index}"]).max()))
    for source, (pitch, tempo) in enumerate([(0, 0.), (2, 12.), (-2, -12.), (1, 3.2)]):
        ours = soundstretch.find().stretch(dataset[0][source], RATE, pitch=pitch, tempo=tempo, voice=source == 3)
        error["repitch"] = max(error["repitch"], float(np.abs(ours.numpy() - examples[f"stretched {source}"]).max()))
    return error


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, stored = Path(folder) / "tracks", Path(folder) / "examples.npz"
        make_tracks(root)
        index = scan(folder_tracks(root, SOURCES), sources=SOURCES, cache_dir=Path(folder) / "cache")
        dataset = SegmentDataset(index, sources=SOURCES, policy=Grid(11, 1), samplerate=RATE, channels=2)
        some = Chosen(dataset, range(0, len(dataset), 5))
        ours, peers = [], []
        for _ in range(ROUNDS):
            ours.append({"plain": rate(Chosen(dataset, range(0, len(dataset), 2))),
                         "repitch": rate(RepitchDataset(some, seed=0, proba=1, vocals=[3]))})
            command = [python("published"), str(REPOSITORY / "benchmarks" / "peers" / "loader_peer.py"), str(root),
                       str(stored), str(WORKERS)]
            done = subprocess.run(command, cwd=folder, env=variables("published"), stdout=subprocess.PIPE, check=True)
            peers.append(json.loads(done.stdout.splitlines()[-1]))
        error = largest_difference(dataset, np.load(stored))
    results = []
    for case, words in (("plain", "loader"), ("repitch", "loader, every segment repitched")):
        best, peer = max(each[case] for each in ours), max(each[case] for each in peers)
        results.append({"name": f"{words}, both reading with soundfile", "ours": best, "peer": peer,
                        "ratio": best / peer, "error": error[case], "unit": "segments/s"})
        print(f"{words}: {best:.1f} segments/s, published {peer:.1f}, ratio {best / peer:.2f}, "
              f"largest difference {error[case]:.1e}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
