"""Whole runs with quantisation: their files, interruption, continuation, export, and random numbers of the models."""

import dataclasses
import json
import sys

import pytest
import torch
from training.small import DIFFQ, QAT, Stop, settings, solver_in, stop_at_next_save, weights

from demucs import schema
from demucs.errors import ConfigError
from demucs.packages import package, quantised
from demucs.packages.export import export
from demucs.separation.apply import separate
from demucs.training.quantisation import QuantSettings
from demucs.training.state import read_checkpoint

pytestmark = pytest.mark.runs

pytest.importorskip("diffq")
# All large layers of the tiny model, in groups that divide them: about 60 000 of 65 000 weights.
KINDS = {"diffq": DIFFQ, "qat": QAT, "straight through": [*QAT, "quant.straight_through=True"]}
SOUND = torch.randn(1, 2, 12_345, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_from_training_to_a_song(kind, songs, tmp_path):
    folder = tmp_path / "xps" / "abc"
    solver = solver_in(folder, settings(songs, *KINDS[kind], "epochs=2", "hdemucs.channels=8"))
    plain = sum(value.numel() for key, value in solver.model.state_dict().items() if not key.endswith("_diffq"))
    solver.run()
    card = schema.load(schema.RunCard, folder / "run_card.json")
    assert card.parameters == plain

    history = schema.load_history(folder / "history.json")
    quant = solver.train.quantisation
    for record in history:
        for metrics in (record.train, *record.candidates.values()):
            assert 0 < metrics["ms"] < 4 * plain / 2 ** 20 / 2
        assert record.valid["loss"] == pytest.approx(record.valid["reco"] + quant.weight * record.valid["ms"], abs=1e-6)
    if kind == "diffq":     # fewer bits from epoch to epoch, and the average has those of the weights it averages
        sizes = [record.candidates["main"]["ms"] for record in history]
        assert sizes[1] < history[1].candidates["ema_epoch_0"]["ms"] < sizes[0]

    # What evaluation heard is in best.th, in an export of it, and in what diffq itself makes of the best weights.
    export("abc", tmp_path / "models", experiments=tmp_path / "xps")
    model = solver.model
    model.load_state_dict(solver.best_state)
    model.eval()
    with quant.rounded():
        expected = separate(model, SOUND)
    assert not torch.allclose(expected, separate(model, SOUND), rtol=0, atol=1e-5)
    for path in (folder / "best.th", tmp_path / "models" / "abc.th"):
        loaded = package.load(path)
        assert loaded.card.precision == "quantised" and loaded.card.parameters == plain
        assert not any(key.endswith("_diffq") for key in loaded.state_dict())
        assert torch.equal(separate(loaded, SOUND), expected)
        test = dataclasses.replace(solver.test, model=loaded, quantisation=None)
        assert test.run(True) == solver.history[-1].test
        package.save(loaded, tmp_path / "plain.th", card=loaded.card)
        assert path.stat().st_size < 0.6 * (tmp_path / "plain.th").stat().st_size


@pytest.mark.parametrize("kind", ["diffq", "qat"])
def test_reported_size_is_that_of_the_packed_weights(kind, songs, tmp_path):
    solver = solver_in(tmp_path / "x", settings(songs, *KINDS[kind], "epochs=1", "hdemucs.channels=24"))
    solver.run()
    quantizer = solver.train.quantisation.quantizer
    solver.model.load_state_dict(solver.best_state)
    state = quantised.packed(quantizer)

    def size(value):
        if isinstance(value, torch.Tensor):
            return value.numel() * value.element_size()
        return sum(map(size, value)) if isinstance(value, (list, tuple)) else 0
    stored = (size(state["quantized"]) + size(state["others"])) / 2 ** 20
    reported = solver.history[-1].valid["ms"]
    # Packing rounds numbers of bits, and counts of levels up to blocks of 2048; it stores no more than that.
    assert reported == pytest.approx(stored, rel=0.05)
    assert stored < 0.4 * sum(value.numel() for value in solver.best_state.values()) * 4 / 2 ** 20


@pytest.mark.parametrize("overrides", [
    DIFFQ, [*QAT, "quant.straight_through=True"],
    ["model=htdemucs", "htdemucs.channels=8", "htdemucs.t_layers=2", "htdemucs.t_dropout=0.2", "htdemucs.t_emb=cape",
     *DIFFQ]], ids=["diffq", "qat", "a model that draws"])
def test_interrupted_runs_end_with_the_same_weights(overrides, songs, tmp_path):
    config = settings(songs, *overrides, "epochs=2")
    straight = solver_in(tmp_path / "straight", config)
    straight.run()
    stopped = solver_in(tmp_path / "stopped", config)
    stop_at_next_save(stopped)
    with pytest.raises(Stop):
        stopped.run()
    torch.randn(1000)       # somebody else moves the global generator
    resumed = solver_in(tmp_path / "stopped", config)
    if "qat" not in overrides[0]:
        bits = resumed.train.quantisation.bits
        assert bits and all(torch.equal(value, stopped.model.state_dict()[key]) for key, value in bits.items())
    torch.manual_seed(7)
    resumed.run()
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.history[1].candidates == straight.history[1].candidates
    assert read_checkpoint(tmp_path / "stopped" / "checkpoint.th")["best_state"].keys() == straight.best_state.keys()


def test_what_models_draw_belongs_to_the_step(songs, tmp_path):
    """A seed gives the same weights whatever the global generator does, which stays where it was. Other examples draw
    something else."""
    results = {}
    for name, dropout, first in (("a", 0.2, 0), ("again", 0.2, 0), ("other examples", 0.2, 2), ("no chance", 0., 0)):
        solver = solver_in(tmp_path / name, settings(
            songs, "model=htdemucs", "htdemucs.channels=8", "htdemucs.t_layers=1", f"htdemucs.t_dropout={dropout}"))
        assert solver.model.draws_in_training == bool(dropout)
        solver.model.train()
        torch.manual_seed(len(results))
        before = torch.get_rng_state()
        batch = torch.randn(2, 4, 2, 6000, generator=torch.Generator().manual_seed(0))
        solver.train.step(batch, epoch=0, step=3, names=[], first=first)
        assert torch.equal(torch.get_rng_state(), before)
        results[name] = weights(solver)
    assert torch.equal(results["a"], results["again"])
    assert not torch.equal(results["a"], results["other examples"])
    assert not torch.equal(results["a"], results["no chance"])


def test_a_quantised_model_begins_with_plain_weights(songs, tmp_path):
    parent = solver_in(tmp_path / "parent", settings(songs, "epochs=1", "hdemucs.depth=4"))
    parent.run()
    best = package.load(tmp_path / "parent" / "best.th")
    package.save(best, tmp_path / "models" / "mine.th", card=best.card)
    for overrides in (["continue_from=parent"], ["continue_pretrained=mine", f"pretrained_repo={tmp_path / 'models'}"]):
        solver = solver_in(tmp_path / overrides[0], settings(songs, *DIFFQ, *overrides))
        state = solver.model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in best.state_dict().items())
        assert len(state) > len(best.state_dict())
        for bits in solver.train.quantisation.bits.values():
            assert torch.allclose(solver.train.quantisation.quantizer._get_bits(bits), torch.tensor(8.))


