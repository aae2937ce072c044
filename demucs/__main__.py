"""`python3 -m demucs` is the command `demucs`."""

import sys

from .separate import main

if __name__ == "__main__":
    sys.exit(main())
