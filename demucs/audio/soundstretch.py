"""Pitch shifting and time stretching by soundstretch, the program of Olli Parviainen's SoundTouch.

https://www.surina.net/soundtouch. Audio is passed through pipes as 16-bit wav, which published Demucs passes in files:
no temporary files, no shell. The program is searched once per process: `$SOUNDSTRETCH`, then
soundtouch/build/soundstretch of this repository, then PATH.
"""

import functools
import os
import re
import shutil
import struct
import subprocess
import typing as tp
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..dsp.convert import to_int16
from ..errors import ToolError
from . import programs

MINIMUM_VERSION = (2, 1, 2)
MAX_SLOWER = 95     # percent: the program accepts no tempo change below -95 %
BUILT_HERE = Path(__file__).resolve().parents[2] / "soundtouch" / "build" / "soundstretch"
FIX = ("run `make setup`, install the package soundstretch (apt) or soundtouch (conda-forge), run soundtouch/build.sh, "
       "or set $SOUNDSTRETCH to the program")
PEAK = 0.99     # as in published Demucs: samples are clipped, so that rounding to 16 bits cannot overflow


def _wav_bytes(samples: np.ndarray, samplerate: int) -> bytes:
    """Content of a wav file of `samples` int16 [L, A]."""
    channels, data = samples.shape[1], samples.astype("<i2", copy=False).tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, samplerate, samplerate * channels * 2, channels * 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
    return head + form + struct.pack("<4sI", b"data", len(data)) + data


def _samples(wav: bytes, channels: int) -> tp.Optional[np.ndarray]:
    """int16 samples [L, A] of a 16-bit wav stream; None if it is not one or is truncated.

    soundstretch writes its header before it knows the length, and again at the end. In a pipe it cannot seek: the first
    header has the length 0, and the true header follows the samples.
    """
    start, bits = 12, 0
    while True:
        if len(wav) < start + 8:
            return None
        name, size = struct.unpack_from("<4sI", wav, start)
        start += 8
        if name == b"data":
            break
        if name == b"fmt ":
            found, bits = struct.unpack_from("<2xH10xH", wav, start)
            if found != channels:
                return None
        start += size + size % 2
    end = start + size
    if size == 0:
        end = len(wav) - start
        last = wav[end:]
        if end < start or last[:4] != wav[:4] or last[8:16] != wav[8:16]:
            return None
        size = struct.unpack("<I", last[-4:])[0]
    if bits != 16 or end > len(wav) or end - start != size:
        return None
    return np.frombuffer(wav[start:end], "<i2").reshape(-1, channels)


@dataclass(frozen=True)
class Soundstretch:
    """A working soundstretch program: its path and version. It is cheap to pickle, so that data loader workers need no
    search."""
    path: str
    version: tp.Tuple[int, ...]

    def stretch(self, wav: torch.Tensor, samplerate: int, *, pitch: float, tempo: float,
                voice: bool = False) -> torch.Tensor:
        """Waveform `wav` [A, L] float32 at `samplerate` Hz, shifted by `pitch` semitones and made `tempo` percent
        faster: [A, L'] float32 on the CPU, with L' about L / (1 + tempo / 100). Samples are rounded to 16 bits and
        clipped at 0.99. `voice` tunes the algorithm for speech and singing.

        Raises ToolError with the message of the program if it fails or takes too long.
        """
        integers = to_int16(wav.detach().cpu().clamp(-PEAK, PEAK)).numpy()
        samples = np.empty(integers.shape[::-1], np.int16)
        for channel, row in enumerate(integers):      # several times faster than a transposed copy
            samples[:, channel] = row
        command = [self.path, "stdin", "stdout", f"-pitch={pitch}", f"-tempo={tempo:.6f}"]
        if voice:
            command.append("-speech")
        done = self._run(command, _wav_bytes(samples, samplerate), limit=60 + 10 * wav.shape[-1] / samplerate)
        result = None if done.returncode else _samples(done.stdout, len(wav))
        if result is None:
            message = " ".join(done.stderr.decode(errors="replace").split("information.")[-1].split())
            raise ToolError(f"{self.path} failed (exit code {done.returncode}, {len(done.stdout)} bytes of audio) on "
                            f"{' '.join(command[1:])}: {message or 'it gave no reason'}")
        return torch.from_numpy(result.T.astype(np.float32, order="C") / np.float32(32768))

    def _run(self, command: tp.Sequence[str], wav: bytes, *, limit: float) -> "subprocess.CompletedProcess[bytes]":
        """Run the program with `wav` as its input. It usually needs a hundredth of `limit` seconds."""
        try:
            return programs.call(command, wav, timeout=limit, in_memory=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(f"{self.path} could not change pitch and tempo: {error}") from error


def _candidate() -> tp.Tuple[str, str]:
    """(path of the program, name of the place where it was found). Raises ToolError if there is none."""
    chosen = os.environ.get("SOUNDSTRETCH")
    if chosen:
        if not os.access(chosen, os.X_OK) or os.path.isdir(chosen):
            raise ToolError(f"$SOUNDSTRETCH is {chosen}, which is not a program; correct or unset it")
        return os.path.abspath(chosen), "$SOUNDSTRETCH"
    if os.access(BUILT_HERE, os.X_OK):
        return str(BUILT_HERE), "soundtouch/build"
    found = shutil.which("soundstretch")
    if found is None:
        raise ToolError(f"soundstretch, which changes pitch and tempo for augment.repitch, is not installed: {FIX}; or "
                        f"train with augment.repitch.proba=0")
    return found, "PATH"


@functools.lru_cache(maxsize=None)
def find() -> Soundstretch:
    """The soundstretch program to use, searched once per process. Raises ToolError if it is missing, too old, or
    another program."""
    path, place = _candidate()
    try:
        done = subprocess.run([path], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{path} (from {place}) cannot be run: {error}; {FIX}") from error
    match = re.search(rb"SoundStretch v(\d+(?:\.\d+)+)", done.stderr + done.stdout)
    if match is None:
        raise ToolError(f"{path} (from {place}) does not say which version of soundstretch it is; {FIX}")
    version = tuple(int(part) for part in match[1].split(b"."))
    if version < MINIMUM_VERSION:
        raise ToolError(f"{path} (from {place}) is version {match[1].decode()}, but "
                        f"{'.'.join(map(str, MINIMUM_VERSION))} or newer is needed; {FIX}")
    return Soundstretch(path, version)
