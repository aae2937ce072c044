"""`python -m demucs` is the command `demucs`."""

import sys

from . import console

sys.excepthook = console.hook      # before slow imports, which Ctrl-C may interrupt

from .separate import main  # noqa: E402

if __name__ == "__main__":
    main()
