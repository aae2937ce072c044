"""Bags of models against published Demucs, and which models may form a bag."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden.apply_cases import ToySeparator, mixture, sampled
from golden.bag_cases import CASES, FreeTransformer, Softer, ToyTransformer

from demucs.errors import ConfigError
from demucs.evaluation.collect import evaluation_record
from demucs.separation import apply, plan
from demucs.separation.bag import BagOfModels

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "bags.npz"


@pytest.mark.parametrize("name", CASES)
def test_same_as_published(name, monkeypatch):
    kinds, weights, segment, length, offsets, settings = CASES[name]
    bag = BagOfModels([kind() for kind in kinds], weights, segment)
    # Published Demucs draws where the copy begins within half a second of silence; ours by how much it is delayed.
    leads = [[50 - offset for offset in own] for own in offsets]
    monkeypatch.setattr(plan, "shift_leads", lambda shifts, rate, seed, model: leads[model] if shifts else [])
    golden = np.load(GOLDEN)
    segments = [float(model.segment) for model in bag.models] + [bag.max_allowed_segment]
    np.testing.assert_array_equal(segments, golden[f"{name} segments"])
    out = apply.separate(bag, mixture(length), shifts=len(offsets[0]) if offsets else 0, **settings)
    np.testing.assert_allclose(sampled(out), golden[name], atol=1e-5, rtol=0)


def test_a_bag_of_one_is_that_model_and_equal_models_change_nothing():
    mix = mixture(900)
    alone = apply.separate(Softer(), mix, shifts=2, seed=3)
    assert torch.equal(apply.separate(BagOfModels([Softer()], [[0.3, 7.]]), mix, shifts=2, seed=3), alone)
    # sums of halves, in float32
    torch.testing.assert_close(apply.separate(BagOfModels([Softer()] * 2), mix, shifts=0),
                               apply.separate(Softer(), mix, shifts=0), atol=1e-6, rtol=0)


def test_each_model_has_its_own_delays():
    def leads(model):
        return plan.shift_leads(4, 44100, seed=1, model=model)
    assert leads(0) == plan.shift_leads(4, 44100, seed=1)
    assert len({*leads(0), *leads(1), *leads(2)}) == 12
    mix = mixture(900)
    same_twice = apply.separate(BagOfModels([Softer(), Softer()]), mix, shifts=1)
    assert not torch.allclose(same_twice, apply.separate(Softer(), mix, shifts=1), atol=1e-3)


@pytest.mark.parametrize("workers", [0, 3])
def test_one_progress_over_all(workers):
    events = []
    bag = BagOfModels([ToySeparator(), Softer(), Softer()], [[1, 1], [0, 0], [1, 0]])
    apply.separate(bag, mixture(1500), shifts=2, progress=events.append, workers=workers)
    ends = [event for event in events if event.state == "end"]
    assert [event.done for event in ends] == sorted(event.done for event in ends)
    assert ends[-1].done == ends[-1].total == sum(event.total for event in events) // len(events)
    assert [event.model for event in ends] == sorted(event.model for event in ends)
    assert {event.model for event in events} == {0, 2}, "the one without weight is not run"
    assert {event.models for event in events} == {3}
    assert {(event.model, event.shift) for event in events} == {(0, 0), (0, 1), (2, 0), (2, 1)}


def test_what_has_no_weight_does_not_matter():
    class Broken(ToySeparator):
        """Not a number for the first source."""

        def forward(self, mix):
            out = super().forward(mix)
            out[:, 0] = float("nan")
            return out

    out = apply.separate(BagOfModels([ToySeparator(), Broken()], [[1, 0], [0, 1]]), mixture(800), shifts=0)
    torch.testing.assert_close(out, apply.separate(ToySeparator(), mixture(800), shifts=0), atol=1e-6, rtol=0)


def test_models_are_on_the_device_one_at_a_time():
    """With "meta" as the device of the second, since every machine has that one: nothing there has values."""
    there = []

    class Watched(ToySeparator):
        def to(self, device):
            there.append((self, str(device)))
            return self

    models = [Watched().train(), Watched()]
    models[1].eval()
    bag = BagOfModels(models)
    with pytest.raises((RuntimeError, NotImplementedError)):    # its values cannot come back
        apply.separate(bag, mixture(700), shifts=0, device="meta")
    assert there == [(models[0], "meta"), (models[0], "cpu")]
    assert models[0].training and not models[1].training


def test_not_more_memory_than_for_one_model():
    """No copy of the result per model: what is alive at the start of each piece, besides its input, is one result."""
    sizes = set()
    original = torch.zeros

    def counted(*shape, **kwargs):
        out = original(*shape, **kwargs)
        if out.dim() == 4:
            sizes.add(out.data_ptr())
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply.torch, "zeros", counted)
        out = apply.separate(BagOfModels([Softer() for _ in range(4)]), mixture(3000), shifts=2)
    assert sizes == {out.data_ptr()}


@pytest.mark.parametrize("models,weights,segment,message", [
    ([], None, None, "at least one model"),
    ([Softer()], [[1, 1], [1, 1]], None, "weights has 2 rows for 1 models"),
    ([Softer()], [[1]], None, r"weights\[0\] has 1 numbers for 2 sources \(near, far\)"),
    ([Softer(), Softer()], [[1, 1], [1, -1]], None, r"weights\[1\] has -1"),
    ([Softer()], [[1, float("nan")]], None, r"weights\[0\] has nan"),
    ([Softer(), Softer()], [[1, 0], [1, 0]], None, "weights add up to 0.0 for far"),
    ([Softer()], None, 0, "segment=0"),
    ([Softer()], None, float("nan"), "segment=nan"), ([Softer()], None, 1e300, "segment=1e"),
    ([Softer()], None, "10", "segment='10'"),
    ([Softer(), Softer()], [[1.7e308, 1], [1.7e308, 1]], None, r"weights\[0\] has 1\.7e\+308"),
    ([Softer()], [["1", 1]], None, r"weights\[0\] has '1', which must be a number"),
])
def test_what_is_no_bag(models, weights, segment, message):
    with pytest.raises(ConfigError, match=message):
        BagOfModels(models, weights, segment)


@pytest.mark.parametrize("name,value", [("sources", ["far", "near"]), ("samplerate", 99), ("audio_channels", 1)])
def test_models_must_agree(name, value):
    other = ToySeparator()
    setattr(other, name, value)
    with pytest.raises(ConfigError, match=rf"model 2 of the bag has {name}=.*model 0 has"):
        BagOfModels([ToySeparator(), Softer(), other])


def test_models_keep_their_segment_where_the_bag_is_refused():
    model = Softer()
    with pytest.raises(ConfigError):
        BagOfModels([model], [[-1, 1]], segment=1.)
    assert model.segment == 2.4


def test_weights_may_be_changed_later_and_are_checked_again():
    bag = BagOfModels([ToySeparator(), Softer()])
    bag.weights = [[0, 0], [5, 5]]
    assert torch.equal(apply.separate(bag, mixture(500), shifts=0), apply.separate(Softer(), mixture(500), shifts=0))
    bag.weights = [[0, 0], [5, 0]]
    with pytest.raises(ConfigError, match="add up to 0.0 for far"):
        apply.separate(bag, mixture(500))


@pytest.mark.parametrize("model,maximum", [
    (ToyTransformer(), "3.1"), (FreeTransformer(), "3.1"), (BagOfModels([Softer(), ToyTransformer()]), "3.1"),
    (BagOfModels([Softer(), ToyTransformer()], segment=1.5), "1.5")])
def test_a_transformer_names_its_longest_segment(model, maximum):
    with pytest.raises(ConfigError, match=rf"segment=3.2.*the maximum for this model is {maximum} seconds"):
        apply.separate(model, mixture(1000), segment=3.2)


def test_a_transformer_cannot_take_a_whole_song():
    with pytest.raises(ConfigError, match=r"cannot separate 10\.0 seconds without splitting.*at most 3\.1"):
        apply.separate(ToyTransformer(), mixture(1000), shifts=0, split=False)
    with pytest.raises(ConfigError, match=r"segment=2.*without splitting, 3\.0 seconds must fit in one segment"):
        apply.separate(ToyTransformer(), mixture(300), shifts=0, split=False, segment=2.)


def test_a_bag_is_no_network():
    with pytest.raises(NotImplementedError, match="apply_model"):
        BagOfModels([Softer()])(mixture(10))


def test_the_record_of_an_evaluation_names_the_bag():
    def record(bag):
        return evaluation_record(bag, [], name="my_bag", dataset="none", settings={})
    first = record(BagOfModels([ToySeparator(), Softer()]))
    assert first.name == "my_bag" and first.model == "bag of ToySeparator, Softer" and first.sources == ["near", "far"]
    assert len(first.model_hash) == 16
    hashes = {record(bag).model_hash for bag in (
        BagOfModels([ToySeparator(), Softer()]), BagOfModels([ToySeparator(), Softer()], [[2, 2], [2, 2]]))}
    assert hashes == {first.model_hash}, "the same separation"
    others = {record(bag).model_hash for bag in (
        BagOfModels([Softer(), ToySeparator()]), BagOfModels([ToySeparator()]), BagOfModels([ToySeparator()] * 2),
        BagOfModels([ToySeparator(), Softer()], [[2, 2], [1, 2]]), BagOfModels([ToySeparator(), Softer()], segment=1.))}
    assert len(others | hashes) == 6


@pytest.mark.gpu
def test_models_take_turns_on_the_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    bag = BagOfModels([ToySeparator(), Softer(), ToyTransformer()], [[1, 2], [3, 4], [1, 1]])
    homes = []
    out = apply.separate(bag, mixture(1500), device="cuda", progress=lambda event: homes.append(
        [next(model.parameters()).device.type for model in bag.models]))
    assert all(home.count("cuda") == 1 for home in homes) and out.device.type == "cpu"
    assert {next(model.parameters()).device.type for model in bag.models} == {"cpu"}
    torch.testing.assert_close(out, apply.separate(bag, mixture(1500)), atol=1e-3, rtol=0)   # convolutions in TF32
