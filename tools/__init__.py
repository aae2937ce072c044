"""Command lines for public functions of the package: `python -m tools.NAME`."""

import sys


def _hook(*raised):      # type: ignore[no-untyped-def]
    from demucs import console
    console.hook(*raised)


sys.excepthook = _hook      # set before the imports of a command line, so that Ctrl-C during them is one line, too
