"""Trainings on the layouts of Open-Unmix: every kind, every model, tests, evaluation, continued bit for bit."""

import copy

import numpy as np
import pytest
import torch
from data.openunmix_songs import NAMES, make
from training.small import ALONE, composed, settings, solver_in, trained_in_parts
from training.test_distributed import train as train_in_processes
from training.test_every_model import SMALL

from demucs import memory, schema
from demucs.building import build_loaders
from demucs.building import test_set as location
from demucs.config import read
from demucs.errors import ConfigError
from demucs.evaluation.records import RECORD
from demucs.evaluation.request import Request, score_model
from demucs.models import zoo
from demucs.precheck import require_examples, require_test_songs
from demucs.schema import SOURCES
from demucs.training.workers import ending_workers

pytestmark = pytest.mark.runs

SHORT = ["epochs=2", "max_batches=2", "test.every=2", "batch_size=2", "augment.remix.group_size=2", "checkpoint.steps=1",
         "dset.samples_per_track=2"]
SAMPLING = {"aligned": "balanced", "sourcefolder": "random", "trackfolder_fix": "random_mix", "trackfolder_var": "interferer_mix"}
SOURCES_OF = {"aligned": ["vocals"], "trackfolder_var": ["vocals"], "sourcefolder": ["vocals", "drums", "bass"],
              "trackfolder_fix": ["vocals", "drums", "bass"]}


def of_kind(kind, *more):
    return [*SHORT, f"dset.kind={kind}", *NAMES[kind], f"dset.sampling={SAMPLING[kind]}", *more]


