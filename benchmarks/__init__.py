"""Benchmarks against published Demucs, with the same torch on the same machine: `python -m benchmarks.run`."""
