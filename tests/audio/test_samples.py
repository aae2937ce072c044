"""Whole sound files as arrays."""

import numpy as np
import pytest
import soundfile

from demucs.audio.samples import read_samples
from demucs.errors import AudioError


def test_samples_and_rate(tmp_path):
    path = tmp_path / "b\xe4ss.wav"
    samples = np.array([[0., 0.5], [-0.5, -1.], [0.25, 0.]])
    soundfile.write(path, samples, 8000, subtype="PCM_16")
    read, rate = read_samples(path)
    assert rate == 8000 and read.dtype == np.float64 and np.array_equal(read, samples)
    single, _ = read_samples(path, dtype="float32")
    assert single.dtype == np.float32 and np.array_equal(single, samples)
    soundfile.write(path, samples[:, 0], 8000, subtype="PCM_16")
    assert read_samples(path)[0].shape == (3, 1)


@pytest.mark.parametrize("content", [b"no audio", None])
def test_what_is_no_audio_is_named(tmp_path, content, capfd):
    path = tmp_path / "bass.wav"
    if content is not None:
        path.write_bytes(content)
    words = r"bass\.wav: cannot be read as audio \(.*[^.]\); separate the track again"
    with pytest.raises(AudioError, match=words) as told:
        read_samples(path)
    assert "\n" not in str(told.value) and capfd.readouterr().err == ""
