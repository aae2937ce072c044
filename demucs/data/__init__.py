"""Datasets: tracks, segments of them, batches, augmentation."""
