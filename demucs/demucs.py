"""Public door to `Demucs`, by the name under which programs and published packages know it."""

from .models.demucs import Demucs

__all__ = ["Demucs"]
