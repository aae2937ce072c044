"""What every script here shares: where the repository is, how arguments look, and how errors reach the reader.

The scripts are run as `python graphing_scripts/NAME.py` from any folder, without installing anything; importing this
module first makes the parts of `demucs` importable that need no torch. None of them imports torch.
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
    """A parser with the options that all scripts have, and `example` at the end of `--help`."""
    made = Parser(description=description, epilog=f"example:\n  {example}",
                  formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("runs", nargs="*", metavar="RUN",
                      help="a signature (a folder of demucs_results/runs or outputs/xps), another folder, or a file: a "
                           "record, a Demucs history.json, a solver's log, a printed result, a museval folder; without "
                           "it, the newest run")
    made.add_argument("--results", type=Path, default=REPOSITORY / "demucs_results", metavar="DIR",
                      help="folder that holds runs/, examples/ and figures/ (default: demucs_results)")
    return made


def add_chain_options(made: argparse.ArgumentParser) -> None:
    """Options that say which run continues which, where no record does."""
    made.add_argument("--continued", action="store_true",
                      help="the runs continue one another in this order (run cards say so by themselves)")
    made.add_argument("--experiments", type=Path, metavar="FILE",
                      help="a JSON file with the overrides of experiments by signature; runs whose overrides hold "
                           "continue_from=SIGNATURE are drawn after that one")


def add_origin_options(made: argparse.ArgumentParser) -> None:
    """Options that say what published numbers a result may stand beside, where no record does."""
    made.add_argument("--trained-on", default="", metavar="DATA",
                      help="what the models were trained on, where no run card says so, e.g. 'MUSDB18-HQ train'")
    made.add_argument("--scored-on", default="", metavar="DATA",
                      help="the test set of printed results, which do not say so, e.g. 'MUSDB18-HQ test'")


def together(names: tp.Iterable[str]) -> str:
    """Name of the folder for figures of several runs."""
    return "+".join(names)[:120]


def file_name(text: str) -> str:
    """A name as a part of the name of a file."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")[:100]


def print_notes(notes: tp.Iterable[str]) -> None:
    """What was left out or could not be known, each once."""
    for note in dict.fromkeys(notes):
        print(f"note: {note}")


def run(main: tp.Callable[[], None], *, prints: bool = False) -> None:
    """Call `main` as a command line: what goes wrong becomes one line on stderr, and an exit status that is not zero. See
    `console.command` for `prints`."""
    sys.exit(console.command(prints=prints)(main)())
