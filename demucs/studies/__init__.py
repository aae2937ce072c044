"""Studies: trainings of several arms for the same time, with the same seeds, and their paired comparison."""
