"""Reading and writing of audio files as float32 tensors [A, L].

libsndfile (through soundfile) reads wav, flac, ogg and mp3 with seeking; ffmpeg, through a pipe, reads other formats
(m4a, wma, the audio of videos...). No shell is involved, and paths are made absolute first, so that any file name
works.
"""

import contextlib
import functools
import logging
import os
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from ..dsp.convert import to_int16
from ..errors import AudioError, DemucsError, exhausted_memory
from ..notes import without_library_notes
from . import headers, streams
from .ffmpeg import decode, existing_file, installed
from .sequential import SequentialFile
from .writing import write_mp3, write_samples

logger = logging.getLogger(__name__)

CLIP_MODES = ("rescale", "clamp", "tanh", "none")
BLOCK = 2 ** 25                 # frames decoded at a time, 12 minutes at 44.1 kHz: headers may have any number
COUNTING = 2 ** 20              # frames decoded at a time if their total number is unknown
CHECKED = 2 ** 20               # samples checked at a time, since torch.isfinite needs a copy of its input
UNKNOWN = 2 ** 62               # more frames than any file has: libsndfile's number for flac files of unknown length
Read = tp.TypeVar("Read", bound=tp.Callable[..., tp.Any])
ESTIMATED = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")     # encodings with an estimated number of frames


@dataclass(frozen=True)
class AudioInfo:
    """Length, sample rate and number of channels of an audio file. `frames` is the number of samples per channel. It
    is exact for wav, flac and ogg. For mp3 and files read by ffmpeg it comes from the header, and may be too large or
    too small by a few codec blocks (some 1152 samples each)."""
    frames: int
    samplerate: int       # Hz
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.samplerate


def _zero_length(path: Path) -> AudioError:
    return AudioError(f"{path}: contains no audio samples (zero length)")


def _truncated(promise: headers.Promise) -> str:
    return (f"truncated: the header promises {promise.promised} bytes of audio, {promise.present} are there; copy or "
            f"download it again")


def _open(path: Path, *, complete: bool = True) -> tp.Optional[soundfile.SoundFile]:
    """The file opened by libsndfile; None if it does not support the format. A truncated file raises AudioError, or
    with `complete` = False logs a warning."""
    promise = headers.promise(path)
    mended = promise is not None and headers.holds_samples(path, promise)
    try:
        with without_library_notes() if promise is None else contextlib.nullcontext():
            file = SequentialFile(headers.with_sizes(path, promise) if mended else os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError):   # TypeError: a suffix of raw files without header
        file = None
    if promise is not None and promise.truncated and (file is None or file.subtype not in ESTIMATED):
        if complete:
            raise AudioError(f"{path}: {_truncated(promise)}")
        logger.warning("%s: %s", path, _truncated(promise))
    if file is not None and file.frames <= 0 and promise is None and installed():     # ffmpeg may find audio in it
        return None
    return file


def kind(path: Path) -> tp.Tuple[tp.Optional[str], str]:
    """(format, encoding) of the file `path` in libsndfile's names, such as ("WAV", "PCM_16"); (None, "") if libsndfile
    does not support the file. Logs a warning if such a file is truncated."""
    try:
        with without_library_notes(), soundfile.SoundFile(os.fsencode(path)) as file:
            return file.format, file.subtype
    except (soundfile.LibsndfileError, TypeError):    # TypeError: a suffix of raw files without header
        promise = headers.promise(path)
        if promise is not None and promise.truncated:
            logger.warning("%s: %s", path, _truncated(promise))
        return None, ""


def _decode(file: soundfile.SoundFile, frames: int) -> tp.Tuple[np.ndarray, tp.Optional[soundfile.LibsndfileError]]:
    """(next samples [L, A] float32, at most `frames`; the error that ended decoding early, or None).

    The buffer is filled with NaN first, since libsndfile does not report the number of samples decoded before an error.
    """
    samples = np.full((frames, file.channels), np.nan, np.float32)
    try:
        with without_library_notes() if file.subtype in ESTIMATED else contextlib.nullcontext():
            return file.read(out=samples), None
    except soundfile.LibsndfileError as error:
        missing = np.isnan(samples[:, 0])
        return samples[:int(missing.argmax()) if missing.any() else frames], error


