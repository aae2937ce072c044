"""Runs that continue one another, as one line of epochs.

A run that continues another (`continue_from=SIGNATURE`) begins with an empty history of its own, and with the best
weights of the other. Here the histories stand one after the other: epoch 1 of the second follows the last one that the
first had then, as its run card says, or else the last one that it has now.
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
    """One run of a chain. Its first epoch is number `first` of the chain, its last `last`."""
    run: Run
    first: int

    @property
    def last(self) -> int:
        return self.first + len(self.run.history) - 1

    @property
    def epochs(self) -> tp.List[int]:
        return list(range(self.first, self.last + 1))

    @property
    def best(self) -> tp.Optional[int]:
        """Epoch, in the chain's numbers, of the weights that the run kept as its best; None where they are not of one
        of its own epochs."""
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
        return self.run.history[epoch - self.first]


@dataclass(frozen=True)
class Tested:
    """Aggregates on the test songs after an epoch of the chain, under Demucs's names."""
    epoch: int
    numbers: Metrics


@dataclass(frozen=True)
class Chain:
    """Runs in the order in which they continue one another; one that continues none is a chain of one."""
    parts: tp.Tuple[Part, ...]

    @property
    def last(self) -> Run:
        """The run that stands at the end: what was made."""
        return self.parts[-1].run

    @property
    def name(self) -> str:
        return self.last.name

    @property
    def epochs(self) -> int:
        """The number of the last epoch that anything is known of."""
        return max([self.parts[-1].last, *(test.epoch for test in self.tests)])

    @property
    def history(self) -> tp.List[EpochRecord]:
        return [record for part in self.parts for record in part.run.history]

    @property
    def joins(self) -> tp.List[int]:
        """First epochs of the runs that continue another."""
        return [part.first for part in self.parts[1:]]

    @property
    def sources(self) -> tp.List[str]:
        return next((part.run.sources for part in reversed(self.parts) if part.run.sources), [])

    @property
    def tests(self) -> tp.List[Tested]:
        """Tests within training, and printed ones at the epoch in their names or else at the end of their run."""
        found = []
        for part in self.parts:
            found += [Tested(epoch, record.test) for epoch, record in zip(part.epochs, part.run.history) if record.test]
            for printed in part.run.printed:
                known = printed.epochs if printed.epochs in part.epochs or not part.run.history else None
                found.append(Tested(known or max(part.last, 1), printed.numbers))
        return sorted(found, key=lambda test: test.epoch)


def newest_is_best(run: Run) -> bool:
    """Whether a run kept the weights of every epoch as its best: it trained on the validation songs, too."""
    set_to = [value for key, _, value in (item.partition("=") for item in run.argv) if key == "dset.train_valid"]
    return bool(set_to) and set_to[-1].lower() in ALWAYS_NEWEST


def read_parents(path: Path) -> tp.Dict[str, str]:
    """Which run continues which, from any JSON file that has lists of overrides under signatures. Raises
    SchemaError."""
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
    """The runs that `arguments` name (none: the newest), those of them put together that continue one another. A run
    before the first that is not named is taken in where it can be found.

    Args:
        experiments: a file that says which run continues which, for runs without a card; see `read_parents`.
        continued: the runs continue one another in the order in which they are named, whatever their records say.

    Raises:
        SignatureError: where a run is not found, or runs continue one another in a circle.
        SchemaError: where a record cannot be read.
    """
    runs = find_runs(arguments, results)
    if continued:
        return [_chain(runs)]
    parents = read_parents(experiments) if experiments else {}
    return link(runs, parents, results)


def link(runs: tp.Sequence[Run], parents: tp.Mapping[str, str], results: Path) -> tp.List[Chain]:
    """Chains of `runs`, one for each that no other continues. A log that no signature belongs to and that says what a
    chain says is left out of the result, with a note."""
    known = {run.signature: run for run in runs if run.signature}

    def before(run: Run) -> tp.Optional[Run]:
        parent = run.parent or parents.get(run.signature or "")
        if parent and parent not in known:
            try:
                known[parent] = find_runs([parent], results)[0]
            except SignatureError:
                run.notes.append(f"{run.name} continues {parent}, whose history was not found: " + (
                    f"it is drawn from its first epoch on, which is number {run.first_epoch}." if run.first_epoch > 1 else
                    f"epochs are counted from the start of {run.name}."))
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
    return [chain for chain in chains if not _told_before(chain, chains)]


def _chain(runs: tp.Sequence[Run]) -> Chain:
    parts: tp.List[Part] = []
    for run in runs:
        if not run.history and not run.printed and run is not runs[-1]:
            continue
        if parts and run.first_epoch <= parts[-1].last:
            parts[-1] = _until(parts[-1], run)
        end = parts[-1].last if parts else 0
        parts.append(Part(run=run, first=max(end + 1, run.first_epoch)))    # a log may count on
    return Chain(parts=tuple(parts))


def _until(part: Part, run: Run) -> Part:
    """`part` with the epochs that it had when `run` began, where the card of `run` says so."""
    kept = run.first_epoch - part.first
    if run.card is None or run.card.continued_after is None or run.parent != part.run.signature or kept < 1:
        return part
    run.notes.append(f"{part.run.name} was trained on after {run.name} had begun: {len(part.run.history) - kept} epochs of "
                     f"it are not drawn here.")
    return dataclasses.replace(part, run=dataclasses.replace(part.run, history=part.run.history[:kept]))


def _told_before(chain: Chain, chains: tp.Sequence[Chain]) -> bool:
    """Whether `chain` is a log without a name whose epochs all are those of another chain's histories."""
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
