"""Quality measures of a separation without references, from the estimates alone, or from estimates and mixture.

Only numpy and scipy are needed. `measures` lists all of them, with the expected sign of their correlation with quality;
docs/quality.md shows the agreement of each with true scores.
"""
