"""Floor 0: signal processing that knows nothing of models or files."""
