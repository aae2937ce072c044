"""State of all experiments in a folder, from their own records and from Slurm or the processes of this machine.

A run records that it is running, stopped, done or failed (`status.json`), and touches that file while it is alive. The
status of a run that was killed stays "running": it is shown as "lost" if its job or process is gone and the file is
old. This module does not import torch, so that a table of fifty runs appears without delay.
"""

import dataclasses
import datetime
import json
import os
import platform
import time
import typing as tp
from pathlib import Path

from .. import schema
from ..schema import RunCard, RunStatus, SchemaError
from ..tables import aligned, duration, number
from . import ledger
from .jobs import Job, Slurm
from .layout import ARGV, HISTORY, LOG, RUN_CARD, STATUS

STATES = ("running", "starting", "queued", "lost", "failed", "damaged", "stopped", "done", "new")
GRACE = 60.            # seconds without a sign of life after which a run whose process is gone is lost
SILENCE = 600.         # the same if nothing is known about its process
WORTH_A_NOTE = 1800.   # seconds without progress after which a running one gets a note
LOG_TAIL = 8192        # bytes at the end of a log that are read


@dataclasses.dataclass(frozen=True)
class RunRow:
    """State and progress of one experiment, a row of the table of `python -m tools.runs`. An unknown value has the
    default of its field: None, or an empty value or 0."""
    signature: str
    state: str                                  # one of STATES
    why: str = ""                               # reason of the state, if any
    epochs_done: tp.Optional[float] = None      # including the fraction of the current epoch
    epochs: tp.Optional[int] = None
    best_nsdr: tp.Optional[float] = None        # dB, validation set
    seconds_per_step: tp.Optional[float] = None
    eta: tp.Optional[float] = None              # seconds until all epochs are done, for a running one
    sessions: int = 0
    restarts: int = 0                           # sessions after the first
    gpu_hours: tp.Optional[float] = None
    gpu_hours_exact: bool = True                # False: an upper bound, since a session was killed at an unknown time
    age: tp.Optional[float] = None              # seconds since the last sign of life
    job: tp.Optional[str] = None
    host: tp.Optional[str] = None
    argv: tp.Tuple[str, ...] = ()
    log: str = ""                               # last line


def rows(experiments: Path, *, slurm: tp.Optional[Slurm] = None) -> tp.List[RunRow]:
    """A row for each folder in `experiments`, sorted by name, and then one for each experiment of a pending or running
    job that has no folder yet. `slurm` is used for the queries; default: a new one."""
    slurm = slurm or Slurm()
    queue = slurm.queue()
    folders = sorted((item for item in experiments.iterdir() if item.is_dir()), key=lambda item: item.name) \
        if experiments.is_dir() else []
    found = _rows(folders, queue, slurm)
    known = {row.signature for row in found}
    for job in sorted(queue or (), key=lambda job: (not job.trains, job.waits)):
        for signature in sorted(job.signatures - known):
            known.add(signature)
            found.append(RunRow(signature, "queued" if job.waits else "starting", str(job), job=job.number))
    return found


def row(folder: Path, *, slurm: tp.Optional[Slurm] = None) -> RunRow:
    """State and progress of the experiment in `folder`, which may be missing. `slurm` is used for the queries; default:
    a new one."""
    slurm = slurm or Slurm()
    found, = _rows([folder], slurm.queue(), slurm)
    return found


def _rows(folders: tp.Sequence[Path], queue: tp.Optional[tp.Sequence[Job]], slurm: Slurm) -> tp.List[RunRow]:
    read = [_Folder(folder) for folder in folders]
    listed = {job.number for job in queue or ()}
    past = slurm.past([one.status.job for one in read if one.status is not None and one.status.job is not None
                       and one.status.state == "running" and one.status.job not in listed]) if queue is not None else {}
    return [one.row(queue, past) for one in read]


def sentence(row: RunRow) -> str:
    """State and progress of a run in one line: "done, 24 of 24 epochs, best validation nSDR 5.432 dB"."""
    parts = ["not begun here" if row.state == "new" else row.state + (f" ({row.why})" if row.why else "")]
    if row.epochs_done is not None:
        parts.append(f"{row.epochs_done:.4g}{'' if row.epochs is None else f' of {row.epochs}'} epochs")
    if row.best_nsdr is not None:
        parts.append(f"best validation nSDR {number(row.best_nsdr, 3)} dB")
    return ", ".join(parts)


