"""Tiers of tests: `unit` without a mark, and the marks `runs`, `slurm` and `browser`.

A unit test trains nothing and starts no process but short external programs. Both are enforced here, so that a test of
`make unit` stays one.
"""

import contextlib
import multiprocessing.process
import os
import subprocess
import typing as tp

import pytest

MARKED = ("runs", "slurm", "browser")
UNIT = "unit"
# What a unit test may start: each ends within a fraction of a second.
SHORT = {"git", "uname", "lscpu", "soundstretch", "ffmpeg", "ffprobe"}


class NotAUnitTest(pytest.fail.Exception):
    """A unit test does what belongs to another tier."""


def assign(item: pytest.Item) -> None:
    """Mark `item` as a unit test unless it belongs to another tier."""
    if not any(item.get_closest_marker(name) for name in MARKED):
        item.add_marker(UNIT)


@contextlib.contextmanager
def enforced() -> tp.Iterator[None]:
    """Processes and trainings that are begun in this context are failures of the test."""
    with pytest.MonkeyPatch.context() as patch:
        popen, start = subprocess.Popen.__init__, multiprocessing.process.BaseProcess.start

        def open_process(self, args, *rest, **kwargs):
            program = os.path.basename(os.fsdecode(args if isinstance(args, (str, bytes, os.PathLike)) else args[0]))
            if program not in SHORT:
                refuse(f"starts {program}")
            popen(self, args, *rest, **kwargs)

        patch.setattr(subprocess.Popen, "__init__", open_process)
        patch.setattr(multiprocessing.process.BaseProcess, "start", lambda self: refuse("starts a process"))
        _ = start
        yield


def refuse(what: str) -> tp.NoReturn:
    raise NotAUnitTest(f"this test {what}: mark it with pytest.mark.runs (tests/tiers.py)")
