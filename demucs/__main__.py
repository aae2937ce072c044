"""`python3 -m demucs` is the command `demucs`."""

from .separate import main

if __name__ == "__main__":
    main()