def ordered(found: tp.Sequence[RunRow], by: str = "state") -> tp.List[RunRow]:
    """Copy of the rows, sorted by "state" (in the order of STATES), "signature", "updated" (newest first), "best",
    "epoch" or "gpu-hours" (largest first). Unknown values come last."""
    newest = (lambda row: (row.age is None, row.age or 0., row.signature))
    keys: tp.Dict[str, tp.Callable[[RunRow], tp.Any]] = {
        "state": lambda row: (STATES.index(row.state), *newest(row)), "signature": lambda row: row.signature,
        "updated": newest, "best": lambda row: _descending(row.best_nsdr),
        "epoch": lambda row: _descending(row.epochs_done), "gpu-hours": lambda row: _descending(row.gpu_hours)}
    return sorted(found, key=keys[by])


def _descending(value: tp.Optional[float]) -> tp.Tuple[bool, float]:
    return value is None, -(value or 0.)


def _load_status(path: Path) -> RunStatus:
    """Load a status file. Raises SchemaError if it is damaged."""
    status = schema.load(RunStatus, path)
    for name in ("state", "reason", "job", "host", "started", "updated"):
        value = getattr(status, name)
        if not isinstance(value, str) and (name, value) != ("job", None):
            raise SchemaError(f"{path}: {name} is {value!r} and no text")
    return status


class _Folder:
    """Records in the folder of a run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.damage: tp.List[str] = []
        self.status: tp.Optional[RunStatus] = self._read(STATUS, _load_status)
        self.age: tp.Optional[float] = None
        try:
            self.age = max(0., time.time() - (folder / STATUS).stat().st_mtime)
        except OSError:
            pass
        self.lines = self._read(ledger.LEDGER, lambda path: ledger.read(path.parent)[0]) or []
        argv = self._read(ARGV, schema.read_json)
        self.argv = tuple(map(str, argv)) if isinstance(argv, list) else ()

    def _read(self, name: str, how: tp.Callable[[Path], tp.Any]) -> tp.Any:
        path = self.folder / name
        try:
            return how(path) if path.exists() else None
        except SchemaError as error:
            self.damage.append(str(error).replace(str(path), name))
        except (OSError, ValueError) as error:
            self.damage.append(f"{name}: {getattr(error, 'strerror', None) or error}")
        return None

    def row(self, queue: tp.Optional[tp.Sequence[Job]], past: tp.Mapping[str, Job]) -> RunRow:
        try:
            return self._row(queue, past)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:     # a field of another type
            return RunRow(self.folder.name, "damaged", argv=self.argv,
                          why=f"{STATUS} or {ledger.LEDGER} is not what it should be ({error})")

    def _row(self, queue: tp.Optional[tp.Sequence[Job]], past: tp.Mapping[str, Job]) -> RunRow:
        status = self.status
        state, why = self._state(queue, past)
        values: tp.Dict[str, tp.Any] = {}
        stays = ledger.stays(self.lines, status)
        if status is not None:
            share = status.step / status.steps if status.steps else 0.
            values = dict(epochs_done=status.epoch - 1 + share, epochs=status.epochs or None,
                          best_nsdr=None if status.best_nsdr is None else float(status.best_nsdr), job=status.job,
                          host=status.host)
            if state == "running" and status.seconds_per_step is not None:
                pace = float(status.seconds_per_step)
                values["seconds_per_step"] = pace
                values["eta"] = max(0., (status.epochs - values["epochs_done"]) * status.steps * pace)
        elif state != "new":
            values = self._from_history()
        sessions = len(stays)
        if not stays and status is not None:
            sessions = 1 + status.restarts
        if self.damage:
            state, why = "damaged", "; ".join(self.damage)
        return RunRow(self.folder.name, state, why, sessions=sessions, restarts=max(0, sessions - 1),
                      gpu_hours=ledger.gpu_hours(stays), gpu_hours_exact=all(stay.exact for stay in stays),
                      age=self.age, argv=self.argv, log=last_line(self.folder / LOG), **values)

    def _from_history(self) -> tp.Dict[str, tp.Any]:
        """Values of a run without a status file, such as one of published Demucs."""
        card: tp.Optional[RunCard] = self._read(RUN_CARD, lambda path: schema.load(RunCard, path))
        history = self._read(HISTORY, schema.load_history) or []
        scores = [record.valid["nsdr"] for record in history if record.valid.get("nsdr") is not None]
        return dict(epochs_done=float(len(history)), epochs=card.epochs if card else None,
                    best_nsdr=max(scores, default=None))

    def _state(self, queue: tp.Optional[tp.Sequence[Job]], past: tp.Mapping[str, Job]) -> tp.Tuple[str, str]:
        status = self.status
        own = [job for job in queue or () if job.trains and self.folder.name in job.signatures
               or status is not None and job.number == status.job]
        waiting = next((job for job in own if job.waits), None)
        active = next((job for job in own if not job.waits), None)
        if status is None:
            if own:
                return ("starting", str(active)) if active else ("queued", str(waiting))
            if not (self.folder / HISTORY).exists():
                return "new", ""
            card = self._read(RUN_CARD, lambda path: schema.load(RunCard, path))
            return ("done", "") if card and card.epochs_done >= card.epochs else ("stopped", "has no status.json")
        if status.state == "running":
            state, why = self._running(status, active, past, queue is not None)
            return ("queued", f"{waiting}, {why}") if state == "lost" and waiting else (state, why)
        if status.state not in ("stopped", "failed", "done"):
            self.damage.append(f"{STATUS}: unknown state {status.state!r}")
        if status.state == "done" or not own:
            return status.state, status.reason
        why = f"{active or waiting}, {status.state}" + (f": {status.reason}" if status.reason else "") + " before"
        return ("starting" if active else "queued"), why

    def _running(self, status: RunStatus, active: tp.Optional[Job], past: tp.Mapping[str, Job], asked: bool
                 ) -> tp.Tuple[str, str]:
        """State of a run whose status is "running". A sign of life within `GRACE` decides, then its job or process,
        then the age of the last sign of life."""
        age = self.age or 0.
        quiet = seconds_since(status.updated)
        why = f"no progress for {duration(quiet)}" if quiet > WORTH_A_NOTE else ""
        if age <= GRACE:
            return "running", why
        silent = f"no sign of life for {duration(age)}"
        if active is not None:
            # Between two sessions of a job, the status is still that of the previous session.
            return ("running", silent) if active.number == status.job else ("starting", str(active))
        ended = past.get(status.job or "")
        if ended is not None and ended.ended:
            return "lost", str(ended)
        if status.host == platform.node():
            if process_lives(status.process, status.started):
                return "running", silent
            return "lost", f"process {status.process} on {status.host} is gone"
        if asked and status.job is not None:
            return "lost", f"job {status.job} is not in the queue any more"
        return ("lost" if age > SILENCE else "running"), silent


def process_lives(number: int, started: str) -> bool:
    """Whether the process with the id `number` on this machine is alive and not younger than the time `started`, since
    process ids are reused."""
    try:
        os.kill(number, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    try:
        born = os.stat(f"/proc/{number}").st_ctime
    except OSError:                # no /proc on this system
        return True
    return born <= ledger.moment(started).timestamp() + 5


def seconds_since(moment: str) -> float:
    """Seconds from the time `moment` (text as in records) until now, at least 0."""
    return max(0., (datetime.datetime.now(datetime.timezone.utc) - ledger.moment(moment)).total_seconds())


def last_line(path: Path) -> str:
    """Last line with letters or digits among the last 8 KiB of a log, without unprintable characters; "" if there is
    none or the file cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return one_line(next((line for line in reversed(lines) if any(map(str.isalnum, line))), ""))


