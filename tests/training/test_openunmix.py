"""Trainings of Open-Unmix: the published recipe, statistics of the input, exact continuation, the Separator."""

import math

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from training.small import ALONE, numbers, settings, solver_in, stop_at, weights, write_songs, write_track

from demucs import memory
from demucs.building import build_model
from demucs.config import read
from demucs.data import spectra
from demucs.errors import ConfigError, DatasetError
from demucs.precheck import require_batches
from demucs.schema import EpochRecord
from demucs.train import main
from demucs.training import input_statistics
from demucs.training.best import Selection, enough
from demucs.training.interruption import Stopped

pytestmark = pytest.mark.runs

NETWORK = ["openunmix.hidden_size=8", "openunmix.nfft=512", "openunmix.nhop=128", "openunmix.bandwidth=3000"]
RECIPE = ["variant=openunmix", *NETWORK, "dset.samplerate=8000", "dset.segment=1", "misc.num_workers=0", "batch_size=4",
          "epochs=3", "max_batches=2", "test.sdr=False", "early_stopping=2", "schedule.patience=0",
          "schedule.cooldown=0"]
WHOLE = ["model=openunmix_separator", "openunmix_separator.hidden_size=8", "openunmix_separator.nfft=512",
         "openunmix_separator.nhop=128", "augment.remix.proba=0", "svd.penalty=0", "optim.lr=1e-3",
         "dset.normalize=false"]


def recipe(songs, *more):
    """Settings of a small training by the published recipe."""
    values = dict(composed(*RECIPE, *more))
    values["dset"] = {**values["dset"], "musdb": str(songs), "metadata": str(songs.parent / "cache")}
    return read(values)


def composed(*overrides):
    return OmegaConf.to_container(main.get_xp(list(overrides)).cfg, resolve=True)


def test_the_published_recipe():
    config = read(composed("variant=openunmix"))
    assert (config.model, config.target_names, config.target_weights) == ("openunmix", ["vocals"], [1.])
    optim = config.optim
    assert (optim.loss, optim.optim, optim.lr, optim.weight_decay) == ("magnitude_mse", "adam", 1e-3, 1e-5)
    assert (config.epochs, config.batch_size, config.seed, config.early_stopping) == (1000, 16, 42, 140)
    schedule = config.schedule
    assert (schedule.kind, schedule.factor, schedule.patience, schedule.cooldown) == ("plateau", 0.3, 80, 10)
    d = config.dset
    assert (d.sampling, d.samples_per_track, d.segment, d.shift) == ("random_mix", 64, 6, 0)
    assert (d.normalize, d.full_cv) == (False, True)
    assert d.sources == ["drums", "bass", "other", "vocals"] and config.training_length == 6 * 44100
    augment = config.augment
    assert (augment.flip, augment.sign) == (True, False)
    assert (augment.scale.proba, augment.scale.min, augment.scale.max) == (1, 0.25, 1.25)
    assert augment.repitch.proba == augment.remix.proba == 0 and config.test.metric == "loss"
    own = {"hidden_size": 512, "nb_layers": 3, "unidirectional": False, "nfft": 4096, "nhop": 1024, "bandwidth": 16000}
    assert own.items() <= config.model_settings.items()
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build_model(config).parameters()) == 8_893_348


@pytest.mark.parametrize("targets, names", [("{drums: [drums]}", ["drums"]), ("{vocals: [vocals]}", ["vocals"]),
                                            ("{accompaniment: [drums, bass, other]}", ["accompaniment"])])
def test_another_target_replaces_the_default(targets, names):
    xp = main.get_xp(["variant=openunmix", f"dset.targets={targets}"])
    assert list(xp.cfg.dset.targets) == names
    default = main.get_xp(["variant=openunmix"])
    assert (xp.sig == default.sig) == (names == ["vocals"])
    assert xp.sig == main.get_xp([f"dset.targets={targets}", "variant=openunmix"]).sig


def test_signatures_of_targets():
    """None of two is the same; a variant that sets no targets signs them as before."""
    argv = [["variant=openunmix"], ["variant=openunmix", "dset.targets={drums: [drums]}"],
            ["variant=openunmix", "dset.targets=null"],
            ["variant=openunmix", "dset.targets={vocals: [vocals, other]}"], ["dset.targets={vocals: [vocals]}"], []]
    assert len({main.get_xp(each).sig for each in argv}) == len(argv)


def test_several_targets_are_refused(songs):
    with pytest.raises(ConfigError, match="has one target, got drums, vocals"):
        build_model(recipe(songs, "dset.targets={drums: [drums], vocals: [vocals]}"))


def test_the_sign_is_signed_where_it_differs():
    assert main.get_xp(["augment.sign=true"]).sig == main.get_xp([]).sig != main.get_xp(["augment.sign=false"]).sig


