"""Reading what runs leave behind: a folder of records, single records, and museval's folders of others.

A run lies in `demucs_results/runs/SIGNATURE/`:

    run_card.json               what was trained, and how
    history.json                one entry per epoch
    evaluation.json             scores of the model on every test track
    evaluation_NAME.json        scores of a reference separator on the same tracks: silence, mixture, average_filter

Each of them may be missing. Numbers come from these records alone, never from the text of a log.
"""

import difflib
import gzip
import json
import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

import common  # noqa: F401  (makes the repository importable)
import numpy as np

from demucs import schema
from demucs.errors import SignatureError
from demucs.schema import EpochRecord, Evaluation, RunCard, SchemaError, TrackScores

REFERENCE_LABELS = {"silence": "silence", "mixture": "mixture as estimate",
                    "average_filter": "average-spectrum filter"}


@dataclass
class Run:
    """The records of one run. `references` are evaluations of reference separators, by name, on the same tracks as
    `evaluation`; those that are not on the same tracks stay out and `notes` says so."""
    name: str
    card: tp.Optional[RunCard] = None
    history: tp.List[EpochRecord] = field(default_factory=list)
    evaluation: tp.Optional[Evaluation] = None
    references: tp.Dict[str, Evaluation] = field(default_factory=dict)
    notes: tp.List[str] = field(default_factory=list)

    @property
    def sources(self) -> tp.List[str]:
        """Names of the sources, in the model's order where a record knows it."""
        if self.card is not None:
            return self.card.sources
        if self.evaluation is not None:
            return self.evaluation.sources
        keys = self.history[0].valid if self.history else {}
        return [key[len("nsdr_"):] for key in keys if key.startswith("nsdr_")]

    @property
    def written(self) -> str:
        """ISO time of the newest record that has one; "" where none has."""
        times = [self.evaluation.created] if self.evaluation is not None else []
        times += [session.ended for session in self.card.sessions] if self.card is not None else []
        return max(times, default="")


def find_run(argument: tp.Optional[str], results: Path) -> Run:
    """The run that `argument` names: a signature, a folder or a file; None for the newest one in `results`/runs.

    Raises SignatureError where there is no such run, SchemaError where a record cannot be read.
    """
    if argument is None:
        return newest_run(results)
    folder = results / "runs" / argument
    if folder.is_dir():
        return read_folder(folder)
    path = Path(argument)
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        return read_file(path)
    known = sorted(item.name for item in (results / "runs").glob("*") if item.is_dir())
    near = difflib.get_close_matches(argument, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"runs there: {', '.join(known) or 'none'}"
    raise SignatureError(f"{argument} is neither a run in {results / 'runs'} nor a file or folder; {hint}")


def newest_run(results: Path) -> Run:
    """The run whose records say the latest time. Raises SignatureError where there is none."""
    folders = sorted(item for item in (results / "runs").glob("*") if item.is_dir() and any(item.glob("*.json")))
    if not folders:
        raise SignatureError(f"no run in {results / 'runs'}: train and evaluate one (`make demo`), or name a file")
    return max((read_folder(folder) for folder in folders), key=lambda found: found.written)


def read_folder(folder: Path) -> Run:
    """All records of a folder, or museval's per-track files where it holds those."""
    if not any((folder / name).exists() for name in ("run_card.json", "history.json", "evaluation.json")):
        if any(folder.glob("*.json*")):
            return Run(name=folder.name, evaluation=read_museval(folder))
        raise SchemaError(f"{folder}: none of run_card.json, history.json, evaluation.json lies there")
    found = Run(name=folder.resolve().name)
    if (folder / "run_card.json").exists():
        found.card = schema.load(RunCard, folder / "run_card.json")
    if (folder / "history.json").exists():
        found.history = schema.load_history(folder / "history.json")
    if (folder / "evaluation.json").exists():
        found.evaluation = schema.load(Evaluation, folder / "evaluation.json")
        for path in sorted(folder.glob("evaluation_*.json")):
            _add_reference(found, path)
    return found


def read_file(path: Path) -> Run:
    """A run of which one record is known: what it is shows in its content."""
    plain = schema.read_json(path)
    generic = path.stem in ("run_card", "history", "evaluation")
    name = path.resolve().parent.name if generic else path.stem
    if isinstance(plain, list):
        history = schema.load_history(path)
        if not history:
            raise SchemaError(f"{path}: a history without an epoch; train at least one")
        return Run(name=name, history=history)
    if isinstance(plain, dict) and "tracks" in plain:
        return Run(name=name, evaluation=schema.from_plain(Evaluation, plain, where=str(path)))
    if isinstance(plain, dict) and "sessions" in plain:
        return Run(name=name, card=schema.from_plain(RunCard, plain, where=str(path)))
    raise SchemaError(f"{path}: neither a run card, nor a history, nor an evaluation")


def read_museval(folder: Path) -> Evaluation:
    """The per-track files that museval writes (`*.json` or `*.json.gz`), frames reduced to medians over time.

    The test set is not named in them: `dataset` says MUSDB18 where there are its 50 tracks. Raises SchemaError.
    """
    tracks = []
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.json.gz")]):
        try:
            content = path.read_bytes()
            targets = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["targets"]
            duration = max(frame["time"] + frame["duration"] for target in targets for frame in target["frames"])
            scores = {target["name"]: _museval_medians(target["frames"]) for target in targets}
        except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
            raise SchemaError(f"{path}: not a track of museval ({error!r})") from error
        tracks.append(TrackScores(name=path.name.split(".json")[0], duration=duration, seconds=0., scores=scores))
    sources = sorted({source for track in tracks for source in track.scores})
    return Evaluation(name=folder.name, model="museval", sources=sources, tracks=tracks, settings={}, model_hash="",
                      dataset="MUSDB18 test" if len(tracks) == 50 else f"{len(tracks)} tracks read from museval",
                      commit="", versions={}, created="")


def _museval_medians(frames: tp.List[tp.Dict[str, tp.Any]]) -> tp.Dict[str, tp.Optional[float]]:
    medians: tp.Dict[str, tp.Optional[float]] = {}
    for metric in ("SDR", "ISR", "SIR", "SAR"):
        values = np.array([frame["metrics"][metric] for frame in frames], dtype=float)
        values = values[~np.isnan(values)]
        median = float(np.median(values)) if values.size else None
        medians[metric] = median if median is not None and np.isfinite(median) else None
    return medians


def _add_reference(found: Run, path: Path) -> None:
    """Add an evaluation of a reference separator if it can stand beside the model's."""
    assert found.evaluation is not None
    other = schema.load(Evaluation, path)
    name = path.stem[len("evaluation_"):]
    same = ([track.name for track in other.tracks] == [track.name for track in found.evaluation.tracks]
            and other.dataset == found.evaluation.dataset and other.sources == found.evaluation.sources)
    if same:
        found.references[name] = other
    else:
        found.notes.append(f"{path.name} is left out: it was made on other tracks ({other.dataset}, "
                           f"{len(other.tracks)} tracks); evaluate that separator again")
