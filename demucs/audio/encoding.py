"""What encoders take: checked before them, since some take anything and write something else without a word."""

import argparse
import typing as tp
from pathlib import Path

from ..errors import AudioError
from ..ranges import RATE, Range, shown

QUALITY = Range(0, 9, whole=True)        # of LAME: 2 is best for us, 7 is fast
# kbit/s of MPEG-1, MPEG-2 and MPEG-2.5 Audio Layer III (ISO/IEC 11172-3 and 13818-3), by the lowest sample rate in Hz.
MP3_BIT_RATES = {32_000: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
                 16_000: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
                 0: (8, 16, 24, 32, 40, 48, 56, 64)}
ALL_BIT_RATES = tuple(sorted({rate for rates in MP3_BIT_RATES.values() for rate in rates}))


def bit_rates(samplerate: int) -> tp.List[int]:
    """kbit/s that an mp3 file of audio at `samplerate` Hz can have. For the lowest ones LAME reduces the sample rate."""
    highest = next(rates[-1] for lowest, rates in MP3_BIT_RATES.items() if samplerate >= lowest)
    wrong = {144} if samplerate >= 32_000 else set()       # MPEG-2 alone has it
    return [rate for rate in ALL_BIT_RATES if rate <= highest and rate not in wrong]


def listed(numbers: tp.Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def bit_rate(text: str) -> int:
    """A bit rate of mp3 in kbit/s, for command lines. Raises ArgumentTypeError that lists them."""
    if not text.isdecimal() or int(text) not in ALL_BIT_RATES:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no bit rate of mp3; use one of {listed(ALL_BIT_RATES)}")
    return int(text)


def check_rate(path: tp.Union[str, Path], samplerate: tp.Any) -> None:
    """Raises AudioError for a sample rate that no file of ours can have."""
    if samplerate not in RATE:
        raise AudioError(f"{path}: samplerate={shown(samplerate)} {RATE.demand(samplerate)}")


def check_mp3(path: tp.Union[str, Path], samplerate: tp.Any, bitrate: tp.Any, quality: tp.Any) -> None:
    """Checks the numbers of an mp3 file, apart from a sample rate that no file has: LAME refuses that by itself.

    A bit rate of mp3 that is above the highest for this sample rate stands for that one: callers have one for all rates.

    Raises:
        AudioError: naming the file and what it could have.
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
