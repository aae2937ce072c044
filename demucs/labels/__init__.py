"""Labels that a model makes for songs without stems: pseudo-labels, and their selection."""
