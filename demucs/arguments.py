"""Arguments of command lines: numbers in ranges, and errors in one line.

This module does not import torch, so that `--help` answers without delay.
"""

import argparse
import typing as tp

from .ranges import Range, shown


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose errors are one line, without the usage, with exit status 2."""

    def error(self, message: str) -> tp.NoReturn:
        """Print `message` as one line to stderr, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}; --help lists the options\n")


def number(option: str, allowed: Range) -> tp.Callable[[str], tp.Any]:
    """Function from text to a number in the range `allowed`, for the argument `type` of `add_argument`: int if the
    range is of whole numbers, else float.

    A text that is not a number is an error of the parser; a number out of range raises ConfigError, which names
    `option`.
    """
    def convert(text: str) -> tp.Any:
        try:
            value: tp.Any = int(text) if allowed.whole else float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} {allowed.demand()}") from None
        allowed.check(option, value)
        return value
    return convert
