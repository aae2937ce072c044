"""Public module of `HDemucs`, under the name that other programs and published packages use."""

from .models.hdemucs import HDemucs

__all__ = ["HDemucs"]
