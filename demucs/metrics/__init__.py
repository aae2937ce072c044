"""Floor 1: separation metrics and their aggregates."""
