"""Evaluation of separators: scores on songs with reference sources, and quality measures without references."""
