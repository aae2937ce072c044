"""Intermediate results of an evaluation: the scores of each track in a file of its own, written when the track is done.

So an evaluation may be distributed over processes and jobs, which never write the same file, and an interrupted
evaluation can be resumed. A file is reused only if it was computed with the same settings, weights and audio.
"""

import dataclasses
import os
import logging
import typing as tp
import zlib
from pathlib import Path

from .. import schema
from ..errors import DemucsError
from ..schema import Evaluation, SchemaError, TrackScores

logger = logging.getLogger(__name__)

SAME = ("model", "model_hash", "dataset", "sources", "settings")     # fields with equal values in all files
LONGEST_NAME = 200      # bytes of a file name, below the limit of 255 because temporary names are longer


class ResultsError(DemucsError):
    """Error for results of an evaluation that cannot be written, are missing, or belong to another test set."""


class TrackFiles:
    """Files of one evaluation, FOLDER/TRACK.json, each an `Evaluation` of one track.

    Args:
        folder: created when the first file is written.
        record: the fields that all tracks share, with `expected`, the names of all tracks of the test set; its `tracks`
            are ignored.
    """

    def __init__(self, folder: Path, record: Evaluation):
        self.folder = folder
        self.record = dataclasses.replace(record, tracks=[])

    @classmethod
    def found(cls, folder: Path) -> "TrackFiles":
        """Evaluation in `folder`, with the shared fields of the file that was computed last. Files that cannot be read
        are skipped with a warning. Raises ResultsError if there is no other."""
        records = []
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            try:
                records.append(schema.load(Evaluation, path))
            except SchemaError as error:
                logger.warning("%s", error)
        if not records:
            raise ResultsError(f"{folder}: contains no scores of tracks; evaluate first")
        return cls(folder, max(records, key=lambda record: record.created))

    def path(self, name: str) -> Path:
        """File of the track `name`, FOLDER/NAME.json; a long name is shortened and gets a checksum."""
        encoded = os.fsencode(name)
        if len(encoded) > LONGEST_NAME:
            name = f"{encoded[:LONGEST_NAME].decode(errors='ignore')}-{zlib.crc32(encoded):08x}"
        return self.folder / f"{name}.json"

    def find(self, name: str, fingerprint: tp.Optional[str] = None, estimates: tp.Optional[str] = None
             ) -> tp.Tuple[tp.Optional[TrackScores], str]:
        """(scores, "") of a track if its file can be reused: model, weights, test set, sources and settings are equal.
        Otherwise (None, reason), where the reason is "" if there is no file.

        Args:
            name: name of the track.
            fingerprint: fingerprint of the audio of the track, which must be equal, too; None: not compared.
            estimates: fingerprint of its previously separated files, likewise.
        """
        record, reason = self._load(name, fingerprint, estimates)
        return (None if record is None else record.tracks[0]), reason

    def _load(self, name: str, fingerprint: tp.Optional[str] = None, estimates: tp.Optional[str] = None
              ) -> tp.Tuple[tp.Optional[Evaluation], str]:
        path = self.path(name)
        if not path.exists():
            return None, ""
        try:
            found = schema.load(Evaluation, path)
            if [track.name for track in found.tracks] != [name]:
                raise SchemaError(f"{path}: not the scores of {name}")
        except SchemaError as error:
            return None, str(error)
        own, other = (schema.to_plain(record) for record in (self.record, found))
        reasons = [difference(field, other[field], own[field]) for field in SAME if own[field] != other[field]]
        if fingerprint is not None and found.tracks[0].fingerprint != fingerprint:
            reasons.append("its audio was another")
        if estimates is not None and found.tracks[0].estimates != estimates:
            reasons.append("its estimates were others")
        return (None if reasons else found), ", ".join(reasons)

    def add(self, scores: TrackScores, *, created: str) -> None:
        """Write the scores of a track that was finished at `created`.

        Raises:
            ResultsError: if it cannot be written; existing files are kept.
        """
        record = dataclasses.replace(self.record, tracks=[scores], created=created)
        try:
            schema.save(record, self.path(scores.name))
        except OSError as error:
            raise ResultsError(f"{self.path(scores.name)}: cannot be written ({error.strerror}); the tracks scored "
                               f"before are kept, so make room and call again") from error

    def assemble(self) -> tp.Tuple[tp.Optional[Evaluation], tp.Dict[str, str]]:
        """(evaluation, {}) with the scores of all expected tracks, if each has a file that can be reused; otherwise
        (None, {missing track: reason, as in `find`}). Audio is not compared.

        The result depends on the files alone, so every process assembles the same evaluation.
        """
        found: tp.List[Evaluation] = []
        missing = {}
        for name in self.record.expected:
            record, reason = self._load(name)
            if record is None:
                missing[name] = reason
            else:
                found.append(record)
        if missing or not found:
            return None, missing
        packages = sorted({name for record in found for name in record.versions})
        return dataclasses.replace(
            self.record, tracks=[record.tracks[0] for record in found],
            created=max(record.created for record in found), commit=_all(record.commit for record in found),
            device=_all(record.device for record in found),
            versions={name: _all(record.versions.get(name, "") for record in found) for name in packages}), {}


def _all(values: tp.Iterable[str]) -> str:
    return ", ".join(sorted(set(filter(None, values))))


def difference(field: str, before: tp.Any, now: tp.Any) -> str:
    """Text on a changed setting, "FIELD was BEFORE, now NOW", such as "shifts was 1, now 2". For two dicts, the texts
    of all keys whose values differ, joined by ", ", with the keys instead of `field`. Other values are taken to
    differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        return ", ".join(difference(key, before.get(key), now.get(key)) for key in sorted({*before, *now})
                         if before.get(key) != now.get(key))
    return f"{field} was {before}, now {now}"
