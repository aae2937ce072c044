"""Checks of encoder settings, since some encoders accept any setting and silently use another one."""

import argparse
import typing as tp
from pathlib import Path

from ..errors import AudioError
from ..ranges import RATE, Range, shown

QUALITY = Range(0, 9, whole=True)        # of LAME: 2 is recommended as best, 7 as fast
# Bit rates in kbit/s of MPEG-1, MPEG-2 and MPEG-2.5 Audio Layer III (ISO/IEC 11172-3 and 13818-3), by the lowest sample
# rate in Hz.
MP3_BIT_RATES = {32_000: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
                 16_000: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
                 0: (8, 16, 24, 32, 40, 48, 56, 64)}
ALL_BIT_RATES = tuple(sorted({rate for rates in MP3_BIT_RATES.values() for rate in rates}))


def bit_rates(samplerate: int) -> tp.List[int]:
    """Valid bit rates in kbit/s of mp3 files at `samplerate` Hz, ascending. For the lowest ones LAME reduces the sample
    rate."""
    highest = next(rates[-1] for lowest, rates in MP3_BIT_RATES.items() if samplerate >= lowest)
    wrong = {144} if samplerate >= 32_000 else set()       # only valid in MPEG-2
    return [rate for rate in ALL_BIT_RATES if rate <= highest and rate not in wrong]


def listed(numbers: tp.Iterable[int]) -> str:
    """Numbers as text, such as "8, 16, 24"."""
    return ", ".join(map(str, numbers))


def bit_rate(text: str) -> int:
    """Bit rate of mp3 in kbit/s from its text, for argparse. Raises ArgumentTypeError, with the valid ones, for any
    other text."""
    if not text.isdecimal() or int(text) not in ALL_BIT_RATES:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no bit rate of mp3; use one of {listed(ALL_BIT_RATES)}")
    return int(text)


def check_rate(path: tp.Union[str, Path], samplerate: tp.Any) -> None:
    """Check that `samplerate` is a supported sample rate in Hz. `path` is the file in the message.

    Raises:
        AudioError: if it is not.
    """
    if samplerate not in RATE:
        raise AudioError(f"{path}: samplerate={shown(samplerate)} {RATE.demand(samplerate)}")


def check_mp3(path: tp.Union[str, Path], samplerate: tp.Any, bitrate: tp.Any, quality: tp.Any) -> None:
    """Check the settings of the mp3 file `path`: `bitrate` in kbit/s at `samplerate` Hz, and LAME's `quality` from 0 to
    9. Unsupported sample rates pass, since LAME refuses them itself.

    A bit rate above the maximum for this sample rate is accepted and stands for the maximum, since callers use one bit
    rate for all sample rates.

    Raises:
        AudioError: with the file and the valid settings.
    """
    if samplerate not in RATE:
        return
    legal = bit_rates(samplerate)
    above = [rate for rate in ALL_BIT_RATES if rate > legal[-1]]
    if bitrate not in legal + above or isinstance(bitrate, bool):
        raise AudioError(f"{path}: {shown(bitrate)} kbit/s is no bit rate of mp3 at {samplerate} Hz; use one of "
                         f"{listed(legal)}")
    if quality not in QUALITY:
        raise AudioError(f"{path}: quality={shown(quality)} {QUALITY.demand(quality)}; 2 is best, 7 is fast")
