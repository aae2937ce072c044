"""From scores to what stays: the record of an evaluation, example separations, and tables for the screen."""

import hashlib
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..data import audio
from ..metrics.aggregates import ALL, FAMILIES, Family, aggregate
from ..schema import Evaluation, TrackScores
from . import package
from .bag import BagOfModels
from .provenance import commit, now, versions

EXCERPT_SECONDS = 20.
EXAMPLE_BITRATE = 192    # kbit/s


def evaluation_record(model: nn.Module, tracks: tp.Sequence[TrackScores], *, name: str, dataset: str,
                      settings: tp.Mapping[str, tp.Any]) -> Evaluation:
    """The record of an evaluation of `model` that was finished now.

    A model of the zoo is called by its name there, any other separator by its class, a bag by its models.
    """
    return Evaluation(
        name=name, model=_kind(model), dataset=dataset, sources=list(model.sources), tracks=list(tracks),
        settings=dict(settings), model_hash=_hash(model), commit=commit(), versions=versions(), created=now())


def _kind(model: nn.Module) -> str:
    if isinstance(model, BagOfModels):
        return f"bag of {', '.join(map(_kind, model.models))}"
    return getattr(model, "zoo_name", type(model).__name__)


def _hash(model: nn.Module) -> str:
    """16 hexadecimal digits: of the weights of a model; of a bag, of its models in their order, with their segments and
    their part of each source. "" where there are no weights."""
    if isinstance(model, BagOfModels):
        parts = [(_hash(single), float(single.segment), shares) for single, shares in zip(model.models, model.shares())]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return package.model_hash(model) if any(True for _ in model.parameters()) else ""


class ExampleWriter:
    """Writes the first seconds of the first `count` tracks it is given, for ears and for the report.

    In FOLDER/TRACK lie `mixture.mp3` and `SOURCE.mp3` (the estimates), in FOLDER/TRACK/reference the true sources.
    """

    def __init__(self, folder: Path, model: nn.Module, *, count: int = 2, seconds: float = EXCERPT_SECONDS):
        self.folder = folder
        self.sources = list(model.sources)
        self.samplerate = model.samplerate
        self.count = count
        self.seconds = seconds

    def __call__(self, name: str, mix: torch.Tensor, references: torch.Tensor, estimates: torch.Tensor) -> None:
        """A track: its mixture [A, L], and references and estimates [S, A, L], at the model's rate."""
        if self.count == 0:
            return
        self.count -= 1
        folder = self.folder / name
        files = {folder / "mixture.mp3": mix}
        files.update({folder / f"{source}.mp3": wav for source, wav in zip(self.sources, estimates)})
        files.update({folder / "reference" / f"{source}.mp3": wav for source, wav in zip(self.sources, references)})
        length = int(self.seconds * self.samplerate)
        for path, wav in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, wav[..., :length], self.samplerate, clip="clamp", mp3_bitrate=EXAMPLE_BITRATE)


def score_tables(evaluations: tp.Sequence[Evaluation]) -> str:
    """One table per family of aggregates that is defined, each under its name: separators down, sources across."""
    tables = [_table(evaluations, family) for family in FAMILIES.values()
              if any(aggregate(evaluation, family).defined for evaluation in evaluations)]
    return "\n\n".join(tables)


def _table(evaluations: tp.Sequence[Evaluation], family: Family) -> str:
    sources = evaluations[0].sources
    width = max(len(evaluation.name) for evaluation in evaluations)
    lines = [f"{family.label}; {evaluations[0].dataset}, {len(evaluations[0].tracks)} tracks",
             " " * width + "".join(f"{column:>{max(10, len(column) + 2)}}" for column in [*sources, "mean"])]
    for evaluation in evaluations:
        values = aggregate(evaluation, family).values
        cells = ((column, values[key]) for column, key in [*zip(sources, sources), ("mean", ALL)])
        lines.append(f"{evaluation.name:<{width}}" + "".join(
            f"{'-' if value is None else format(round(value, 2) + 0., '.2f'):>{max(10, len(column) + 2)}}"
            for column, value in cells))
    return "\n".join(lines)