def test_histories_of_published_runs_have_sizes(tmp_path):
    entry = {"train": {"loss": 0.5, "ms": 0.}, "valid": {"main": {"loss": 0.4, "ms": 21.5}, "loss": 0.4, "ms": 21.5,
                                                         "bname": "main", "best": 0.4}}
    (tmp_path / "history.json").write_text(json.dumps([entry]))
    (record,) = schema.load_history(tmp_path / "history.json")
    assert record.valid["ms"] == 21.5 and record.to_history() == entry


@pytest.mark.parametrize("changes, words", [
    ({"diffq": 1e-4, "qat": 8}, "one way"),
    ({"diffq": -1e-4}, "must be positive"),
    ({"qat": 16}, "from 1 to 15"),
    ({"straight_through": True}, "belongs to quant.qat"),
    ({"diffq": 1e-4, "group_size": 0}, "quant.group_size=0 must be at least 1"),
    ({"qat": 8, "min_size": -1.}, "quant.min_size=-1.0 must be at least 0"),
])
def test_settings_that_cannot_work_are_refused(changes, words):
    good = {"diffq": None, "qat": None, "straight_through": False, "min_size": 0.2, "group_size": 8}
    QuantSettings(**good).check()
    with pytest.raises(ConfigError, match=words):
        QuantSettings(**{**good, **changes}).check()


@pytest.mark.parametrize("override", ["quant.diffq=1e-4", "quant.qat=8"])
def test_missing_package_is_named(override, songs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffq", None)
    with pytest.raises(ConfigError, match=f"{override.split('=')[0]}=.*pip install diffq"):
        solver_in(tmp_path / "x", settings(songs, override, "quant.min_size=0.004", "quant.group_size=4"))