def _blocks(file: soundfile.SoundFile, frames: tp.Optional[int]
            ) -> tp.Iterator[tp.Tuple[np.ndarray, tp.Optional[soundfile.LibsndfileError]]]:
    """Results of `_decode` up to a total of `frames` samples (None: all), or the end of the file."""
    left, most = (UNKNOWN, COUNTING) if frames is None else (frames, BLOCK)
    while left:
        samples, error = _decode(file, min(left, most))
        yield samples, error
        left -= len(samples)
        if error is not None or not len(samples):
            return


def _frames(file: soundfile.SoundFile) -> int:
    """Number of frames in an open file, counted by decoding if the header does not have it."""
    if file.frames < UNKNOWN:
        return file.frames
    return sum(len(samples) for samples, _ in _blocks(file, None))


def _move(file: soundfile.SoundFile, start: int) -> None:
    """Make `start` the next frame to be read."""
    if not start:
        return
    if file.seekable():
        file.seek(start)
    else:
        for _ in _blocks(file, start):
            pass


def _ffmpeg_probe(path: Path) -> AudioInfo:
    description = streams.describe(path)
    indices = streams.audio_streams(description)
    stream = description["streams"][indices[0]] if indices else {}
    samplerate, channels = int(stream.get("sample_rate", 0)), int(stream.get("channels", 0))
    if not samplerate or not channels:
        raise AudioError(f"{path}: has no audio stream")
    seconds = streams.seconds_of(description, indices[0])
    if not seconds:
        wav, samplerate, _ = decode(path, "0:a:0")
        return AudioInfo(wav.shape[1], samplerate, wav.shape[0])
    return AudioInfo(round(seconds * samplerate), samplerate, channels)


