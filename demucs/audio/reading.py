"""Audio files in and out, as float32 tensors [A, L].

libsndfile (through soundfile) reads wav, flac, ogg and mp3 and seeks in them; ffmpeg, through a pipe, reads the rest
(m4a, wma, the sound of videos...). No shell is involved, and paths are made absolute first: any file name works.
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
from .writing import write_mp3, write_samples

logger = logging.getLogger(__name__)

CLIP_MODES = ("rescale", "clamp", "tanh", "none")
BLOCK = 2 ** 25                 # frames that are decoded at once, 12 minutes at 44.1 kHz: headers may promise any number
COUNTING = 2 ** 20              # the same where it is not known how many there are
UNKNOWN = 2 ** 62               # more frames than any file has: libsndfile's number where a flac file does not say
Read = tp.TypeVar("Read", bound=tp.Callable[..., tp.Any])
ESTIMATED = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")     # codings whose number of frames is a guess


@dataclass(frozen=True)
class AudioInfo:
    """`frames` is exact for wav, flac and ogg; for mp3 and what ffmpeg reads, it is what the header promises or
    suggests, and may be off by a few frames of the codec (some 1152 samples each)."""
    frames: int
    samplerate: int       # Hz
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.samplerate


def _zero_length(path: Path) -> AudioError:
    return AudioError(f"{path}: contains no audio samples (zero length)")


def _truncated(promise: headers.Promise) -> str:
    return (f"truncated: the header promises {promise.promised} bytes of audio, {promise.present} are there; copy or download "
            f"it again")


def _open(path: Path, *, complete: bool = True) -> tp.Optional[soundfile.SoundFile]:
    """The file opened by libsndfile, None where it does not know the format. A file that is truncated raises AudioError,
    or unless `complete` is warned of."""
    promise = headers.promise(path)
    mended = promise is not None and headers.holds_samples(path, promise)
    try:
        with without_library_notes() if promise is None else contextlib.nullcontext():
            file = soundfile.SoundFile(headers.with_sizes(path, promise) if mended else os.fsencode(path))
    except (soundfile.LibsndfileError, TypeError):   # TypeError: a suffix that means headerless samples
        file = None
    if promise is not None and promise.truncated and (file is None or file.subtype not in ESTIMATED):
        if complete:
            raise AudioError(f"{path}: {_truncated(promise)}")
        logger.warning("%s: %s", path, _truncated(promise))
    if file is not None and file.frames <= 0 and promise is None and installed():     # ffmpeg may see more in it
        return None
    return file


def kind(path: Path) -> tp.Tuple[tp.Optional[str], str]:
    """libsndfile's names of the format and coding of a file, such as ("WAV", "PCM_16"); (None, "") where it knows neither.
    Warns of one that it does not read and that is truncated."""
    try:
        with without_library_notes(), soundfile.SoundFile(os.fsencode(path)) as file:
            return file.format, file.subtype
    except (soundfile.LibsndfileError, TypeError):    # TypeError: a suffix that means headerless samples
        promise = headers.promise(path)
        if promise is not None and promise.truncated:
            logger.warning("%s: %s", path, _truncated(promise))
        return None, ""


def _decode(file: soundfile.SoundFile, frames: int) -> tp.Tuple[np.ndarray, tp.Optional[soundfile.LibsndfileError]]:
    """(the next samples [L, A] float32, at most `frames`, and what ended them too early or None).

    After an error libsndfile does not say how many samples it has decoded before.
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
    """`_decode` until `frames` samples (None: all) are there or no more come."""
    left, most = (UNKNOWN, COUNTING) if frames is None else (frames, BLOCK)
    while left:
        samples, error = _decode(file, min(left, most))
        yield samples, error
        left -= len(samples)
        if error is not None or not len(samples):
            return


def _frames(file: soundfile.SoundFile) -> int:
    """The number of frames in an open file, counted where it does not say."""
    if file.frames < UNKNOWN:
        return file.frames
    return sum(len(samples) for samples, _ in _blocks(file, None))


def _move(file: soundfile.SoundFile, start: int) -> None:
    """Makes `start` the next frame to be read."""
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
    """Decodes from the start of the file: in compressed streams only that finds sample `start` exactly."""
    info = _ffmpeg_probe(path)
    end = "" if frames is None else f":end_sample={start + frames}"
    some = ["-af", f"atrim=start_sample={start}{end}"] if start or frames is not None else []
    wav, samplerate, complaint = decode(path, "0:a:0", after=some)
    if not some and wav.shape[-1] / samplerate < info.seconds - streams.SHORTFALL:
        raise AudioError(f"{path}: damaged: {wav.shape[-1] / samplerate:.1f} of {info.seconds:.1f} s can be decoded "
                         f"({complaint or 'the rest is not there'}); copy or download it again")
    return wav, samplerate


def _naming(read: Read) -> Read:
    """What fails in the readers for a reason that nobody has foreseen names the file, too, which may be one of thousands."""
    @functools.wraps(read)
    def named(path: tp.Union[str, Path], *arguments: tp.Any, **keywords: tp.Any) -> tp.Any:
        try:
            return read(path, *arguments, **keywords)
        except (DemucsError, OSError):
            raise
        except Exception as error:
            if exhausted_memory(error):
                raise
            raise AudioError(f"{path}: cannot be decoded ({type(error).__name__}: {error}); copy or download it again") from error
    return tp.cast(Read, named)


