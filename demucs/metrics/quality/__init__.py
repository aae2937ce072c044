"""Quality of a separation without its references: measures of estimates alone, or of estimates and their mixture.

Numpy and scipy only. `measures` lists all of them, with what a higher value would mean; docs/quality.md says how far
each agrees with true scores.
"""
