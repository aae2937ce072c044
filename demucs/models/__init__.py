"""Separation models, and the zoo that lists them."""
