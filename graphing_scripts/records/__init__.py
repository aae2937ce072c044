"""Reading and sorting of run records and published numbers, for tables, figures and pages."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
