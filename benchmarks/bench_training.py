"""Time of one training step of HDemucs compared with the solver of published Demucs, with the same weights and batches.

    python benchmarks/bench_training.py [--rounds 4] [--channels 16] [--seconds 4]

A step is the forward pass, the L1 loss, the SVD penalty (svd=base2, svd.penalty=1e-5), the backward pass, Adam, two
exponential moving averages over batches, and the metrics. The settings are the published ones except for the number of
channels. One process per side keeps running, and they take turns: after a warm-up step, some steps per round, in
alternating order; the fastest step counts. The last line is JSON; its error is the largest difference to published
Demucs of the losses of all steps, and of any weight after them.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import SIDES, Peer, in_turns

SCRIPT = REPOSITORY / "benchmarks" / "peers" / "training_peer.py"
MODEL = {"multi_freqs_depth": 3, "dconv_init": 1e-3}    # published configuration where it differs from class defaults
SVD = {"penalty": 1e-5, "min_size": 1, "dim": 100, "niters": 4, "powm": False, "proba": 1, "conv_only": False,
       "convtr": True, "bs": 1}


def largest_difference(folder: Path) -> float:
    """Largest difference between the weights that both sides have written to `folder`."""
    weights = [np.load(folder / f"{side}.npz") for side in SIDES]
    return max(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0].files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=16, help="of the first level (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4., help="of audio per example (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="examples per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="by each side (default: %(default)s)")
    parser.add_argument("--min-size", type=float, default=SVD["min_size"],
                        help="MB of the smallest layer with a penalty (default: %(default)s)")
    args = parser.parse_args()
    seconds: dict = {side: [] for side in SIDES}
    metrics: dict = {side: [] for side in SIDES}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = {side: stack.enter_context(Peer(side, SCRIPT, folder)) for side in SIDES}

        def step(side: str) -> float:
            done = peers[side].ask(do="train", step=len(metrics[side]), batch=args.batch, seconds=args.seconds)
            metrics[side].append(done["metrics"])
            return done["seconds"]

        for side, peer in peers.items():
            print(side, peer.ask(do="build", model={**MODEL, "channels": args.channels}, segment=44.,
                                 svd={**SVD, "min_size": args.min_size}))
            step(side)
        for number, side in in_turns(args.rounds):
            seconds[side].append(min(step(side) for _ in range(args.steps)))
            print(f"round {number + 1}, {side}: {seconds[side][-1]:.3f} s per step", flush=True)
        for side, peer in peers.items():
            peer.ask(do="save", path=str(folder / f"{side}.npz"))
        weights = largest_difference(folder)
    losses = max(abs(ours[key] - theirs[key]) for ours, theirs in zip(*metrics.values()) for key in ("loss", "reco"))
    best, other = (min(seconds[side]) for side in SIDES)
    print(f"training step: {best:.3f} s, published {other:.3f} s, {other / best:.2f} times less; after "
          f"{len(metrics['ours'])} steps the losses differ by {losses:.1e}, the weights by {weights:.1e}; last step: "
          f"{ {key: round(value, 4) for key, value in metrics['ours'][-1].items()} }")
    print(json.dumps([{
        "name": f"training step, HDemucs of {args.channels} channels, {args.batch} x {args.seconds:g} s, SVD penalty",
        "ours": best, "peer": other, "ratio": other / best, "error": max(losses, weights), "unit": "s"}]))


if __name__ == "__main__":
    main()
