"""Hybrid spectrogram and waveform separators: HDemucs today, its relatives as further rows.

They differ along four axes, one module each, and one assembler walks them:

- `view`: how a waveform is seen as a spectrogram, and how complex numbers become channels and back;
- `towers`: which rows of blocks the branches are stacked from, and where the branches meet;
- `mixer`: what happens between the way down and the way up;
- `fusion`: how several waveform estimates become one.
"""
