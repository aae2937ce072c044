"""Templates of file names, such as "{track}/{stem}.{ext}"."""

import re
import string
import typing as tp

from ..errors import ConfigError

LONGEST = 255       # largest number in a format specification, in characters: no file name can be longer


def check_fields(option: str, template: str, known: tp.Sequence[str]) -> None:
    """Check that the fields of a `str.format` template are all in `known`. Indices and attributes such as {track[0]} or
    {track.name}, and format specifications wider than a file name, are refused.

    Args:
        option: name of the option that the template came from, for error messages.
        template: text to check; it need not have all fields.
        known: names of the allowed fields.

    Raises:
        ConfigError: with the name of the wrong field, or for a template that is not valid.
    """
    listed = ", ".join(f"{{{field}}}" for field in known)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{option} {template!r} cannot be filled in ({error}); its fields are {listed}, and "
                          f"{{{{ is one brace") from error
    for _, field, form, _ in parts:
        if field is not None and field not in known:
            raise ConfigError(f"{option} {template!r} cannot be filled in: there is no {{{field}}}; its fields are "
                              f"{listed}")
        if form and ("{" in form or any(int(digits) > LONGEST for digits in re.findall("[0-9]+", form[:1000]))):
            raise ConfigError(f"{option} {template!r} cannot be filled in: {{{field}:{form[:20]}}} is wider than a "
                              f"file name can be; use {{{field}}}")
