"""Floor 1: layers that models are made of."""
