"""Implementations of layers that are faster on a CPU."""
