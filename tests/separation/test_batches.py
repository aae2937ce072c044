"""Several chunks per call, and several devices: the same estimates, and what happens where memory ends."""

import pytest
import torch
from golden.apply_cases import ToySeparator, ToyWithValidLength, mixture

from demucs.api import Separator
from demucs.errors import ConfigError
from demucs.models import zoo
from demucs.separation import batches, devices
from demucs.separation.apply import separate
from demucs.separation.bag import BagOfModels
from demucs.separation.batches import MOST, Batches, fitting
from demucs.separation.stream import stream

CPU = torch.device("cpu")
SOURCES = ["drums", "bass", "other", "vocals"]


class Recording(torch.nn.Module):
    """A model that notes the sizes of its batches, and has memory for `most` examples."""

    def __init__(self, inner, most=1000):
        super().__init__()
        self.inner, self.most, self.seen = inner, most, []
        for name in ("sources", "samplerate", "audio_channels", "segment"):
            setattr(self, name, getattr(inner, name))

    def valid_length(self, length):
        return self.inner.valid_length(length) if hasattr(self.inner, "valid_length") else length

    def forward(self, mix):
        if len(mix) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(tuple(mix.shape))
        return self.inner(mix)


@pytest.fixture(scope="module")
def htdemucs():
    torch.manual_seed(0)
    return zoo.build("htdemucs", sources=SOURCES, audio_channels=2, samplerate=8000, segment=1.5, channels=8, depth=2,
                     nfft=64, bottom_channels=8, t_layers=1, t_heads=2).eval()


@pytest.mark.parametrize("settings", [dict(shifts=0), dict(shifts=3), dict(shifts=2, workers=2), dict(shifts=0, overlap=0.6)],
                         ids=str)
@pytest.mark.parametrize("batch", [2, 3, 100])
@pytest.mark.parametrize("block", [None, 2.])
def test_same_estimates(batch, block, settings):
    model, mix = BagOfModels([ToySeparator(), ToyWithValidLength()], [[1., 2.], [3., 0.]]), mixture(1503)
    expected = separate(model, mix, **settings)
    spans = stream(model, lambda start, stop: mix[..., start:stop], 1503, block=block, batch=batch, **settings)
    torch.testing.assert_close(torch.cat([span.estimates for span in spans], dim=-1), expected, rtol=0, atol=1e-6)


def test_chunks_and_rounds_are_batched():
    model = Recording(ToySeparator())
    mix = mixture(1503)
    separate(model, mix, shifts=3, batch=4)
    alone = Recording(ToySeparator())
    separate(alone, mix, shifts=3)
    assert sum(shape[0] for shape in model.seen) == sum(shape[0] for shape in alone.seen)
    assert max(shape[0] for shape in model.seen) == 4 * len(mix) and {shape[0] for shape in alone.seen} == {len(mix)}


def test_the_last_chunk_of_a_transformer_is_in_a_batch(htdemucs):
    model, mix = htdemucs, torch.randn(1, 2, 30_001, generator=torch.Generator().manual_seed(0))
    shapes = []
    hook = model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    found = separate(model, mix, shifts=0, batch=4)
    hook.remove()
    assert shapes == [(4, 2, 12_000)]
    torch.testing.assert_close(found, separate(model, mix, shifts=0), rtol=0, atol=1e-5)


def test_batches_shrink_where_memory_ends():
    model, mix = Recording(ToySeparator(), most=3), mixture(3000)[:1]
    found = separate(model, mix, shifts=0, batch=16)
    torch.testing.assert_close(found, separate(ToySeparator(), mix, shifts=0), rtol=0, atol=1e-6)
    sizes = [shape[0] for shape in model.seen]
    assert max(sizes) in (2, 3) and len(sizes) < sum(sizes)      # 16, 8 and 4 were too many
    model.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        separate(model, mix, shifts=0, batch=2)


def test_sizes_are_measured_on_a_gpu(monkeypatch):
    """Here with the numbers of a GPU that has 10 GB, of which one chunk takes 1 GB."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 10 ** 9)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 10 ** 9)
    monkeypatch.setattr(batches, "free_memory", lambda device: 10 ** 10)
    sizes, seen = Batches(None), []
    for group in sizes.groups(range(20), lambda item: 0):
        sizes.run(lambda items: seen.append(len(items)) or items, group, torch.device("cuda"))
    assert seen == [1, 6, 6, 6, 1]
    on_cpu = Batches(None)
    assert [len(group) for group in on_cpu.groups(range(3), lambda item: 0) if on_cpu.run(list, group, CPU)] == [1, 1, 1]


def test_sizes_that_fit():
    assert fitting(10, 100) == 1 and fitting(1e12, 1) == MOST and fitting(float("inf"), 5) == MOST and fitting(0, 5) == 1


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("number", [2, 3])
def test_several_devices_share_the_chunks(number, batch):
    model, mix = BagOfModels([ToySeparator(), ToyWithValidLength()]), mixture(1503)
    expected = separate(model, mix, shifts=2, batch=batch)
    assert torch.equal(separate(model, mix, shifts=2, batch=batch, device=(CPU,) * number), expected)


def test_a_transformer_on_several_devices(htdemucs):
    mix = torch.randn(1, 2, 20_001, generator=torch.Generator().manual_seed(0))
    assert torch.equal(separate(htdemucs, mix, shifts=0, device=(CPU, CPU)), separate(htdemucs, mix, shifts=0))


def test_copies_follow_the_weights():
    model = ToySeparator()
    model.register_parameter("gain", torch.nn.Parameter(torch.ones(1)))
    with devices.at_work_on(model, (CPU, CPU)) as places:
        first = places[1].model
        assert first is not model and places[0].model is model
    with devices.at_work_on(model, (CPU, CPU)) as places:
        assert places[1].model is first
    with torch.no_grad():
        model.gain.fill_(2.)
    with devices.at_work_on(model, (CPU, CPU)) as places:
        assert places[1].model is not first and places[1].model.gain.item() == 2.


def test_names_of_several_devices(monkeypatch):
    assert devices.usable_devices("cpu") == CPU and devices.usable_devices("cpu, cpu") == (CPU, CPU)
    monkeypatch.setattr(devices, "usable_device", torch.device)
    assert devices.usable_devices("cuda:0,1,3") == tuple(torch.device("cuda", index) for index in (0, 1, 3))
    assert devices.usable_devices("cuda:1,cuda:0") == (torch.device("cuda:1"), torch.device("cuda:0"))
    for name in ("cuda:0,0", "cuda,cuda:0", "cuda:0,cuda"):
        with pytest.raises(ConfigError, match=f"device '{name}': .* is named twice"):
            devices.usable_devices(name)
    for name in ("cuda:0,", ",cpu", "cpu,,cpu", ","):
        with pytest.raises(ConfigError, match="a name between the commas is missing"):
            devices.usable_devices(name)


def test_a_separator_on_several_devices():
    found = Separator(ToySeparator(), device="cpu,cpu", shifts=0).separate_tensor(mixture(900)[0])[1]
    expected = Separator(ToySeparator(), device="cpu", shifts=0, batch=1).separate_tensor(mixture(900)[0])[1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(ConfigError, match="'abacus' cannot be used"):
        Separator(ToySeparator(), device="cpu,abacus")
    with pytest.raises(ConfigError, match="batch"):
        Separator(ToySeparator(), device="cpu", batch=0)
