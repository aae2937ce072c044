"""Default settings of the command line; without torch, so that its help appears quickly."""

MODEL = "htdemucs"                      # the default of published Demucs
TEMPLATE = "{track}/{stem}.{ext}"       # of output files, below OUT/MODEL


class ByModel(int):
    """Default of a number that each model may replace by its own. It is equal to that of published Demucs."""


SHIFTS = ByModel(1)                     # replaced by `models.protocol.default_shifts`
