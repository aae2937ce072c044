"""Public door to `HDemucs`, by the name under which programs and published packages know it."""

from .models.hdemucs import HDemucs

__all__ = ["HDemucs"]
