"""Speed of `tools.dataset check` on one core, beside the 100 times real time that it must reach.

    python benchmarks/bench_dataset.py

The dataset has --songs songs of --seconds seconds with four stems and their mixture (44.1 kHz, stereo, 16 bits), made
of generated songs. The process is bound to one core, and all files are in the file cache. Ours is the length of the
mixtures by the processor time of the check, without the imports of the process: reading, all measurements, the
comparison of fingerprints. For flac files, of which libsndfile's decoding takes the most time, the number is printed
only. The peak memory of a process that checks 8 times as many songs stands beside that of one that checks the songs
once. The last line is JSON, without errors: there is no output to compare.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import typing as tp
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = 100.               # times real time
TIMES = 8                   # as many songs, for the memory
CHECK = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from demucs.data.checks import dataset, listing
root = Path(sys.argv[1])
found = listing.list_songs(root)
begin = time.process_time()
record = dataset.check(found.splits, root=root, kind=found.kind, sources=found.sources)
seconds = time.process_time() - begin
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1000
print(record.seconds / seconds, memory, len([each for each in record.findings if each.severity == "error"]))
"""


def make_songs(root: Path, count: int, seconds: int) -> None:
    """Songs of 20 s each, repeated in another order for every song to the length `seconds`."""
    import numpy as np
    import soundfile

    from demucs.data.synthetic.dataset import render_song
    parts = max(1, seconds // 20)
    rendered = [render_song(1, "test", index, min(20., seconds)) for index in range(count + 3)]
    for song in range(count):
        order = [(song + step * (song + 1)) % len(rendered) for step in range(parts)]
        for suffix in ("wav", "flac"):
            folder = root / suffix / "test" / f"Song {song}"
            folder.mkdir(parents=True)
            for name in rendered[0]:
                wav = np.concatenate([rendered[index][name] for index in order], axis=1)
                soundfile.write(folder / f"{name}.{suffix}", wav.T, 44100, subtype="PCM_16")


def measure(root: Path) -> tp.Tuple[float, float]:
    """(times real time, peak memory in MB) of a check in a process of its own, on one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(["taskset", "-c", str(core), sys.executable, "-c", CHECK, str(root)], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True)
    speed, memory, _ = map(float, done.stdout.split())
    return speed, memory


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--songs", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_songs(root, args.songs, args.seconds)
        memory = 0.
        for suffix in ("wav", "flac"):
            rounds = [measure(root / suffix) for _ in range(args.rounds)]
            speed = max(found for found, _ in rounds)
            memory = memory or rounds[0][1]
            print(f"{suffix}: {speed:.0f} times real time, {rounds[0][1]:.0f} MB")
            if suffix == "wav":
                results.append({"name": "check of a dataset on one core, beside the target", "ours": speed,
                                "peer": TARGET, "ratio": speed / TARGET, "error": None, "unit": "times real time"})
        more = root / "more" / "test"
        for number in range(TIMES):
            for song in sorted((root / "wav" / "test").iterdir()):
                (more / f"{song.name} {number}").mkdir(parents=True)
                for file in song.iterdir():
                    (more / f"{song.name} {number}" / file.name).hardlink_to(file)
        _, larger = measure(root / "more")
        print(f"{TIMES} times as many songs: {larger:.0f} MB")
        results.append({"name": f"check of a dataset {TIMES} times as large, peak memory, beside that of one",
                        "ours": larger, "peer": memory, "ratio": memory / larger, "error": None, "unit": "MB"})
    print(json.dumps(results))


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    main()
