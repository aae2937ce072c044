"""Encoder delay and padding in the information frame of mp3 files, and the additional silence without it."""

import numpy as np
import pytest
import soundfile
import torch

from demucs.audio import mp3
from demucs.errors import AudioError

PADDING = 1105                        # what LAME and a decoder add before a song, samples
TAG = b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)      # 2 * 128 + 1 bytes follow


def written(path, rate, channels):
    """An mp3 file with a note and a varying bit rate, as libsndfile writes it."""
    time = np.arange(rate) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time)[:, None].repeat(channels, 1), rate, format="MP3")
    return path.read_bytes()


def note_size(data):
    return mp3._frame(data[:4]).size


@pytest.mark.parametrize("rate", [44100, 48000, 24000, 11025])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_silence_before_a_song_comes_back(rate, channels, tmp_path):
    data = written(tmp_path / "a.mp3", rate, channels)
    assert b"Xing" in data[:300] or b"Info" in data[:300]
    wav, found = mp3.read_with_padding(tmp_path / "a.mp3")
    trimmed, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32", always_2d=True)
    assert found == rate and wav.shape[0] == channels and wav.shape[1] >= rate + PADDING
    np.testing.assert_allclose(wav[:, PADDING:PADDING + rate - 2000], trimmed.T[:, :rate - 2000], rtol=0, atol=1e-4)


def test_the_last_frame_of_a_varying_bit_rate_is_found_without_a_note(tmp_path):
    data = written(tmp_path / "a.mp3", 44100, 2)
    wav, _ = mp3.read_with_padding(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_bytes(data[note_size(data):])
    assert soundfile.info(tmp_path / "b.mp3").frames < 22050      # libsndfile's guess
    assert torch.equal(mp3.read_with_padding(tmp_path / "b.mp3")[0], wav)


def test_behind_tags(tmp_path):
    data = written(tmp_path / "a.mp3", 44100, 2)
    bare = data[note_size(data):]
    for variant in (data, bare, TAG + data, TAG + TAG + data, TAG + bare):
        part, = mp3.parts(variant)
        assert part.frames == bare and part.first.samples == 1152


def test_note_of_another_encoder(tmp_path):
    data = bytearray(written(tmp_path / "a.mp3", 44100, 2))
    place = data.find(b"Xing") if b"Xing" in data[:300] else data.find(b"Info")
    data[place:place + 4] = bytes(4)
    assert mp3.parts(bytes(data))[0].frames == data
    data[36:40] = b"VBRI"
    assert mp3.parts(bytes(data))[0].frames != data


@pytest.mark.parametrize("data", [b"", b"ID3", b"\xff\xfb", b"\xff\xfb\xf0\x00" + bytes(100), b"text" * 100])
def test_what_is_no_mp3(data, tmp_path):
    assert mp3.parts(data) == []
    (tmp_path / "a.mp3").write_bytes(data)
    with pytest.raises(AudioError, match="a.mp3: damaged"):
        mp3.read_with_padding(tmp_path / "a.mp3")
