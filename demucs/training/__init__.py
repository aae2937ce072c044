"""Training: the solver, its stages, and what survives a restart."""
