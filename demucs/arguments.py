"""Arguments of command lines: numbers in ranges, and one line for what is wrong.

No torch here: `--help` has to answer at once.
"""

import argparse
import typing as tp

from .ranges import Range, shown


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that tells what is wrong in one line, without its usage before."""

    def error(self, message: str) -> tp.NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; --help lists the options\n")


def number(allowed: Range) -> tp.Callable[[str], tp.Any]:
    """A `type` of `add_argument` for numbers in `allowed`: an int where it has whole numbers, else a float."""
    def convert(text: str) -> tp.Any:
        value: tp.Any
        try:
            value = int(text) if allowed.whole else float(text)
        except ValueError:
            value = None
        if value not in allowed:
            raise argparse.ArgumentTypeError(f"{shown(text)} {allowed.demand(value)}")
        return value
    return convert
