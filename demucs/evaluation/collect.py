"""Output of an evaluation: its record, example separations, and tables for the terminal."""

import hashlib
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..audio import reading
from ..files import write_text
from ..metrics.aggregates import ALL, FAMILIES, Family, aggregate, aggregate_tracks
from ..packages import package
from ..runs.layout import ORIGIN
from ..runs.provenance import commit, now, versions
from ..schema import SEPARATED, Evaluation, TrackScores
from ..separation.bag import BagOfModels
from ..tables import aligned, counted, number
from .scoring import INSTRUMENTAL
from .separated import SeparatedFolder

EXCERPT_SECONDS = 20.
EXAMPLE_BITRATE = 192    # kbit/s


def evaluation_record(separator: tp.Union[nn.Module, SeparatedFolder], tracks: tp.Sequence[TrackScores], *, name: str,
                      dataset: str, settings: tp.Mapping[str, tp.Any], sources: tp.Optional[tp.Sequence[str]] = None,
                      expected: tp.Sequence[str] = (), device: str = "") -> Evaluation:
    """New record of an evaluation of `separator`, with the current time, commit and package versions, and a hash of the
    weights. It is not written. `tracks` may be empty, for a record of what all tracks have in common.

    A model of the zoo is recorded by its name there, any other separator by its class, a bag by its models. `name` is
    that of the separator in reports, `dataset` that of the test set. `settings` and `device` are stored as they are.
    `sources` are the scored sources (default: the separator's), `expected` the names of all tracks of the test set.
    """
    return Evaluation(
        name=name, model=_kind(separator), dataset=dataset, sources=list(sources or separator.sources),
        tracks=list(tracks), settings=dict(settings), model_hash=_hash(separator), commit=commit(), versions=versions(),
        created=now(), expected=list(expected), device=device)


def precision(model: nn.Module) -> tp.Dict[str, str]:
    """Entries for the `settings` of a record: "precision", the number format of a model's parameters in memory, such as
    "float32"; and "weights", that of the weights in its file, if different. Formats of a bag's models are joined by ",
    "."""
    if isinstance(model, BagOfModels):
        found = [precision(single) for single in model.models]
        return {key: ", ".join(sorted({each[key] for each in found if key in each}))
                for key in dict.fromkeys(key for each in found for key in each)}
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in model.parameters()}
    result = {"precision": ", ".join(sorted(kinds)) or "float32"}
    stored = getattr(getattr(model, "card", None), "precision", None)
    return result if stored in (None, result["precision"]) else {**result, "weights": stored}


def device_name(device: torch.device) -> str:
    """Name of a device in records: "cuda: " and the model of the GPU, or the type of any other device, such as
    "cpu"."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def _kind(separator: tp.Union[nn.Module, SeparatedFolder]) -> str:
    if isinstance(separator, SeparatedFolder):
        return SEPARATED
    if isinstance(separator, BagOfModels):
        return f"bag of {', '.join(map(_kind, separator.models))}"
    return getattr(separator, "zoo_name", type(separator).__name__)


def _hash(separator: tp.Union[nn.Module, SeparatedFolder]) -> str:
    """Hash of a separator, 16 hexadecimal digits: of the weights of a model; of a bag, over its models in order, their
    segments and their normalised weights per source. "" for a separator without weights."""
    if isinstance(separator, BagOfModels):
        parts = [(_hash(single), float(single.segment), shares)
                 for single, shares in zip(separator.models, separator.shares())]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return package.model_hash(separator) if isinstance(separator, nn.Module) and separator.state_dict() else ""


class ExampleWriter:
    """Writer of excerpts, the first `seconds` of the tracks in `names`, for listening and for the report. Other tracks
    are ignored.

    FOLDER/TRACK contains `mixture.mp3` and `SOURCE.mp3` (the estimates), FOLDER/TRACK/reference the reference sources.
    A file in `origins` (by track, with author and licence) is copied to FOLDER/TRACK/origin.txt if it exists.
    """

    def __init__(self, folder: Path, *, sources: tp.Sequence[str], samplerate: int, names: tp.Iterable[str],
                 seconds: float = EXCERPT_SECONDS, origins: tp.Optional[tp.Mapping[str, Path]] = None):
        self.folder = folder
        self.sources = list(sources)
        self.samplerate = samplerate
        self.names = set(names)
        self.seconds = seconds
        self.origins = origins or {}

    def __call__(self, name: str, mix: torch.Tensor, references: torch.Tensor, estimates: torch.Tensor) -> None:
        """Write the excerpts of a track from its mixture [A, L], references and estimates [S, A, L], at
        `samplerate`."""
        if name not in self.names:
            return
        folder = self.folder / name
        files = {folder / "mixture.mp3": mix}
        files.update({folder / f"{source}.mp3": wav for source, wav in zip(self.sources, estimates)})
        files.update({folder / "reference" / f"{source}.mp3": wav for source, wav in zip(self.sources, references)})
        length = int(self.seconds * self.samplerate)
        for path, wav in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            reading.write(path, wav[..., :length], self.samplerate, clip="clamp", mp3_bitrate=EXAMPLE_BITRATE)
        if name in self.origins and self.origins[name].is_file():
            write_text(folder / ORIGIN, self.origins[name].read_text(encoding="utf-8", errors="replace"))


def score_tables(evaluations: tp.Sequence[Evaluation]) -> str:
    """Text with the mean scores of several evaluations of one test set. Each family of aggregates that is defined for
    one of them has a table, titled with its label: one row per evaluation, one column per source of the first
    evaluation, then the mean over sources. The instrumental, which is a sum of sources, follows if it was scored.
    Ill-conditioned tracks of the first evaluation are named at the end."""
    tables = [_table(evaluations, family) for family in FAMILIES.values()
              if any(aggregate(evaluation, family).defined for evaluation in evaluations)]
    marked = [f"ill-conditioned, so that ISR, SIR and SAR depend on rounding: {', '.join(names)}"
              for names in ([track.name for track in evaluation.tracks if track.ill_conditioned]
                            for evaluation in evaluations[:1]) if names]
    return "\n\n".join([*tables, *marked])


def _table(evaluations: tp.Sequence[Evaluation], family: Family) -> str:
    sources = evaluations[0].sources
    extra = [INSTRUMENTAL] if any(family.metric in track.scores.get(INSTRUMENTAL, {})
                                  for track in evaluations[0].tracks) and INSTRUMENTAL not in sources else []
    columns = [*zip(sources, sources), ("mean", ALL), *zip(extra, extra)]
    rows = []
    for evaluation in evaluations:
        values = {**aggregate_tracks(evaluation.tracks, extra, family).values, **aggregate(evaluation, family).values}
        rows.append([evaluation.name, *(number(values[key]) for _, key in columns)])
    return "\n".join([f"{family.label}; {evaluations[0].dataset}, {counted(len(evaluations[0].tracks), 'track')}",
                      *aligned(["", *(name for name, _ in columns)], rows, least=(0, 10))])
