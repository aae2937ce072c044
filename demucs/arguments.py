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


def number(option: str, allowed: Range) -> tp.Callable[[str], tp.Any]:
    """A `type` of `add_argument` for numbers in `allowed`: an int where it has whole numbers, else a float.

    A text that is no number is an error of the parser; a number outside raises ConfigError, which names `option`.
    """
    def convert(text: str) -> tp.Any:
        try:
            value: tp.Any = int(text) if allowed.whole else float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} {allowed.demand()}") from None
        allowed.check(option, value)
        return value
    return convert
