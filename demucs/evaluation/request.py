"""Evaluations as requested on the command line: of a model, or of previously separated files, on a test set."""

import logging
import os
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .. import schema
from ..data.decoded import is_compressed
from ..errors import ConfigError
from ..runs.experiments import collect_run
from ..runs.layout import EXPERIMENTS, RESULTS
from ..schema import SEPARATED, Evaluation
from ..separation.precision import PRECISIONS
from ..tables import counted
from . import collect, records, test_sets
from .evaluate import Separator, evaluate_tracks
from .records import RECORD, TRACKS
from .reference_separators import reference_separators
from .separated import SeparatedFolder
from .shards import Shard, device_of, shard_of
from .track_files import TrackFiles
from .tracks import SongSet, song_set

WHOLE, ALL = ("nsdr", "si_sdr"), ("nsdr", "si_sdr", "bsseval")     # metrics without SDR in frames, and with it
NO_COMPRESSED_TRAINING = "--reference-separators needs training songs as folders of wav files: leave --nonhq out"


@dataclass(frozen=True)
class Request:
    """Settings of an evaluation, with the names of the command line flags.

    `musdb` is a folder of test songs as for `track_folders`, `nonhq` a folder of compressed MUSDB18, which has
    precedence. Without either, a model is scored on the test songs of the dataset it was trained on. `shard` is the
    part of the songs that this process scores; None: that of the environment (see `shards`).
    """
    name: str
    musdb: tp.Optional[Path] = None
    nonhq: tp.Optional[Path] = None
    kind: str = ""                             # layout of `musdb`, one of `data.kinds`; "": TRACK/SOURCE.wav
    missing: str = ""                          # further settings of the layout
    instruments: str = ""
    split_file: str = ""
    dataset_name: tp.Optional[str] = None      # in records; None: derived from the folder
    no_sdr: bool = False                       # no SDR, ISR, SIR and SAR in frames
    device: str = "cpu"
    examples: int = 2                          # number of tracks with an excerpt
    shard: tp.Optional[Shard] = None
    again: bool = False                        # score tracks again that have a score with the same settings
    results: Path = RESULTS
    experiments: Path = EXPERIMENTS

    @property
    def folder(self) -> Path:
        """Folder of the records, RESULTS/runs/NAME."""
        return self.results / "runs" / self.name

    @property
    def part(self) -> Shard:
        """Shard of this process. Raises ConfigError for invalid numbers in the environment."""
        return self.shard or shard_of(os.environ)

    def place(self, name: str, model: tp.Any = None) -> test_sets.Place:
        """Place of the test songs: `nonhq` or `musdb` if given, otherwise the test songs of the dataset that the run
        `name`, or `model`, was trained on, otherwise MUSDB18-HQ. Raises DatasetError if they are not on this machine,
        and SchemaError if a run card is damaged."""
        own = test_sets.belonging_to(name, model, experiments_folder=self.experiments, results=self.results)
        given = self.nonhq if self.nonhq is not None else self.musdb
        layout = {key: value for key, value in (("missing", self.missing), ("instruments", self.instruments),
                                                ("split", self.split_file)) if value}
        if given is None:
            found = test_sets.place(own, test_sets.default_musdb(), name)
            return found._replace(kind=self.kind or found.kind, layout={**found.layout, **layout})
        if self.nonhq is not None or not self.kind and is_compressed(given):
            return test_sets.Place(given, True, *((own.targets, own.stems) if own else (None, None)))
        if own is not None and self.kind == own.kind and own.layout.get("files"):
            layout["files"] = own.layout["files"]       # the names of a layout in another folder
        return test_sets.Place(given, False, *((own.targets, own.stems) if own else (None, None)),
                               kind=self.kind if self.kind not in test_sets.FOLDERS else "", layout=layout)

    def songs(self, sources: tp.Sequence[str], place: test_sets.Place) -> SongSet:
        """Test set in `place` for a model of `sources`: tracks with references, and the sources to be added to others.
        Raises DatasetError as `song_set`."""
        return song_set(place.folder, sources=sources, compressed=place.compressed, name=self.dataset_name,
                        targets=place.targets, stems=place.stems, kind=place.kind, layout=place.layout)

    def excerpts(self, record: str) -> Path:
        """Folder for excerpts of the tracks of `record`, the name of a record as in `records.record_of`; each test set
        has its own."""
        return self.results / "examples" / (self.name + record.removeprefix(RECORD))


