"""What the command lines of evaluation share: the test set, shards, and records that are put together at the end.

A shard is every N-th track. It is given by --shard I/N, or found in the environment where the batch script says that its
processes share the songs (DEMUCS_SHARED_SCORING): the task of a Slurm array, and the rank among the processes of a job. A
process of somebody else's job scores all songs.
"""

import argparse
import logging
import os
import re
import typing as tp
import zlib
from pathlib import Path

import torch

from .. import schema
from ..arguments import number
from ..errors import ConfigError
from ..ranges import COUNT
from ..runs import layout
from ..schema import Evaluation
from ..separation.apply import usable_device
from ..separation.devices import gpu_wanted
from ..separation.precision import PRECISIONS
from . import collect, test_sets
from .evaluate import Separator, evaluate_tracks
from .track_files import ResultsError, TrackFiles
from .tracks import SongSet, song_set

TRACKS, RECORD = "tracks", "evaluation"
SHARED = "DEMUCS_SHARED_SCORING"                                   # "job" or "here", set by slurm_scripts/evaluate_slurm.sh
FURTHER = f"{RECORD}_on_"                                          # and the name of a test set that is not the first
LONGEST = 100                                                      # characters of that name in a file name
SEPARATION = ("shifts", "overlap", "split", "segment", "seed")     # settings that `evaluate_tracks` takes
NAMED = 8                                                          # tracks in a message
WHOLE, ALL = ("nsdr", "si_sdr"), ("nsdr", "si_sdr", "bsseval")     # metrics without SDR in frames, and with it


class Shard(tp.NamedTuple):
    """Part `index` (from 0) of `count`."""
    index: int
    count: int


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--musdb", type=Path,
        help="MUSDB18-HQ, or any folder of test/TRACK/STEM.wav or TRACK/STEM.wav (default: the test set of the data that "
             f"the model was trained on; without one $DEMUCS_MUSDB, here {default_musdb()})")
    add("--nonhq", type=Path, help="score on compressed MUSDB18 (.stem.mp4) in this folder instead")
    add("--dataset-name", help="what to call the test set in the records (default: found out)")
    add("--no-sdr", action="store_true", help="only nSDR and SI-SDR: leave out SDR, ISR, SIR and SAR in frames")
    add("-d", "--device", default="cuda" if gpu_wanted() else "cpu", help="(here by default: %(default)s)")
    add("--examples", type=number("--examples", COUNT), default=2,
        help="tracks of which an excerpt is kept (default: %(default)s)")
    add("--results", type=Path, default=layout.RESULTS, help="where records go (default: %(default)s)")
    add("--shard", type=shard, metavar="I/N",
        help="only part I of N, from 0/N on (default: all, or what evaluate_slurm.sh gives this process)")
    add("--collect", action="store_true", help="score nothing: put together what all shards have left")
    add("--again", action="store_true", help="score all tracks, also those that were scored before with these settings")


def default_musdb() -> Path:
    """Where MUSDB18-HQ is on this machine."""
    return Path(os.environ.get("DEMUCS_MUSDB") or "datasets/musdbhq")


