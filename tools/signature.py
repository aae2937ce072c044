"""The signature of an experiment before anything runs: `python3 -m tools.signature [-f SIG] [KEY=VALUE...]`.

It is the name of the folder in outputs/xps. With --ranks it also checks what can be known before a training waits in a
queue (batch, remixing, songs, free space), and a second line names the folder of the songs that the model will be scored
on. Exits with 1 for settings that do not exist or cannot be, with 3 where the
packages that tell it are not installed (on a login node, perhaps) and no experiment was started with these overrides.
"""

import argparse
import json
import os
import re
import sys
import typing as tp
from pathlib import Path

from demucs.arguments import Parser, number
from demucs.console import command
from demucs.ranges import WORLD_SIZE
from demucs.runs.layout import EXPERIMENTS


def simplified(argv: tp.Sequence[str]) -> tp.List[str]:
    """Overrides as Dora keeps them in .argv.json: of those with the same key only the last."""
    last: tp.Dict[str, str] = {}
    for argument in reversed(argv):
        last.setdefault(argument.split("=", 1)[0].strip(), argument)
    return list(reversed(last.values()))


def known(argv: tp.Sequence[str], experiments: Path = EXPERIMENTS) -> tp.Optional[str]:
    """The experiment that was started with these overrides before, if there is just one. The configuration that they
    override may have changed since."""
    wanted = simplified(argv)
    found = []
    for path in experiments.glob("*/.argv.json"):
        try:
            if re.fullmatch("[0-9a-f]{8}", path.parent.name) and json.loads(path.read_text()) == wanted:
                found.append(path.parent.name)
        except (OSError, ValueError):
            continue
    return found[0] if len(found) == 1 else None


def signature(argv: tp.Sequence[str], base: tp.Optional[str] = None, *, again: bool = False,
              ranks: tp.Optional[int] = None) -> str:
    """Of these overrides, on top of those of the experiment `base`. Ends the program where a key does not exist. With
    `again` a known experiment is taken for it, which saves seconds, and the training has to confirm it. `ranks`: check
    a training in so many processes, and add a line with the folder of its test songs.

    Raises:
        ConfigError: for a value that cannot be.
        DemucsError: for a training that could not begin.
    """
    found = known(argv) if again and base is None else None
    if found is not None:
        return found
    try:
        from omegaconf import OmegaConf

        from demucs.config import read
        from demucs.train import main as experiments
    except ImportError:
        found = known(argv) if base is None else None
        if found is None:
            raise
        return found
    xp = experiments.get_xp([*(experiments.get_argv_from_sig(base) if base else []), *argv])
    config = read(tp.cast(tp.Dict[str, tp.Any], OmegaConf.to_container(xp.cfg, resolve=True)))
    if ranks is None:
        return str(xp.sig)
    from demucs import precheck

    return f"{xp.sig}\n{precheck.check(config, ranks=ranks, folder=xp.folder)}"


@command(prints=True)
def main() -> int:
    parser = Parser(prog="python3 -m tools.signature", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--from-sig", metavar="SIG", help="on top of the settings of this experiment")
    parser.add_argument("--again", action="store_true", help="of a job that has been started before: take the known one")
    parser.add_argument("--ranks", type=number("--ranks", WORLD_SIZE), metavar="N",
                        default=os.environ.get("DEMUCS_CHECK_RANKS") or None,
                        help="check a training in N processes (default: $DEMUCS_CHECK_RANKS)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        print(signature(args.overrides, args.from_sig, again=args.again, ranks=args.ranks))
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
