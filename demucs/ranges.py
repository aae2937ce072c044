"""Ranges of numbers in inputs: command line, configuration, files of bags, environment, arguments of callers.

Every range is finite, so nan and inf are in none. Tables of ranges are in the modules of their settings:
`config.RANGES`, `models.settings.RANGES`, `separation.settings.RANGES`.
"""

import dataclasses
import numbers
import os
import typing as tp

from .errors import ConfigError

LONGEST_SHOWN = 40        # characters of a value in a message


@dataclasses.dataclass(frozen=True)
class Range:
    """Range of numbers from `least` to `most`, both included by default; `number in range` tests it. Booleans, NaN and
    other types are in no range.

    Args:
        least, most: finite bounds.
        whole: integers only.
        open_least, open_most: exclude that bound itself.
        unit: unit in messages.
    """
    least: float
    most: float
    whole: bool = False
    open_least: bool = False
    open_most: bool = False
    unit: str = ""

    def __contains__(self, value: tp.Any) -> bool:
        if not self._is_number(value):
            return False
        above = value > self.least if self.open_least else value >= self.least
        below = value < self.most if self.open_most else value <= self.most
        return bool(above and below)

    def __str__(self) -> str:
        low = f"{'more than' if self.open_least else 'at least'} {self._digits(self.least)}"
        high = f"{'less than' if self.open_most else 'at most'} {self._digits(self.most)}"
        return f"{low} and {high}" + (f" {self.unit}" if self.unit else "")

    def _is_number(self, value: tp.Any) -> bool:
        kind = numbers.Integral if self.whole else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and value == value

    def _digits(self, end: float) -> str:
        return str(end) if self.whole or isinstance(end, int) else f"{end:g}"

    def demand(self, value: tp.Any = None) -> str:
        """Clause of a message about `value`, which is out of range: "must be at least 0 and at most 1"; with "a
        number," or "a whole number," if it is none."""
        kind = "" if self._is_number(value) else "a whole number, " if self.whole else "a number, "
        return f"must be {kind}{self}"

    def check(self, name: str, value: tp.Any) -> None:
        """Check that `value` is in the range.

        Raises:
            ConfigError: with `name` and `value`, if it is not.
        """
        if value not in self:
            raise ConfigError(f"{name}={shown(value)} {self.demand(value)}")


# A tuple has one range per item of a list of that length; a single range is for all items of a list.
Allowed = tp.Union[Range, tp.Tuple[Range, ...]]


def check_value(name: str, value: tp.Any, allowed: Allowed) -> None:
    """Check that `value` is in the range `allowed`, or if it is a list, each of its items. A tuple of ranges requires a
    list of that length, whose items are checked one by one.

    Raises:
        ConfigError: with `name` and `value`, if not.
    """
    if isinstance(allowed, Range) and not isinstance(value, (list, tuple)):
        return allowed.check(name, value)
    if not isinstance(value, (list, tuple)) or isinstance(allowed, tuple) and len(value) != len(allowed):
        raise ConfigError(f"{name}={shown(value)} must be a list of {len(tp.cast(tuple, allowed))} numbers")
    for item, one in zip(value, allowed if isinstance(allowed, tuple) else len(value) * [allowed]):
        if item not in one:
            raise ConfigError(f"{name}={shown(value)}: {shown(item)} {one.demand(item)}")


def shown(value: tp.Any) -> str:
    """`value` as text for a message: strings in quotes, and text of more than 40 characters cut."""
    try:
        text = repr(value) if isinstance(value, str) else str(value)
    except (ValueError, RecursionError):      # an integer with thousands of digits, or a list that contains itself
        return f"{type(value).__name__} without end"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN - 3] + "..."


def from_environment(name: str, default: int, allowed: Range, environment: tp.Optional[tp.Mapping[str, str]] = None) -> int:
    """Integer in the variable `name` of `environment` (None: that of this process); `default` if it is not set or
    empty.

    Raises:
        ConfigError: if it is not an integer, or not in the range `allowed`.
    """
    text = (os.environ if environment is None else environment).get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        raise ConfigError(f"environment variable {name}={shown(text)} {allowed.demand()}") from None
    allowed.check(f"environment variable {name}", value)
    return value


# Ranges that several tables share. Upper bounds are far larger than needed, and low enough that values derived from a
# number do not overflow.
COUNT = Range(0, 1_000_000_000, whole=True)
POSITIVE = Range(1, 1_000_000_000, whole=True)
SEED = Range(0, 2 ** 32 - 1, whole=True)
JOB = Range(0, 2 ** 32 - 1, whole=True)     # number of a Slurm job: 32 bits, of which a federation uses the upper ones
SECONDS = Range(0, 86_400, open_least=True, unit="seconds")
RATE = Range(1, 1_000_000, whole=True, unit="Hz")
CHANNELS = Range(1, 64, whole=True)
PROBABILITY = Range(0, 1)
SHARE = Range(0, 1, open_least=True, open_most=True)
WEIGHT = Range(0, 1_000_000)
PROCESSES = Range(0, 1024, whole=True)
RANK = Range(0, 1_000_000, whole=True)
WORLD_SIZE = Range(1, 1_000_000, whole=True)
