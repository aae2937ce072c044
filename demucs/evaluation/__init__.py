"""Scores of separators on songs with known sources, and signs of quality where none are known."""
