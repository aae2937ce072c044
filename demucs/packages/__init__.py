"""Files of models: ours, and those of published Demucs, read as untrusted."""
