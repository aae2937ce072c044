"""Statistics of a model's input, mean and standard deviation per frequency of the training mixtures: measured once by
all ranks, kept in a cache, and set in the model before its training.

Every mixture is read once, by one of the ranks, in threads on all of its cores. Results are merged in the order of the
mixtures, so that they do not depend on the number of ranks or threads.
"""

import logging
import time
import typing as tp
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import schema
from ..data.faults import FaultyTracks
from ..data.index import save_cache, usable_cores
from ..data.spectra import Mixtures, Moments, key, mixtures, moments_of
from ..errors import DatasetError
from .distributed import Group

logger = logging.getLogger(__name__)

VERSION = 1
ROUND = 128          # mixtures between two exchanges of the ranks

Found = tp.Tuple[tp.Dict[int, Moments], tp.Dict[int, str]]      # of mixtures, and faults of others
Statistics = tp.Tuple[np.ndarray, np.ndarray]                   # mean and standard deviation [F]


def normalised_parts(model: nn.Module) -> tp.List[tp.Any]:
    """Modules of `model` that normalise their input by such statistics."""
    return [module for module in model.modules() if hasattr(module, "set_input_statistics")]


def set_input_statistics(model: nn.Module, train_set: tp.Any, *, group: Group, cache_dir: tp.Union[str, Path]) -> None:
    """Set the statistics of the mixtures of `train_set` in all parts of `model` that use them. Does nothing for other
    models. A collective call.

    Raises:
        FaultyTracks: on all ranks, if songs cannot be read or are not finite.
        DatasetError: on all ranks, if no mixture has a frame, or all are silent.
    """
    parts = normalised_parts(model)
    if not parts:
        return
    mean, std = statistics(mixtures(train_set), n_fft=model.nfft, hop=model.nhop, group=group, cache_dir=cache_dir)
    for part in parts:
        part.set_input_statistics(torch.from_numpy(mean), torch.from_numpy(std))


def statistics(parts: tp.Sequence[Mixtures], *, n_fft: int, hop: int, group: Group, cache_dir: tp.Union[str, Path]
               ) -> Statistics:
    """(mean, standard deviation) [F] of the magnitudes of mixtures, from the cache in `cache_dir` if their files are as
    they were; definitions and errors are those of `data.spectra` and `set_input_statistics`. A collective call."""
    def cached() -> tp.Tuple[Path, tp.Optional[Statistics]]:
        path = Path(cache_dir) / f"spectra-{key(parts, n_fft=n_fft, hop=hop)}.json"
        return path, _load(path, n_fft // 2 + 1) if group.is_first else None
    path, found = group.first_then_all(cached)
    found = group.gather(found)[0]
    if found is not None:
        return found
    songs = [(part, number) for part in parts for number in range(len(part))]
    total = _measured(songs, n_fft=n_fft, hop=hop, group=group)
    if not total.frames:
        raise DatasetError(f"the statistics of the model's input cannot be computed: none of the training songs is as "
                           f"long as a window of {n_fft} samples; give longer ones")
    mean, std = total.mean, total.std
    if not std.max() > 0:
        raise DatasetError("the statistics of the model's input cannot be computed: all training songs are silent; "
                           "give songs with sound")
    if group.is_first:
        save_cache({"version": VERSION, "n_fft": n_fft, "hop": hop, "frames": total.frames, "mean": mean.tolist(),
                    "std": std.tolist()}, path)
    return mean, std


def _load(path: Path, bins: int) -> tp.Optional[Statistics]:
    """Statistics of an earlier training; None if there are none, or they cannot be read."""
    if not path.exists():
        return None
    try:
        plain = schema.read_json(path)
        mean, std = (np.array(plain[name], dtype=np.float64) for name in ("mean", "std"))
        usable = plain["version"] == VERSION and mean.shape == std.shape == (bins,)
        if usable and np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all():
            logger.info("Statistics of the model's input from %s", path)
            return mean, std
    except (schema.SchemaError, OSError, KeyError, TypeError, ValueError):
        pass
    logger.warning("%s cannot be read: the songs are measured again", path)
    return None


def _measured(songs: tp.Sequence[tp.Tuple[Mixtures, int]], *, n_fft: int, hop: int, group: Group) -> Moments:
    """Moments of all `songs`, each of which one rank reads."""
    logger.info("Statistics of the model's input: reading %d songs", len(songs))
    begin = time.monotonic()
    total, faults = Moments.none(n_fft // 2 + 1), []
    for start in range(0, len(songs), ROUND):
        chosen = range(start, min(start + ROUND, len(songs)))
        work = {number: songs[number] for number in chosen[group.rank::group.world_size]}
        together = group.gather(_read(work, n_fft=n_fft, hop=hop, total=len(songs), begin=begin, before=start))
        found = {number: moments for moments, _ in together for number, moments in moments.items()}
        failed = {number: fault for _, faulty in together for number, fault in faulty.items()}
        faults += [failed[number] for number in sorted(failed)]
        for number in sorted(found):
            total = total.merged(found[number])
    if faults:
        raise FaultyTracks(faults)
    logger.info("Statistics of the model's input: %d frames of %d songs, %.1f s", total.frames, len(songs),
                time.monotonic() - begin)
    return total


def _read(work: tp.Mapping[int, tp.Tuple[Mixtures, int]], *, n_fft: int, hop: int, total: int, begin: float, before: int
          ) -> Found:
    """Moments of the songs of this rank by their number, in threads, with progress in the log."""
    found, faults = {}, {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        pending = {pool.submit(moments_of, part, number, n_fft=n_fft, hop=hop): place
                   for place, (part, number) in work.items()}
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                try:
                    found[pending[future]] = future.result()
                except DatasetError as error:
                    faults[pending[future]] = str(error)
                if done * 10 // len(work) > (done - 1) * 10 // len(work):
                    logger.info("Statistics of the model's input: this process read %d of its %d songs from number "
                                "%d of %d on, %.1f s", done, len(work), before + 1, total, time.monotonic() - begin)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found, faults
