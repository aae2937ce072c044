"""Training, evaluation and use of the Demucs family of music source separation models.

The layers of the package, and which module may import which, are described in `docs/map.md`.
"""

__version__ = "0.1.0"
