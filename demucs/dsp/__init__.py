"""Signal processing that knows nothing of models or files."""
