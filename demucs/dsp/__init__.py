"""Signal processing, independent of models and files."""
