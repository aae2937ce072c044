"""Reading of any audio stream by ffmpeg: files with several streams (stems in one mp4), and resampling by ffmpeg.
`audio.reading` reads the first stream of a file exactly, and often without ffmpeg.
"""

import json
import logging
import typing as tp
from pathlib import Path

import torch

from ..errors import AudioError
from .ffmpeg import Decoded, decode, existing_file, input_arguments, program, run

logger = logging.getLogger(__name__)

SHORTFALL = 0.5     # tolerance in seconds for the duration in a header: codecs and containers round it


def describe(path: tp.Union[str, Path]) -> tp.Dict[str, tp.Any]:
    """Output of ffprobe for a file: {"format": {...}, "streams": [{...}, ...]}, with most numbers as strings.

    Raises AudioError if the file is missing, empty or not supported; ToolError if ffprobe is not installed.
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
    """Indices, among all streams in `description` (the output of `describe`), of the audio streams."""
    return [index for index, stream in enumerate(description["streams"]) if stream.get("codec_type") == "audio"]


def seconds_of(description: tp.Mapping[str, tp.Any], stream: int) -> tp.Optional[float]:
    """Duration in seconds, according to the headers in `description` (the output of `describe`), of the stream with the
    index `stream`, or else of the file; None if neither is known."""
    for header in (description["streams"][stream], description["format"]):
        try:
            return float(header["duration"])
        except (KeyError, ValueError):
            pass
    return None


def read(path: tp.Union[str, Path], stream: int, *, start: tp.Optional[float] = None,
         seconds: tp.Optional[float] = None, samplerate: tp.Optional[int] = None, padding: bool = False) -> Decoded:
    """Audio of the stream with the index `stream` among all streams of a file, and ffmpeg's message if some of it
    cannot be decoded.

    Args:
        path: the file.
        stream: index among all streams, not only those with audio.
        start: seconds to skip.
        seconds: seconds to read; default: all.
        samplerate: sample rate in Hz to which ffmpeg resamples; default: that of the stream.
        padding: include the delay and padding that players skip according to the file.

    Raises:
        AudioError: if nothing of the stream can be decoded.
        ToolError: if ffmpeg is not installed.
    """
    before = (["-ss", str(start)] if start else []) + (["-flags2", "+skip_manual"] if padding else [])
    after = (["-t", str(seconds)] if seconds is not None else []) + \
        (["-ar", str(samplerate)] if samplerate is not None else [])
    return decode(existing_file(path), f"0:{stream}", before=before, after=after)


def read_first(path: tp.Union[str, Path], *, samplerate: tp.Optional[int] = None, padding: bool = False
               ) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, sample rate in Hz) of the first audio stream of a file; `samplerate` and `padding` as in
    `read`.

    If less can be decoded than the duration in the header, or ffmpeg reports damage, the decoded samples are returned,
    with a warning.

    Raises:
        AudioError: if there is no audio stream, or nothing of it can be decoded.
        ToolError: if ffmpeg is not installed.
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
