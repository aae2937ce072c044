"""Time for which saving a checkpoint stops a training, and time of a restart, compared with published Demucs.

    python benchmarks/bench_checkpoint.py [--rounds 3] [--channels 48] [--steps 2]

The state is that of HDemucs with Adam, two exponential moving averages over batches, two over epochs, and the best
weights. Published Demucs writes it before training continues; ours copies it, and writes it while training continues.
The slowdown of training steps during the writing is also measured: the fastest of --steps steps with and without
writing. The sum of both is compared with the 5 % of the default interval (`checkpoint.minutes` of conf/config.yaml)
that saving may take. The restart is a separate process: imports, building the model, and reading the checkpoint, until
it could compute the next step. The two sides take turns in alternating order, and the median of each side counts. The
error is the largest difference between weights after the restart and the saved weights. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.bench_training import MODEL, SCRIPT, SVD
from benchmarks.environments import SIDES, Peer, in_turns
from demucs.runs.layout import NEWEST

ALLOWED = 5.      # % of the time of training
STEP = {"step": 0, "batch": 1, "seconds": 2.}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=48, help="of the first level (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="by each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="with and without writing beside (default: %(default)s)")
    args = parser.parse_args()
    settings = {"do": "build", "model": {**MODEL, "channels": args.channels}, "segment": 44.,
                "svd": {**SVD, "penalty": 0}}
    seconds: dict = {side: {"stalled": [], "written": [], "restart": []} for side in SIDES}
    weights = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = {side: stack.enter_context(Peer(side, SCRIPT, folder)) for side in SIDES}
        for side, peer in peers.items():
            (folder / side).mkdir()
            print(side, peer.ask(**settings), flush=True)
            weights[side] = saved(peer, folder)
        for number, side in in_turns(args.rounds):
            done = peers[side].ask(do="checkpoint", folder=str(folder / side))
            begin = time.perf_counter()
            with Peer(side, SCRIPT, folder) as again:
                again.ask(**settings)
                again.ask(do="restore", folder=str(folder / side))
                done["restart"] = time.perf_counter() - begin
                if side == "ours":
                    error = max(float(np.abs(value - weights[side][name]).max())
                                for name, value in saved(again, folder).items())
            for key, value in done.items():
                seconds[side][key].append(value)
            print(f"round {number + 1}, {side}: stalled {done['stalled']:.2f} s, written after "
                  f"{done['written']:.2f} s, again there after {done['restart']:.2f} s", flush=True)
        plain, beside = [], []
        for _ in range(args.steps):
            plain.append(peers["ours"].ask(do="train", **STEP)["seconds"])
            beside.append(peers["ours"].ask(do="train beside", folder=str(folder / "ours"), **STEP)["seconds"])
        size = (folder / "ours" / NEWEST).stat().st_size / 2 ** 20
    # Not the minimum: memory freed by the previous round is available again, which is rarely so in a training.
    usual = {side: {key: statistics.median(values) for key, values in measured.items()}
             for side, measured in seconds.items()}
    interval = yaml.safe_load((REPOSITORY / "conf" / "config.yaml").read_text())["checkpoint"]["minutes"] * 60
    # Steps are slower during the writing, which may take a part of one step, or several steps.
    slower = max(0., min(beside) - min(plain)) * max(1., usual["ours"]["written"] / min(beside))
    share = 100 * (usual["ours"]["stalled"] + slower) / interval
    print(f"{size:.0f} MB: training waits {usual['ours']['stalled']:.2f} s and loses {slower:.2f} s in steps beside "
          f"the writing, {share:.2f} % of {interval:g} s; published waits {usual['published']['stalled']:.2f} s")
    rows = [(f"saving a training of {size:.0f} MB: until it goes on", "stalled"),
            ("restart until the next step", "restart")]
    print(json.dumps([
        *({"name": name, "ours": usual["ours"][key], "peer": usual["published"][key],
           "ratio": usual["published"][key] / usual["ours"][key], "error": error, "unit": "s"} for name, key in rows),
        {"name": f"all that saving takes at the default interval of {interval:g} s, beside the limit", "ours": share,
         "peer": ALLOWED, "ratio": ALLOWED / share, "error": None, "unit": "%"}]))


def saved(peer: Peer, folder: Path) -> dict:
    """Weights by name of the model in the process of `peer`, passed through a file in `folder`."""
    path = folder / "weights.npz"
    peer.ask(do="save", path=str(path))
    with np.load(path) as found:
        return dict(found)


if __name__ == "__main__":
    main()
