"""Error messages about KEY=VALUE arguments whose values Hydra's grammar cannot parse, with the argument correctly
quoted."""

import shlex
import typing as tp

from hydra.core.override_parser.overrides_parser import OverridesParser

from . import config
from .ranges import shown

SYNTAX = "Hydra reads brackets, braces, commas, quotes, =, ~, ; and letters beyond ASCII as syntax of its own"


def quoted(value: str) -> str:
    """`value` in double quotes, such that Hydra reads exactly this text. Hydra treats backslashes as escapes only
    before a quote."""
    parts = []
    for number, part in enumerate(value.split('"')):
        bare = part.rstrip("\\")
        parts.append(("\\\"" if number else "") + bare + 2 * (len(part) - len(bare)) * "\\")
    return f'"{"".join(parts)}"'


def for_shell(key: str, value: str) -> str:
    """Argument KEY=VALUE, quoted such that a shell and Hydra read exactly the text `value`."""
    return shlex.quote(f"{key}={quoted(value)}")


def explanation(arguments: tp.Sequence[str]) -> str:
    """Message about the first of the KEY=VALUE `arguments` whose value Hydra cannot parse, with the correct form, in
    one line; "" if there is none."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if not _readable(argument):
            return f"{key}={shown(value)[1:-1]}: {_advice(key, value, config.kinds(key.strip().lstrip('+~')))}"
    return ""


def _readable(argument: str) -> bool:
    try:
        return not OverridesParser.create().parse_override(argument).is_sweep_override()
    except Exception:       # of Hydra or its parser, or a ValueError for a number with thousands of digits
        return False


def _advice(key: str, value: str, kinds: tp.Collection[tp.Any]) -> str:
    if not value.isprintable():
        return "the value has characters that are no text, such as the end of a line; take them out, or rename what has them"
    if list in kinds:
        inside = value.strip().strip("[]")
        return f"a list is written {shlex.quote(f'{key}=[{inside}]')}, and a text with other characters in double quotes"
    if kinds and not {str, tp.Any} & set(kinds):
        names = {"true or false" if kind is bool else "a number" for kind in kinds if kind is not type(None)}
        return f"the value must be {' or '.join(sorted(names))}"
    advice = f"{SYNTAX}; put double quotes around the value, and single ones around all for the shell: " \
             f"{for_shell(key, value)}"
    return advice + ("; and ~ is no folder there: write the whole path" if value.lstrip().startswith("~") else "")
