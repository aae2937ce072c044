"""Golden harmonicities by Praat (through parselmouth) and harmonic and percussive parts by librosa.

    .venv/bin/python tests/golden/make_quality.py

writes quality.npz beside this file: for each sound and setting, Praat's frames (NaN where undefined), and for each
setting of librosa a few values of both parts of the mixture's spectrogram. The versions stand in the file.
"""

from importlib import metadata
from pathlib import Path

import librosa
import numpy as np
import parselmouth
from quality_cases import HNR_SETTINGS, HPSS_SETTINGS, sounds

UNDEFINED = -200.      # what Praat writes for a frame without a harmonicity
STEP = 1009              # every so many values of a spectrogram are kept


def praat(sound: np.ndarray, rate: int, settings: dict) -> np.ndarray:
    """Harmonicity (dB) of every frame."""
    frames = parselmouth.Sound(sound, sampling_frequency=rate).to_harmonicity_ac(**settings).values[0]
    return np.where(frames == UNDEFINED, np.nan, frames)


def main() -> None:
    found = {f"hnr/{name}/{label}": praat(sound, rate, settings)
             for name, (sound, rate) in sounds().items() for label, settings in HNR_SETTINGS.items()}
    z = librosa.stft(sounds()["mixture"][0])
    for label, settings in HPSS_SETTINGS.items():
        for part, values in zip(("harmonic", "percussive"), librosa.decompose.hpss(z, **settings)):
            found[f"hpss/{label}/{part}"] = np.abs(values).reshape(-1)[::STEP]
    versions = [f"{name} {metadata.version(name)}" for name in ("praat-parselmouth", "librosa")]
    np.savez_compressed(Path(__file__).with_name("quality.npz"), **found,
                        versions=np.array([f"Praat {parselmouth.PRAAT_VERSION}", *versions]))


if __name__ == "__main__":
    main()
