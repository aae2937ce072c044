"""Segments per second of the training data loader, compared with published Demucs: without pitch shifting (repitch), with
the default augmentation (every fifth segment is repitched), and with every segment repitched.

    python benchmarks/bench_loader.py [--songs 50] [--seconds 240] [--segments 320]

Both read the same generated songs (44.1 kHz, stereo, 16 bit) in segments of 11 s with the same number of loader workers
of one thread each, in turns; the best round counts. The same --segments segments are read in every pass (a quarter of
them where all are repitched). Files of the songs are links to those of five, so that they fit into the file cache: what
is compared is computation, not the disk. Both read files with soundfile: published Demucs asks torchaudio for them,
which has no reader of its own since version 2.9 (`benchmarks/peers/sound_files.py`). So the rows compare the loaders, not
the readers; torchaudio 2.8 read with FFmpeg where it was installed, which is slower. Rows with a cache are ours with
`dset.cache`, beside the same peer. The last line is JSON: one entry per case, with the largest difference between
examples of both. Stretched examples differ by some 16-bit steps (3e-5 each), because published Demucs truncates samples
before stretching, and ours rounds them; in the row with the default augmentation, both draw their own changes.
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
import soundfile
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import python, variables
from demucs.audio import soundstretch
from demucs.data.audio_cache import AudioCache
from demucs.data.index import scan
from demucs.data.kinds.folders import folder_tracks
from demucs.data.repitch import RepitchDataset
from demucs.data.sampler import EpochSampler, ExampleKey
from demucs.data.segments import Chosen, Grid, SegmentDataset
from demucs.schema import SOURCES
from demucs.training.batches import BatchLoader

RATE, WORKERS, ROUNDS, DISTINCT = 44100, 2, 2, 5
CASES = {"plain": "loader without repitch", "default": "loader with the default augmentation", "repitch": "loader, every segment "
         "repitched"}
CACHES = ("memory", "int16")


def make_tracks(root: Path, songs: int, seconds: float) -> None:
    """Write songs of noise to `root`, as folders with one wav file per stem and the mixture. From the fifth on they are
    links to the files of others."""
    draw = np.random.default_rng(0)
    for number in range(songs):
        folder = root / f"track {number}"
        folder.mkdir(parents=True)
        if number >= DISTINCT:
            for file in (root / f"track {number % DISTINCT}").iterdir():
                os.link(file, folder / file.name)
            continue
        stems = {source: 0.1 * draw.standard_normal((int(seconds * RATE), 2), dtype=np.float32) for source in SOURCES}
        for name, samples in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")


def rate(dataset) -> float:
    """Segments per second that a loader yields from `dataset` in its second pass, as measured for the peer."""
    sampler = EpochSampler(len(dataset), batch_size=4, seed=0)
    loader = BatchLoader(dataset, sampler, example=dataset[ExampleKey(0, 0, 0, 0)].shape, batch_size=4, workers=WORKERS,
                         device=torch.device("cpu"))
    for epoch in range(2):
        sampler.set_epoch(epoch)
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


def measure(dataset, segments: int) -> dict:
    """Segments per second in each case."""
    some = np.random.default_rng(1).choice(len(dataset), segments, replace=False).tolist()

    def repitched(indices, proba):
        return RepitchDataset(Chosen(dataset, indices), seed=0, proba=proba, vocals=[3])
    return {"plain": rate(Chosen(dataset, some)), "default": rate(repitched(some, .2)),
            "repitch": rate(repitched(some[:segments // 4], 1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--segments", type=int, default=320)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, stored = Path(folder) / "tracks", Path(folder) / "examples.npz"
        make_tracks(root, args.songs, args.seconds)
        found = folder_tracks(root, SOURCES)

        def dataset(cache=AudioCache()):
            index = cache.loaded(scan(cache.copied(found), sources=SOURCES, cache_dir=Path(folder) / "cache"))
            return SegmentDataset(index, sources=SOURCES, policy=Grid(11, 1), samplerate=RATE, channels=2)
        plain = dataset()
        ours, peers = [], []
        for _ in range(ROUNDS):
            ours.append(measure(plain, args.segments))
            command = [python("published"), str(REPOSITORY / "benchmarks" / "peers" / "loader_peer.py"), str(root),
                       str(stored), str(WORKERS), str(args.segments)]
            done = subprocess.run(command, cwd=folder, env=variables("published"), stdout=subprocess.PIPE, check=True)
            peers.append(json.loads(done.stdout.splitlines()[-1]))
        error = {**largest_difference(plain, np.load(stored)), "default": None}
        cached = {cache: measure(dataset(AudioCache(cache, Path(folder) / "audio", RATE)), args.segments) for cache in CACHES}
    results = []
    for case, words in CASES.items():
        peer = max(each[case] for each in peers)
        rows = {"": max(each[case] for each in ours), **{cache: cached[cache][case] for cache in CACHES}}
        for cache, best in rows.items():
            name = f"{words}, dset.cache={cache}" if cache else words
            results.append({"name": f"{name}, both reading with soundfile", "ours": best, "peer": peer,
                            "ratio": best / peer, "error": error[case] if not cache else None, "unit": "segments/s"})
            print(f"{name}: {best:.1f} segments/s, published {peer:.1f}, ratio {best / peer:.2f}, "
                  f"largest difference {'none computed' if results[-1]['error'] is None else format(error[case], '.1e')}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
