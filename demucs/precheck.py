"""What can be known of a training before it waits in a queue: whether it could begin, be tested, and be written.

Songs are judged by the headers of their files. The training itself looks at their samples.
"""

import os
import shutil
import typing as tp
from pathlib import Path

from .building import build_augment, build_model, dataset_settings, finished, test_setting, test_tracks
from .config import Config
from .data import build as data
from .data.sampler import EpochSampler
from .errors import ConfigError, DemucsError, TrainingError
from .evaluation import test_sets
from .evaluation.tracks import song_set
from .schema import TestSet

KEPT = 3             # checkpoints: the last two, and the one that is being written
MOMENTS = 2          # of the optimiser, each as large as the weights
FLOAT = 4            # bytes


def check(config: Config, *, ranks: int, folder: Path) -> Path:
    """Find out whether a training in `ranks` processes, with its run in `folder`, can begin. Returns the folder of the
    songs that its model will be scored on.

    Raises:
        DemucsError: where it cannot, with all reasons.
    """
    problems, songs = [], Path()
    if finished(config, folder) is not None:      # it trains no more, whatever became of its songs
        return test_sets.place(TestSet(*test_setting(config)), test_sets.default_musdb(), "this training").folder.absolute()
    try:
        songs = require_test_songs(config)
    except DemucsError as error:
        problems.append(error)
    for require in (lambda: require_batches(config, ranks), lambda: require_examples(config),
                    lambda: require_space(config, folder)):
        try:
            require()
        except DemucsError as error:
            problems.append(error)
    if len(problems) > 1:
        raise ConfigError("; moreover: ".join(dict.fromkeys(map(str, problems))))
    if problems:
        raise problems[0]
    return songs


def require_batches(config: Config, ranks: int) -> None:
    """Raises ConfigError where a batch cannot be split over the ranks, or remixed in each."""
    EpochSampler(config.batch_size, batch_size=config.batch_size, world_size=ranks, seed=config.seed)
    build_augment(config, ranks)


def require_examples(config: Config) -> None:
    """Raises DatasetError where songs to train on are missing or faulty, TrainingError where they make no batch."""
    songs, _ = data.training_sets(**{**dataset_settings(config), "normalize": False})    # which would read all samples
    EpochSampler(len(songs), batch_size=config.batch_size, seed=config.seed)


def require_test_songs(config: Config) -> Path:
    """The folder of the songs that an evaluation of the model will take. Raises DatasetError where songs to test on are
    missing or faulty, in training or in that evaluation."""
    place = test_sets.place(TestSet(*test_setting(config)), test_sets.default_musdb(), "this training")
    if not test_tracks(config):
        song_set(place.folder, sources=config.target_names, compressed=place.compressed,
                 targets=config.dset.targets, stems=config.dset.sources)
    return place.folder.absolute()


def checkpoint_bytes(config: Config) -> tp.Tuple[int, int]:
    """(bytes of a checkpoint, how many there are at once), both at least."""
    model = build_model(config)
    weights = FLOAT * sum(parameter.numel() for parameter in model.parameters())
    copies = 2 + MOMENTS + len(config.ema.batch) + len(config.ema.epoch)        # the weights and the best ones
    kept = config.epochs // config.save_every if config.save_every else 0
    return weights * copies, KEPT + kept


def require_space(config: Config, folder: Path) -> None:
    """Raises TrainingError where there is less room than the checkpoints take, which is a lower bound: records, logs and
    separated songs come to it."""
    size, count = checkpoint_bytes(config)
    exists = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(exists).free
    there = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    if free + there < size * count:
        raise TrainingError(f"{exists}: has {free / 1e9:.1f} GB of free space, and {count} checkpoints of {folder.name} "
                            f"take {size * count / 1e9:.1f} GB at least; make room, or make "
                            f"{os.path.relpath(folder.parent.parent)} a link to where there is some")
