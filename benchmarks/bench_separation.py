"""Time and peak memory of separating a song with HDemucs and HTDemucs, compared with published Demucs with the same
weights.

    python benchmarks/bench_separation.py [--seconds 180] [--rounds 1] [--model NAME]

Each separation is a process of its own; the two sides take turns, and the best round counts. Published Demucs separates
in float32, ours also in bf16 if the processor has instructions for it. The names of the bf16 rows contain the agreement of the estimates with those of published
Demucs, as the nSDR of the worst source. The last line is JSON: for each model and precision one entry for time and one
for memory. `ratio` is the time or memory of published Demucs divided by ours, `error` the largest difference of a
sample, for a song and estimates of about unit scale.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import typing as tp
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import in_turns, python, variables
from demucs.separation.precision import has_bf16_instructions

PEER = REPOSITORY / "benchmarks" / "peers" / "separation_peer.py"
RATE = 44100
MODELS = {"hdemucs": "HDemucs", "htdemucs": "HTDemucs"}
PRECISIONS = {"published": ("float32",), "ours": ("float32", "bf16") if has_bf16_instructions() else ("float32",)}


def song(seconds: float) -> np.ndarray:
    """Synthetic song [2, L] float32 of unit standard deviation: chords that change every second, and modulated
    noise."""
    draw = np.random.default_rng(0)
    time = np.arange(int(seconds * RATE)) / RATE
    wav = draw.normal(size=(2, len(time))) * (0.2 + 0.2 * np.sin(2 * np.pi * 1.5 * time))
    pitches = 110 * 2 ** (draw.integers(0, 36, size=(int(seconds) + 1, 3)) / 12)
    for voice in range(3):
        phase = 2 * np.pi * np.cumsum(pitches[time.astype(int), voice]) / RATE
        wav += np.sin(phase) + 0.3 * np.sin(3 * phase)
    return (wav / wav.std()).astype(np.float32)


def separation(side: str, model: str, precision: str, source: Path, target: Path) -> tp.Dict[str, float]:
    """Measurements of one separation of the song in `source` to the file `target`, by a process that is run outside of
    the repository, in which published code would import ours instead."""
    done = subprocess.run([python(side), str(PEER), side, model, precision, str(source), str(target)],
                          cwd=source.parent, env=variables(side), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def difference(ours: Path, peer: Path) -> tp.Tuple[float, float]:
    """(largest difference of a sample, nSDR of the worst source in dB) between estimates [S, A, L] in two files."""
    error, worst = 0., float("inf")
    for one, other in zip(np.load(ours, mmap_mode="r"), np.load(peer, mmap_mode="r")):
        residual = np.asarray(one, np.float64) - other
        error = max(error, float(np.abs(residual).max()))
        worst = min(worst, 10 * np.log10(np.square(other, dtype=np.float64).sum()
                                         / max(np.square(residual).sum(), 1e-30)))
    return error, float(worst)


def compare(model: str, seconds: float, rounds: int, folder: Path) -> tp.List[tp.Dict[str, tp.Any]]:
    """Results for one model, as dictionaries for `run.Result`."""
    measured: tp.Dict[tp.Tuple[str, str], tp.List[tp.Dict[str, float]]] = {}
    for _, side in in_turns(rounds):
        for precision in PRECISIONS[side]:
            done = separation(side, model, precision, folder / "song.npy", folder / f"{side}-{precision}.npy")
            measured.setdefault((side, precision), []).append(done)
            print(model, side, precision, done, flush=True)
    results = []
    for precision in PRECISIONS["ours"]:
        error, ndr = difference(folder / f"ours-{precision}.npy", folder / "published-float32.npy")
        name = MODELS[model] + ("" if precision == "float32" else f" in {precision} ({ndr:.0f} dB)")
        print(f"{name}: largest difference {error:.1e}, nSDR of the worst source to that of published {ndr:.1f} dB")
        for key, unit, words in (("seconds", "s", "time"), ("peak_mb", "MB", "peak memory")):
            best, other = (min(each[key] for each in measured[which])
                           for which in (("ours", precision), ("published", "float32")))
            results.append({"name": f"{name}, {seconds:g} s of stereo, {words}", "ours": best, "peer": other,
                            "ratio": other / best, "error": error, "unit": unit})
            print(f"  {words}: {best:.1f} {unit}, published {other:.1f} {unit}, {other / best:.2f} times less")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180., help="length of the song (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="separations by each (default: %(default)s)")
    parser.add_argument("--model", choices=MODELS, action="append", help="may be repeated (default: all)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "song.npy", song(args.seconds))
        results = [result for model in args.model or MODELS
                   for result in compare(model, args.seconds, args.rounds, Path(folder))]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
