"""Memory of a long song: what separation and writing allocate beside the mixture and the estimates."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from demucs.audio import public, reading, save_audio
from demucs.errors import AudioError
from demucs.separation.outputs import two_stems
from demucs.separation.song import separate_song

RATE = 1000
SECONDS = 20
SONG = 2 * RATE * SECONDS * 4         # bytes of a stereo song in float32
ESTIMATES = 4 * SONG


class Gains(torch.nn.Module):
    """Model that multiplies the mixture by one number per source."""
    sources, samplerate, audio_channels, segment = ["drums", "bass", "other", "vocals"], RATE, 2, 1.
    normalizes_songs = True

    def __init__(self):
        super().__init__()
        self.gains = torch.nn.Parameter(torch.tensor([0.4, 0.3, 0.2, 0.1]))

    def forward(self, mix):
        return mix[:, None] * self.gains[:, None, None]


class Allocations(TorchDispatchMode):
    """Sizes in bytes of all tensors that operators allocate within the context."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs or {}))}
        result = function(*args, **(kwargs or {}))
        self.sizes += [tensor.untyped_storage().nbytes() for tensor in _tensors(result)
                       if tensor.untyped_storage()._cdata not in before]
        return result

    def at_least(self, size):
        return [found for found in self.sizes if found >= size]


def _tensors(value):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module, name in ((reading, "CHECKED"), (public, "BLOCK")):
        monkeypatch.setattr(module, name, 700)


@pytest.fixture
def song():
    return 0.1 * torch.randn(2, RATE * SECONDS, generator=torch.Generator().manual_seed(0))


def test_separation_allocates_the_estimates_once(song):
    with Allocations() as made:
        separate_song(Gains(), song, shifts=0)
    assert made.at_least(ESTIMATES) == [ESTIMATES]
    assert made.at_least(SONG) == [SONG, ESTIMATES]      # the normalised song, and the estimates
    assert len(made.at_least(SONG // 2)) == 3            # its mono mixture


@pytest.mark.parametrize("place", [(3, 1, 19_999), (0, 0, 0), (2, 1, 700)], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_sample_that_is_not_finite_is_found_in_every_block(place, value):
    wav = torch.zeros(4, 2, 20_000)
    assert reading.all_finite(wav) and reading.all_finite(wav[..., :0])
    wav[place] = value
    assert not reading.all_finite(wav)
    with pytest.raises(AudioError, match=rf"x.wav: 1 samples are not .* the first at {place[-1] / RATE:.3f} s"):
        reading.require_finite(wav, "x.wav", RATE)


def test_estimates_that_are_not_finite_are_an_error(song):
    model = Gains()
    model.gains.data[2] = float("inf")
    with pytest.raises(AudioError, match="the output of the model is not finite"):
        separate_song(model, song, shifts=0)


@pytest.mark.parametrize("name,settings,most", [
    ("a.wav", {}, 1), ("a.wav", {"bits_per_sample": 24}, 1), ("a.wav", {"as_float": True}, 1), ("a.flac", {}, 1),
    ("a.wav", {"clip": "none"}, 0)])
def test_writing_allocates_one_copy(song, name, settings, most, tmp_path):
    """Beside the integers or floats of the file, which are numpy's: the copy that is limited to [-1, 1]."""
    with Allocations() as made:
        save_audio(song, tmp_path / name, RATE, **settings)
    assert made.at_least(SONG // 4) == [SONG] * most


@pytest.mark.parametrize("wav", [torch.rand(2, 2000) * 3 - 1.5, torch.zeros(1, 1),
                                 (torch.rand(2, 1400) * 9999).short()], ids=["floats", "one", "integers"])
@pytest.mark.parametrize("bits,dtype", [(16, np.int16), (24, np.int32), (32, np.int32)])
def test_blocks_join_to_the_whole(wav, bits, dtype, monkeypatch):
    blocks = public._integers(wav, bits)
    monkeypatch.setattr(public, "BLOCK", 10 ** 6)
    assert blocks.dtype == dtype and blocks.flags.c_contiguous and np.array_equal(blocks, public._integers(wav, bits))


def test_the_sum_of_all_others_is_one_tensor(song):
    estimates = {name: song * gain for name, gain in zip("abcd", (0.4, 0.3, 0.2, 0.1))}
    with Allocations() as made:
        stems = two_stems(song, estimates, "b", "add")
    assert made.at_least(SONG) == [SONG]
    assert torch.equal(stems["no_b"], sum(estimates[name] for name in "acd"))
