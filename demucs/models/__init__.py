"""The models, and the zoo that lists them."""