def test_early_stopping_is_that_of_openunmix():
    """Only a strictly lower loss is an improvement, and the patience counts the epochs after it."""
    def ends(losses, patience):
        history = []
        for epoch, loss in enumerate(losses, start=1):
            history.append(EpochRecord({}, {"main": {"loss": loss}}, "main", loss))
            if enough(history, Selection("loss"), epochs=1000, patience=patience):
                return epoch
        return None

    def theirs(losses, patience):
        best, bad = None, 0
        for epoch, loss in enumerate(losses, start=1):
            if best is None or loss < best:
                best, bad = loss, 0
            else:
                bad += 1
            if best is not None and epoch > 1 and bad >= patience:
                return epoch
        return None
    chance = np.random.default_rng(0)
    for _ in range(200):
        losses = chance.integers(0, 6, 12) / 2
        for patience in (1, 2, 3):
            assert ends(losses, patience) == theirs(losses, patience)
    assert ends([3., 3. - 1e-6, 3. - 2e-6, 3. - 3e-6], 1) is None        # however small the improvement
    with pytest.raises(Exception, match="not finite"):
        Selection("loss").require_finite(math.nan, ["main"], 0)


def test_statistics_are_set_for_a_fresh_start_only(songs, tmp_path):
    config = recipe(songs, "epochs=1")
    solver = solver_in(tmp_path / "x", config)
    parts = spectra.mixtures(solver.train.loader.dataset)
    mean, std = input_statistics.statistics(parts, n_fft=512, hop=128, group=ALONE, cache_dir=config.dset.metadata)
    bins = len(solver.model.input_mean)
    assert bins == 193 and np.allclose(solver.model.input_mean.detach(), -mean[:bins])
    assert np.allclose(solver.model.input_scale.detach(), 1 / std[:bins])
    solver.run()
    trained = solver.model.input_mean.detach().clone()
    assert not np.allclose(trained, -mean[:bins], atol=1e-6)
    again = solver_in(tmp_path / "x", config)
    assert torch.equal(again.model.input_mean, trained)
    child = solver_in(tmp_path / "child", recipe(songs, "epochs=1", "continue_from=x", "continue_best=false"))
    assert torch.equal(child.model.input_mean, trained)


def test_averages_begin_with_the_statistics(songs, tmp_path):
    solver = solver_in(tmp_path / "x", recipe(songs, "ema.batch=[0.9]", "ema.epoch=[0.5]"))
    assert solver.model.input_mean.detach().abs().min() > 0
    for average in solver.averages.values():
        assert torch.equal(average.state["input_mean"], solver.model.input_mean)


