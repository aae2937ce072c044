"""Floor 2: the models, and the zoo that lists them."""
