"""Search and reading of runs: folders of records, folders of experiments, single files, and results of other programs.

The records of a run are in `demucs_results/runs/SIGNATURE/`:

    run_card.json               what was trained, and how
    history.json                one entry per epoch
    evaluation.json             scores of the model on every test track
    evaluation_NAME.json        scores of a reference separator on the same tracks: silence, mixture, average_filter
    evaluation_on_SET.json      scores of the model on a further test set, and evaluation_on_SET_NAME.json

Each of them may be missing. If a run has no folder there, its experiment's folder `outputs/xps/SIGNATURE/` is read. Any
other folder is read file by file: histories, evaluations, logs and printed results with the same signature in their
names are parts of one run. Numbers of runs made by this repository come from records only. Logs are read only for runs
of other programs, where there is no record.
"""

import dataclasses
import difflib
import gzip
import json
import re
import typing as tp
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from demucs import schema
from demucs.errors import SignatureError
from demucs.metrics import instrumental_json, museval_json
from demucs.runs import layout
from demucs.runs.layout import ARGV, EVALUATION, HISTORY, OTHER_EVALUATIONS, RUN_CARD
from demucs.schema import SOURCES, EpochRecord, Evaluation, Metrics, RunCard, SchemaError

from . import REPOSITORY, third_party

REFERENCE_LABELS = {"silence": "silence", "mixture": "mixture as estimate",
                    "average_filter": "average-spectrum filter"}
EXPERIMENTS = REPOSITORY / layout.EXPERIMENTS
RECORDS = (RUN_CARD, HISTORY, EVALUATION)
RECORDS_OF_A_RUN = "the records of a run"      # `Run.kind` of runs that this repository trained or can evaluate
_SIGNATURE = re.compile(r"(?<![0-9a-z])(?!(19|20)[0-9]{6}(?![0-9a-f]))[0-9a-f]{8}(?![0-9a-z])")    # no date
_EPOCHS = re.compile(r"(\d+)_epoch")


@dataclass(frozen=True)
class Printed:
    """Printed result of a test of another program. `numbers` are aggregates under Demucs's names. `epochs` is the
    number of epochs trained before the test, taken from the file name ("218_epochs"), or None."""
    name: str
    numbers: Metrics
    epochs: tp.Optional[int] = None


@dataclass
class Run:
    """Records and results of one run; any of them may be missing.

    `references` are evaluations of reference separators, by name, on the same tracks as `evaluation`; those on other
    tracks are left out, with a message in `notes`. `further` are evaluations of the model on further test sets, each
    with its references and its `suffix`: the end of the names of its record and of its folder of excerpts, "" for the
    first test set. `printed` starts with the latest result. `first_epoch` is the number of the first epoch of
    `history`: 1, unless the log or the run card states another one. `arguments` are the overrides stored by Dora, used
    without a run card.
    """
    name: str
    card: tp.Optional[RunCard] = None
    history: tp.List[EpochRecord] = field(default_factory=list)
    evaluation: tp.Optional[Evaluation] = None
    references: tp.Dict[str, Evaluation] = field(default_factory=dict)
    further: tp.List[tp.Tuple[Evaluation, tp.Dict[str, Evaluation], str]] = field(default_factory=list)
    suffix: str = ""
    notes: tp.List[str] = field(default_factory=list)
    printed: tp.List[Printed] = field(default_factory=list)
    first_epoch: int = 1
    arguments: tp.List[str] = field(default_factory=list)
    logged: bool = False      # whether the history was read from a log, with its few decimals
    kind: str = RECORDS_OF_A_RUN      # description of the input, for messages
    trained_on: str = ""      # option --trained-on, for runs whose records do not name their training data
    scored_on: str = ""       # option --scored-on, for printed results

    @property
    def sources(self) -> tp.List[str]:
        """Names of the sources: in the model's order if a record contains it, else in the order of MUSDB18; [] if no
        record names them."""
        if self.card is not None:
            return self.card.sources
        if self.evaluation is not None:
            return self.evaluation.sources
        numbers = [*(record.valid for record in self.history[:1]), *(item.numbers for item in self.printed)]
        keys = (key for item in numbers for key in item if re.match(r"nsdr_(?!med($|_))", key))
        return in_order(key[len("nsdr_"):] for key in dict.fromkeys(keys))

    @property
    def on_each_set(self) -> tp.List["Run"]:
        """One `Run` per test set. The first is the run itself; each further one has the evaluation on that set."""
        return [self, *(dataclasses.replace(self, evaluation=evaluation, references=references, suffix=suffix,
                                            further=[], printed=[], notes=[])
                        for evaluation, references, suffix in self.further)]

    @property
    def argv(self) -> tp.List[str]:
        """Overrides of the configuration; [] if no record contains them."""
        return self.card.argv if self.card is not None else self.arguments

    @property
    def parent(self) -> tp.Optional[str]:
        """Signature of the run that this one continued; None if it continued none."""
        return self.card.continued_from if self.card is not None else continued_from(self.arguments)

    @property
    def signature(self) -> tp.Optional[str]:
        """Signature in the run card, else the one in the name, else None."""
        return self.card.signature if self.card is not None else signature_in(self.name)

    @property
    def written(self) -> str:
        """ISO time of the newest evaluation or training session; "" if no record has a time."""
        times = [self.evaluation.created] if self.evaluation is not None else []
        times += [session.ended for session in self.card.sessions] if self.card is not None else []
        return max(times, default="")


