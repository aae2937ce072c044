"""Runs: their folders, records and states, and the jobs that train them."""
