"""Time of scoring four stereo stems compared with museval, memory for a long song, and cost of scoring in an
evaluation.

    python benchmarks/bench_metrics.py [--seconds 240] [--long 360] [--song 240] [--separated 60] [--rounds 3]

museval (0.4.1) and ours score the same signals, each in a process of its own, on the same cores. museval cannot compute
the SDR without the other measures, so both of our times are compared with its one time, which is minutes for a whole
song. The memory of scoring --long seconds is that of the whole process, compared with a limit of 2000 MB. The time of
all scores that an evaluation computes for a song is compared with the time of separating it with HDemucs and HTDemucs
with random weights, on the GPU if there is one: a ratio above 10 means that scoring takes less than a tenth of it.
Separation is measured on --separated seconds and extrapolated. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import typing as tp
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import python, variables
from benchmarks.peers.metrics_peer import METRICS, RATE, signals
from demucs.evaluation.scoring import score
from demucs.models import zoo
from demucs.schema import SOURCES
from demucs.separation.song import separate_song

PEER = REPOSITORY / "benchmarks" / "peers" / "metrics_peer.py"
SEGMENTS = {"hdemucs": 44., "htdemucs": 7.8}      # seconds, as published
MEMORY = 2000.                                    # MB


def scoring(which: str, seconds: float, rounds: int, target: Path) -> tp.Dict[str, float]:
    """Measurements of one process that scores `seconds` of signals: see `peers/metrics_peer.py`. `which` is "ours" or
    "museval"; the scores are written to `target`."""
    done = subprocess.run([python("ours"), str(PEER), which, str(seconds), str(rounds), str(target)],
                          env=variables("ours"), stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    print(which, f"{seconds:g} s", {key: round(value, 3) for key, value in answer.items()}, flush=True)
    return answer


def difference(ours: Path, peer: Path, names: tp.Iterable[str]) -> float:
    """Largest difference in dB between the scores in two files, over all frames and the measures `names`."""
    one, other = np.load(ours), np.load(peer)
    return max(float(np.nanmax(np.abs(one[name] - other[name]))) for name in names)


def all_scores(seconds: float, rounds: int, device: torch.device) -> float:
    """Seconds for all scores that an evaluation computes for a song of `seconds`, in the best of `rounds` rounds."""
    song = signals(seconds)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        score(*(wav.to(device) for wav in song), SOURCES, RATE, metrics=("nsdr", "si_sdr", "bsseval"), sums=True)
        times.append(time.perf_counter() - begin)
    return min(times)


def separation(name: str, seconds: float, device: torch.device) -> float:
    """Seconds that the model `name`, with random weights, takes to separate `seconds` of a song."""
    torch.manual_seed(0)
    model = zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=RATE, segment=SEGMENTS[name]).to(device)
    mix = signals(seconds)[0].sum(0)
    if device.type == "cuda":                    # warm-up: the first call of each kernel is slow
        separate_song(model, mix, device=device)
    begin = time.perf_counter()
    separate_song(model, mix, device=device)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240., help="beside museval (default: %(default)s)")
    parser.add_argument("--long", type=float, default=360., help="of which memory is measured (default: %(default)s)")
    parser.add_argument("--song", type=float, default=240., help="of an evaluation (default: %(default)s)")
    parser.add_argument("--separated", type=float, default=60., help="of it that are separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of ours; the best counts (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        files = {which: Path(place) / f"{which}.npz" for which in ("ours", "museval", "long")}
        ours = scoring("ours", args.seconds, args.rounds, files["ours"])
        peer = scoring("museval", args.seconds, 1, files["museval"])
        long = scoring("ours", args.long, 1, files["long"])
        errors = {"sdr": difference(files["ours"], files["museval"], METRICS[:1]),
                  "all": difference(files["ours"], files["museval"], METRICS)}
    beside = f"{args.seconds:g} s of four stereo stems, beside museval {metadata.version('museval')}"
    results: tp.List[tp.Dict[str, tp.Any]] = [
        {"name": f"{words} of {beside}", "ours": ours[key], "peer": peer["all"], "ratio": peer["all"] / ours[key],
         "error": errors[key], "unit": "s"}
        for key, words in (("sdr", "SDR"), ("all", "SDR, ISR, SIR and SAR"))]
    results.append({"name": f"memory for all scores of {args.long:g} s, beside the limit", "ours": long["peak_mb"],
                    "peer": MEMORY, "ratio": MEMORY / long["peak_mb"], "error": None, "unit": "MB"})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    scores = all_scores(args.song, args.rounds, device)
    for model in SEGMENTS:
        separating = separation(model, args.separated, device) * args.song / args.separated
        print(f"{model}, {args.song:g} s on {place}: separation {separating:.2f} s, all scores {scores:.2f} s, "
              f"{100 * scores / separating:.1f} % of it", flush=True)
        results.append({"name": f"all scores of {args.song:g} s on {place}, beside separating it with {model}",
                        "ours": scores, "peer": separating, "ratio": separating / scores, "error": None, "unit": "s"})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
