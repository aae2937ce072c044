"""What Slurm says about jobs, where there is a Slurm: its queue, and its accounts where a site keeps them. (What a job asks
about itself is in `slurm`.)

Every question has a time limit; where there is no answer in time, nothing is known, and `notes` says why. No torch here.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import typing as tp

from .slurm import call, fields

PATIENCE = 5.          # seconds for one answer
SEPARATOR = "\x1f"     # no name or command has it
QUEUE = ("%A", "%T", "%r", "%j", "%k", "%o")
ACCOUNTS = ("JobIDRaw", "State", "ExitCode")
MOST_LOOKUPS = 10      # jobs that are asked for one by one
SIGNATURE = re.compile(r"(?<![0-9A-Za-z])(?<!_array_)[0-9a-f]{8}(?![0-9A-Za-z])")    # Dora names arrays by another hash
SCRIPT = re.compile(r"^\s*(?:/.*?\.sh|\S+)(?=\s|$)")    # with its path, in which there may be spaces
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
# Scripts and names of jobs that use what a training has made.
USERS = frozenset(("slurm_release.sh", "evaluate_slurm.sh", "slurm_separate.sh", "report_slurm.sh"))
USER = re.compile(r"[0-9a-f]{8}-(release|evaluate|separate|report)")
GONE = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
        "OUT_OF_MEMORY", "REVOKED")


@dataclasses.dataclass(frozen=True)
class Job:
    """A job of the queue or of the past. `signatures` are those that its name, comment or arguments hold. It `trains`
    them, or uses what their trainings have made."""
    number: str
    state: str               # Slurm's word
    reason: str = ""         # why it waits, or its exit code
    name: str = ""
    signatures: tp.FrozenSet[str] = frozenset()
    trains: bool = True

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def ended(self) -> bool:
        return self.state.split()[0] in GONE

    def __str__(self) -> str:
        how = self.state.lower().replace("_", " ")
        return f"job {self.number} {how}" + (f" ({self.reason})" if self.reason not in ("", "None", "0:0") else "")


class Slurm:
    """Asks Slurm, through its own commands, as few times as possible."""

    def __init__(self, *, patience: float = PATIENCE):
        self.patience = patience
        self.notes: tp.List[str] = []

    def queue(self) -> tp.Optional[tp.List[Job]]:
        """This user's jobs that wait or run; None where there is no Slurm, or no answer."""
        self.notes = []
        if shutil.which("squeue") is None:
            return None
        answer = self._ask("squeue", "--noheader", f"--user={os.getuid()}", f"--format={SEPARATOR.join(QUEUE)}")
        if answer is None:
            return None
        found = []
        for line in answer.splitlines():
            number, state, reason, name, comment, command = (line.split(SEPARATOR) + [""] * len(QUEUE))[:len(QUEUE)]
            # The folder of a script may be named like a signature: copies of the code are named by hashes, too.
            words = f"{name} {comment} {SCRIPT.sub('', command)}"
            script = SCRIPT.match(command)
            trains = USER.fullmatch(name) is None and os.path.basename(script[0] if script else "").strip() not in USERS
            found.append(Job(number.strip(), state, reason, name, frozenset(SIGNATURE.findall(words)), trains))
        return found

    def past(self, numbers: tp.Sequence[str]) -> tp.Dict[str, Job]:
        """How jobs ended, as far as that is known, by number: from the accounts, else from what the controller still
        remembers, which are some minutes."""
        numbers = [number for number in dict.fromkeys(numbers) if number.isdigit()]
        if not numbers or self.notes:
            return {}
        found: tp.Dict[str, Job] = {}
        if shutil.which("sacct") is not None:
            answer = self._ask("sacct", "-X", "-D", "-P", "-n", "-o", ",".join(ACCOUNTS), "-j", ",".join(numbers),
                               needed=False)
            for line in (answer or "").splitlines():
                number, state, code = (line.split("|") + [""] * 3)[:3]
                found[number] = Job(number, state, code)       # of a requeued job, the last line is the newest
        for number in [number for number in numbers if number not in found][-MOST_LOOKUPS:]:
            answer = self._ask("scontrol", "--oneliner", "show", "job", number, needed=False)
            record = fields(answer or "")
            if "JobState" in record:
                found[number] = Job(number, record["JobState"], record.get("ExitCode", ""))
            if self.notes:
                break
        return found

    def _ask(self, *command: str, needed: bool = True) -> tp.Optional[str]:
        """What a command prints; None where it fails. No answer in time is noted, and a failure where it is
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
