"""Separation of whole songs against published Demucs, and its effects on model, memory and progress."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.apply_cases import CASES, ToySeparator, ToyWithValidLength, mixture, sampled

from demucs.errors import AudioError, ConfigError
from demucs.separation import apply, devices, plan
from demucs.separation.batches import in_order

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "apply.npz"


@pytest.mark.parametrize("name", CASES)
def test_same_as_published(name, monkeypatch):
    kind, length, offsets, settings = CASES[name]
    # Published Demucs draws where the copy begins within half a second of silence; ours by how much it is delayed.
    monkeypatch.setattr(plan, "shift_leads", lambda *_: [50 - offset for offset in offsets])
    out = apply.separate(kind(), mixture(length), shifts=len(offsets), **settings)
    np.testing.assert_allclose(sampled(out), np.load(GOLDEN)[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", [ToySeparator(), ToyWithValidLength()])
def test_threads_change_nothing(model):
    mix = mixture(2000)
    alone = apply.separate(model, mix, shifts=2)
    assert torch.equal(apply.separate(model, mix, shifts=2, workers=3), alone)


def test_never_more_pieces_alive_than_workers():
    alive = most = 0

    class Counted(ToySeparator):
        def forward(self, mix):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            out = super().forward(mix)
            alive -= 1
            return out

    begun = itertools.count()
    pieces = in_order(lambda piece: (next(begun), piece)[1], range(10), workers=3)
    assert next(pieces) == 0
    assert next(begun) <= 4, "only three may run ahead of the one that was handed out"
    assert list(pieces) == list(range(1, 10))
    apply.separate(Counted(), mixture(3000), workers=3)
    assert most <= 3


def test_shift_trick_is_seeded_and_covers_half_a_second():
    assert plan.shift_leads(5, 44100, seed=1) == plan.shift_leads(5, 44100, seed=1)
    assert plan.shift_leads(5, 44100, seed=1) != plan.shift_leads(5, 44100, seed=2)
    leads = plan.shift_leads(3000, 20, seed=0)
    assert set(leads) == set(range(11))
    # uniform: each of 11 values 273 times of 3000, standard deviation 15.7; five of them
    assert all(abs(leads.count(value) - 3000 / 11) < 5 * 15.8 for value in range(11))


def test_averaging_shifts_is_the_mean_of_single_ones(monkeypatch):
    mix, model = mixture(900), ToySeparator()
    singles = []
    for lead in (4, 31):
        monkeypatch.setattr(plan, "shift_leads", lambda *_: [lead])
        singles.append(apply.separate(model, mix))
    monkeypatch.setattr(plan, "shift_leads", lambda *_: [4, 31])
    # float32 rounding of sums of two numbers of size 1
    torch.testing.assert_close(apply.separate(model, mix, shifts=2), (singles[0] + singles[1]) / 2, atol=1e-6, rtol=0)


def test_batch_and_mixture_stay_as_they_were():
    mix = torch.cat([mixture(800), mixture(801)[..., :800]])
    before = mix.clone()
    together = apply.separate(ToySeparator(), mix, shifts=0)
    assert torch.equal(mix, before)
    torch.testing.assert_close(together[1:], apply.separate(ToySeparator(), mix[1:], shifts=0), atol=1e-6, rtol=0)


def test_model_comes_back_as_it_was():
    model = torch.nn.Sequential(ToySeparator(), torch.nn.Dropout())
    for name in ("sources", "audio_channels", "samplerate", "segment"):
        setattr(model, name, getattr(ToySeparator, name))
    model.train()
    model[1].eval()   # a part that is frozen on purpose stays frozen
    model.register_forward_pre_hook(lambda module, _: pytest.fail("in training mode") if module.training else None)
    out = apply.separate(model, mixture(700))
    assert model.training and model[0].training and not model[1].training
    assert not out.requires_grad
    model.zero_grad()
    (out.sum() * model[0].filter.weight.sum()).backward()   # the result may be used in training
    assert model[0].filter.weight.grad is not None


def test_model_is_restored_after_an_error():
    class Failing(ToySeparator):
        def forward(self, mix):
            raise RuntimeError("out of memory")

    model = Failing().train()
    for workers in (0, 2):
        with pytest.raises(RuntimeError, match="out of memory"):
            apply.separate(model, mixture(2000), workers=workers)
        assert model.training


@pytest.mark.parametrize("workers", [0, 2])
def test_progress_reaches_the_end(workers):
    events = []
    apply.separate(ToySeparator(), mixture(1500), shifts=2, progress=events.append, workers=workers)
    ends = [event for event in events if event.state == "end"]
    assert len(events) == 2 * len(ends)
    assert {event.shift for event in events} == {0, 1}
    assert [event.done for event in ends] == sorted(event.done for event in ends)
    assert ends[-1].done == ends[-1].total


@pytest.mark.parametrize("setting,message", [
    ({"overlap": 1.}, "overlap=1.0"), ({"overlap": -0.1}, "overlap"), ({"segment": 0.}, "segment=0.0"),
    ({"segment": 0.05, "overlap": 0.9}, "no step forward"), ({"transition_power": 0.5}, "transition_power=0.5"),
    ({"transition_power": 1e4}, "vanish"), ({"shifts": -1}, "shifts=-1"), ({"shifts": 1.5}, "shifts=1.5"),
    ({"shifts": 10 ** 9}, "shifts=1000000000"), ({"shifts": True}, "shifts=True"), ({"seed": -1}, "seed=-1"),
    ({"seed": 2 ** 64}, "seed="), ({"workers": -1}, "workers=-1"), ({"workers": 10 ** 6}, "workers=1000000"),
    *(({name: value}, re.escape(f"{name}={value}")) for name in ("overlap", "segment", "transition_power")
      for value in (float("nan"), float("inf"), float("-inf"), 1e300)),
    ({"segment": "10"}, "segment='10' must be a number"), ({"overlap": None}, "overlap"),
])
def test_impossible_settings(setting, message):
    with pytest.raises(ConfigError, match=message):
        apply.separate(ToySeparator(), mixture(1000), **setting)


def test_a_segment_longer_than_the_song_takes_no_memory_of_its_own():
    """Its cross-fades would take some 100 GB, for one piece with the gain 1."""
    model, mix = ToySeparator(), mixture(1000)
    expected = apply.separate(model, mix, split=False)
    assert torch.equal(apply.separate(model, mix, segment=86_400.), expected)


@pytest.mark.parametrize("name", ["meta", "xla", "nonsense", "cuda:99", "", "cpu:x", "privateuseone", "hpu", "mps:7"])
def test_devices_that_cannot_be_used(name):
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used on this machine .*; use cpu") as caught:
        devices.usable_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 2, 0), (1, 6, 100), (2, 100)])
def test_impossible_mixtures(shape):
    with pytest.raises(AudioError, match=r"2 channels.*shape"):
        apply.separate(ToySeparator(), torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_mixtures_that_are_not_finite(value):
    mix = mixture(1000)
    mix[..., 500] = value
    with pytest.raises(AudioError, match="the mixture: 1 samples are not finite"):
        apply.separate(ToySeparator(), mix)


@pytest.mark.gpu
def test_song_on_cpu_computed_on_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model, mix = ToySeparator(), mixture(1500)
    expected = apply.separate(model, mix)
    out = apply.separate(model, mix, device="cuda")
    assert out.device.type == "cpu" and next(model.parameters()).device.type == "cpu"
    torch.testing.assert_close(out, expected, atol=1e-3, rtol=0)   # convolutions in TF32
