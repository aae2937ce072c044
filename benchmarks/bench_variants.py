"""Variants of HTDemucs compared with their author's code, with the same weights: time of the separation of a song, and
of a training step.

    python benchmarks/bench_variants.py [--seconds 180] [--rounds 2] [--variant n]

The peer is github.com/piusssss/demucs_learn at the commits of tests/golden/variants_cases.py, on the same torch, from a
bare clone in DEMUCS_LEARN (default: .demucs_learn). Both sides build the variant as it was published, at its published
size. A step is forward pass, L1 loss, backward pass and Adam. One process per side and task keeps running, and they take
turns; the best round counts. The last line is JSON; the error of a separation is the largest difference of a sample,
relative to the loudest one, and that of the steps the largest relative difference of a loss.
"""

import argparse
import json
import os
import sys
import tempfile
import typing as tp
from contextlib import ExitStack
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.bench_separation import song
from benchmarks.environments import SIDES, Peer, in_turns

SCRIPT = REPOSITORY / "benchmarks" / "peers" / "variants_peer.py"
VARIANTS = ("n", "nn")
Found = tp.Dict[str, tp.Any]


def compare(variant: str, args: argparse.Namespace, folder: Path) -> tp.List[Found]:
    """Results for one variant, as dictionaries for `run.Result`."""
    separations: tp.Dict[str, tp.List[Found]] = {side: [] for side in SIDES}
    steps: tp.Dict[str, tp.List[Found]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        peers = {side: stack.enter_context(Peer(side, SCRIPT, folder)) for side in SIDES}
        for side, peer in peers.items():
            print(variant, side, peer.ask(do="build", variant=variant), flush=True)
        for number, side in in_turns(args.rounds):
            separations[side].append(peers[side].ask(do="separate", source=str(folder / "song.npy"),
                                                     target=str(folder / f"{side}.npy")))
            print(f"{variant}, round {number + 1}, {side}: {separations[side][-1]}", flush=True)
        for number, side in in_turns(1 + 2 * args.rounds):
            steps[side].append(peers[side].ask(do="train", step=number, batch=args.batch, seconds=args.length))
            print(f"{variant}, step {number + 1}, {side}: {steps[side][-1]}", flush=True)
    ours, theirs = (np.load(folder / f"{side}.npy") for side in SIDES)
    losses = [np.array([each["loss"] for each in steps[side]]) for side in SIDES]
    rows = [(f"htdemucs_{variant}, {args.seconds:g} s of stereo, time", separations, "seconds", "s",
             float(np.abs(ours - theirs).max() / np.abs(theirs).max())),
            (f"htdemucs_{variant}, {args.seconds:g} s of stereo, peak memory", separations, "peak_mb", "MB", None),
            (f"htdemucs_{variant}, training step, {args.batch} x {args.length:g} s", steps, "seconds", "s",
             float(np.abs(losses[0] / losses[1] - 1).max()))]
    results = []
    for name, measured, key, unit, error in rows:
        best, other = (min(each[key] for each in measured[side]) for side in SIDES)
        results.append({"name": name, "ours": best, "peer": other, "ratio": other / best, "error": error, "unit": unit})
        print(f"{name}: {best:.3f} {unit}, published {other:.3f} {unit}, {other / best:.2f} times less", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180., help="length of the song (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="separations by each side (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="examples per training step (default: %(default)s)")
    parser.add_argument("--length", type=float, default=4., help="seconds of an example (default: %(default)s)")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="may be repeated (default: all)")
    args = parser.parse_args()
    clone = Path(os.environ.setdefault("DEMUCS_LEARN", str(REPOSITORY / ".demucs_learn")))
    if not clone.exists():
        sys.exit(f"error: no clone of the variants at {clone}: `git clone --bare https://github.com/piusssss/demucs_learn "
                 f"{clone}`, or set DEMUCS_LEARN")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "song.npy", song(args.seconds))
        results = [result for variant in args.variant or VARIANTS for result in compare(variant, args, Path(folder))]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
