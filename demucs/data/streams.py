"""Any audio stream of any file, as ffmpeg decodes it: files with several streams (stems in one mp4), and rates
converted by ffmpeg. What `data.audio` does for the first stream of a file, exactly and often without ffmpeg, belongs there.
"""

import json
import typing as tp
from pathlib import Path

import numpy as np
import torch

from ..errors import AudioError
from .ffmpeg import existing_file, input_arguments, program, run


def describe(path: tp.Union[str, Path]) -> tp.Dict[str, tp.Any]:
    """What ffprobe says about a file: {"format": {...}, "streams": [{...}, ...]}, numbers mostly as strings.

    Raises AudioError where the file is missing, empty or not for ffmpeg; ToolError where ffprobe is not installed.
    """
    path = existing_file(path)
    return json.loads(run([program("ffprobe"), "-loglevel", "error", "-print_format", "json", "-show_format",
                            "-show_streams", *input_arguments(path)], path))


def audio_streams(description: tp.Mapping[str, tp.Any]) -> tp.List[int]:
    """The places of the audio streams among all streams."""
    return [index for index, stream in enumerate(description["streams"]) if stream["codec_type"] == "audio"]


def read(path: tp.Union[str, Path], stream: int, *, channels: int, start: tp.Optional[float] = None,
         seconds: tp.Optional[float] = None, samplerate: tp.Optional[int] = None, padding: bool = False
         ) -> torch.Tensor:
    """Stream number `stream` (among all streams) as [channels, L] float32.

    Args:
        channels: of the stream, as `describe` says.
        start: seconds to skip.
        seconds: how long to read; default: all.
        samplerate: in Hz, for ffmpeg to convert to; default: the stream's.
        padding: also what the file says that a player should leave away at its ends.

    Raises:
        AudioError: where the stream cannot be decoded.
    """
    path = existing_file(path)
    command = [program("ffmpeg"), "-nostdin", "-loglevel", "error"]
    command += ["-ss", str(start)] if start else []
    command += ["-flags2", "+skip_manual"] if padding else []
    command += [*input_arguments(path), "-map", f"0:{stream}", "-threads", "1"]
    command += ["-t", str(seconds)] if seconds is not None else []
    command += ["-ar", str(samplerate)] if samplerate is not None else []
    samples = np.frombuffer(run(command + ["-f", "f32le", "pipe:1"], path), np.dtype("<f4"))
    return torch.from_numpy(samples.reshape(-1, channels).T.astype(np.float32, order="C"))


def read_first(path: tp.Union[str, Path], *, samplerate: tp.Optional[int] = None, padding: bool = False
               ) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L], rate in Hz) of the first audio stream; `samplerate` and `padding` as for `read`.

    Raises:
        AudioError: where there is none, or it is empty or damaged.
    """
    description = describe(path)
    indices = audio_streams(description)
    if not indices:
        raise AudioError(f"{path}: has no audio stream")
    stream = description["streams"][indices[0]]
    wav = read(path, indices[0], channels=int(stream["channels"]), samplerate=samplerate, padding=padding)
    if wav.shape[-1] == 0:
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return wav, int(stream["sample_rate"]) if samplerate is None else samplerate