def _ffmpeg_read(path: Path, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
    """Samples decoded from the start of the file, which is the only way to find sample `start` exactly in compressed
    streams."""
    info = _ffmpeg_probe(path)
    end = "" if frames is None else f":end_sample={start + frames}"
    some = ["-af", f"atrim=start_sample={start}{end}"] if start or frames is not None else []
    wav, samplerate, complaint = decode(path, "0:a:0", after=some)
    if not some and wav.shape[-1] / samplerate < info.seconds - streams.SHORTFALL:
        raise AudioError(f"{path}: damaged: {wav.shape[-1] / samplerate:.1f} of {info.seconds:.1f} s can be decoded "
                         f"({complaint or 'the rest is not there'}); copy or download it again")
    return wav, samplerate


def _naming(read: Read) -> Read:
    """Decorator that turns unexpected exceptions of a reader into an AudioError with the name of the file."""
    @functools.wraps(read)
    def named(path: tp.Union[str, Path], *arguments: tp.Any, **keywords: tp.Any) -> tp.Any:
        try:
            return read(path, *arguments, **keywords)
        except (DemucsError, OSError):
            raise
        except Exception as error:
            if exhausted_memory(error):
                raise
            raise AudioError(f"{path}: cannot be decoded ({type(error).__name__}: {error}); copy or download it "
                             f"again") from error
    return tp.cast(Read, named)


@_naming
def probe(path: tp.Union[str, Path]) -> AudioInfo:
    """Length, sample rate and number of channels of an audio file from its header, or by decoding if the header does
    not have the length.

    Raises AudioError if the file is missing, empty, of zero length, truncated (according to its header) or not audio;
    ToolError if only ffmpeg could read it and is not installed.
    """
    path = existing_file(path)
    file = _open(path)
    if file is None:
        info = _ffmpeg_probe(path)
    else:
        with file:
            info = AudioInfo(_frames(file), file.samplerate, file.channels)
    if info.frames <= 0:
        raise _zero_length(path)
    return info


@_naming
def read(path: tp.Union[str, Path], start: int = 0, frames: tp.Optional[int] = None, *, complete: bool = True
         ) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, sample rate in Hz) of the audio file `path`: at most `frames` samples from sample
    `start` on (None: to the end).

    Integer formats are scaled to [-1, 1). If the file ends earlier, fewer samples (or none) are returned. Raises the
    errors of `probe`, and AudioError if less can be decoded than the header promises; with `complete` = False, the
    decoded samples are returned with a warning.
    """
    path = existing_file(path)
    file = _open(path, complete=complete)
    if file is None:
        wav, samplerate = _ffmpeg_read(path, start, frames) if complete else streams.read_first(path)
        if wav.shape[-1] == 0 and start == 0:
            raise _zero_length(path)
        return wav, samplerate
    with file:
        return _decoded(file, path, start, frames, complete)


def _decoded(file: soundfile.SoundFile, path: Path, start: int, frames: tp.Optional[int], complete: bool
             ) -> tp.Tuple[torch.Tensor, int]:
    """As `read`, of an open file."""
    if file.frames <= 0:
        raise _zero_length(path)
    samplerate, channels, promised = file.samplerate, file.channels, file.frames
    wanted: tp.Optional[int] = None if promised >= UNKNOWN else max(promised - start, 0)
    if frames is not None:
        wanted = frames if wanted is None else min(wanted, frames)
    try:
        _move(file, start)
        found = list(_blocks(file, wanted))
    except soundfile.LibsndfileError:      # before the start, or after the end of a file of unknown length
        found = [(np.empty((0, channels), np.float32), None)]
    exact = file.subtype not in ESTIMATED and promised < UNKNOWN
    error = found[-1][1] if found else None
    samples = found[0][0] if len(found) == 1 else np.concatenate([part for part, _ in found]) if found else \
        np.empty((0, channels), np.float32)
    wav = torch.from_numpy(np.ascontiguousarray(samples.T))
    short = exact and len(samples) < (wanted or 0)
    message = (f"{path}: truncated or damaged: {start + len(samples)} samples can be decoded, the header promises "
               f"{promised}; copy or download it again")
    if short and complete:
        raise AudioError(message)
    if not complete and (short or error is not None and promised >= UNKNOWN):     # unknown length: ends with an error
        more = _after_damage(path, wav)
        if more is not None:
            return more
    if short:
        if not len(samples):
            raise AudioError(message)
        logger.warning("%s", message)
    if not len(samples) and start == 0 and wanted != 0:
        raise _zero_length(path)
    return wav, samplerate


@_naming
def probe_and_read(path: tp.Union[str, Path], frames: int
                   ) -> tp.Tuple[AudioInfo, tp.Union[torch.Tensor, AudioError, None]]:
    """(result of `probe`, samples [A, L] of `read` from the beginning, at most `frames`), for which the file is opened
    once. Instead of the samples, the error that `read` raises, or None where the beginning of the file would be decoded
    twice. Raises the errors of `probe`."""
    path = existing_file(path)
    file = _open(path)
    if file is None:
        return probe(path), None
    with file:
        info = AudioInfo(_frames(file), file.samplerate, file.channels)
        if info.frames <= 0:
            raise _zero_length(path)
        if file.frames >= UNKNOWN:       # counted by decoding
            return info, None
        try:
            return info, _decoded(file, path, 0, frames, True)[0]
        except AudioError as error:
            return info, error


@_naming
def read_int16(path: tp.Union[str, Path], start: int = 0, frames: tp.Optional[int] = None
               ) -> tp.Optional[tp.Tuple[np.ndarray, int]]:
    """(samples [L, A] as in the file, sample rate in Hz) of a file with 16-bit samples from sample `start`, at most
    `frames` of them; divided by 2 ** 15 they are those of `read`. None for all other files, and for those that `read` has
    an error for. Raises the errors of `probe`."""
    path = existing_file(path)
    file = _open(path)
    if file is None:
        return None
    with file:
        if file.subtype != "PCM_16" or not 0 < file.frames < UNKNOWN or not file.seekable():
            return None
        wanted = max(file.frames - start, 0)
        wanted = wanted if frames is None else min(wanted, frames)
        try:
            _move(file, min(start, file.frames))
            samples = file.read(wanted, dtype="int16", always_2d=True)
        except soundfile.LibsndfileError:
            return None
        return (samples, file.samplerate) if len(samples) == wanted else None


def _after_damage(path: Path, wav: torch.Tensor) -> tp.Optional[tp.Tuple[torch.Tensor, int]]:
    """(samples, sample rate) decoded by ffmpeg from a file in which libsndfile stops at the first damage, after `wav`;
    None if they are not more. ffmpeg's messages are logged as warnings."""
    if installed():
        with contextlib.suppress(AudioError):
            found = streams.read_first(path)
            if found[0].shape[-1] > wav.shape[-1]:
                return found
    return None


def all_finite(wav: torch.Tensor) -> bool:
    """Whether `wav` [..., L] has neither NaN nor infinity. Blocks of samples are checked one after another, so the
    memory needed does not grow with L."""
    return all(bool(torch.isfinite(block).all()) for block in wav.split(CHECKED, dim=-1))


