"""Separation metrics and their aggregates."""
