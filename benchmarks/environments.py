"""Environments of the benchmarks: ours, that of published Demucs (DEMUCS_ORACLE, by default .published, which has the
packages of ours), and that of openunmix 1.3.0 (DEMUCS_OPENUNMIX, by default .openunmix)."""

import contextlib
import json
import os
import subprocess
import sys
import typing as tp
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = ("ours", "published")


def python(side: str) -> str:
    """Path of the Python interpreter of a side. Exits with a remedy if the peer is not installed."""
    if side == "ours":
        return sys.executable
    if side == "openunmix":
        other = os.environ.get("DEMUCS_OPENUNMIX") or str(REPOSITORY / ".openunmix" / "bin" / "python")
        if not Path(other).exists():
            sys.exit(f"error: no openunmix at {other}: set DEMUCS_OPENUNMIX to the Python of an environment with openunmix 1.3.0, "
                     f"musdb and soundfile")
        return other
    oracle = os.environ.get("DEMUCS_ORACLE") or str(REPOSITORY / ".published" / "bin" / "python")
    if not Path(oracle).exists():
        sys.exit(f"error: no published Demucs at {oracle}: `make oracle` installs it, or set DEMUCS_ORACLE")
    return oracle


def variables(side: str) -> tp.Dict[str, str]:
    """Environment variables for a process in which `import demucs` imports the code of this side."""
    found = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**found, "PYTHONPATH": str(REPOSITORY)} if side == "ours" else found


class Peer:
    """Persistent process of one side, which answers requests; requests and answers are lines of JSON.

    It waits while the other side is measured, so that both take turns under the same conditions of the machine.
    `folder` is its working directory: not the repository, in which published code would import ours instead.
    """

    def __init__(self, side: str, script: Path, folder: Path):
        self.side = side
        self.process = subprocess.Popen([python(side), str(script), side], cwd=folder, env=variables(side), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **request: tp.Any) -> tp.Any:
        """Answer to a request, whose entries are the keyword arguments. Raises RuntimeError if the process has
        ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.side!r} ended with status {self.process.wait()} at the request "
                               f"{request}; its message is above")
        return json.loads(answer)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: tp.Any) -> None:
        self.process.terminate()
        self.process.communicate()


def in_turns(rounds: int, sides: tp.Sequence[str] = SIDES) -> tp.Iterator[tp.Tuple[int, str]]:
    """(round, side) pairs: both sides in every round, in alternating order, so that a drift of the machine affects
    both."""
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            yield number, side
