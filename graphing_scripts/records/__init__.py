"""Records of runs and published numbers, read and sorted for tables, figures and pages. Nothing here draws."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
