"""Checks of datasets: measurements of files and songs, duplicates, and the findings that follow from them."""
