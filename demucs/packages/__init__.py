"""Model files: our own format, and the formats of published Demucs, all read as untrusted."""
