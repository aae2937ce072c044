"""Public interface for audio: `AudioFile`, conversion, writing, with the names and arguments of published Demucs."""

import typing as tp
from pathlib import Path

import numpy as np
import torch

from ..dsp import convert
from ..errors import AudioError
from ..files import beside
from ..ranges import CHANNELS, RATE, Range, shown
from . import ffmpeg, programs, reading, streams
from .encoding import check_rate
from .reading import prevent_clip as _prevent_clip
from .writing import write_mp3, write_samples

__all__ = ["AudioFile", "as_dtype_pcm", "convert_audio", "convert_audio_channels", "encode_ffmpeg", "encode_mp3",
           "encode_wav", "f32_pcm", "i16_pcm", "prevent_clip", "save_audio"]

PathLike = tp.Union[str, Path]
BLOCK = 2 ** 20     # samples converted at a time
READING = {"seek_time": Range(0, 10 ** 9, unit="seconds"), "duration": Range(0, 10 ** 9, unit="seconds"),
           "samplerate": RATE, "channels": CHANNELS}


class AudioFile:
    """Audio file of any format that ffmpeg reads, with one or several audio streams; `len()` is their number. The file
    is first opened when a property is read."""

    def __init__(self, path: PathLike):
        self.path = Path(path)
        self._info: tp.Optional[tp.Dict[str, tp.Any]] = None

    def __repr__(self) -> str:
        return (f"AudioFile(path={self.path}, samplerate={self.samplerate()}, channels={self.channels()}, "
                f"streams={len(self)})")

    @property
    def info(self) -> tp.Dict[str, tp.Any]:
        """Output of ffprobe: {"format": {...}, "streams": [{...}, ...]}, read once. Raises AudioError for unreadable
        files, ToolError if ffprobe is not installed."""
        if self._info is None:
            self._info = streams.describe(self.path)
        return self._info

    @property
    def duration(self) -> float:
        """Duration in seconds. Raises AudioError if the file has no information about it."""
        try:
            return float(self.info["format"]["duration"])
        except KeyError as error:
            raise AudioError(f"{self.path}: does not say how long it is; convert it to wav or flac first") from error

    def __len__(self) -> int:
        return len(streams.audio_streams(self.info))

    def _stream(self, stream: int) -> int:
        """Index among all streams of the audio stream number `stream`."""
        try:
            return streams.audio_streams(self.info)[stream]
        except IndexError as error:
            raise AudioError(f"{self.path}: has {len(self)} audio streams, and no number {stream}") from error

    def channels(self, stream: int = 0) -> int:
        """Number of channels of audio stream number `stream` (from 0). Raises AudioError if there is no such stream."""
        return int(self.info["streams"][self._stream(stream)]["channels"])

    def samplerate(self, stream: int = 0) -> int:
        """Sample rate in Hz of audio stream number `stream` (from 0). Raises AudioError if there is no such stream."""
        return int(self.info["streams"][self._stream(stream)]["sample_rate"])

    def read(self, seek_time: tp.Optional[float] = None, duration: tp.Optional[float] = None,
             streams: tp.Union[slice, int, tp.Sequence[int]] = slice(None), samplerate: tp.Optional[int] = None,
             channels: tp.Optional[int] = None) -> torch.Tensor:
        """Audio streams as float32 [N, A, L]; a single stream, given as a number, as [A, L].

        Args:
            seek_time: seconds to skip.
            duration: seconds to read; default: to the end.
            streams: selected audio streams, counted from 0: a slice, a list or a number; default: all.
            samplerate: sample rate in Hz to which ffmpeg resamples; default: that of each stream.
            channels: number of channels to convert to, as in `convert_audio_channels`; default: those of each stream.

        Raises:
            AudioError: for unreadable files, invalid arguments, or if the streams differ in shape.
            ToolError: if ffmpeg is not installed.
        """
        for name, value in (("seek_time", seek_time), ("duration", duration), ("samplerate", samplerate),
                            ("channels", channels)):
            if value is not None and value not in READING[name]:
                raise AudioError(f"{self.path}: {name}={shown(value)} {READING[name].demand(value)}")
        length = None if duration is None else int((samplerate or self.samplerate()) * duration)
        if isinstance(streams, (int, np.integer)):
            return self._read_one(int(streams), seek_time, length, samplerate, channels)
        chosen = range(len(self))[streams] if isinstance(streams, slice) else streams
        wavs = [self._read_one(int(stream), seek_time, length, samplerate, channels) for stream in chosen]
        if len({wav.shape for wav in wavs}) != 1:
            raise AudioError(f"{self.path}: its audio streams differ in shape: {[list(wav.shape) for wav in wavs]}; "
                             f"read them one by one" if wavs else f"{self.path}: has no audio stream")
        return torch.stack(wavs)

    def _read_one(self, stream: int, start: tp.Optional[float], length: tp.Optional[int],
                  samplerate: tp.Optional[int], channels: tp.Optional[int]) -> torch.Tensor:
        seconds = None if length is None else (length + 1) / (samplerate or self.samplerate())
        wav = streams.read(self.path, self._stream(stream), start=start, seconds=seconds, samplerate=samplerate).wav
        if channels is not None:
            wav = convert_audio_channels(wav, channels)
        return wav[..., :length]


