"""Start-up time compared with published Demucs: the help of the command line, and the import of the separation modules.

    python benchmarks/bench_startup.py [--rounds 5]

Each start is a process of its own, measured from its start to its end. After one warm-up start of each side, which
fills the file cache, the two sides take turns in alternating order, and the best round counts. The last line is JSON,
without errors: there is no output to compare.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
from benchmarks.environments import SIDES, in_turns, python, variables

CASES = {"python -m demucs --help": ["-m", "demucs", "--help"],
         "import demucs.apply, demucs.pretrained": ["-c", "import demucs.apply, demucs.pretrained"]}


def start(side: str, arguments: list, folder: str) -> float:
    """Seconds that one process of a side takes from its start to its end."""
    begin = time.perf_counter()
    subprocess.run([python(side), *arguments], cwd=folder, env=variables(side), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="by each side (default: %(default)s)")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in CASES.items():
            for side in SIDES:
                start(side, arguments, folder)
            seconds: dict = {side: [] for side in SIDES}
            for _, side in in_turns(args.rounds):
                seconds[side].append(start(side, arguments, folder))
            best, other = (min(seconds[side]) for side in SIDES)
            print(f"{name}: {best:.2f} s, published {other:.2f} s, {other / best:.2f} times less", flush=True)
            results.append({"name": name, "ours": best, "peer": other, "ratio": other / best, "error": None,
                            "unit": "s"})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