def one_line(text: str) -> str:
    """Text of unknown origin as one line of printable characters, for a terminal. Runs of white space become one
    space."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


HEADS = ("SIGNATURE", "STATE", "EPOCHS", "BEST NSDR", "S/STEP", "LEFT", "RESTARTS", "GPU HOURS", "SEEN", "SETTINGS")
TO_THE_LEFT = (0, 1, len(HEADS) - 1)


def table(found: tp.Sequence[RunRow], width: int) -> str:
    """Table of `found` as text, no wider than `width` characters: a heading, and a line per run, with the reason of its
    state or the last line of its log below."""
    head, *texts = aligned(HEADS, [_cells(row) for row in found], left=TO_THE_LEFT)
    lines = [head]
    for row, text in zip(found, texts):
        lines.append(text)
        lines += [f"    {one_line(row.why)}"] if row.why else []
        if row.log and row.state not in ("done", "new", "queued") and not (row.why and row.why in row.log):
            lines.append(f"    {row.log}")
    return "\n".join(_cut(text, width) for text in lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[:width - 3] + "..."


def _cells(row: RunRow) -> tp.List[str]:
    done = number(row.epochs_done, 1)
    hours = ("" if row.gpu_hours_exact or row.gpu_hours is None else "<") + number(row.gpu_hours, 1)
    return [row.signature, row.state, f"{done}/{row.epochs}" if row.epochs else done, number(row.best_nsdr, 3),
            "-" if row.seconds_per_step is None else f"{row.seconds_per_step:.3g}", duration(row.eta),
            str(row.restarts) if row.sessions else "-", hours, duration(row.age), one_line(" ".join(row.argv))]


def as_json(found: tp.Sequence[RunRow]) -> str:
    """JSON array with one object per row, with the fields of `RunRow`."""
    return json.dumps([schema.to_plain(row) for row in found], indent=1, allow_nan=False)
