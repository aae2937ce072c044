"""Tiers of tests: `unit` without a mark of their own, and those marked `runs`, `slurm` or `browser`.

A unit test trains nothing and starts no process but short external programs. Both are enforced, so that `make unit` stays
quick. Tests of one file, or of the private Slurm, run one after the other in one process of pytest-xdist, files with long
tests first.
"""

import contextlib
import multiprocessing.process
import os
import subprocess
import sys
import typing as tp

import pytest

UNIT, OTHERS = "unit", ("runs", "slurm", "browser")
# What a unit test may start: each ends within a fraction of a second.
SHORT = {"git", "uname", "lscpu", "soundstretch", "ffmpeg", "ffprobe", "file", "fc-list", "gcc", "ldconfig"}
# Files with the longest tests. Those of the private Slurm, which mostly wait for it, come before them.
LONG = ("training/test_interruption.py", "models/test_published_models.py", "training/test_distributed.py", "test_grids.py",
        "training/test_runs.py", "training/test_extending.py", "training/test_quantised_runs.py", "test_session.py",
        "training/test_stopping.py", "graphing/test_report_in_browser.py", "evaluation/test_quality_study.py")
RECORD = "DEMUCS_TEST_TIERS"      # environment variable: a file to which tests that leave their tier are written


def order(items: tp.List[pytest.Item], root: tp.Any) -> None:
    """Give each test its tier and its process, and put those with long tests first."""
    files = {item: item.path.relative_to(root).as_posix() for item in items}
    for item, file in files.items():
        tier = next((name for name in OTHERS if item.get_closest_marker(name)), UNIT)
        if tier == UNIT:
            item.add_marker(UNIT)
        item.add_marker(pytest.mark.xdist_group("slurm" if tier == "slurm" else file))

    def place(item):
        if item.get_closest_marker("slurm"):
            return -1
        return LONG.index(files[item]) if files[item] in LONG else len(LONG)
    items.sort(key=place)


@contextlib.contextmanager
def kept(item: pytest.Item) -> tp.Iterator[None]:
    """A unit test fails where it starts a process or a training."""
    if not item.get_closest_marker(UNIT):
        yield
        return

    def refuse(what):
        if RECORD in os.environ:
            with open(os.environ[RECORD], "a") as file:
                file.write(f"{item.nodeid}\t{what}\n")
        else:
            pytest.fail(f"a unit test {what}: mark it with pytest.mark.runs (tests/tiers.py)")

    with pytest.MonkeyPatch.context() as patch:
        def guard(owner, name, what):
            original = getattr(owner, name)

            def guarded(self, *args, **kwargs):
                found = what(*args)
                if found:
                    refuse(found)
                return original(self, *args, **kwargs)
            patch.setattr(owner, name, guarded)

        def program(args, *_):
            name = os.path.basename(os.fsdecode(args if isinstance(args, (str, bytes, os.PathLike)) else args[0]))
            return "" if name in SHORT else f"starts {name}"
        guard(subprocess.Popen, "__init__", program)
        guard(multiprocessing.process.BaseProcess, "start", lambda *_: "starts a process")
        if "demucs.training.solver" in sys.modules:
            guard(sys.modules["demucs.training.solver"].Solver, "run", lambda *_: "trains")
        yield
