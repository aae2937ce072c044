"""What every script here shares: where the repository is, how arguments look, and how errors reach the reader.

The scripts are run as `python graphing_scripts/NAME.py` from any folder, without installing anything; importing this
module first makes `demucs.schema` and the numpy-only part of the metrics importable. None of them imports torch.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from demucs.errors import DemucsError  # noqa: E402  (needs the line above)


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser with the options that all scripts have, and `example` at the end of `--help`."""
    made = argparse.ArgumentParser(description=description, epilog=f"example:\n  {example}",
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="*", metavar="RUN",
                      help="a signature (a folder of demucs_results/runs), another folder of records, or a file: "
                           "run_card.json, history.json, evaluation.json; without it, the newest run")
    made.add_argument("--results", type=Path, default=REPOSITORY / "demucs_results", metavar="DIR",
                      help="folder that holds runs/, examples/ and figures/ (default: demucs_results)")
    return made


def run(main: tp.Callable[[], None]) -> None:
    """Call `main`; what is wrong with the input becomes one line on stderr and exit status 1."""
    try:
        main()
    except (DemucsError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
