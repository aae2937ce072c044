"""Public door to `HTDemucs`, by the name under which programs and published packages know it."""

from .models.htdemucs import HTDemucs

__all__ = ["HTDemucs"]