@pytest.mark.parametrize("kind", NAMES)
def test_a_training_of_each_kind_with_tests_and_an_evaluation(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    config = settings(root, *of_kind(kind))
    require_examples(config, 1)
    assert require_test_songs(config) == root
    assert config.dset.sources == config.target_names == SOURCES_OF[kind] and len(config.target_weights) == len(SOURCES_OF[kind])
    whole = solver_in(tmp_path / "whole", config)
    whole.run()
    record = whole.history[-1]
    assert record.valid["loss"] > 0 and {f"nsdr_{source}" for source in SOURCES_OF[kind]} <= set(record.test)

    own = location(config)
    assert (own.kind, own.stems) == (kind, SOURCES_OF[kind]) and "vocals" in own.layout["files"]
    recorded = schema.load(schema.RunCard, tmp_path / "whole" / "run_card.json")
    recorded = schema.RunCard(**{**{name: getattr(recorded, name) for name in recorded.__dataclass_fields__}, "test_set": own})
    schema.save(recorded, tmp_path / "xps" / "abcd1234" / "run_card.json")
    request = Request("abcd1234", no_sdr=True, experiments=tmp_path / "xps", results=tmp_path / "results", examples=0)
    score_model(request, whole.model, settings=dict(shifts=0, overlap=0.25, split=True))
    found = schema.load(schema.Evaluation, request.folder / f"{RECORD}.json")
    assert found.sources == SOURCES_OF[kind] and len(found.tracks) == 2 and found.dataset == "db test"

    got, expected = (solver.model.state_dict() for solver in (trained_in_parts(tmp_path / "parts", config), whole))
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("model", zoo.NAMES)
def test_every_model_trains_on_one_target_and_the_rest(tmp_path, model):
    root = make("trackfolder_var", tmp_path / "db", splits=("train", "valid"))
    more = ["openunmix_separator.niter=0"] if model == "openunmix_separator" else []      # more needs two sources
    solver = solver_in(tmp_path / "xp", settings(root, *of_kind("trackfolder_var", f"model={model}", *SMALL[model], *more,
                                                                "epochs=1", "max_batches=1", "test.every=1")))
    before = [parameter.detach().clone() for parameter in solver.model.parameters()]
    solver.run()
    assert solver.model.sources == ["vocals"] and set(solver.history[0].test) >= {"nsdr_vocals"}
    assert any(not torch.equal(old, new) for old, new in zip(before, solver.model.parameters()))


@pytest.mark.parametrize("kind", ["sourcefolder", "trackfolder_var"])
def test_any_number_of_processes_gives_the_same_step(tmp_path, kind):
    root = make(kind, tmp_path / "db")
    overrides = [f"dset.kind={kind}", *NAMES[kind], f"dset.sampling={SAMPLING[kind]}", "dset.samples_per_track=8",
                 "dset.valid_draws=2"]
    (alone,), metrics = train_in_processes(root, tmp_path / "one", 1, *overrides)
    ranks, others = train_in_processes(root, tmp_path / "two", 2, *overrides)
    # Two Adam steps of 3e-4 on sums in another order.
    assert np.array_equal(*ranks) and np.abs(ranks[0] - alone).max() <= 1e-6
    assert np.abs(others - metrics).max() <= 1e-4 * np.abs(metrics).max()


@pytest.mark.parametrize("kind,segment", [*((kind, 1) for kind in NAMES), ("trackfolder_var", 0)])
def test_loader_workers_give_the_same_examples(tmp_path, kind, segment):
    """A single source has the rest of the song beside it, and whole tracks have lengths of their own."""
    root = make(kind, tmp_path / "db", splits=("train", "valid"))
    batches = []
    for workers in (0, 1):
        config = settings(root, *of_kind(kind, f"misc.num_workers={workers}", f"dset.segment={segment}"))
        with ending_workers():
            loader, sampler, valid, train_set = build_loaders(config, ALONE)
            sampler.set_epoch(1)
            batches.append(([batch.clone() for batch in loader], [batch.clone() for batch in valid]))
    (ours, ours_valid), (theirs, theirs_valid) = batches
    assert len(ours) == len(theirs) == 2 and len(ours_valid) == len(theirs_valid) > 0
    assert all(torch.equal(first, second) for first, second in zip(ours + ours_valid, theirs + theirs_valid))
    assert ours[0].shape[1] == max(2, len(SOURCES_OF[kind])) and len(train_set) > 0


@pytest.mark.parametrize("kind", NAMES)
def test_whole_tracks(tmp_path, kind):
    root = make(kind, tmp_path / "db", seconds=1.)
    config = settings(root, *of_kind(kind, "dset.segment=0", "epochs=1", "test.every=1"))
    assert config.segment == 40
    solver = solver_in(tmp_path / "xp", config)
    solver.run()
    assert solver.history[0].test["nsdr"] is not None
    longer = make(kind, tmp_path / "longer", seconds=2., splits=("train",))
    file = next(longer.glob("train/*/vocals.wav" if kind != "sourcefolder" else "train/vocals/*"))
    (root / file.relative_to(longer)).write_bytes(file.read_bytes())
    config = settings(root, *of_kind(kind, "dset.segment=0"))
    for check in (lambda: require_examples(config, 1), lambda: solver_in(tmp_path / "other", config)):
        with pytest.raises(ConfigError, match="dset.segment=0 trains on whole tracks, and 2 in a batch per process need one length: "
                                              ".* set batch_size=1"):
            check()
    one = settings(root, *of_kind(kind, "dset.segment=0", "batch_size=1", "augment.remix.proba=0", "augment.remix.group_size=1"))
    require_examples(one, 1)
    solver = solver_in(tmp_path / "one", one)
    solver.run()
    assert len(solver.history) == 2
    with pytest.raises(ConfigError, match="their length determines the memory"):
        memory.stems_shape(one, 1)


def changed(**dset):
    values = copy.deepcopy(composed())
    for key, value in dset.items():
        values["dset"][key] = {**values["dset"]["files"], **value} if key == "files" else value
    return values


@pytest.mark.parametrize("dset,message", [
    ({"kind": "trackfolder_fixed", "files": {"target": "a.wav"}}, "dset.kind='trackfolder_fixed' is unknown; .* Did you mean 'trackfolder_fix'"),
    ({"sampling": "interferer"}, "dset.sampling='interferer' is unknown; .* Did you mean 'interferer_mix'"),
    ({"missing": "excluded"}, "dset.missing='excluded' is unknown; .* Did you mean 'exclude'"),
    ({"files": {"targets": "a"}}, "unknown key 'dset.files.targets'. Did you mean 'target'"),
    ({"files": {"interferers": "a"}}, "dset.files.interferers is a list, got 'a'"),
    ({"files": {"target": 3}}, "dset.files.target=3 was read as a number"),
    ({"files": {"target": "vocals.wav"}}, "dset.files.target=vocals.wav has no effect with dset.kind=musdb"),
    ({"kind": "aligned"}, "dset.kind=aligned needs dset.files.input"),
    ({"train_samples": 0}, "dset.train_samples=0"), ({"valid_draws": 0}, "dset.valid_draws=0"),
    ({"segment": -1}, "dset.segment=-1"),
    ({"kind": "sourcefolder", "sampling": "interferer_mix", "files": {"target": "a", "interferers": ["b"]}},
     "dset.sampling=interferer_mix needs tracks"),
    ({"kind": "trackfolder_fix", "files": {"target": "a.wav", "interferers": ["b.wav"]}, "sources": ["a", "c"]},
     "dset.sources=.*a,c.*names the sources a, b of dset.kind=trackfolder_fix"),
    ({"kind": "trackfolder_fix", "files": {"target": "a.wav", "interferers": [".wav"]}}, "cannot be the name of a source"),
])
def test_settings_that_cannot_be_used(dset, message):
    with pytest.raises(ConfigError, match=message):
        read(changed(**dset))


def test_whole_tracks_with_a_model_of_a_fixed_length():
    values = changed(segment=0)
    values["model"] = "htdemucs"
    with pytest.raises(ConfigError, match="dset.segment=0 trains on whole tracks, and model=htdemucs separates segments as long"):
        read(values)
    assert read({**values, "use_train_segment": False}).segment == 40


def test_sources_and_weights_follow_from_the_files():
    config = read(changed(kind="trackfolder_var", files={"target": "lead.wav"}))
    assert config.dset.sources == ["lead"] and config.target_weights == [1.]
    config = read(changed(kind="trackfolder_var", files={"target": "lead.wav"}, use_musdb=False))
    assert config.dset.sources == list(SOURCES)
