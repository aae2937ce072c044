"""Command lines around public functions of the package: `python3 -m tools.NAME`."""