def convert_audio_channels(wav: torch.Tensor, channels: int = 2) -> torch.Tensor:
    """Waveform [..., channels, L] made from `wav` [..., A, L], with the rules and errors of
    `dsp.convert.convert_channels`: the mean for one channel, copies of a mono signal, or the first channels."""
    return convert.convert_channels(wav, channels)


def convert_audio(wav: torch.Tensor, from_samplerate: int, to_samplerate: int, channels: int) -> torch.Tensor:
    """Waveform `wav` [..., A, L] converted to `channels` channels, and resampled from `from_samplerate` to
    `to_samplerate` (Hz); see `dsp.convert`."""
    return convert.convert_audio(wav, from_samplerate, to_samplerate, channels)


def i16_pcm(wav: torch.Tensor) -> torch.Tensor:
    """16-bit integers from floats, which are clipped to [-1, 1]; integers of any type are returned unchanged. `wav` is
    not modified.

    The product with 32767 is truncated, not rounded, so that files equal those of published Demucs bit by bit.
    """
    return (wav.clamp(-1, 1) * 32767).short() if wav.dtype.is_floating_point else wav


def f32_pcm(wav: torch.Tensor) -> torch.Tensor:
    """Floats in about [-1, 1] from the 16-bit integers in `wav`, which are divided by 32767; `wav` itself if it has
    floats."""
    return wav if wav.dtype.is_floating_point else wav.float() / 32767