def test_silent_songs(tmp_path):
    songs = write_songs(tmp_path / "songs")
    for folder in (songs / "train").iterdir():
        for file in folder.iterdir():
            soundfile.write(file, np.zeros((16000, 2)), 8000, subtype="FLOAT")
    with pytest.raises(DatasetError, match="all training songs are silent"):
        solver_in(tmp_path / "x", recipe(songs))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that is not interrupted, its settings, and the number of moments at which it could have been."""
    folder = tmp_path_factory.mktemp("straight")
    config = recipe(write_songs(folder / "songs"), "epochs=2")
    solver = solver_in(folder / "x", config)
    looks = []
    asking = solver.requests.asking
    solver.requests.asking = lambda due=False: looks.append(due) or asking(due)
    solver.run()
    return config, solver, len(looks)


def test_stopped_at_every_moment(straight, tmp_path):
    """Weights, statistics of batch normalisation, learning rate, early stopping and history have the same bits."""
    config, expected, looks = straight
    assert looks >= 8 and expected.train.model.draws_in_training
    for moment in range(1, looks):
        folder = tmp_path / f"{moment}"
        first = solver_in(folder, config)
        stop_at(first, moment)
        with pytest.raises(Stopped, match="SIGUSR2"):
            first.run()
        resumed = solver_in(folder, config)
        resumed.run()
        assert numbers(resumed) == numbers(expected), moment
        for part in ("state", "best_state"):
            ours, other = (solver.registry.collect()[part] for solver in (resumed, expected))
            assert all(torch.equal(ours[key], other[key]) for key in other), moment
        assert resumed.registry.collect()["schedule"] == expected.registry.collect()["schedule"], moment


def test_the_schedule_and_early_stopping_survive(songs, tmp_path):
    """With a rate of almost nothing no epoch improves: the rate falls each time, and the run ends after the patience,
    however often it is started again."""
    config = recipe(songs, "epochs=9", "optim.lr=1e-6", "early_stopping=3", "optim.weight_decay=0")
    for _ in range(20):
        solver = solver_in(tmp_path / "x", config)
        stop_at(solver, 5)
        try:
            solver.run()
            break
        except Stopped:
            continue
    ends = len(solver.history)
    straight = solver_in(tmp_path / "straight", config)
    straight.run()
    assert numbers(solver) == numbers(straight) and 4 <= ends < 9
    rates = [group["lr"] for group in solver.train.optimizer.param_groups]
    assert rates == [group["lr"] for group in straight.train.optimizer.param_groups] and rates[0] < 1e-6


@pytest.mark.parametrize("at_once, refused", [(1, True), (2, True), (3, True), (4, False), (9, False), (None, False)])
def test_batches_of_batch_normalisation_are_whole(songs, tmp_path, at_once, refused):
    """On one process with four examples."""
    config = recipe(songs, f"misc.examples_at_once={'null' if at_once is None else at_once}")
    if not refused:
        require_batches(config, 1)
        solver_in(tmp_path / "x", config)
        return
    for work in (lambda: solver_in(tmp_path / "x", config), lambda: require_batches(config, 1),
                 lambda: memory.count(config, song=2.)):
        with pytest.raises(ConfigError, match=f"misc.examples_at_once={at_once}: model=openunmix has batch norm"):
            work()


def test_on_more_processes_fewer_examples_are_a_whole_batch(songs):
    require_batches(recipe(songs, "misc.examples_at_once=2"), 2)


@pytest.mark.parametrize("loss", ["l1", "magnitude_mse"])
def test_the_separator_is_trained_as_a_whole(songs, tmp_path, loss):
    """Through the inverse transform, with averages of its weights; a tone is told from noise within a few steps."""
    for number, folder in enumerate(sorted((songs / "train").iterdir())):
        tones(folder, number)
    more = ["ema.batch=[0.5]", "ema.epoch=[]", "max_batches=8", "epochs=2"]
    solver = solver_in(tmp_path / "x", settings(songs, *WHOLE, *more, f"optim.loss={loss}"))
    solver.run()
    first, last = (record.train["loss"] for record in solver.history)
    assert last < 0.9 * first and set(solver.history[0].candidates) == {"main", "ema_batch_0"}
    networks = solver.model.target_models
    assert set(networks) == {"drums", "bass", "other", "vocals"}
    means = [network.input_mean.detach() for network in networks.values()]
    assert all((mean < 0).any() for mean in means)


def tones(folder, seed):
    """Stems that differ in their frequency."""
    time = np.arange(16000)[:, None] / 8000
    stems = {name: 0.3 * np.sin(2 * np.pi * (200 + 700 * place + 10 * seed) * time + [0, 1])
             for place, name in enumerate(("drums", "bass", "other", "vocals"))}
    for name, wav in {**stems, "mixture": sum(stems.values())}.items():
        soundfile.write(folder / f"{name}.wav", wav, 8000, subtype="FLOAT")


def test_the_separator_goes_on_exactly(songs, tmp_path):
    config = settings(songs, *WHOLE, "epochs=2")
    straight = solver_in(tmp_path / "straight", config)
    straight.run()
    for moment in (1, 3):
        first = solver_in(tmp_path / f"{moment}", config)
        stop_at(first, moment)
        with pytest.raises(Stopped):
            first.run()
        resumed = solver_in(tmp_path / f"{moment}", config)
        resumed.run()
        assert torch.equal(weights(resumed), weights(straight)) and numbers(resumed) == numbers(straight)


@pytest.mark.parametrize("overrides, gpu", [([], False), ([], True), (["openunmix.unidirectional=true"], True),
                                            (["optim.precision=bf16"], True), (["optim.loss=l1"], True)])
def test_memory_is_counted(songs, overrides, gpu):
    found = memory.count(recipe(songs, "openunmix.hidden_size=64", *overrides), gpu=gpu, song=3.)
    assert "lstm" in found.train and {"bn1", "fc3", "bn3"} <= found.train.keys()


def test_recomputation_saves_the_memory_of_the_lstm(songs):
    stored, again = (memory.count(recipe(songs, "openunmix.hidden_size=64", f"misc.checkpoint_activations={on}"),
                                  song=3.) for on in ("false", "true"))
    assert sum(again.train.values()) < sum(stored.train.values())


def test_the_memory_of_a_song_is_that_of_its_spectrogram(songs):
    """The loss of a song is computed on all of it."""
    config = recipe(songs)
    short, long = (sum(memory.count(config, song=seconds).valid.values()) for seconds in (10., 20.))
    magnitudes = 4 * 2 * 257 * 8000 * 10 / 128
    assert long - short > 2 * magnitudes


def test_every_kind_of_song_has_statistics(songs, tmp_path):
    """Songs of a second folder count as well, each once."""
    write_track(tmp_path / "wav" / "train" / "other", 77)
    write_track(tmp_path / "wav" / "valid" / "v", 78)
    solver = solver_in(tmp_path / "x", recipe(songs, f"dset.wav={tmp_path / 'wav'}"))
    parts = spectra.mixtures(solver.train.loader.dataset)
    assert sum(map(len, parts)) == 4
