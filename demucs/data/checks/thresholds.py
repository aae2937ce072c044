"""All checks of a dataset in one table: what is measured, from which value on it is a finding, and how severe that is.

An error makes training fail or teaches or scores something wrong. A warning is probably a fault, but may be intended. A
note only explains. `docs/dataset_check.md` shows this table.
"""

import typing as tp
from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)

# Values from which on there is a finding.
CLIPPED_RUNS = 10              # of equal samples at one peak
DC_OFFSET = 0.005              # of full scale
DC_STEADY = 2.                 # times the standard deviation of the means of blocks (`scan.BLOCK`)
DC_SECONDS = 1.                # shortest file: the mean of a shorter one says little
SILENT_PEAK = -60.             # dBFS: a file with a lower peak is silent throughout
SILENT_SHARE = 0.5             # of a mixture's frames
MONO = -60.                    # dB, difference of the channels relative to their sum
ANTIPHASE = 40.                # dB, the same
ONE_SIDED = 60.                # dB between the channels
RESIDUAL_ERROR, RESIDUAL_WARNING = -15., -30.         # dB relative to the mixture
RESIDUAL_LOSSY = -10.          # dB, for songs with lossy files: codecs do not keep the sum
SEEK_LAGS = -60.               # dB, residual from which on lags are sought
MOST_LAG = 1.                  # seconds
EXCERPT = 6.                   # seconds of the song in which lags are sought
DROP_ALONE = 35.               # dB at the cut-off of a stem that no other file of the song shares
CUTOFFS_AGREE = 0.05           # difference of the cut-offs of files that share it
GAIN = 0.5                     # dB, gain of a stem that is named
LABEL_MATCH = 0.5              # correlation of a stem with the estimate of another source
LABEL_LEAD = 0.2               # by which it exceeds that with its own


@dataclass(frozen=True)
class Check:
    """A row of the table."""
    title: str
    severity: str
    threshold: str


CHECKS: tp.Dict[str, Check] = {
    "unusable": Check("Song or folder that the kind of dataset refuses", ERROR,
                      "a missing or unreadable stem, a broken link"),
    "unreadable": Check("File that cannot be decoded", ERROR, "missing, empty, truncated, corrupt, not audio"),
    "length": Check("Files of a song with different lengths", ERROR, "any difference"),
    "rate": Check("Files of a song with different sample rates", ERROR, "any difference"),
    "rates": Check("Songs with different sample rates", NOTE, "any difference; training resamples"),
    "nonfinite": Check("NaN or infinite samples", ERROR, "one sample"),
    "clipping": Check("Clipping", WARNING, f"{CLIPPED_RUNS} runs of 3 or more equal samples at one peak of a channel"),
    "dc": Check("DC offset", WARNING, f"{DC_OFFSET:g} of full scale, and {DC_STEADY:g} times the standard deviation of "
                "the mean over blocks of 65,536 samples"),
    "silent": Check("Silent file", WARNING, f"peak below {SILENT_PEAK:g} dBFS; an error for a mixture"),
    "silence": Check("Mostly silent mixture", WARNING, f"below -70 dBFS in {SILENT_SHARE:.0%} of the song"),
    "mono": Check("Mono mixture in a stereo file", WARNING,
                  f"difference of the channels below {MONO:g} dB of their sum"),
    "antiphase": Check("Channels in opposite phase", WARNING, f"difference {ANTIPHASE:g} dB above the sum"),
    "one-sided": Check("Stereo file with a silent channel", WARNING, f"{ONE_SIDED:g} dB between the channels"),
    "residual": Check("Stems that do not sum to the mixture", ERROR,
                      f"residual above {RESIDUAL_ERROR:g} dB of the mixture; a warning above {RESIDUAL_WARNING:g} dB "
                      f"({RESIDUAL_LOSSY:g} dB for lossy files)"),
    "misaligned": Check("Misaligned stems", ERROR,
                        f"a lag of 1 sample to {MOST_LAG:g} s that explains 6 dB of the residual"),
    "same": Check("Two stems with the same signal", ERROR, "correlation 0.999"),
    "leak": Check("Copies of a song in different splits", ERROR, "12 common landmarks, 4 % of the smaller fingerprint"),
    "duplicate": Check("Copies of a song in one split", WARNING, "as above"),
    "shared": Check("Songs with an identical stem", WARNING, "equal samples; an error between splits"),
    "lossy": Check("Lossy or resampled source in a lossless file", WARNING,
                   f"the spectrum falls by 25 dB within 500 Hz, between 7 and 20.5 kHz, and is no line spectrum below; by "
                   f"{DROP_ALONE:g} dB for a stem alone; a note if all songs are like this"),
    "label": Check("Implausible label (with --model)", WARNING,
                   f"correlation {LABEL_MATCH:g} with the estimate of another source, {LABEL_LEAD:g} above its own"),
}
