"""Faults to plant in a song of a dataset: functions that change its stems, and what is to be found then."""

import subprocess

import numpy as np
import soundfile

from demucs.schema import SOURCES

RATE = 44100


def load(song):
    """{stem: float64 [L, 2]}, with the mixture."""
    return {name: soundfile.read(song / f"{name}.wav", always_2d=True)[0] for name in (*SOURCES, "mixture")}


def store(song, wavs, *, subtype="PCM_16", suffix=".wav"):
    """Write stems, rounded to 16 bits, and their sum unless there is a mixture among `wavs`."""
    rounded = {name: np.rint(wav * 2 ** 15) / 2 ** 15 for name, wav in wavs.items()}
    if "mixture" not in rounded:
        rounded["mixture"] = sum(rounded.values())
    song.mkdir(parents=True, exist_ok=True)
    for name, wav in rounded.items():
        soundfile.write(song / f"{name}{suffix}", wav, RATE, subtype=subtype)


def delayed(wav, samples):
    """`wav` [L, A] with `samples` zeros at its beginning (negative: without its first samples), of the same length."""
    moved = np.roll(wav, samples, axis=0)
    if samples > 0:
        moved[:samples] = 0
    else:
        moved[samples:] = 0
    return moved


def decoded(path, codec, rate, folder):
    """Samples of a wav file after coding at `rate`."""
    coded = folder / {"libmp3lame": "coded.mp3", "aac": "coded.m4a", "libvorbis": "coded.ogg"}[codec]
    for arguments in (["-i", path, "-c:a", codec, "-b:a", rate, coded],
                      ["-i", coded, "-c:a", "pcm_f32le", folder / "decoded.wav"]):
        subprocess.run(["ffmpeg", "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)], check=True)
    return soundfile.read(folder / "decoded.wav", always_2d=True)[0]
