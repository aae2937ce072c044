"""Audio files in and out, as float32 tensors [A, L].

libsndfile (through soundfile) reads wav, flac, ogg and mp3 and seeks in them; ffmpeg, through a pipe, reads the rest
(m4a, wma, the sound of videos...). No shell is involved, and paths are made absolute first: any file name works.
"""

import json
import struct
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import lameenc
import numpy as np
import soundfile
import torch

from ..dsp.convert import to_int16
from ..errors import AudioError
from .ffmpeg import existing_file, input_arguments, program, run

CLIP_MODES = ("rescale", "clamp", "tanh", "none")
_UNKNOWN_SIZE = 0xFFFFFFFF    # what writers to a pipe put where they do not know the length


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


def _promised_bytes(path: Path) -> tp.Optional[tp.Tuple[int, int]]:
    """(bytes of samples promised, bytes there) of a RIFF wav file; None for other files and for unknown lengths.

    libsndfile silently shortens a wav file whose end is missing. A dataset with such a file in it should not pass.
    """
    with open(path, "rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
            return None
        total = file.seek(0, 2)
        file.seek(12)
        long_size = None
        while True:
            chunk = file.read(8)
            if len(chunk) < 8:
                return None
            name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            if name == b"data":
                if size == _UNKNOWN_SIZE:
                    size = long_size
                return None if size is None else (size, total - file.tell())
            start = file.tell()
            if name == b"ds64":   # 64-bit sizes of a file longer than 4 GiB: RIFF size, then data size
                long_size = struct.unpack("<8xQ", file.read(16))[0]
            file.seek(start + size + size % 2)


def _check(path: Path, info: AudioInfo) -> AudioInfo:
    if info.frames <= 0:
        raise AudioError(f"{path}: contains no audio samples (zero length)")
    return info


def _open(path: Path) -> tp.Optional[soundfile.SoundFile]:
    """The file opened by libsndfile, None where it does not know the format. Raises AudioError if truncated."""
    try:
        file = soundfile.SoundFile(str(path))
    except (soundfile.LibsndfileError, TypeError):   # TypeError: a suffix that means headerless samples
        return None
    promise = _promised_bytes(path)
    if promise is not None and promise[0] > promise[1]:
        file.close()
        raise AudioError(f"{path}: truncated: the header promises {promise[0]} bytes of audio, {promise[1]} are there; "
                         f"copy or download it again")
    return file


def _ffmpeg_probe(path: Path) -> AudioInfo:
    command = [program("ffprobe"), "-loglevel", "error", "-select_streams", "a:0", "-print_format", "json",
               "-show_entries", "stream=sample_rate,channels,duration:format=duration", *input_arguments(path)]
    found = json.loads(run(command, path))
    streams = found.get("streams", [])
    if not streams or "sample_rate" not in streams[0]:
        raise AudioError(f"{path}: has no audio stream")
    duration = streams[0].get("duration", found.get("format", {}).get("duration"))
    if duration is None:
        raise AudioError(f"{path}: does not say how long it is; convert it to wav or flac first")
    samplerate = int(streams[0]["sample_rate"])
    return AudioInfo(round(float(duration) * samplerate), samplerate, int(streams[0]["channels"]))


def _ffmpeg_read(path: Path, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
    """Decodes from the start of the file: in compressed streams only that finds sample `start` exactly."""
    info = _ffmpeg_probe(path)
    command = [program("ffmpeg"), "-nostdin", "-loglevel", "error", "-threads", "1", *input_arguments(path), "-map", "0:a:0"]
    if start or frames is not None:
        end = "" if frames is None else f":end_sample={start + frames}"
        command += ["-af", f"atrim=start_sample={start}{end}"]
    data = run(command + ["-f", "f32le", "-ac", str(info.channels), "pipe:1"], path)
    samples = np.frombuffer(data, np.dtype("<f4")).reshape(-1, info.channels)
    return torch.from_numpy(samples.T.astype(np.float32, order="C")), info.samplerate


def probe(path: tp.Union[str, Path]) -> AudioInfo:
    """Length, rate and channels from the header. Raises AudioError where the file is missing, empty, of zero length,
    truncated (as far as its header tells) or not audio; ToolError where only ffmpeg could say and it is missing."""
    path = existing_file(path)
    file = _open(path)
    if file is None:
        return _check(path, _ffmpeg_probe(path))
    with file:
        return _check(path, AudioInfo(file.frames, file.samplerate, file.channels))


def read(path: tp.Union[str, Path], start: int = 0, frames: tp.Optional[int] = None) -> tp.Tuple[torch.Tensor, int]:
    """(samples [A, L] float32, sample rate in Hz) of `path` from sample `start`, at most `frames` of them.

    Integer formats are scaled to [-1, 1). Fewer samples (or none) come back where the file ends before.
    Raises AudioError as `probe` does, and where less can be decoded than the header promises.
    """
    path = existing_file(path)
    file = _open(path)
    if file is None:
        wav, samplerate = _ffmpeg_read(path, start, frames)
        if wav.shape[-1] == 0 and start == 0:
            raise AudioError(f"{path}: contains no audio samples (zero length)")
        return wav, samplerate
    with file:
        info = _check(path, AudioInfo(file.frames, file.samplerate, file.channels))
        wanted = max(info.frames - start, 0)
        if frames is not None:
            wanted = min(wanted, frames)
        if wanted == 0:
            return torch.zeros(info.channels, 0), info.samplerate
        try:
            file.seek(start)
            samples = file.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path}: damaged, cannot be decoded ({error}); copy or download it again") from error
        exact = file.format != "MP3"
    if exact and len(samples) < wanted:
        raise AudioError(f"{path}: truncated: {start + len(samples)} samples can be decoded, the header promises "
                         f"{info.frames}; copy or download it again")
    return torch.from_numpy(np.ascontiguousarray(samples.T)), info.samplerate


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


def _write_mp3(path: Path, wav: torch.Tensor, samplerate: int, bitrate: int, preset: int) -> None:
    channels = wav.shape[0]
    if channels > 2:
        raise AudioError(f"{path}: mp3 holds one or two channels, not {channels}; write wav or flac")
    samples = to_int16(wav).T.contiguous().numpy()
    encoder = lameenc.Encoder()
    encoder.silence()
    try:
        encoder.set_bit_rate(bitrate)
        encoder.set_in_sample_rate(samplerate)
        encoder.set_channels(channels)
        encoder.set_quality(preset)
        data = encoder.encode(samples.tobytes()) + encoder.flush()
    except (RuntimeError, ValueError) as error:
        raise AudioError(f"{path}: LAME refuses {samplerate} Hz, {bitrate} kbit/s, preset {preset}: {error}") from error
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error})") from error


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
        return _write_mp3(path, wav, samplerate, mp3_bitrate, mp3_preset)
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
    try:
        soundfile.write(str(path), samples.T.numpy(), samplerate, subtype=subtype, format=suffix[1:].upper())
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: cannot be written ({error})") from error
