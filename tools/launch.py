"""What a batch script does at its end: `python3 -m tools.launch train SIG [OPTION...] -- COMMAND...`.

`train` supervises the training of an experiment, `tasks` runs the command on every task, `one` on one. `grid` is for the
jobs of `dora grid`, and `count` tells how many processes a run on this machine has. Exits with the status of the command,
and with 2 where it could not begin or the job cannot go on. Needs Python alone.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)       # nothing is up yet that would have to end in order

import argparse  # noqa: E402
import sys  # noqa: E402
import typing as tp  # noqa: E402

from demucs.arguments import Parser, number  # noqa: E402
from demucs.console import command  # noqa: E402
from demucs.errors import DemucsError  # noqa: E402
from demucs.ranges import POSITIVE  # noqa: E402
from demucs.runs.launch import Launcher, closing_log, grid  # noqa: E402
from demucs.runs.local import LaunchError, local_tasks  # noqa: E402


def run(args: argparse.Namespace, words: tp.List[str]) -> int:
    if args.what == "count":
        print(local_tasks())
        return 0
    if args.what == "grid":
        return grid(words)
    launcher = Launcher(args.mode, dry_run=args.dry_run)
    status = launcher.release(args.release, words[0]) if args.release else 0
    if status:
        return status
    if args.what == "train":
        return launcher.train(args.signature, words)
    return launcher.one(words) if args.what == "one" else launcher.tasks(words, all_cores=args.all_cores)


@command()
def main() -> int:
    parser = Parser(prog="python3 -m tools.launch", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "tasks", "one", "grid", "count"))
    parser.add_argument("signature", metavar="SIG", nargs="?", default="", help="of what is trained, where it is known")
    parser.add_argument("--mode", choices=("job", "here", "submit"), default="here",
                        help="in a job of Slurm, on this machine, or what a script that submits itself would run in its job")
    parser.add_argument("--dry-run", action="store_true", help="only print what would run")
    parser.add_argument("--release", metavar="SIG", help="before that, export an experiment that is not exported")
    parser.add_argument("--all-cores", action="store_true", help="the processes themselves use the CPUs of their tasks")
    parser.add_argument("--name", default="tools.launch", help="what calls this, for messages")
    parser.add_argument("--tee", type=number("--tee", POSITIVE), metavar="PROCESS",
                        help="that writes the log; the output was on descriptors 3 and 4 before")
    words = sys.argv[1:]
    place = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:place])
    with closing_log(args.tee):
        try:
            return run(args, words[place + 1:])
        except LaunchError as error:
            print(f"{args.name}: {error}", file=sys.stderr)
        except DemucsError as error:
            print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
