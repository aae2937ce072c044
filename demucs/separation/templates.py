"""Templates of file names, such as "{track}/{stem}.{ext}"."""

import re
import string
import typing as tp

from ..errors import ConfigError

LONGEST = 255       # characters that a format may widen a field to: more than a file name can have


def check_fields(option: str, template: str, known: tp.Sequence[str]) -> None:
    """Checks that `template` has no fields but the `known` ones, as they are: no {track[0]} or {track.name}.

    Args:
        option: what the template was given as, for messages.

    Raises:
        ConfigError: naming the field.
    """
    listed = ", ".join(f"{{{field}}}" for field in known)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{option} {template!r} cannot be filled in ({error}); its fields are {listed}, and {{{{ is one "
                          f"brace") from error
    for _, field, form, _ in parts:
        if field is not None and field not in known:
            raise ConfigError(f"{option} {template!r} cannot be filled in: there is no {{{field}}}; its fields are {listed}")
        if form and ("{" in form or any(int(digits) > LONGEST for digits in re.findall("[0-9]+", form[:1000]))):
            raise ConfigError(f"{option} {template!r} cannot be filled in: {{{field}:{form[:20]}}} is wider than a file "
                              f"name can be; use {{{field}}}")
