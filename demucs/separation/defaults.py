"""Default model and file name template of the command line; without torch, so that its help appears quickly."""

MODEL = "htdemucs"                      # the default of published Demucs
TEMPLATE = "{track}/{stem}.{ext}"       # of output files, below OUT/MODEL
