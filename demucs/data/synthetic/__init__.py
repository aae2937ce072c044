"""Synthetic songs: a plan of each song, one synthesis module per stem, and datasets of such songs."""
