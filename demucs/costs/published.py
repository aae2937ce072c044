"""Costs of the variants of HTDemucs as their author's notes print them, with those of the author's code.

The notes (github.com/piusssss/demucs_learn) call them FLOPs and parameters. They are what thop 0.1.1 counts for the
author's code with four sources and the default segment of each variant: multiply-adds, without the products of
attention and the projections of torch's multi-head attention, and with transposed convolutions charged by their output;
and the parameters of convolutions, linear layers and LSTMs alone.
"""

import typing as tp


class Figures(tp.NamedTuple):
    """Figures of a variant: the author's commit, the segment in seconds, multiply-adds in units of 10^9 and parameters
    in millions for four sources as thop counts them, and whether the notes print these two."""
    commit: str
    segment: float
    macs: float
    parameters: float
    in_notes: bool = True


FIGURES: tp.Dict[str, Figures] = {
    "htdemucs": Figures("c738da8", 10, 137.517, 20.931),
    "htdemucs_p": Figures("c738da8", 8, 89.139, 53.568),
    "htdemucs_i": Figures("c738da8", 4, 99.006, 77.920),
    "htdemucs_c": Figures("c738da8", 10, 217.380, 46.949),
    "htdemucs_s": Figures("c738da8", 10, 314.812, 29.593),
    "htdemucs_d": Figures("c738da8", 4, 104.317, 29.194),
    "htdemucs_d2": Figures("c738da8", 10, 231.077, 59.136),
    "htdemucs_d3": Figures("c738da8", 10, 284.485, 11.568),
    "htdemucs_d4": Figures("c738da8", 10, 280.497, 25.462),
    "htdemucs_n": Figures("c738da8", 10, 86.272, 9.607),
    "htdemucs_nn": Figures("f13e4cf", 10, 83.541, 9.601, in_notes=False),
    "htdemucs_nn_conv": Figures("825a227", 10, 94.470, 19.121, in_notes=False),
    "htdemucs_nc": Figures("c738da8", 10, 233.227, 33.056),
    "htdemucs_nf": Figures("02c94f6", 10, 399.999, 27.394),
    "htdemucs_dnf": Figures("c738da8", 10, 196.226, 3.387, in_notes=False),
    "htdemucs_dn": Figures("c738da8", 10, 106.572, 9.653, in_notes=False),
}
