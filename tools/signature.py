"""The signature of an experiment before anything runs: `python3 -m tools.signature [-f SIG] [KEY=VALUE...]`.

It is the name of the folder in outputs/xps. Exits with 1 for settings that do not exist, with 3 where the packages that
tell it are not installed (on a login node, perhaps).
"""

import argparse
import json
import sys
import typing as tp
from pathlib import Path

EXPERIMENTS = Path("outputs") / "xps"


def simplified(argv: tp.Sequence[str]) -> tp.List[str]:
    """Overrides as Dora keeps them in .argv.json: of those with the same key only the last."""
    last: tp.Dict[str, str] = {}
    for argument in reversed(argv):
        last.setdefault(argument.split("=", 1)[0].strip(), argument)
    return list(reversed(last.values()))


def known(argv: tp.Sequence[str], experiments: Path = EXPERIMENTS) -> tp.Optional[str]:
    """The experiment that was started with these overrides before: reading that is faster than composing settings."""
    wanted = simplified(argv)
    for path in experiments.glob("*/.argv.json"):
        try:
            if json.loads(path.read_text()) == wanted:
                return path.parent.name
        except (OSError, ValueError):
            continue
    return None


def signature(argv: tp.Sequence[str], base: tp.Optional[str] = None) -> str:
    """Of these overrides, on top of those of the experiment `base`. Ends the program where one of them is wrong."""
    found = known(argv) if base is None else None
    if found is not None:
        return found
    from demucs.train import main as experiments
    return experiments.get_xp([*(experiments.get_argv_from_sig(base) if base else []), *argv]).sig


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tools.signature", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-f", "--from-sig", metavar="SIG", help="on top of the settings of this experiment")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        print(signature(args.overrides, args.from_sig))
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
