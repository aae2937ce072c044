"""Public module of `HTDemucs`, under the name that other programs and published packages use."""

from .models.htdemucs import HTDemucs

__all__ = ["HTDemucs"]
