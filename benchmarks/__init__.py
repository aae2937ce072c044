"""Benchmarks against published Demucs, each in its own environment on the same machine: `python -m benchmarks.run`."""
