"""Floor 3: applying, packaging and evaluating models."""
