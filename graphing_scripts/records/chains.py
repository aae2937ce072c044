"""Chains: runs that continue one another, with consecutive epoch numbers.

A run that continues another (`continue_from=SIGNATURE`) starts with the best weights of that run, and with an empty
history. A chain concatenates the histories: the first epoch of the second run follows the last epoch that the first run
had when the second was started, according to the run card of the second; without that, the last epoch of its history.
"""

import dataclasses
import json
import typing as tp
from dataclasses import dataclass
from pathlib import Path

from demucs.errors import SignatureError
from demucs.schema import EpochRecord, Metrics, SchemaError

from . import third_party
from .readers import Run, continued_from, find_runs

ALWAYS_NEWEST = ("true", "1", "yes", "on")


@dataclass(frozen=True)
class Part:
    """One run of a chain. `first` is the number of its first epoch within the chain."""
    run: Run
    first: int

    @property
    def last(self) -> int:
        """Number of the run's last epoch within the chain; `first` - 1 without a history."""
        return self.first + len(self.run.history) - 1

    @property
    def epochs(self) -> tp.List[int]:
        """Numbers of the run's epochs within the chain, ascending."""
        return list(range(self.first, self.last + 1))

    @property
    def best(self) -> tp.Optional[int]:
        """Epoch, numbered within the chain, of the run's best weights. None if no epoch of this run improved on the
        weights it started from."""
        if not self.run.history:
            return None
        if newest_is_best(self.run):
            return self.last
        final = self.run.history[-1].best
        for epoch, record in zip(self.epochs, self.run.history):
            if record.best == final:
                attained = any(value == final for metrics in record.candidates.values() for value in metrics.values())
                return epoch if attained else None
        return None

    def record(self, epoch: int) -> EpochRecord:
        """Record of the epoch with this number within the chain."""
        return self.run.history[epoch - self.first]


@dataclass(frozen=True)
class Tested:
    """Scores on the test songs after `epoch`, numbered within the chain. `numbers` are aggregates under Demucs's names,
    such as "nsdr" or "sdr_med_bass"."""
    epoch: int
    numbers: Metrics


@dataclass(frozen=True)
class Chain:
    """Runs in the order in which they continue one another. A run that continues no other is a chain of length one."""
    parts: tp.Tuple[Part, ...]

    @property
    def last(self) -> Run:
        """The last run of the chain, whose model is the result."""
        return self.parts[-1].run

    @property
    def name(self) -> str:
        """Name of the last run."""
        return self.last.name

    @property
    def epochs(self) -> int:
        """Number, within the chain, of the last epoch with a history entry or a test."""
        return max([self.parts[-1].last, *(test.epoch for test in self.tests)])

    @property
    def history(self) -> tp.List[EpochRecord]:
        """Records of all epochs of all runs, in order."""
        return [record for part in self.parts for record in part.run.history]

    @property
    def joins(self) -> tp.List[int]:
        """Numbers, within the chain, of the first epochs of all runs but the first."""
        return [part.first for part in self.parts[1:]]

    @property
    def sources(self) -> tp.List[str]:
        """Sources of the last run whose records name them; [] if none does."""
        return next((part.run.sources for part in reversed(self.parts) if part.run.sources), [])

    @property
    def tests(self) -> tp.List[Tested]:
        """All tests, sorted by epoch: those in the histories, and printed results. A printed result is at the epoch in
        its file name, else at the run's last epoch."""
        found = []
        for part in self.parts:
            found += [Tested(epoch, record.test) for epoch, record in zip(part.epochs, part.run.history) if record.test]
            for printed in part.run.printed:
                known = printed.epochs if printed.epochs in part.epochs or not part.run.history else None
                found.append(Tested(known or max(part.last, 1), printed.numbers))
        return sorted(found, key=lambda test: test.epoch)


def newest_is_best(run: Run) -> bool:
    """Whether the best weights of a run are those of its last epoch: true if its overrides have `dset.train_valid`, so
    that it trains on the validation songs, too."""
    set_to = [value for key, _, value in (item.partition("=") for item in run.argv) if key == "dset.train_valid"]
    return bool(set_to) and set_to[-1].lower() in ALWAYS_NEWEST


