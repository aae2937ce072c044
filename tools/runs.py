"""Print a table of the experiments: `python -m tools.runs [SIGNATURE...]`.

States: running, starting (the job runs, the training not yet), queued, lost (its status is running, but its job or
process is gone), failed, damaged (unreadable files), stopped (continues when it is started again), done, and new (never
ran; shown with --all).
"""

import argparse
import shutil
import sys
import time
import typing as tp
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.ranges import SECONDS, shown
from demucs.runs import overview
from demucs.runs.layout import EXPERIMENTS

WIDTH = 150          # if the output is not a terminal
CLEAR = "\033[H\033[2J"
SORTINGS = ("state", "signature", "updated", "best", "epoch", "gpu-hours")


def chosen(found: tp.Sequence[overview.RunRow], args: argparse.Namespace) -> tp.List[overview.RunRow]:
    """Rows that the options `args` select, sorted as they demand."""
    return overview.ordered(
        [row for row in found
         if (not args.signatures or row.signature.startswith(tuple(args.signatures)))
         and (row.state in args.state if args.state else row.state != "new" or args.all or args.signatures)], args.sort)


def show(args: argparse.Namespace, slurm: overview.Slurm) -> None:
    """Print the selected experiments once, as a table or JSON, with notes on what is unknown."""
    folder = args.outputs / EXPERIMENTS.name
    found = overview.rows(folder, slurm=slurm)
    selected = chosen(found, args)
    notes = [*slurm.notes] if folder.is_dir() else [*slurm.notes, f"there is no folder {folder} here"]
    if args.json:
        print(overview.as_json(selected), flush=True)
        for note in notes:
            print(f"Note: {note}", file=sys.stderr)
        return
    watched = args.watch is not None
    terminal = sys.stdout.isatty()
    lines = [time.strftime("%Y-%m-%d %H:%M:%S")] if watched else []
    if selected:
        width = shutil.get_terminal_size((WIDTH, 50)).columns if terminal else WIDTH
        lines.append(overview.table(selected, max(60, width)))
    else:
        lines.append(f"no experiments in {folder}" if not found else
                     f"none of {len(found)} experiments in {folder} is asked for (--all shows those that never ran)")
    lines += [f"Note: {note}" for note in notes]
    print((CLEAR if watched and terminal else "") + "\n".join(lines) + ("\n" if watched else ""), flush=True)


def states(text: str) -> tp.List[str]:
    """States in a text, separated by commas, for argparse. Raises ArgumentTypeError for an unknown one."""
    names = text.split(",")
    for name in names:
        if name not in overview.STATES:
            raise argparse.ArgumentTypeError(f"{name!r} is no state; there are {', '.join(overview.STATES)}")
    return names


def pause(text: str) -> float:
    """Seconds between two tables, from text, for argparse. Raises ArgumentTypeError for a number out of range."""
    seconds = float(text)
    if seconds not in SECONDS:
        raise argparse.ArgumentTypeError(f"{shown(text)} {SECONDS.demand(seconds)}")
    return seconds


@command(prints=True)
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = Parser(prog="python -m tools.runs", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("signatures", nargs="*", metavar="SIGNATURE",
                        help="signatures of experiments, or prefixes of them")
    parser.add_argument("--state", type=states, help="only these states, separated by commas")
    parser.add_argument("--sort", choices=SORTINGS, default="state", help="order (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="include experiments that never ran")
    parser.add_argument("--watch", type=pause, metavar="SECONDS", help="repeat after this time, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON, with all digits")
    parser.add_argument("--outputs", type=Path, default=EXPERIMENTS.parent, help="Dora's folder (default: %(default)s)")
    args = parser.parse_args(argv)
    slurm = overview.Slurm()
    try:
        show(args, slurm)
        while args.watch is not None:
            time.sleep(args.watch)
            show(args, slurm)
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
