"""Common parts of all scripts: import path, command-line options, and printing of errors.

The scripts are run as `python graphing_scripts/NAME.py` from any folder, without installation. Importing this module
first makes `demucs` importable. No script imports torch.
"""

import argparse
import re
import sys
import typing as tp
from pathlib import Path

from records import REPOSITORY

if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from demucs import console  # noqa: E402  (needs the line above)
from demucs.arguments import Parser  # noqa: E402

sys.excepthook = console.hook


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """New parser with the arguments and options common to all scripts; `description` is the text above the options in
    `--help`, `example` the command line at its end."""
    made = Parser(description=description, epilog=f"example:\n  {example}",
                  formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="*", metavar="RUN",
                      help="a signature (a folder of demucs_results/runs or outputs/xps), another folder, or a file: a "
                           "record, a Demucs history.json, a solver's log, a printed result, a museval folder; without "
                           "it, the newest run")
    made.add_argument("--results", type=Path, default=REPOSITORY / "demucs_results", metavar="DIR",
                      help="folder with runs/, examples/ and figures/ (default: demucs_results)")
    return made


def add_chain_options(made: argparse.ArgumentParser) -> None:
    """Add the options --continued and --experiments to the parser `made`. They state which run continues which, for
    runs without a run card."""
    made.add_argument("--continued", action="store_true",
                      help="the runs continue one another in this order (not needed with run cards)")
    made.add_argument("--experiments", type=Path, metavar="FILE",
                      help="a JSON file with the overrides of experiments by signature; runs whose overrides contain "
                           "continue_from=SIGNATURE are drawn after that one")


def add_origin_options(made: argparse.ArgumentParser) -> None:
    """Add the options --trained-on and --scored-on to the parser `made`. They state training data and test set, which
    decide on comparable published numbers, for runs whose records do not."""
    made.add_argument("--trained-on", default="", metavar="DATA",
                      help="training data of models without a run card, e.g. 'MUSDB18-HQ train'")
    made.add_argument("--scored-on", default="", metavar="DATA",
                      help="test set of printed results, which do not name it, e.g. 'MUSDB18-HQ test'")


def together(names: tp.Iterable[str]) -> str:
    """Name of the folder for figures of several runs: their names joined by "+", cut to 120 characters."""
    return "+".join(names)[:120]


def file_name(text: str) -> str:
    """`text` as part of a file name of at most 100 characters: each run of characters other than letters, digits, "_",
    "." and "-" becomes one "-", and none is at the ends."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")[:100]


def print_notes(notes: tp.Iterable[str]) -> None:
    """Print each of `notes` once, as a line that begins with "note:"."""
    for note in dict.fromkeys(notes):
        print(f"note: {note}")


def run(main: tp.Callable[[], None], *, prints: bool = False) -> None:
    """Call `main` as a command line and exit with its status: an error becomes one line on stderr and a non-zero
    status. For `prints` see `console.command`."""
    sys.exit(console.command(prints=prints)(main)())