def read_parents(path: Path) -> tp.Dict[str, str]:
    """Which runs continue others, {signature: signature that it continues}, from the JSON file `path` that maps
    signatures to overrides, at any depth.

    Raises SchemaError if the file cannot be read as JSON.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path}: not a JSON file with the overrides of experiments ({error})") from error
    parents: tp.Dict[str, str] = {}
    waiting = [plain]
    while waiting:
        item = waiting.pop()
        if not isinstance(item, dict):
            continue
        for key, value in item.items():
            if isinstance(value, list) and all(isinstance(word, str) for word in value):
                parent = continued_from(value)
                parents.update({key: parent} if parent else {})
            waiting.append(value)
    return parents


def find_chains(arguments: tp.Sequence[str], results: Path, *, experiments: tp.Optional[Path] = None,
                continued: bool = False) -> tp.List[Chain]:
    """Chains of the runs named by `arguments` (none: the newest run). Runs that continue one another are one chain, and
    runs that a named one continues are added if their records are found.

    Args:
        arguments: signatures, folders or files, see `readers.find_runs`.
        results: folder with runs/.
        experiments: JSON file with the overrides of runs that have no run card; see `read_parents`.
        continued: treat all runs as one chain in the order given, whatever their records say.

    Raises:
        SignatureError: if a named run is not found, or runs continue one another in a circle.
        SchemaError: if a record cannot be read.
    """
    runs = find_runs(arguments, results)
    if continued:
        return [_chain(runs)]
    parents = read_parents(experiments) if experiments else {}
    return link(runs, parents, results)


def link(runs: tp.Sequence[Run], parents: tp.Mapping[str, str], results: Path) -> tp.List[Chain]:
    """Chains of `runs`: one for each run that no other continues. `parents` maps signatures to those they continue, for
    runs without a run card. Runs that are continued and not in `runs` are looked for in `results`; if one is not found,
    a note is added to the run. A log without a signature that repeats the epochs of another chain is dropped, with a
    note.

    Raises SignatureError if runs continue one another in a circle.
    """
    known = {run.signature: run for run in runs if run.signature}

    def before(run: Run) -> tp.Optional[Run]:
        parent = run.parent or parents.get(run.signature or "")
        if parent and parent not in known:
            try:
                known[parent] = find_runs([parent], results)[0]
            except SignatureError:
                run.notes.append(f"{run.name} continues {parent}, whose history was not found: " + (
                    f"it is drawn from its first epoch on, which is number {run.first_epoch}."
                    if run.first_epoch > 1 else f"epochs are counted from the start of {run.name}."))
                return None
        return known.get(parent or "")

    lines = []
    for run in runs:
        line = [run]
        while (parent := before(line[0])) is not None:
            if parent in line:
                raise SignatureError(f"{run.name} and {parent.name} continue each other: one of their records is wrong")
            line.insert(0, parent)
        lines.append(line)
    ends = [line for line in lines if not any(line[-1] in other[:-1] for other in lines)]
    chains = [_chain(line) for line in ends]
    return [chain for chain in chains if not _duplicate_log(chain, chains)]


def _chain(runs: tp.Sequence[Run]) -> Chain:
    parts: tp.List[Part] = []
    for run in runs:
        if not run.history and not run.printed and run is not runs[-1]:
            continue
        if parts and run.first_epoch <= parts[-1].last:
            parts[-1] = _until(parts[-1], run)
        end = parts[-1].last if parts else 0
        parts.append(Part(run=run, first=max(end + 1, run.first_epoch)))    # a log may continue the numbers of the last
    return Chain(parts=tuple(parts))


def _until(part: Part, run: Run) -> Part:
    """`part` cut to the epochs that it had when `run` was started, if the run card of `run` has that number."""
    kept = run.first_epoch - part.first
    if run.card is None or run.card.continued_after is None or run.parent != part.run.signature or kept < 1:
        return part
    run.notes.append(f"{part.run.name} was trained on after {run.name} had begun: {len(part.run.history) - kept} "
                     f"epochs of it are not drawn here.")
    return dataclasses.replace(part, run=dataclasses.replace(part.run, history=part.run.history[:kept]))


def _duplicate_log(chain: Chain, chains: tp.Sequence[Chain]) -> bool:
    """Whether `chain` is a log without a signature all of whose epochs are in the histories of another chain."""
    run = chain.last
    if not run.logged or run.signature or len(chain.parts) > 1:
        return False
    for other in chains:
        records = {epoch: part.record(epoch) for part in other.parts for epoch in part.epochs if not part.run.logged}
        mine = dict(zip(chain.parts[0].epochs, run.history))
        if set(mine) <= set(records) and all(third_party.agree(mine[epoch], records[epoch]) for epoch in mine):
            other.last.notes.append(f"The log {run.name} says the same of {len(mine)} epochs and is left out.")
            return True
    return False
