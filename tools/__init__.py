"""Command lines around public functions of the package: `python3 -m tools.NAME`."""

import sys


def _hook(*raised):      # type: ignore[no-untyped-def]
    from demucs import console
    console.hook(*raised)


sys.excepthook = _hook      # before a command line imports anything: Ctrl-C is one line then, too
