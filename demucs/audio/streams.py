"""Any audio stream of any file, as ffmpeg decodes it: files with several streams (stems in one mp4), and rates
converted by ffmpeg. What `audio.reading` does for the first stream of a file, exactly and often without ffmpeg, belongs there.
"""

import json
import logging
import typing as tp
from pathlib import Path

import torch

from ..errors import AudioError
from .ffmpeg import Decoded, decode, existing_file, input_arguments, program, run

logger = logging.getLogger(__name__)

SHORTFALL = 0.5     # seconds that may lack at the end of what a header says: codecs and containers round


def describe(path: tp.Union[str, Path]) -> tp.Dict[str, tp.Any]:
    """What ffprobe says about a file: {"format": {...}, "streams": [{...}, ...]}, numbers mostly as strings.

    Raises AudioError where the file is missing, empty or not for ffmpeg; ToolError where ffprobe is not installed.
    """
    path = existing_file(path)
    said = run([program("ffprobe"), "-loglevel", "error", "-print_format", "json", "-show_format", "-show_streams",
                *input_arguments(path)], path)
    try:
        found = json.loads(said.decode("utf-8", errors="replace"))
        return {"format": found.get("format", {}), "streams": found.get("streams", [])}
    except (ValueError, AttributeError) as error:
        raise AudioError(f"{path}: ffprobe says nothing about it that can be read ({error})") from error


def audio_streams(description: tp.Mapping[str, tp.Any]) -> tp.List[int]:
    """The places of the audio streams among all streams."""
    return [index for index, stream in enumerate(description["streams"]) if stream.get("codec_type") == "audio"]


def seconds_of(description: tp.Mapping[str, tp.Any], stream: int) -> tp.Optional[float]:
    """How long a stream is by its header; None where that does not say."""
    for place in (description["streams"][stream], description["format"]):
        try:
            return float(place["duration"])
        except (KeyError, ValueError):
            pass
    return None


def read(path: tp.Union[str, Path], stream: int, *, start: tp.Optional[float] = None,
         seconds: tp.Optional[float] = None, samplerate: tp.Optional[int] = None, padding: bool = False) -> Decoded:
    """Stream number `stream` (among all streams).

    Args:
        start: seconds to skip.
        seconds: how long to read; default: all.
        samplerate: in Hz, for ffmpeg to convert to; default: the stream's.
        padding: also what the file says that a player should leave away at its ends.

    Raises:
        AudioError: where the stream cannot be decoded.
    """
    before = (["-ss", str(start)] if start else []) + (["-flags2", "+skip_manual"] if padding else [])
    after = (["-t", str(seconds)] if seconds is not None else []) + \
        (["-ar", str(samplerate)] if samplerate is not None else [])
    return decode(existing_file(path), f"0:{stream}", before=before, after=after)


def read_first(path: tp.Union[str, Path], *, samplerate: tp.Optional[int] = None, padding: bool = False
               ) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], rate in Hz) of the first audio stream; `samplerate` and `padding` as for `read`.

    Where less can be decoded than the header says, what there is comes back, with a warning.

    Raises:
        AudioError: where there is none, or nothing of it can be decoded.
    """
    description = describe(path)
    indices = audio_streams(description)
    if not indices:
        raise AudioError(f"{path}: has no audio stream")
    wav, rate, complaint = read(path, indices[0], samplerate=samplerate, padding=padding)
    if wav.shape[-1] == 0:
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    promised = seconds_of(description, indices[0]) or 0.
    found = wav.shape[-1] / rate
    if found < promised - SHORTFALL:
        logger.warning("%s: damaged: only %.1f of %.1f s can be decoded (%s)", path, found, promised,
                       complaint or "the rest is not there")
    elif complaint:
        logger.warning("%s: in part damaged (ffmpeg: %s)", path, complaint)
    return wav, rate
