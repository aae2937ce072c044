"""Command lines around public functions of the package: `python3 -m tools.NAME`."""

import sys

from demucs import console

sys.excepthook = console.hook      # before a command line imports what takes seconds
