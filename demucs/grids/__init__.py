"""Lists of experiments, for `dora grid NAME`. Their signatures are those of published Demucs."""
