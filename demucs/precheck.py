"""Check of a training before it is queued: whether it can begin and be tested, and whether there is space for its
files.

Only the headers of audio files are read. The training itself checks their samples.
"""

import os
import shutil
import typing as tp
from pathlib import Path

from . import songs as musdb
from .audio.ffmpeg import program
from .building import build_augment, build_model, dataset_settings, finished, test_set, test_tracks
from .config import Config
from .data import build as data
from .data import download
from .data.audio_cache import AudioCache
from .data.sampler import EpochSampler
from .errors import ConfigError, DemucsError, TrainingError
from .evaluation import test_sets
from .evaluation.tracks import song_set
from .training.accumulation import require_whole_batches

KEPT = 3             # checkpoints: the last two, and the one that is being written
MOMENTS = 2          # running averages in Adam's state, each as large as the weights
FLOAT = 4            # bytes of a float32


def check(config: Config, *, ranks: int, folder: Path) -> Path:
    """Check that a training in `ranks` processes can begin, with its run in `folder`, and be evaluated. Of a finished
    run only its test songs are checked. Returns the absolute path of the folder of the test songs of its evaluation.

    Raises:
        DemucsError: if it cannot, with all reasons.
    """
    problems: tp.List[DemucsError] = []
    songs = Path()
    if finished(config, folder) is not None:      # a finished run needs no training songs
        return test_sets.place(test_set(config), test_sets.default_musdb(), "this training").folder.absolute()
    name = musdb.to_download(config)
    if name is not None and download.is_absent(config.dset.musdb):      # the training will download its songs
        songs = Path(config.dset.musdb).absolute()
        checks = [lambda: download.require_space(name, songs, elsewhere=musdb.ELSEWHERE)]
    else:
        try:
            songs = require_test_songs(config)
        except DemucsError as error:
            problems.append(error)
        checks = [lambda: require_examples(config, ranks)]
    for require in (lambda: require_batches(config, ranks), *checks, lambda: require_space(config, folder)):
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
    """Check that a batch can be split over the ranks, and the part of a rank into groups for remixing, and into
    micro-batches for gradient accumulation.

    Raises:
        ConfigError: if not.
    """
    EpochSampler(config.batch_size, batch_size=config.batch_size, world_size=ranks, seed=config.seed)
    build_augment(config, ranks)
    if config.misc.examples_at_once is not None:
        require_whole_batches(build_model(config), at_once=config.misc.examples_at_once,
                              examples=config.batch_size // ranks)


def require_examples(config: Config, ranks: int) -> None:
    """Check that the training and validation songs are complete, and enough for a batch of `ranks` processes. Only headers
    are read. Of compressed songs that are not decoded yet, nothing is known.

    Raises:
        ConfigError: for whole tracks of different lengths that cannot be one batch.
        DatasetError: if songs are missing or faulty.
        TrainingError: if there are too few for a batch.
        ToolError: if ffmpeg is not installed, for compressed songs.
    """
    if musdb.is_compressed(config) and not Path(musdb.training_folder(config)).exists():
        program("ffmpeg")          # decoding takes minutes, and is left to the training
        return
    without = {"normalize": False, "cache": AudioCache()}      # both read all samples
    songs, _ = data.training_sets(**{**dataset_settings(config), **without})
    EpochSampler(len(songs), batch_size=config.batch_size, seed=config.seed)
    if not config.dset.segment:
        data.require_one_length(songs, config.batch_size // ranks, ranks)


def require_test_songs(config: Config) -> Path:
    """Folder of the test songs of an evaluation of the model. Raises DatasetError if songs for the tests during
    training or for that evaluation are missing or faulty."""
    place = test_sets.place(test_set(config), test_sets.default_musdb(), "this training")
    if not test_tracks(config):
        song_set(place.folder, sources=config.target_names, compressed=place.compressed,
                 targets=config.dset.targets, stems=config.dset.sources, kind=place.kind, layout=place.layout)
    return place.folder.absolute()


def checkpoint_bytes(config: Config) -> tp.Tuple[int, int]:
    """(size of a checkpoint in bytes, number of checkpoints that are on disk at the same time), both lower bounds."""
    model = build_model(config)
    weights = FLOAT * sum(parameter.numel() for parameter in model.parameters())
    copies = 2 + MOMENTS + len(config.ema.batch) + len(config.ema.epoch)        # the weights and the best ones
    kept = config.epochs // config.save_every if config.save_every else 0
    return weights * copies, KEPT + kept


def require_space(config: Config, folder: Path) -> None:
    """Check that the disk has space for the checkpoints of a run in `folder`, of which those that exist count as free.
    This is a lower bound: records, logs and separated songs need space, too.

    Raises:
        TrainingError: if there is too little.
    """
    size, count = checkpoint_bytes(config)
    exists = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(exists).free
    used = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    if free + used < size * count:
        raise TrainingError(f"{exists}: has {free / 1e9:.1f} GB of free space, and {count} checkpoints of {folder.name} "
                            f"take {size * count / 1e9:.1f} GB at least; make room, or make "
                            f"{os.path.relpath(folder.parent.parent)} a link to where there is some")
