"""Audio files in and out, and the programs that help with it. The names of `public` are those of published Demucs's
`demucs.audio`; they are loaded when they are used, so that what needs no torch here does not wait for it.
"""

import typing as tp

if tp.TYPE_CHECKING:
    from .public import (AudioFile, as_dtype_pcm, convert_audio, convert_audio_channels, encode_ffmpeg, encode_mp3, encode_wav,
                         f32_pcm, i16_pcm, prevent_clip, save_audio)

__all__ = ["AudioFile", "as_dtype_pcm", "convert_audio", "convert_audio_channels", "encode_ffmpeg", "encode_mp3",
           "encode_wav", "f32_pcm", "i16_pcm", "prevent_clip", "save_audio"]


def __getattr__(name: str) -> tp.Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import public
    return getattr(public, name)
