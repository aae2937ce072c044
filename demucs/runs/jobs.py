"""Queries about all jobs of a user: Slurm's queue, and its accounting database if the site has one. (Queries of a job
about itself are in `slurm`.)

Every query has a timeout. Without an answer in time the result is unknown, and `notes` has the reason. This module does
not import torch.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import typing as tp

from .slurm import call, fields

PATIENCE = 5.          # timeout of one query in seconds
SEPARATOR = "\x1f"     # does not occur in names and commands
QUEUE = ("%A", "%T", "%r", "%j", "%k", "%o")
ACCOUNTS = ("JobIDRaw", "State", "ExitCode")
MOST_LOOKUPS = 10      # largest number of jobs that are queried one by one
SIGNATURE = re.compile(r"(?<![0-9A-Za-z])(?<!_array_)[0-9a-f]{8}(?![0-9A-Za-z])")    # Dora names arrays by another hash
SCRIPT = re.compile(r"^\s*(?:/.*?\.sh|\S+)(?=\s|$)")    # with its path, in which there may be spaces
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
# Scripts and job names of those that use the results of a training.
CONSUMERS = frozenset(("slurm_release.sh", "evaluate_slurm.sh", "slurm_separate.sh", "report_slurm.sh"))
CONSUMER = re.compile(r"[0-9a-f]{8}-(release|evaluate|separate|report)")
ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
        "OUT_OF_MEMORY", "REVOKED")


@dataclasses.dataclass(frozen=True)
class Job:
    """A pending, running or past job in Slurm. `signatures` are those in its name, comment or arguments; `trains` is
    True if it trains them, False if it uses their results."""
    number: str
    state: str               # as Slurm names it
    reason: str = ""         # of waiting, or the exit code
    name: str = ""
    signatures: tp.FrozenSet[str] = frozenset()
    trains: bool = True

    @property
    def waits(self) -> bool:
        """Whether the job is pending or requeued."""
        return self.state in WAITING

    @property
    def ended(self) -> bool:
        """Whether the job has ended, in any way."""
        return self.state.split()[0] in ENDED

    def __str__(self) -> str:
        how = self.state.lower().replace("_", " ")
        return f"job {self.number} {how}" + (f" ({self.reason})" if self.reason not in ("", "None", "0:0") else "")


class Slurm:
    """Queries to Slurm through its commands, as few as possible. `patience` is the timeout of each in seconds. `notes`
    has the reasons why answers of the last queries are missing."""

    def __init__(self, *, patience: float = PATIENCE):
        self.patience = patience
        self.notes: tp.List[str] = []

    def queue(self) -> tp.Optional[tp.List[Job]]:
        """This user's pending and running jobs; None without Slurm or without an answer. Clears `notes` first."""
        self.notes = []
        if shutil.which("squeue") is None:
            return None
        answer = self._ask("squeue", "--noheader", f"--user={os.getuid()}", f"--format={SEPARATOR.join(QUEUE)}")
        if answer is None:
            return None
        found = []
        for line in answer.splitlines():
            number, state, reason, name, comment, command = (line.split(SEPARATOR) + [""] * len(QUEUE))[:len(QUEUE)]
            # The folder of the script is ignored: copies of the code have hashes as names, which look like signatures.
            words = f"{name} {comment} {SCRIPT.sub('', command)}"
            script = SCRIPT.match(command)
            trains = CONSUMER.fullmatch(name) is None \
                and os.path.basename(script[0] if script else "").strip() not in CONSUMERS
            found.append(Job(number.strip(), state, reason, name, frozenset(SIGNATURE.findall(words)), trains))
        return found

    def past(self, numbers: tp.Sequence[str]) -> tp.Dict[str, Job]:
        """Past jobs of the given `numbers`, {number: job}; unknown ones are left out. They come from the accounting
        database, else from the controller, which remembers a job for some minutes. Empty if `notes` says that Slurm has
        not answered before."""
        numbers = [number for number in dict.fromkeys(numbers) if number.isdigit()]
        if not numbers or self.notes:
            return {}
        found: tp.Dict[str, Job] = {}
        if shutil.which("sacct") is not None:
            answer = self._ask("sacct", "-X", "-D", "-P", "-n", "-o", ",".join(ACCOUNTS), "-j", ",".join(numbers),
                               needed=False)
            for line in (answer or "").splitlines():
                number, state, code = (line.split("|") + [""] * 3)[:3]
                found[number] = Job(number, state, code)       # the last line of a requeued job is the newest
        for number in [number for number in numbers if number not in found][-MOST_LOOKUPS:]:
            answer = self._ask("scontrol", "--oneliner", "show", "job", number, needed=False)
            record = fields(answer or "")
            if "JobState" in record:
                found[number] = Job(number, record["JobState"], record.get("ExitCode", ""))
            if self.notes:
                break
        return found

    def _ask(self, *command: str, needed: bool = True) -> tp.Optional[str]:
        """Output of a command; None if it fails. A timeout is added to `notes`, and a failure if the command is
        `needed`."""
        try:
            done = call(*command, patience=self.patience)
        except FileNotFoundError:
            return None
        except subprocess.TimeoutExpired:
            self.notes.append(f"{command[0]} did not answer within {self.patience:g} s: what Slurm knows is missing "
                              f"here")
            return None
        except OSError as error:
            self.notes.append(f"{command[0]}: {error.strerror}")
            return None
        if done.returncode != 0:
            if needed:
                reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                self.notes.append(f"{reason.removeprefix(f'{command[0]}: ')} (from {command[0]}): what Slurm knows is "
                                  f"missing here")
            return None
        return done.stdout
