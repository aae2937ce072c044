"""Training, evaluation and use of the Demucs family of music source separation models.

The floors of the package, and what may import what, are drawn in `docs/map.md`.
"""

__version__ = "0.1.0"
