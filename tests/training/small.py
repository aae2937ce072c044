"""A small experiment: noise songs on disk, the settings of a model that trains on them in a second, and what tests do with
its solver."""

import copy
import functools

import numpy as np
import soundfile
import torch
from omegaconf import OmegaConf

from demucs.building import build_solver
from demucs.config import read
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.schema import SOURCES
from demucs.train import main
from demucs.training.distributed import Group

TINY = ["model=hdemucs", "hdemucs.channels=4", "hdemucs.nfft=512", "hdemucs.depth=2", "hdemucs.kernel_size=4",
        "hdemucs.stride=2", "hdemucs.dconv_lstm=9", "hdemucs.dconv_attn=9", "hdemucs.norm_starts=9",
        "dset.samplerate=8000", "dset.segment=1", "dset.shift=0.25", "augment.repitch.proba=0", "batch_size=4",
        "misc.num_workers=0", "epochs=3", "test.every=100", "test.workers=0", "test.sdr=False", "ema.batch=[0.9]",
        "ema.epoch=[0.5]", "svd.penalty=1e-4", "svd.min_size=0.001", "max_batches=2"]
STEPS = ["max_batches=3", "batch_size=2", "augment.remix.group_size=2", "epochs=2", "dset.valid_samples=2",
         "test.every=1"]
DIFFQ = ["quant.diffq=0.1", "quant.min_size=0.004", "quant.group_size=4", "hdemucs.depth=4"]
QAT = ["quant.qat=6", "quant.min_size=0.004", "hdemucs.depth=4"]
ALONE = Group(0, 1, torch.device("cpu"))


def write_track(folder, seed, seconds=2., samplerate=8000):
    chance = np.random.default_rng(seed)
    stems = {name: 0.1 * chance.standard_normal((int(seconds * samplerate), 2)) for name in SOURCES}
    folder.mkdir(parents=True)
    for name, wav in {**stems, "mixture": sum(stems.values())}.items():
        soundfile.write(folder / f"{name}.wav", wav, samplerate, subtype="FLOAT")


def write_songs(root, *, held_out=2.):
    """A folder in the layout of MUSDB18-HQ: three songs to train on, one to validate, one to test, the last two of
    `held_out` seconds."""
    for number in range(3):
        write_track(root / "train" / f"Song {number}", number)
    write_track(root / "train" / VALIDATION_TRACKS[0], 10, held_out)
    write_track(root / "test" / "Test song", 20, held_out)
    return root


def settings(songs, *overrides):
    """The configuration of a small training on `songs`."""
    values = copy.deepcopy(composed(*overrides))
    keys = {override.partition("=")[0] for override in overrides}
    for key, path in (("musdb", songs), ("metadata", songs.parent / "cache")):
        if f"dset.{key}" not in keys:
            values["dset"][key] = str(path)
    return read(values)


@functools.cache
def composed(*overrides):
    """What Hydra makes of TINY and `overrides`, once in a session."""
    return OmegaConf.to_container(main.get_xp([*TINY, *overrides]).cfg, resolve=True)


def solver_in(folder, config):
    folder.mkdir(parents=True, exist_ok=True)
    return build_solver(config, folder, ALONE, signature=folder.name)


class Stop(Exception):
    """A training that ends there."""


def stop_at_next_save(solver):
    """`solver.run` raises Stop once its next checkpoint is on disk."""
    save = solver.saving.save

    def save_then_stop(**kwargs):
        save(**kwargs)
        solver.saving.checkpoints.wait()
        raise Stop
    solver.saving.save = save_then_stop


def trained_in_parts(folder, config):
    """Solver of a run that was stopped at each of its first saves, and continued, as it is restored at the end."""
    for _ in range(8):
        solver = solver_in(folder, config)
        stop_at_next_save(solver)
        try:
            solver.run()
            break
        except Stop:
            pass
    return solver_in(folder, config)


def weights(solver):
    return torch.cat([p.detach().flatten() for p in solver.model.parameters()])


def numbers(solver):
    """All that the history says, but for how long things took."""
    return [{key: value for key, value in record.to_history().items() if key != "seconds"} for record in solver.history]


def stop_at(solver, moment):
    """Ask for a stop at the `moment`-th time that the solver looks, counted from 1."""
    looks = iter(range(1, 10 ** 6))
    asking = solver.requests.asking

    def look(due=False):
        if next(looks) == moment:
            solver.requests.stop_signal = "SIGUSR2"
        return asking(due)
    solver.requests.asking = look
