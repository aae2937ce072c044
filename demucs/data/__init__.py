"""Floor 1: audio files, datasets, segments, augmentation."""
