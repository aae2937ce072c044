"""Targets of a model: sums of stems, a single source, any names; with files in any format."""

from types import SimpleNamespace

import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from torch import nn
from training.small import ALONE, settings, solver_in

from demucs import schema
from demucs.building import build_solver
from demucs.building import test_tracks as tracks_to_test
from demucs.config import read
from demucs.data.targets import REST, Targets
from demucs.errors import ConfigError
from demucs.evaluation import test_sets
from demucs.evaluation.evaluate import evaluate_tracks
from demucs.evaluation.request import Request
from demucs.evaluation.tracks import song_set
from demucs.train import main

pytestmark = pytest.mark.runs

QUICK = ("epochs=1", "test.every=1", "max_batches=1")
INSTRUMENTAL = "dset.targets={instrumental:[drums,bass,other]}"


class Identity(nn.Module):
    """Returns its input for each of its outputs."""
    audio_channels, samplerate, segment = 2, 8000, 4.

    def __init__(self, names):
        super().__init__()
        self.sources = list(names)

    def forward(self, mix):
        return mix[:, None].expand(-1, len(self.sources), -1, -1)


def batches(solver):
    """(mixture, targets) of the first training batch, and of the first validation batch."""
    solver.train.sampler.set_epoch(0, 0)
    stems = next(iter(solver.train.loader))
    valid = next(iter(solver.valid.loader))
    return (stems.sum(1), solver.train.targets(stems)), (valid[:, 0], solver.valid.targets(valid[:, 1:]))


def test_sums_of_stems():
    stems = torch.randn(2, 4, 2, 50)
    targets = Targets(["a", "b", "c", "d"], {"front": ["b", "a"], "d": ["d"]})
    assert targets.names == ["front", "d"]
    torch.testing.assert_close(targets(stems), torch.stack([stems[:, 0] + stems[:, 1], stems[:, 3]], dim=1))
    assert Targets(["a", "b", "c", "d"])(stems) is stems
    assert torch.equal(Targets(["a", "b", "c"])(stems), stems[:, :3])          # without the rest


@pytest.mark.parametrize("value, words", [
    ("{x:[drums,drum]}", "no source 'drum'.*Did you mean 'drums'"), ("{x:[]}", "must be a list of sources"),
    ("{x:drums}", "must be a list of sources"), ("{x:[drums,drums]}", "'drums' twice"), ("[drums]", "is a mapping"),
    ("{x/y:[drums]}", "dset.targets.*cannot be the name of a source"), ("{}", "dset.targets.*at least one"),
    ("{1:[drums]}", "dset.targets.*cannot be the name"), ("{a:[1]}", "dset.targets.a: 1 must be the name"),
])
def test_impossible_targets(value, words, songs):
    with pytest.raises(ConfigError, match=words):
        config = settings(songs, f"dset.targets={value}")
        solver_in(songs.parent / "x", config)


def test_one_source_alone_is_learnt_from_the_whole_song(songs, tmp_path):
    """A model that returns its input must not be right: not in training, not in validation, not in the test."""
    config = settings(songs, "dset.sources=[vocals]", "weights=[1]", *QUICK)
    solver = solver_in(tmp_path / "x", config)
    assert solver.train.loader.dataset.sources == ["vocals", REST] and solver.model.sources == ["vocals"]
    for mixture, targets in batches(solver):
        assert targets.shape[1] == 1 and mixture.shape == targets[:, 0].shape
        assert (mixture - targets[:, 0]).square().mean() > targets.square().mean()
    identity = Identity(["vocals"])
    scores, = evaluate_tracks(identity, tracks_to_test(config))
    assert scores.scores["vocals"]["nsdr"] < 0                  # three sources as loud as the wanted one are left
    solver.run()
    assert solver.history[0].test["nsdr"] is not None


def test_one_source_without_a_mixture_file(songs, tmp_path):
    for file in songs.rglob("mixture.wav"):
        file.unlink()
    solver = solver_in(tmp_path / "x", settings(songs, "dset.sources=[vocals]", "weights=[1]", *QUICK))
    for mixture, targets in batches(solver):
        assert (mixture - targets[:, 0]).square().mean() > targets.square().mean()


