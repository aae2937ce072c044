"""Time of validating HDemucs on a song compared with the solver of published Demucs, with the same weights.

    python benchmarks/bench_validation.py [--seconds 90] [--rounds 2]

A pass separates the song in segments, after one random delay (here the same for both), and computes loss and nSDR per
source. One process per side keeps running, and they take turns in alternating order; the best round counts. The last
line is JSON; its error is the largest difference of any metric (losses for a song of about unit level, nSDR in dB).
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.bench_training import MODEL, SCRIPT, SVD
from benchmarks.environments import SIDES, Peer, in_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=16, help="of the first level (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=90., help="length of the song (default: %(default)s)")
    parser.add_argument("--segment", type=float, default=44., help="seconds per segment (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="by each side (default: %(default)s)")
    args = parser.parse_args()
    seconds: dict = {side: [] for side in SIDES}
    metrics: dict = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = {side: stack.enter_context(Peer(side, SCRIPT, folder)) for side in SIDES}
        for side, peer in peers.items():
            print(side, peer.ask(do="build", model={**MODEL, "channels": args.channels}, segment=args.segment, svd=SVD))
        for number, side in in_turns(args.rounds):
            done = peers[side].ask(do="validate", seconds=args.seconds)
            seconds[side].append(done["seconds"])
            metrics[side] = done["metrics"]
            print(f"round {number + 1}, {side}: {done['seconds']:.3f} s", flush=True)
    error = max(abs(value - metrics["published"][key]) for key, value in metrics["ours"].items())
    best, other = (min(seconds[side]) for side in SIDES)
    print(f"validation: {best:.3f} s, published {other:.3f} s, {other / best:.2f} times less; largest difference "
          f"{error:.1e} of { {key: round(value, 4) for key, value in metrics['ours'].items()} }")
    print(json.dumps([{
        "name": f"validation of a song of {args.seconds:g} s, HDemucs of {args.channels} channels", "ours": best,
        "peer": other, "ratio": other / best, "error": error, "unit": "s"}]))


if __name__ == "__main__":
    main()