def _load(kind: tp.Type[schema.Record], path: Path) -> schema.Record:
    """Record from a JSON file, with unprintable characters escaped: file names may contain bytes that are not UTF-8."""
    return schema.from_plain(kind, _legible(schema.read_json(path)), where=str(path))


def _legible(plain: tp.Any) -> tp.Any:
    if isinstance(plain, str):
        return plain if plain.isprintable() else plain.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(plain, list):
        return [_legible(item) for item in plain]
    if isinstance(plain, dict):
        return {_legible(key): _legible(item) for key, item in plain.items()}
    return plain


def on_all_sets(runs: tp.Sequence[Run]) -> tp.List[Run]:
    """`runs` with their evaluations on their first test sets, followed by copies with each further evaluation, sorted
    by test set."""
    further = [each for run in runs for each in run.on_each_set[1:]]
    return [*runs, *sorted(further, key=lambda run: run.evaluation.dataset if run.evaluation else "")]


def in_order(sources: tp.Iterable[str]) -> tp.List[str]:
    """`sources` sorted: those of MUSDB18 in its order, then all others as they are. For records of other programs,
    which do not keep the order."""
    return sorted(sources, key=lambda source: SOURCES.index(source) if source in SOURCES else len(SOURCES))


def continued_from(argv: tp.Iterable[str]) -> tp.Optional[str]:
    """Signature after `continue_from=` in a list of overrides, the last one if there are several; None without one, or
    if it is empty or "null"."""
    found = [value.strip("\"'") for key, _, value in (item.partition("=") for item in argv) if key == "continue_from"]
    return found[-1] if found and found[-1] not in ("", "null") else None


def signature_in(name: str) -> tp.Optional[str]:
    """First signature in a name: eight hexadecimal digits that stand alone and are not a date. None without one."""
    found = _SIGNATURE.search(name)
    return found.group() if found else None


def find_run(argument: tp.Optional[str], results: Path) -> Run:
    """Run named by `argument`: a signature, a folder or a file. None: the newest run in `results`/runs.

    Raises SignatureError if there is no such run or more than one, SchemaError if a record cannot be read.
    """
    if argument is None:
        return newest_run(results)
    found = find_runs([argument], results)
    if len(found) > 1:
        raise SignatureError(f"{argument} holds {len(found)} runs ({', '.join(run.name for run in found)}): name one "
                             f"file")
    return found[0]


def find_runs(arguments: tp.Sequence[str], results: Path) -> tp.List[Run]:
    """All runs named by `arguments`, in their order. Each is a signature (a folder of `results`/runs or outputs/xps),
    another folder, or a file. Files with the same signature are merged to one run. Without arguments: the newest run.

    Raises SignatureError if a run is not found, SchemaError if a record cannot be read.
    """
    if not arguments:
        return [newest_run(results)]
    parts = [part for argument in arguments for part in _parts(argument, results)]
    found: tp.List[Run] = []
    for part in sorted(parts, key=lambda run: run.logged):    # logs last: a history takes precedence
        same = [run for run in found if part.signature and run.signature == part.signature and _join(run, part)]
        if not same:
            found.append(part)
    order = {id(part): place for place, part in enumerate(parts)}
    signatures = [run.signature for run in found]
    for run in found:
        if run.signature and signatures.count(run.signature) == 1:    # a better name than a file name
            if run.evaluation is not None and run.evaluation.name == run.name:
                run.evaluation = dataclasses.replace(run.evaluation, name=run.signature)
            run.name = run.signature
    return sorted(found, key=lambda run: order[id(run)])