def test_targets_through_training_test_and_evaluation(songs, tmp_path):
    config = settings(songs, INSTRUMENTAL, *QUICK)
    folder = tmp_path / "xps" / "0123abcd"
    solver = solver_in(folder, config)
    assert solver.model.sources == ["instrumental"] and config.target_weights == [1.]
    (mixture, targets), (whole, reference) = batches(solver)
    assert targets.shape[1] == reference.shape[1] == 1
    solver.run()
    assert {"reco_instrumental"} <= solver.history[0].train.keys()
    assert {"nsdr", "nsdr_instrumental"} <= solver.history[0].test.keys()
    two = settings(songs, "dset.targets={rhythm:[bass,drums],vocals:[vocals]}", "weights=[2,1]", *QUICK)
    (tmp_path / "two").mkdir()
    solver = build_solver(two, tmp_path / "two", ALONE, signature="two",
                          test_set=schema.TestSet("dset.musdb", str(songs), two.dset.targets))
    assert solver.model.sources == ["rhythm", "vocals"] and two.target_weights == [2., 1.]
    solver.run()
    assert solver.history[0].test["nsdr_rhythm"] is not None
    # The evaluation of its own finds the stems by what the run card says.
    own = test_sets.belonging_to("two", experiments_folder=tmp_path, results=tmp_path / "results")
    place = test_sets.place(own, tmp_path, "two")
    found = song_set(place.folder, sources=["rhythm", "vocals"], targets=place.targets)
    drums, bass = (soundfile.read(songs / "test" / "Test song" / f"{name}.wav", dtype="float32")[0].T
                   for name in ("drums", "bass"))
    torch.testing.assert_close(found.tracks[0].read().references[0], torch.from_numpy(drums + bass))


def test_a_target_can_choose_the_best_weights(songs):
    assert settings(songs, INSTRUMENTAL, "test.metric=nsdr_instrumental").test.metric == "nsdr_instrumental"
    with pytest.raises(ConfigError, match="test.metric='nsdr_drums' is unknown"):
        settings(songs, INSTRUMENTAL, "test.metric=nsdr_drums")


def test_the_mixture_is_that_of_training_where_no_file_has_it(songs, tmp_path):
    """Also beside a stem that is no source, here and in an evaluation of another folder or of an exported model."""
    for file in songs.rglob("mixture.wav"):
        soundfile.write(file.with_name("guitar.wav"), *soundfile.read(file))
        file.unlink()
    config = settings(songs, INSTRUMENTAL)
    song, = tracks_to_test(config)
    expected = sum(torch.from_numpy(soundfile.read(songs / "test" / "Test song" / f"{name}.wav", dtype="float32")[0].T)
                   for name in schema.SOURCES)
    torch.testing.assert_close(song.read().mix, expected)
    told = test_sets.from_overrides({"dset.targets": "{instrumental:[drums,bass, other]}"}, ["instrumental"])
    assert told.targets == config.dset.targets and told.stems == config.dset.sources
    card = SimpleNamespace(signature="x", argv=["dset.targets={instrumental:[drums,bass,other]}"], sources=["instrumental"])
    request = Request(name="x", musdb=songs, experiments=tmp_path, results=tmp_path)
    place = request.place("x", SimpleNamespace(card=card))
    found = song_set(place.folder, sources=["instrumental"], targets=place.targets, stems=place.stems)
    torch.testing.assert_close(found.tracks[0].read().mix, expected)
    torch.testing.assert_close(found.tracks[0].read().references, song.read().references)


def test_the_default_changes_nothing():
    """Targets that are the sources, and equal weights, are another experiment by name only."""
    plain, named = (read(OmegaConf.to_container(main.get_xp(argv).cfg, resolve=True)) for argv in
                    ([], ["dset.targets={drums:[drums],bass:[bass],other:[other],vocals:[vocals]}"]))
    assert plain.target_names == named.target_names and plain.target_weights == named.target_weights


@pytest.mark.parametrize("suffix, subtype", [("flac", "PCM_24"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")])
def test_stems_in_other_formats(suffix, subtype, songs, tmp_path):
    """Training and the test read them alike, also beside wav files."""
    for file in songs.rglob("*.wav"):
        if file.stem != "bass" or suffix == "mp3":             # which lengthens
            samples, rate = soundfile.read(file)
            soundfile.write(file.with_suffix(f".{suffix}"), samples, rate, format=suffix.upper(), subtype=subtype)
            file.unlink()
    solver = solver_in(tmp_path / "x", settings(songs, "dset.kind=musdb", *QUICK))
    solver.run()
    assert solver.history[0].test["nsdr"] is not None


def test_kinds(songs, tmp_path):
    (songs / "valid").mkdir()
    validation = next(path for path in (songs / "train").iterdir() if "Song" not in path.name)
    validation.rename(songs / "valid" / "Mine")
    solver = solver_in(tmp_path / "x", settings(songs, "dset.kind=wav", "dset.sampling=random", *QUICK))
    assert solver.valid.loader.dataset.describe(0).startswith("Mine")
    solver.run()
    for override, words in (("dset.kind=folder", "dset.kind='folder' is unknown.*musdb, wav"),
                            ("dset.sampling=all", "dset.sampling='all' is unknown")):
        with pytest.raises(ConfigError, match=words):
            settings(songs, override)
