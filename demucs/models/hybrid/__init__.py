"""Hybrid spectrogram and waveform separators, such as HDemucs and HTDemucs.

They are composed of four kinds of parts, one module each, by the class `net.HybridNet`:

- `view`: spectrogram of a waveform, and its representation in real channels;
- `branches`: encoder and decoder levels of each branch, and the level at which it merges with another branch;
- `mixer`: modules in the bottleneck or between levels, such as a transformer across branches;
- `fusion`: combination of the waveform estimates of all branches.
"""
