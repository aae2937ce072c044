"""Hybrid spectrogram and waveform separators: HDemucs today, its relatives as further rows.

They differ along four axes, one module each, and one assembler walks them:

- `view`: how a waveform is seen as a spectrogram, and how complex numbers become channels and back;
- `branches`: which rows of blocks a branch is stacked from, and where it joins another;
- `mixer`: what happens between the blocks, at the bottom or elsewhere;
- `fusion`: how several waveform estimates become one.
"""