@_naming
def probe(path: tp.Union[str, Path]) -> AudioInfo:
    """Length, rate and channels from the header, or by decoding where that does not know. Raises AudioError where the file is
    missing, empty, of zero length, truncated (as far as its header tells) or not audio; ToolError where only ffmpeg could say
    and it is missing."""
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
    """(samples [A, L] float32, sample rate in Hz) of `path` from sample `start`, at most `frames` of them.

    Integer formats are scaled to [-1, 1). Fewer samples (or none) come back where the file ends before.
    Raises AudioError as `probe` does, and where less can be decoded than the header promises; where `complete` is false, what
    can be decoded comes back with a warning.
    """
    path = existing_file(path)
    file = _open(path, complete=complete)
    if file is None:
        wav, samplerate = _ffmpeg_read(path, start, frames) if complete else streams.read_first(path)
        if wav.shape[-1] == 0 and start == 0:
            raise _zero_length(path)
        return wav, samplerate
    with file:
        if file.frames <= 0:
            raise _zero_length(path)
        samplerate, channels, promised = file.samplerate, file.channels, file.frames
        wanted: tp.Optional[int] = None if promised >= UNKNOWN else max(promised - start, 0)
        if frames is not None:
            wanted = frames if wanted is None else min(wanted, frames)
        try:
            _move(file, start)
            found = list(_blocks(file, wanted))
        except soundfile.LibsndfileError:      # before the start, or behind the end of a file that does not know its end
            found = [(np.empty((0, channels), np.float32), None)]
        exact = file.subtype not in ESTIMATED and promised < UNKNOWN
    error = found[-1][1] if found else None
    samples = found[0][0] if len(found) == 1 else np.concatenate([part for part, _ in found]) if found else \
        np.empty((0, channels), np.float32)
    wav = torch.from_numpy(np.ascontiguousarray(samples.T))
    short = exact and len(samples) < (wanted or 0)
    message = (f"{path}: truncated or damaged: {start + len(samples)} samples can be decoded, the header promises {promised}; "
               f"copy or download it again")
    if short and complete:
        raise AudioError(message)
    if not complete and (short or error is not None and promised >= UNKNOWN):     # there the end is an error, too
        more = _behind_damage(path, wav)
        if more is not None:
            return more
    if short:
        if not len(samples):
            raise AudioError(message)
        logger.warning("%s", message)
    if not len(samples) and start == 0 and wanted != 0:
        raise _zero_length(path)
    return wav, samplerate


def _behind_damage(path: Path, wav: torch.Tensor) -> tp.Optional[tp.Tuple[torch.Tensor, int]]:
    """What ffmpeg decodes of a file in which libsndfile stops at the first damage, after `wav`; None where it is no more. It
    warns of damage."""
    if installed():
        with contextlib.suppress(AudioError):
            found = streams.read_first(path)
            if found[0].shape[-1] > wav.shape[-1]:
                return found
    return None


def require_finite(wav: torch.Tensor, path: tp.Union[str, Path], samplerate: int) -> None:
    """Raises AudioError naming `path` and the time of the first NaN or infinity in `wav` [..., L]."""
    if torch.isfinite(wav).all():
        return
    bad = ~torch.isfinite(wav).reshape(-1, wav.shape[-1]).all(dim=0)
    first = int(bad.nonzero()[0])
    raise AudioError(f"{path}: {int(bad.sum())} samples are not finite numbers (NaN or infinity), the first at "
                     f"{first / samplerate:.3f} s; render the file again")


def prevent_clip(wav: torch.Tensor, mode: str = "rescale") -> torch.Tensor:
    """`wav` [..., L] made to fit into [-1, 1], by one of CLIP_MODES.

    "rescale" divides all of it where the peak is above 1/1.01; "clamp" cuts at 0.99; "tanh" squashes; "none" leaves it
    to the file format. Raises AudioError for another mode.
    """
    if mode == "rescale":
        return wav / max(1.01 * float(wav.abs().max()), 1.0) if wav.numel() else wav
    if mode == "clamp":
        return wav.clamp(-0.99, 0.99)
    if mode == "tanh":
        return torch.tanh(wav)
    if mode == "none":
        return wav
    raise AudioError(f"unknown way to prevent clipping {mode!r}: one of {', '.join(CLIP_MODES)}")


def write(path: tp.Union[str, Path], wav: torch.Tensor, samplerate: int, *, clip: str = "rescale", bits: int = 16,
          as_float: bool = False, mp3_bitrate: int = 320, mp3_preset: int = 2) -> None:
    """Write `wav` [A, L] as .wav, .flac or .mp3, by the suffix of `path`.

    `clip` as in `prevent_clip`. `bits` 16, 24 or (wav only) 32 per sample; `as_float` writes 32-bit float wav, and does
    not concern the other formats. `mp3_bitrate` in kbit/s, `mp3_preset` from 2 (best) to 7 (fastest).
    Raises AudioError for another suffix, impossible numbers, or samples that are not finite.
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
        return write_mp3(path, to_int16(wav).T.contiguous().numpy(), samplerate, bitrate=mp3_bitrate, quality=mp3_preset)
    if suffix not in (".wav", ".flac"):
        raise AudioError(f"{path}: cannot write {suffix or 'a file without suffix'}: use .wav, .flac or .mp3")
    if bits not in ((16, 24) if suffix == ".flac" else (16, 24, 32)):
        raise AudioError(f"{path}: {bits} bits per sample cannot be written as {suffix}: use 16 or 24")
    if suffix == ".wav" and as_float:
        samples, subtype = wav, "FLOAT"
    elif bits == 16:
        samples, subtype = to_int16(wav), "PCM_16"   # libsndfile would round downwards
    else:
        samples, subtype = wav, f"PCM_{bits}"
    write_samples(path, samples.T.contiguous().numpy(), samplerate, subtype=subtype, form=suffix[1:].upper())