def shard(text: str) -> Shard:
    """The shard "I/N". Raises argparse.ArgumentTypeError for anything else."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part I/N with I from 0 to N - 1, such as 0/8 or 7/8")
    return Shard(int(index), int(count))


def shard_of(environment: tp.Mapping[str, str]) -> Shard:
    """The shard of this process among the tasks of a Slurm array and the ranks of its job, where the batch script has them
    share the songs; else all songs.

    Raises:
        ConfigError: where the numbers of the array have gaps, so that parts would be left out, or are no numbers.
    """
    def number(name: str, default: int) -> int:
        text = environment.get(name) or str(default)
        if not text.isdecimal():
            raise ConfigError(f"{name}={text} in the environment is no number from 0 on: unset it, or give --shard I/N")
        return int(text)

    if not environment.get(SHARED):
        return Shard(0, 1)
    rank, world_size = number("RANK", 0), number("WORLD_SIZE", 1)
    if rank >= world_size:
        raise ConfigError(f"RANK={rank} of WORLD_SIZE={world_size} in the environment: ranks count from 0 to WORLD_SIZE - 1;"
                          f" unset them, or give --shard I/N")
    if not environment.get("SLURM_ARRAY_TASK_ID") or environment[SHARED] != "job":
        return Shard(rank, world_size)
    first, last = number("SLURM_ARRAY_TASK_MIN", 0), number("SLURM_ARRAY_TASK_MAX", 0)
    count, task = number("SLURM_ARRAY_TASK_COUNT", 1), number("SLURM_ARRAY_TASK_ID", 0)
    step = (last - first) // (count - 1) if count > 1 else 1
    if first + step * (count - 1) != last or (task - first) % step:
        raise ConfigError(f"the numbers of this Slurm array are not evenly spaced ({count} from {first} to {last}); "
                          f"submit with --array=0-{count - 1}: tracks that are done are not scored again")
    return Shard((task - first) // step * world_size + rank, count * world_size)


def device_of(name: str, environment: tp.Mapping[str, str]) -> torch.device:
    """The device called `name`; of several GPUs, where none is named, that of this process's place on its machine.

    Raises:
        ConfigError: where it cannot be used.
    """
    place = environment.get("LOCAL_RANK") or "0"
    if name == "cuda" and torch.cuda.device_count() > 1:
        name = f"cuda:{(int(place) if place.isdecimal() else 0) % torch.cuda.device_count()}"
    return usable_device(name)


def place_of(args: argparse.Namespace, name: str, model: tp.Any = None) -> test_sets.Place:
    """Where the test songs are: what `args` say, else those that belong to the run `name` or to `model`.

    Raises:
        DatasetError: where the data of the run are not on this machine.
    """
    if args.nonhq is not None:
        return test_sets.Place(args.nonhq, True)
    if args.musdb is not None:
        return test_sets.Place(args.musdb)
    own = test_sets.belonging_to(name, model, experiments_folder=getattr(args, "experiments", layout.EXPERIMENTS),
                                 results=args.results)
    return test_sets.place(own, default_musdb(), name)


def songs_of(args: argparse.Namespace, sources: tp.Sequence[str], place: test_sets.Place) -> SongSet:
    """The tracks in `place`, with references of `sources`. Raises DatasetError."""
    return song_set(place.folder, sources=sources, compressed=place.compressed, name=args.dataset_name)


def record_of(folder: Path, songs: SongSet) -> str:
    """Name of the record of `songs` among those in FOLDER: "evaluation" for the first test set that a model is scored on,
    "evaluation_on_NAME" for any further one. So none replaces another.

    Raises:
        ConfigError: where other songs have been scored under the name of this test set.
    """
    label = re.sub(r"[^\w.-]+", "-", songs.name).strip("-")[:LONGEST]
    for record in (RECORD, f"{FURTHER}{label}", f"{FURTHER}{label}-{zlib.crc32(os.fsencode(songs.name)):08x}"):
        found = _scored(folder, record)
        if found is None:
            return record
        if found.dataset == songs.name:
            before = set(found.expected) or {track.name for track in found.tracks}
            if before.isdisjoint(track.name for track in songs.tracks):
                raise ConfigError(f"{folder / record}.json has the scores of other songs, on a test set that is called "
                                  f"{songs.name!r}, too; give this one another name with --dataset-name")
            return record
    raise ConfigError(f"{folder}: no name is left for the test set {songs.name!r}; give it another with --dataset-name")


def examples_of(args: argparse.Namespace, name: str, record: str) -> Path:
    """Folder for excerpts: those of several test sets do not mix."""
    return args.results / "examples" / (name + record.removeprefix(RECORD))


def _scored(folder: Path, record: str) -> tp.Optional[Evaluation]:
    """An evaluation that is there, or has begun; None where there is none that can be read."""
    path = folder / f"{record}.json"
    try:
        if path.exists():
            return schema.load(Evaluation, path)
        return TrackFiles.found(folder / TRACKS / record).record
    except (schema.SchemaError, ResultsError):
        return None


def evaluate(separator: Separator, songs: SongSet, *, name: str, folder: Path, args: argparse.Namespace,
             settings: tp.Mapping[str, tp.Any], metrics: tp.Sequence[str], precision: str = PRECISIONS[0],
             record: str = RECORD,
             save_to: tp.Optional[Path] = None, examples: tp.Optional[Path] = None) -> tp.Optional[Evaluation]:
    """Score this process's shard into FOLDER/tracks/RECORD/, and put FOLDER/RECORD.json together if no other is left.

    Returns the whole evaluation, or None where tracks of other shards are missing; the log names them.

    Args:
        precision: of separating, as `apply.separate` has it.
        examples: folder for excerpts of the first `args.examples` tracks.
    """
    separation = {key: value for key, value in settings.items() if key in SEPARATION}
    if precision != PRECISIONS[0]:          # else the record says what the weights have
        settings = {**settings, "precision": precision}
        separation["precision"] = precision
    part = args.shard or shard_of(os.environ)
    device = device_of(args.device, os.environ)
    folded = {source: other for source, other in songs.folded.items() if source in separator.sources}
    header = collect.evaluation_record(
        separator, [], name=name, dataset=songs.name, sources=songs.sources, expected=[t.name for t in songs.tracks],
        device=collect.device_name(device), settings={
            "metrics": list(metrics), **settings, **({"folded": folded} if folded else {})})
    files = TrackFiles(folder / TRACKS / record, header)
    mine = songs.tracks[part.index::part.count]
    if args.again:
        for track in mine:
            files.path(track.name).unlink(missing_ok=True)
    keep = None if examples is None else collect.ExampleWriter(
        examples, sources=songs.sources, samplerate=separator.samplerate, names=header.expected[:args.examples])
    if part.count == 1 and "SLURM_ARRAY_TASK_ID" in os.environ and record == RECORD:
        logging.info("Task %s of this Slurm array scores all songs; with --shard I/N it scores a part",
                     os.environ["SLURM_ARRAY_TASK_ID"])
    logging.info("Scoring %s on %s (%d tracks%s)", name, songs.name, len(songs.tracks),
                 f"; part {part.index} of {part.count}: {len(mine)}" if part.count > 1 else "")
    evaluate_tracks(separator, songs.tracks, metrics=metrics, sums=True, sources=songs.sources, folded=folded,
                    **separation, device=device, files=files, save_to=save_to, keep=keep, rank=part.index,
                    world_size=part.count)
    return put_together(files, folder / f"{record}.json")


def put_together(files: TrackFiles, path: Path) -> tp.Optional[Evaluation]:
    """Write the evaluation of all tracks to `path` if they are all there; else None, and the log names the missing.

    Raises:
        ResultsError: where an evaluation on another test set, which was made meanwhile, would be replaced.
    """
    whole, missing = files.assemble()
    if whole is not None:
        there = _read_record(path) if path.exists() else None
        if there is not None and there.dataset != whole.dataset:
            raise ResultsError(f"{path} has the scores on {there.dataset} by now; evaluate on {whole.dataset} again, which "
                               f"then gets a record of its own")
        schema.save(whole, path)
        return whole
    names = [f"{name} ({reason})" if reason else name for name, reason in missing.items()]
    logging.info("%d of %d tracks are not scored yet: %s%s. The last shard to finish, or --collect, writes %s",
                 len(missing), len(files.record.expected), ", ".join(names[:NAMED]),
                 f" and {len(names) - NAMED} more" if len(names) > NAMED else "", path)
    return None


def collect_records(folder: Path) -> tp.List[Evaluation]:
    """Put together every record of which tracks lie in FOLDER/tracks. Raises ResultsError where tracks are missing."""
    places = sorted(place for place in (folder / TRACKS).glob("*") if place.is_dir())
    if not places:
        raise ResultsError(f"{folder / TRACKS}: contains no scores of tracks; evaluate first")
    records = [put_together(TrackFiles.found(place), folder / f"{place.name}.json") for place in places]
    if None in records:
        raise ResultsError(f"{folder}: the evaluation is not complete; the tracks that are missing are named above")
    return [record for record in records if record is not None]


def report(evaluations: tp.Sequence[tp.Optional[Evaluation]], folder: Path) -> None:
    """Print what came out, where all shards are done, a table for each test set; then what the same separator was scored
    on before."""
    whole = [evaluation for evaluation in evaluations if evaluation is not None]
    if whole and len(whole) == len(evaluations):
        shown = {evaluation.dataset for evaluation in whole}
        others = [other for other in map(_read_record, sorted(folder.glob(f"{RECORD}*.json")))
                  if other is not None and other.name == whole[0].name and other.dataset not in shown]
        for dataset in dict.fromkeys(evaluation.dataset for evaluation in (*whole, *others)):
            print(collect.score_tables([found for found in (*whole, *others) if found.dataset == dataset]) + "\n")
    print(f"records in {folder}")


def _read_record(path: Path) -> tp.Optional[Evaluation]:
    try:
        return schema.load(Evaluation, path)
    except schema.SchemaError as error:
        logging.warning("%s", error)
        return None
