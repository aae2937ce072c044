"""Records of evaluations in shards: each test set has its own record, which the last shard assembles."""

import logging
import os
import re
import typing as tp
import zlib
from pathlib import Path

from .. import schema
from ..errors import ConfigError
from ..runs.layout import EVALUATION
from ..schema import Evaluation
from . import collect
from .track_files import ResultsError, TrackFiles
from .tracks import SongSet

TRACKS, RECORD = "tracks", EVALUATION.removesuffix(".json")
FURTHER = f"{RECORD}_on_"      # prefix of the record of a second or later test set, before the name of the test set
LONGEST = 100                  # maximum characters of that name in a file name
NAMED = 8                      # maximum number of tracks named in a message


def record_of(folder: Path, songs: SongSet) -> str:
    """Name, without .json, of the record of the test set `songs` in FOLDER: "evaluation" for the first test set that is
    scored there, "evaluation_on_NAME" for any further one, so that no record is overwritten. The name of an existing
    record of the same test set, complete or not, is returned again.

    Raises:
        ConfigError: if other songs were scored under the name of this test set.
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


def _scored(folder: Path, record: str) -> tp.Optional[Evaluation]:
    """A complete or unfinished evaluation; None if there is none that can be read."""
    path = folder / f"{record}.json"
    try:
        if path.exists():
            return schema.load(Evaluation, path)
        return TrackFiles.found(folder / TRACKS / record).record
    except (schema.SchemaError, ResultsError):
        return None


def put_together(files: TrackFiles, path: Path) -> tp.Optional[Evaluation]:
    """Evaluation assembled from the files of its tracks, and written to `path`, if all tracks are scored. Otherwise the
    missing tracks are logged, nothing is written, and the result is None.

    Raises:
        ResultsError: if `path` meanwhile contains an evaluation on another test set.
    """
    whole, missing = files.assemble()
    if whole is not None:
        existing = _read_record(path) if path.exists() else None
        if existing is not None and existing.dataset != whole.dataset:
            raise ResultsError(f"{path} has the scores on {existing.dataset} by now; evaluate on {whole.dataset} "
                               f"again, which then gets a record of its own")
        schema.save(whole, path)
        return whole
    names = [f"{name} ({reason})" if reason else name for name, reason in missing.items()]
    logging.info("%d of %d tracks are not scored yet: %s%s. The last shard to finish, or --collect, writes %s",
                 len(missing), len(files.record.expected), ", ".join(names[:NAMED]),
                 f" and {len(names) - NAMED} more" if len(names) > NAMED else "", path)
    return None


def collect_records(folder: Path) -> tp.List[Evaluation]:
    """Evaluations assembled from the scores of tracks in FOLDER/tracks/RECORD, each written to FOLDER/RECORD.json.

    Raises:
        ResultsError: if FOLDER/tracks has no scores, or an evaluation lacks tracks, after all others are written.
    """
    places = sorted(place for place in (folder / TRACKS).glob("*") if place.is_dir())
    if not places:
        raise ResultsError(f"{folder / TRACKS}: contains no scores of tracks; evaluate first")
    records = [put_together(TrackFiles.found(place), folder / f"{place.name}.json") for place in places]
    if None in records:
        raise ResultsError(f"{folder}: the evaluation is not complete; the tracks that are missing are named above")
    return [record for record in records if record is not None]


def finish(folder: Path) -> None:
    """Assemble every evaluation in FOLDER, as `collect_records` does and with its errors, and print their scores."""
    report(collect_records(folder), folder)


def report(evaluations: tp.Sequence[tp.Optional[Evaluation]], folder: Path) -> None:
    """Print one table of scores per test set, if none of `evaluations` is None (an evaluation whose tracks are not all
    scored). Records in FOLDER of the same separator on other test sets are included. The path of FOLDER is printed in
    any case."""
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
