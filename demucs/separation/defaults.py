"""Names and templates that the command line shows in its help, which must not wait for torch."""

MODEL = "htdemucs"                      # as published
TEMPLATE = "{track}/{stem}.{ext}"       # of output files, below OUT/MODEL
