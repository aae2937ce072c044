"""Start the processes of a batch script: `python -m tools.launch train SIG [OPTION...] -- COMMAND...`.

`train` supervises the training of an experiment, `tasks` runs the command in every task, `one` in one task. `grid` is
for jobs of `dora grid`, and `count` prints the number of processes of a run on this machine. Exits with the status of
the command, or with 2 if it could not begin or the job cannot continue. Needs the standard library only.
"""

import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)       # nothing needs an orderly end yet

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
    """Run the command line `words` (or print the number of processes) as the options `args` demand. Returns the exit
    status."""
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
    parser = Parser(prog="python -m tools.launch", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "tasks", "one", "grid", "count"))
    parser.add_argument("signature", metavar="SIG", nargs="?", default="", help="signature of the experiment, if known")
    parser.add_argument("--mode", choices=("job", "here", "submit"), default="here",
                        help="inside a Slurm job, on this machine, or for the dry run of a script that submits itself")
    parser.add_argument("--dry-run", action="store_true", help="only print what would run")
    parser.add_argument("--release", metavar="SIG", help="first export this experiment, if that is necessary")
    parser.add_argument("--all-cores", action="store_true", help="each process uses all CPUs of its task")
    parser.add_argument("--name", default="tools.launch", help="name of the calling script, for messages")
    parser.add_argument("--tee", type=number("--tee", POSITIVE), metavar="PROCESS",
                        help="id of the process that writes the log; the original output is on descriptors 3 and 4")
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