def score_model(request: Request, model: nn.Module, *, settings: tp.Mapping[str, tp.Any],
                precision: str = PRECISIONS[0], save_to: tp.Optional[Path] = None, references: bool = False
                ) -> tp.Optional[Evaluation]:
    """Score a model or a bag on this process's part of the songs, write the scores, and print them if all parts are
    done. The first part also copies the files of the model's run (run card, history) to the folder of the record.

    Returns the evaluation of the model; None if tracks of other parts are missing.

    Args:
        request: the test songs and where results go.
        model: the model or bag.
        settings: shifts, overlap, split, segment and seed of `apply.separate`.
        precision: that of `apply.separate`.
        save_to: folder for all estimates; None: they are not written.
        references: score reference separators as well, which needs training songs as folders.

    Raises:
        DemucsError: if data or settings are not usable.
    """
    place = request.place(request.name, model)
    if place.compressed and references:
        raise ConfigError(NO_COMPRESSED_TRAINING)
    songs = request.songs(model.sources, place)
    record = records.record_of(request.folder, songs)
    others = reference_separators(model, songs.sources, place.folder, targets=place.targets,
                                  stems=place.stems) if references else {}
    if request.part.index == 0:
        collect_run(request.name, experiments=request.experiments, results=request.results)
    whole, some = (WHOLE, WHOLE) if request.no_sdr else (ALL, (*WHOLE, "sdr"))
    evaluations = [_score(request, model, songs, name=request.name, record=record, metrics=whole, separation=settings,
                          settings=collect.precision(model), precision=precision, save_to=save_to,
                          excerpts=request.excerpts(record))]
    for name, separator in others.items():
        evaluations.append(_score(request, separator, songs, name=name, record=f"{record}_{name}", metrics=some,
                                  separation=settings, settings=collect.precision(separator)))
    records.report(evaluations, request.folder)
    return evaluations[0]


def score_files(request: Request, folder: Path, sources: tp.Optional[tp.Sequence[str]] = None
                ) -> tp.Optional[Evaluation]:
    """Score the estimates in the files FOLDER/TRACK/SOURCE.wav on the test set of `request`, write the scores, and
    print them if all parts are done. `sources` are by default those of the first track.

    Returns the evaluation; None if tracks of other parts are missing.

    Raises:
        DemucsError: if files or test set are not usable, or a model was scored under the same name.
    """
    separator = SeparatedFolder(folder, sources=sources)
    existing = request.folder / f"{RECORD}.json"
    if existing.exists() and schema.load(Evaluation, existing).model != SEPARATED:
        raise ConfigError(f"{existing} is the evaluation of a model; choose another name with --name")
    songs = request.songs(separator.sources, request.place(folder.resolve().name))
    record = records.record_of(request.folder, songs)
    evaluation = _score(request, separator, songs, name=request.name, record=record,
                        metrics=WHOLE if request.no_sdr else ALL, separation={}, settings={"files": separator.formats},
                        excerpts=request.excerpts(record))
    records.report([evaluation], request.folder)
    return evaluation


def _score(request: Request, separator: Separator, songs: SongSet, *, name: str, record: str, metrics: tp.Sequence[str],
           separation: tp.Mapping[str, tp.Any], settings: tp.Mapping[str, tp.Any], precision: str = PRECISIONS[0],
           save_to: tp.Optional[Path] = None, excerpts: tp.Optional[Path] = None) -> tp.Optional[Evaluation]:
    """Score this process's shard into FOLDER/tracks/RECORD/, and assemble FOLDER/RECORD.json if all tracks are scored.

    Returns the whole evaluation, or None if tracks of other shards are missing, which are logged.

    Args:
        separation: settings of the separation.
        settings: further settings for the record.
        excerpts: folder for excerpts of the first `request.examples` tracks.
    """
    settings = {"metrics": list(metrics), **settings, **separation}
    if precision != PRECISIONS[0]:          # otherwise the record has the number format of the weights
        settings["precision"] = precision
        separation = {**separation, "precision": precision}
    part, device = request.part, device_of(request.device, os.environ)
    folded = {source: other for source, other in songs.folded.items() if source in separator.sources}
    header = collect.evaluation_record(
        separator, [], name=name, dataset=songs.name, sources=songs.sources, expected=[t.name for t in songs.tracks],
        device=collect.device_name(device), settings={**settings, **({"folded": folded} if folded else {})})
    files = TrackFiles(request.folder / TRACKS / record, header)
    mine = songs.tracks[part.index::part.count]
    if request.again:
        for track in mine:
            files.path(track.name).unlink(missing_ok=True)
    keep = None if excerpts is None else collect.ExampleWriter(
        excerpts, sources=songs.sources, samplerate=separator.samplerate, names=header.expected[:request.examples],
        origins={track.name: track.origin for track in songs.tracks if track.origin is not None})
    if part.count == 1 and "SLURM_ARRAY_TASK_ID" in os.environ and record == RECORD:
        logging.info("Task %s of this Slurm array scores all songs; with --shard I/N it scores a part",
                     os.environ["SLURM_ARRAY_TASK_ID"])
    logging.info("Scoring %s on %s (%s%s)", name, songs.name, counted(len(songs.tracks), "track"),
                 f"; part {part.index} of {part.count}: {len(mine)}" if part.count > 1 else "")
    evaluate_tracks(separator, songs.tracks, metrics=metrics, sums=True, sources=songs.sources, folded=folded,
                    **separation, device=device, files=files, save_to=save_to, keep=keep, rank=part.index,
                    world_size=part.count)
    return records.put_together(files, request.folder / f"{record}.json")