def require_finite(wav: torch.Tensor, path: tp.Union[str, Path], samplerate: int) -> None:
    """Check that `wav` [..., L] at `samplerate` Hz has neither NaN nor infinity.

    Raises:
        AudioError: with `path` and the time of the first such sample.
    """
    if all_finite(wav):
        return
    bad = torch.cat([~torch.isfinite(block).reshape(-1, block.shape[-1]).all(dim=0)
                     for block in wav.split(CHECKED, dim=-1)])
    raise not_finite(path, int(bad.sum()), int(bad.nonzero()[0]) / samplerate)


def not_finite(path: tp.Union[str, Path], count: int, seconds: float) -> AudioError:
    """Error to raise for `count` samples of the file `path` that are not finite, the first of them at `seconds`."""
    return AudioError(f"{path}: {count} samples are not finite numbers (NaN or infinity), the first at {seconds:.3f} "
                      f"s; render the file again")


def _peak(wav: torch.Tensor) -> float:
    """Largest absolute sample of `wav`, NaN if there is one; without the copy that `wav.abs()` makes."""
    low, high = torch.aminmax(wav)
    return max(-float(low), float(high))


def prevent_clip(wav: torch.Tensor, mode: str = "rescale") -> torch.Tensor:
    """Signal `wav` [..., L] limited to [-1, 1], by one of CLIP_MODES. `wav` is not modified, and may be returned
    itself.

    "rescale" divides the whole signal by 1.01 times its peak if that is above 1; "clamp" clips at 0.99; "tanh" applies
    tanh; "none" returns `wav`, and leaves clipping to the file format. Raises AudioError for another mode.
    """
    if mode == "rescale":
        return wav / max(1.01 * _peak(wav), 1.0) if wav.numel() else wav
    if mode == "clamp":
        return wav.clamp(-0.99, 0.99)
    if mode == "tanh":
        return torch.tanh(wav)
    if mode == "none":
        return wav
    raise AudioError(f"unknown way to prevent clipping {mode!r}: one of {', '.join(CLIP_MODES)}")


def write(path: tp.Union[str, Path], wav: torch.Tensor, samplerate: int, *, clip: str = "rescale", bits: int = 16,
          as_float: bool = False, mp3_bitrate: int = 320, mp3_preset: int = 2) -> None:
    """Write `wav` [A, L] as .wav, .flac or .mp3, by the suffix of `path`. Its folder must exist; an existing file is
    replaced atomically.

    `clip` is a mode of `prevent_clip`, `bits` 16, 24 or (wav only) 32 per sample. `as_float` writes 32-bit float wav,
    and has no effect for other formats. `mp3_bitrate` is in kbit/s, `mp3_preset` from 2 (best) to 7 (fastest).

    Raises AudioError for another suffix, invalid arguments, samples that are not finite, or if the file cannot be
    written.
    """
    path = Path(path).absolute()
    if wav.dim() != 2 or not wav.shape[0]:
        raise AudioError(f"{path}: expected audio of shape [channels, samples], got {list(wav.shape)}")
    wav = wav.detach().to("cpu", torch.float32)
    require_finite(wav, path, samplerate)
    wav = prevent_clip(wav, clip)
    suffix = path.suffix.lower()
    if suffix == ".mp3":
        if wav.shape[0] > 2:
            raise AudioError(f"{path}: mp3 holds one or two channels, not {wav.shape[0]}; write wav or flac")
        return write_mp3(path, to_int16(wav).T.contiguous().numpy(), samplerate, bitrate=mp3_bitrate,
                         quality=mp3_preset)
    if suffix not in (".wav", ".flac"):
        raise AudioError(f"{path}: cannot write {suffix or 'a file without suffix'}: use .wav, .flac or .mp3")
    if bits not in ((16, 24) if suffix == ".flac" else (16, 24, 32)):
        raise AudioError(f"{path}: {bits} bits per sample cannot be written as {suffix}: use 16 or 24")
    if suffix == ".wav" and as_float:
        samples, subtype = wav, "FLOAT"
    elif bits == 16:
        samples, subtype = to_int16(wav), "PCM_16"   # libsndfile would round down
    else:
        samples, subtype = wav, f"PCM_{bits}"
    write_samples(path, samples.T.contiguous().numpy(), samplerate, subtype=subtype, form=suffix[1:].upper())
