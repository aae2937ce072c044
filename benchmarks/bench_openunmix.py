"""Open-Unmix compared with the package openunmix 1.3.0, with the same weights: time of a training step of one network
(umxhq: 16 examples of 6 s), with its LSTM and without, and time and memory of the separation of songs by four networks
with one iteration of the Wiener filter.

    python benchmarks/bench_openunmix.py [--rounds 3] [--batch 16] [--seconds 6] [--songs 60 240]

The peer is openunmix (DEMUCS_OPENUNMIX: a Python that has openunmix 1.3.0 on the same torch), not published Demucs. A
step is spectrograms, network, squared error of magnitudes, backward pass and Adam; ours also mixes the stems, which the
peer's loader does. Without the LSTM, both replace it by its input. The error of a step is the largest difference of a
loss, relative to it, or of a weight, after three steps without dropout, whose masks differ. Each separation is a
process of its own; the error is the largest difference of a sample relative to the loudest one. The sides take turns,
and the best round counts. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import typing as tp
from contextlib import ExitStack
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.bench_separation import song
from benchmarks.environments import Peer, in_turns, python, variables

SCRIPT = REPOSITORY / "benchmarks" / "peers" / "openunmix_peer.py"
SIDES = ("ours", "openunmix")
CHECKED = 3       # steps whose losses and weights are compared


def steps(args: argparse.Namespace, folder: Path) -> tp.List[tp.Dict[str, tp.Any]]:
    """Results for training steps, as dictionaries for `run.Result`."""
    seconds: tp.Dict[tp.Tuple[str, bool], tp.List[float]] = {}
    with ExitStack() as stack:
        peers = {side: stack.enter_context(Peer(side, SCRIPT, folder)) for side in SIDES}

        def train(side: str, *, count: int = 1, dropout: bool = True, without_lstm: bool = False
                  ) -> tp.Dict[str, tp.Any]:
            return peers[side].ask(do="train", steps=count, batch=args.batch, seconds=args.seconds, dropout=dropout,
                                   without_lstm=without_lstm)
        losses = {}
        for side, peer in peers.items():
            print(side, peer.ask(do="build", hidden=args.hidden), flush=True)
            losses[side] = train(side, count=CHECKED, dropout=False)["losses"]
            peer.ask(do="save", path=str(folder / f"{side}.npz"))
        for number, side in in_turns(args.rounds, SIDES):
            for without in (False, True):
                done = train(side, without_lstm=without)["seconds"]
                seconds.setdefault((side, without), []).append(done)
                print(f"round {number + 1}, {side}{', without the LSTM' * without}: {done:.3f} s per step", flush=True)
    ours, theirs = (np.array(losses[side]) for side in SIDES)
    weights = [np.load(folder / f"{side}.npz") for side in SIDES]
    error = max(float(np.abs(ours / theirs - 1).max()),
                *(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0].files))
    results = []
    for without, words in ((False, ""), (True, " without the LSTM")):
        best, other = (min(seconds[side, without]) for side in SIDES)
        print(f"training step{words}: {best:.3f} s, openunmix {other:.3f} s, {other / best:.2f} times less")
        results.append({"name": f"training step of Open-Unmix{words}, {args.batch} x {args.seconds:g} s", "ours": best,
                        "peer": other, "ratio": other / best, "error": None if without else error, "unit": "s"})
    return results


def separation(side: str, hidden: int, source: Path, target: Path) -> tp.Dict[str, float]:
    """Measurements of one separation of the song in `source` to the file `target`, by a process of its own."""
    done = subprocess.run([python(side), str(SCRIPT), side, str(hidden), str(source), str(target)], cwd=source.parent,
                          env=variables(side), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def separations(args: argparse.Namespace, length: float, folder: Path) -> tp.List[tp.Dict[str, tp.Any]]:
    """Results for songs of `length` seconds, as dictionaries for `run.Result`."""
    np.save(folder / "song.npy", song(length))
    measured: tp.Dict[str, tp.List[tp.Dict[str, float]]] = {side: [] for side in SIDES}
    for _, side in in_turns(args.separations, SIDES):
        measured[side].append(separation(side, args.hidden, folder / "song.npy", folder / f"{side}.npy"))
        print(f"{length:g} s, {side}: {measured[side][-1]}", flush=True)
    ours, theirs = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in SIDES)
    error = max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs)) / float(np.abs(theirs).max())
    results = []
    for key, unit, words in (("seconds", "s", "time"), ("peak_mb", "MB", "peak memory")):
        best, other = (min(each[key] for each in measured[side]) for side in SIDES)
        print(f"{length:g} s, {words}: {best:.1f} {unit}, openunmix {other:.1f} {unit}, {other / best:.2f} times less")
        results.append({"name": f"Open-Unmix with four networks and a Wiener filter, {length:g} s of stereo, {words}",
                        "ours": best, "peer": other, "ratio": other / best, "error": error, "unit": unit})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512, help="hidden size of the networks (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="examples per step (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6., help="of audio per example (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="steps by each (default: %(default)s)")
    parser.add_argument("--songs", type=float, nargs="+", default=[60., 240.], metavar="SECONDS",
                        help="lengths of songs to separate (default: 60 240)")
    parser.add_argument("--separations", type=int, default=1, help="of each song by each (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = steps(args, Path(folder))
        for length in args.songs:
            results += separations(args, length, Path(folder))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
