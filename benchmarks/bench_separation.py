"""Time and peak memory of separating a song with HDemucs, beside published Demucs with the same weights.

    DEMUCS_ORACLE=.oracle/bin/python python benchmarks/bench_separation.py [--seconds 180] [--rounds 1]

Each separation is a process of its own; they take turns, and the best round counts. The last line is JSON: one entry
each for time and memory. `ratio` is how many times less ours takes, `error` the largest difference of a sample, for a
song and estimates of about unit scale.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
PEER = REPOSITORY / "benchmarks" / "peers" / "separation_peer.py"
RATE = 44100


def song(seconds: float) -> np.ndarray:
    """[2, L] float32 of unit deviation: chords that change every second, under a noise that comes and goes."""
    draw = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    wav = draw.normal(size=(2, len(time))) * (0.2 + 0.2 * np.sin(2 * np.pi * 1.5 * time))
    pitches = 110 * 2 ** (draw.integers(0, 36, size=(int(seconds) + 1, 3)) / 12)
    for voice in range(3):
        phase = 2 * np.pi * np.cumsum(pitches[time.astype(int), voice]) / RATE
        wav += np.sin(phase) + 0.3 * np.sin(3 * phase)
    return (wav / wav.std()).astype(np.float32)


def separation(which: str, python: str, source: Path, target: Path) -> dict:
    """One separation; `python` runs outside of the repository, where published code would find ours instead."""
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if which == "ours":
        environment["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run([python, str(PEER), which, str(source), str(target)], cwd=source.parent, env=environment,
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180., help="length of the song (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="separations by each (default: %(default)s)")
    args = parser.parse_args()
    oracle = os.environ.get("DEMUCS_ORACLE", str(REPOSITORY / ".oracle" / "bin" / "python"))
    if not Path(oracle).exists():
        sys.exit(f"error: no published Demucs at {oracle}: `make oracle` installs it, or set DEMUCS_ORACLE")
    pythons = {"published": oracle, "ours": sys.executable}
    rounds: dict = {"published": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        source, targets = Path(folder) / "song.npy", {which: Path(folder) / f"{which}.npy" for which in pythons}
        np.save(source, song(args.seconds))
        for _ in range(args.rounds):
            for which, python in pythons.items():
                rounds[which].append(separation(which, python, source, targets[which]))
                print(which, rounds[which][-1], flush=True)
        ours, peer = (np.load(targets[which], mmap_mode="r") for which in ("ours", "published"))
        error = float(np.abs(ours - peer).max())
    results = []
    for key, unit, words in (("seconds", "s", "time"), ("peak_mb", "MB", "peak memory")):
        best, other = (min(each[key] for each in rounds[which]) for which in ("ours", "published"))
        results.append({"name": f"HDemucs, {args.seconds:g} s of stereo, {words}", "ours": best, "peer": other,
                        "ratio": other / best, "error": error, "unit": unit})
        print(f"{words}: {best:.1f} {unit}, published {other:.1f} {unit}, {other / best:.2f} times less")
    print(f"largest difference: {error:.1e}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
