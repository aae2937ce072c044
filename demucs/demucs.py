"""Public module of `Demucs`, under the name that other programs and published packages use."""

from .models.demucs import Demucs

__all__ = ["Demucs"]
