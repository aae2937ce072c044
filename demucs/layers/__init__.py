"""Layers of the separation models."""
