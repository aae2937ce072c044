"""Reading and writing of audio files, and external programs for it. The names in `public` are those of `demucs.audio`
in published Demucs. They are imported on first use, so that modules without torch load quickly.
"""

import typing as tp

if tp.TYPE_CHECKING:
    from .public import (AudioFile, as_dtype_pcm, convert_audio, convert_audio_channels, encode_ffmpeg, encode_mp3,
                         encode_wav, f32_pcm, i16_pcm, prevent_clip, save_audio)

__all__ = ["AudioFile", "as_dtype_pcm", "convert_audio", "convert_audio_channels", "encode_ffmpeg", "encode_mp3",
           "encode_wav", "f32_pcm", "i16_pcm", "prevent_clip", "save_audio"]


def __getattr__(name: str) -> tp.Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import public
    return getattr(public, name)
