"""Sounds that Praat, librosa and we measure. Imported by the script that makes the golden numbers and by the tests."""

import importlib
import os

import numpy as np
import pytest

from demucs.data.synthetic.dataset import render_song

HNR_SETTINGS = {
    "speech": {"time_step": 0.01, "minimum_pitch": 75., "silence_threshold": 0.1, "periods_per_window": 4.5},
    "music": {"time_step": 0.05, "minimum_pitch": 40., "silence_threshold": 0.03, "periods_per_window": 6.},
}
HPSS_SETTINGS = {
    "usual": {}, "long and short": {"kernel_size": (17, 31)}, "amplitudes": {"power": 1.},
    "margins": {"margin": (1.5, 4.)}, "binary": {"power": np.inf},
}


def peer(name: str):
    """The module `name`. If it is missing, the test is skipped; in CI it fails."""
    try:
        return importlib.import_module(name)
    except ImportError:
        reason = f"{name} is not installed (it is in the extra `dev`)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def sounds():
    """(samples [L] or [A, L], samplerate) by name: tones and noises whose ratio is known, and voices and drums."""
    rng = np.random.Generator(np.random.Philox(7))
    made = {}
    for rate in (16000, 44100):
        t = np.arange(rate) / rate
        tone = sum(np.sin(2 * np.pi * 147.7 * k * t + k) / k for k in range(1, 10))
        noise = rng.standard_normal((3, rate))
        made.update({
            f"sine {rate}": (np.sin(2 * np.pi * 220.3 * t), rate), f"noise {rate}": (noise[0], rate),
            f"tone in noise {rate}": (tone + 0.3 * noise[1], rate),
            f"tone in little noise {rate}": (tone + 0.03 * noise[1] + 1., rate),       # and an offset
            f"fading tone {rate}": (tone * np.linspace(0, 1, rate) ** 2, rate),
            f"two channels {rate}": (np.stack([tone + 0.3 * noise[1], -0.5 * tone + 0.1 * noise[2]]), rate)})
    song = {name: wav / 32768 for name, wav in render_song(3, "test", 0, 3.).items()}
    made.update({name: (song[name], 44100) for name in ("vocals", "drums", "mixture")})
    made["one channel of bass"] = (song["bass"][0], 44100)
    return made