def as_dtype_pcm(wav: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`f32_pcm` of `wav` if `dtype` is a floating-point type, otherwise `i16_pcm`."""
    return f32_pcm(wav) if dtype.is_floating_point else i16_pcm(wav)


def prevent_clip(wav: torch.Tensor, mode: tp.Optional[str] = "rescale") -> torch.Tensor:
    """Floating-point signal `wav` [..., L] limited to [-1, 1] by `mode`: "rescale" (the whole signal is divided if its
    peak is above 1), "clamp" (clipped at 0.99), "tanh", or "none" or None (`wav` itself). `wav` is not modified.

    Raises AudioError for another mode, or for integers unless the mode is "none".
    """
    if mode in (None, "none"):
        return wav
    if not wav.dtype.is_floating_point:
        raise AudioError(f"clipping is prevented in floating-point audio, this is {wav.dtype}: use f32_pcm before")
    return _prevent_clip(wav, mode)


def encode_mp3(wav: torch.Tensor, path: PathLike, samplerate: int = 44100, bitrate: int = 320, quality: int = 2,
               verbose: bool = False) -> None:
    """Write `wav` [A, L] (floats, or 16-bit integers) as mp3 to `path`, whatever its suffix: `bitrate` in kbit/s,
    `quality` from 2 (best) to 7 (fastest). With `verbose`, LAME prints its messages.

    A bit rate above the maximum for the sample rate stands for the maximum. Raises AudioError for settings that LAME
    does not support, and if the file cannot be written.
    """
    write_mp3(path, _integers(wav, 16), samplerate, bitrate=bitrate, quality=quality, verbose=verbose)


def encode_wav(wav: torch.Tensor, path: PathLike, samplerate: int, bits_per_sample: int = 16, as_float: bool = False
               ) -> None:
    """Write `wav` [A, L] (floats, or 16-bit integers) as wav to `path`, whatever its suffix, with 16, 24 or 32 bits per
    sample, or with `as_float` as 32-bit floats.

    Floats are clipped to [-1, 1], with `as_float` too. Raises AudioError for another bit depth, an invalid sample rate,
    or if the file cannot be written.
    """
    samples = _floats(wav) if as_float else _integers(wav, bits_per_sample)
    write_samples(path, samples, samplerate, subtype="FLOAT" if as_float else f"PCM_{bits_per_sample}", form="WAV")


def encode_ffmpeg(wav: torch.Tensor, path: PathLike, samplerate: int, bits_per_sample: int = 16) -> None:
    """Write `wav` [A, L] in the format that ffmpeg derives from the suffix of `path`. ffmpeg gets `bits_per_sample`
    bits, 16, 24 or 32, and writes as many as the format has.

    Raises AudioError for another bit depth or sample rate, and if ffmpeg cannot write the file; ToolError if ffmpeg is
    not installed.
    """
    check_rate(path, samplerate)
    form = "s16le" if bits_per_sample == 16 else "s32le"
    with beside(Path(path).absolute()) as file:
        command = [ffmpeg.program("ffmpeg"), "-y", "-loglevel", "error", "-f", form, "-ar", str(samplerate), "-ac",
                   str(wav.shape[0]), "-i", "pipe:0", f"file:{file}"]
        done = programs.call(command, _interleaved(wav, bits_per_sample))
        if done.returncode:
            reason = ffmpeg.complaint(done.stderr, file) or "no reason given"
            raise AudioError(f"{path}: ffmpeg cannot write it ({reason})")


def _integers(wav: torch.Tensor, bits: int) -> np.ndarray:
    """`wav` [A, L] as integers [L, A]: int16, or int32 with the upper 24 bits or all bits used."""
    if bits not in (16, 24, 32):
        raise AudioError(f"{bits} bits per sample cannot be written: use 16 or 24")
    if bits == 16:
        return _samples(wav, i16_pcm)
    if bits == 24:
        return _samples(wav, lambda block: (f32_pcm(block).clamp(-1, 1) * (2 ** 23 - 1)).to(torch.int32) << 8)
    return _samples(wav, lambda block: (f32_pcm(block).double().clamp(-1, 1) * (2 ** 31 - 1)).to(torch.int32))


def _floats(wav: torch.Tensor) -> np.ndarray:
    """`wav` [A, L] as float32 [L, A], clipped to [-1, 1]."""
    return _samples(wav, lambda block: f32_pcm(block).clamp(-1, 1).float())


def _samples(wav: torch.Tensor, converted: tp.Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """`converted(wav)` [L, A] of `wav` [A, L], block by block, so that only the result takes memory for the whole
    song."""
    wav = wav.detach()
    samples = np.empty((wav.shape[1], wav.shape[0]), converted(wav[:, :0]).cpu().numpy().dtype)
    for start in range(0, len(samples), BLOCK):
        samples[start:start + BLOCK] = converted(wav[:, start:start + BLOCK]).cpu().T.numpy()
    return samples


def _interleaved(wav: torch.Tensor, bits: int) -> bytes:
    samples = _integers(wav, bits)
    return samples.astype(samples.dtype.newbyteorder("<")).tobytes()


def save_audio(wav: torch.Tensor, path: PathLike, samplerate: int, bitrate: int = 320,
               clip: tp.Optional[str] = "rescale", bits_per_sample: int = 16, as_float: bool = False, preset: int = 2
               ) -> None:
    """Write `wav` [A, L] as .wav, .flac or .mp3, by the suffix of `path`. Its folder must exist; an existing file is
    replaced.

    Args:
        wav: floats, limited to [-1, 1] by `clip`; or integers, which are divided by their full scale first; also numpy.
        path: the file to write.
        samplerate: sample rate in Hz.
        bitrate: bit rate of mp3 in kbit/s.
        clip: mode of `prevent_clip`; after it, samples are clipped to [-1, 1], also in floating-point files.
        bits_per_sample: 16, 24, or for wav 32; not for mp3, which is made from 16 bits.
        as_float: 32-bit floats in wav; without effect for other formats.
        preset: quality of mp3, from 2 (best) to 7 (fastest).

    Raises:
        AudioError: for another suffix, invalid arguments, samples that are not finite, or if writing fails.
    """
    path = Path(path)
    if not isinstance(wav, torch.Tensor) or not wav.is_floating_point():
        wav = convert.as_float(wav)
    if wav.dim() != 2 or not wav.shape[0]:
        raise AudioError(f"{path}: expected audio of shape [channels, samples], got {list(wav.shape)}")
    suffix = _format(path, bits_per_sample)
    wav = prevent_clip(wav, clip)
    reading.require_finite(wav, path, samplerate)
    if suffix == ".mp3":
        encode_mp3(wav, path, samplerate, bitrate, preset)
    elif suffix == ".wav":
        encode_wav(wav, path, samplerate, bits_per_sample, as_float)
    else:
        write_samples(path, _integers(wav, bits_per_sample), samplerate, subtype=f"PCM_{bits_per_sample}", form="FLAC")


def _format(path: Path, bits_per_sample: int) -> str:
    """Suffix of an audio file to write, ".wav", ".flac" or ".mp3". Raises AudioError for another one, or if it cannot
    have `bits_per_sample`."""
    suffix = path.suffix.lower()
    if suffix not in (".wav", ".flac", ".mp3"):
        raise AudioError(f"{path}: cannot write {suffix or 'a file without suffix'}: use .wav, .flac or .mp3")
    if bits_per_sample not in ((16, 24, 32) if suffix == ".wav" else (16, 24)):
        raise AudioError(f"{path}: {bits_per_sample} bits per sample cannot be written as {suffix}: use 16 or 24")
    return suffix