def _parts(argument: str, results: Path) -> tp.List[Run]:
    for folder in (results / "runs" / argument, EXPERIMENTS / argument):
        if argument and any((folder / name).exists() for name in RECORDS):
            return [read_records(folder)]
    path = Path(argument)
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        return [read_file(path)]
    known = sorted(item.name for item in (results / "runs").glob("*") if item.is_dir())
    near = difflib.get_close_matches(argument, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"runs there: {', '.join(known) or 'none'}"
    raise SignatureError(f"{argument} is neither a run in {results / 'runs'} or {EXPERIMENTS} nor a file or folder; "
                         f"{hint}")


def newest_run(results: Path) -> Run:
    """Run in `results`/runs with the latest time in its records. Raises SignatureError if there is no run, SchemaError
    if a record cannot be read."""
    folders = sorted(item for item in (results / "runs").glob("*") if item.is_dir() and any(item.glob("*.json")))
    if not folders:
        raise SignatureError(f"no run in {results / 'runs'}: train and evaluate one (`make demo`), or name a file")
    return max((read_records(folder) for folder in folders), key=lambda found: found.written)


def read_records(folder: Path) -> Run:
    """Run from all records in `folder`, that of a run or an experiment. Raises SchemaError if there is none, or one
    cannot be read."""
    if not any((folder / name).exists() for name in RECORDS):
        raise SchemaError(f"{folder}: none of {', '.join(RECORDS)} lies there")
    found = Run(name=folder.resolve().name)
    if (folder / RUN_CARD).exists():
        found.card = _load(RunCard, folder / RUN_CARD)
        found.first_epoch = 1 + (found.card.continued_after or 0)
    elif (folder / ARGV).exists():    # written by Dora, so experiments of published Demucs have it, too
        plain = schema.read_json(folder / ARGV)
        if not isinstance(plain, list):
            raise SchemaError(f"{folder / ARGV}: overrides are a list, found {type(plain).__name__}")
        found.arguments = [str(item) for item in plain]
    if (folder / HISTORY).exists():
        found.history = schema.load_history(folder / HISTORY)
    if (folder / EVALUATION).exists():
        found.evaluation = _load(Evaluation, folder / EVALUATION)
        _add_others(found, sorted(folder.glob(OTHER_EVALUATIONS)))
    return found


def read_folder(folder: Path) -> tp.List[Run]:
    """Runs in `folder`: one if it has records or museval's files, otherwise one per readable file.

    Raises SchemaError if it contains nothing readable, or a file cannot be read.
    """
    if any((folder / name).exists() for name in RECORDS):
        return [read_records(folder)]
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if (folder / museval_json.SUBSET).is_dir() or any(_is_museval(path) for path in files[:1]):
        made = museval_json.read_folder(folder)
        return [Run(name=folder.resolve().name, kind="a folder of museval's files",
                    evaluation=dataclasses.replace(made, sources=in_order(made.sources)))]
    wanted = [path for path in files if path.name.endswith((".json", ".json.gz", ".log", ".out", ".txt"))]
    if not wanted:
        raise SchemaError(f"{folder}: holds no record, history, log (.log), printed result (.out, .txt) or file of "
                          f"museval")
    return [read_file(path) for path in wanted]


def read_file(path: Path) -> Run:
    """Run from a single file, whose kind is recognised by its content. Raises SchemaError if it is of no known kind."""
    generic = path.name.split(".")[0] in ("run_card", "history", "evaluation", "solver", "trainer", "train")
    name = path.resolve().parent.name if generic else path.name.split(".json")[0] if ".json" in path.name else path.stem
    plain = _plain(path)
    if isinstance(plain, str):
        if third_party.is_log(plain):
            first, history = third_party.read_log(plain, str(path))
            return Run(name=name, history=history, first_epoch=first, logged=True, kind="a solver's log")
        return _printed(name, path, third_party.read_printed(plain, str(path)))
    if isinstance(plain, list):
        history = schema.load_history(path)
        if not history:
            raise SchemaError(f"{path}: a history without an epoch; train at least one")
        card = path.parent / RUN_CARD          # contains the number of epochs before the first one here
        behind = _load(RunCard, card).continued_after if path.name == HISTORY and card.exists() else None
        return Run(name=name, history=history, first_epoch=1 + (behind or 0), kind="a history")
    kinds = set(plain) if isinstance(plain, dict) else set()
    if instrumental_json.is_instrumental(plain):
        return Run(name=name, evaluation=third_party.read_instrumental(plain, name, str(path)),
                   kind="an evaluation of the variants' notes")
    if "targets" in kinds:
        track = museval_json.read_track(path)
        return Run(name=name, kind="museval's file of a track", evaluation=Evaluation(
            name=name, model="museval", dataset="1 track read from museval", sources=in_order(track.scores),
            tracks=[track], settings={}, model_hash="", commit="", versions={}, created=""))
    if "tracks" in kinds:
        return Run(name=name, evaluation=schema.from_plain(Evaluation, plain, where=str(path)), kind="an evaluation")
    if "sessions" in kinds:
        return Run(name=name, card=schema.from_plain(RunCard, plain, where=str(path)))
    if "nsdr" in kinds or "sdr" in kinds:
        return _printed(name, path, third_party.read_printed(json.dumps(plain), str(path)))
    raise SchemaError(f"{path}: neither a run card, nor a history, an evaluation, a log or a printed result")


def _plain(path: Path) -> tp.Any:
    """Parsed content of a JSON file, else the text of the file. Raises SchemaError if it is neither."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SchemaError(f"{path}: cannot be read as text ({error})") from error
    if "\x00" in text:
        raise SchemaError(f"{path}: not a text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:      # ValueError also for numbers with thousands of digits
        if ".json" in path.name:
            raise SchemaError(f"{path}: not a JSON file ({error})") from error
        return text


def _printed(name: str, path: Path, numbers: Metrics) -> Run:
    epochs = _EPOCHS.search(path.stem)
    return Run(name=name, kind="a printed result",
               printed=[Printed(name=name, numbers=numbers, epochs=int(epochs.group(1)) if epochs else None)])


def _is_museval(path: Path) -> bool:
    if not path.name.endswith(museval_json.SUFFIXES):
        return False
    plain = _plain(path)
    return isinstance(plain, dict) and "targets" in plain


def _join(run: Run, part: Run) -> bool:
    """Merge `part` into `run`, of the same signature. Returns False, without merging, if both have the same kind of
    record."""
    if part.history and run.history and part.logged:
        run.notes.append(f"The log {part.name} is left out: there is a history of {run.signature}.")
        return True
    taken = [(run.card, part.card), (run.history, part.history), (run.evaluation, part.evaluation)]
    if any(mine and other for mine, other in taken):
        return False
    if part.history:
        run.history, run.first_epoch, run.logged = part.history, part.first_epoch, part.logged
    run.card, run.evaluation = run.card or part.card, run.evaluation or part.evaluation
    run.references.update(part.references)
    run.further = run.further or part.further
    run.arguments = run.arguments or part.arguments
    run.printed = sorted([*run.printed, *part.printed], key=lambda item: -(item.epochs or 0))
    run.notes += part.notes
    return True


def _add_others(found: Run, paths: tp.Sequence[Path]) -> None:
    """Add evaluations of the model on further test sets, and those of reference separators to the evaluation of the
    model on the same tracks."""
    assert found.evaluation is not None
    records = {path: _load(Evaluation, path) for path in paths}
    own = {path: record for path, record in records.items() if record.name == found.evaluation.name}
    found.further = [(record, {}, path.stem.removeprefix(Path(EVALUATION).stem)) for path, record in own.items()]
    for path, other in records.items():
        if path in own:
            continue
        beside = [references for record, references, _ in [(found.evaluation, found.references, ""), *found.further]
                  if _same_tracks(record, other)]
        if beside:
            beside[0][other.name] = other
        else:
            found.notes.append(f"{path.name} is left out: it was made on other tracks ({other.dataset}, "
                               f"{len(other.tracks)} tracks); evaluate that separator again")


def _same_tracks(first: Evaluation, second: Evaluation) -> bool:
    return (first.dataset, first.sources, [track.name for track in first.tracks]) == (
        second.dataset, second.sources, [track.name for track in second.tracks])
