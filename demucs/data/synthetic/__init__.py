"""Synthetic songs: a song plan, one module per stem that plays it, and datasets of such songs."""
