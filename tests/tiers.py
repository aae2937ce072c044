"""Tiers of tests: `unit` without a mark of their own, and those marked `runs`, `slurm` or `browser`.

A unit test trains nothing and starts no process but short external programs. Both are enforced, so that `make unit` stays
quick. In parallel, the tests of one file run one after the other, and so do the files that use the private Slurm, which
mostly wait for it. Files with long tests come first.
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
# Files that use the private Slurm, and those with the longest tests.
CLUSTER = tuple(f"slurm/test_{name}.py" for name in ("chaos", "real_chain", "grid_jobs", "private_cluster", "runs_on_slurm"))
LONG = ("training/test_interruption.py", "models/test_published_models.py", "training/test_distributed.py", "test_grids.py",
        "training/test_runs.py", "training/test_extending.py", "training/test_quantised_runs.py", "test_session.py",
        "training/test_stopping.py", "graphing/test_report_in_browser.py", "evaluation/test_quality_study.py")
RECORD = "DEMUCS_TEST_TIERS"      # environment variable: a file to which tests that leave their tier are written


def order(items: tp.List[pytest.Item]) -> None:
    """Give each test its tier, and put those of `CLUSTER` and `LONG` first."""
    first = (*CLUSTER, *LONG)
    places = {item: next((place for place, file in enumerate(first) if item.path.as_posix().endswith("/tests/" + file)),
                         len(first)) for item in items}
    for item in items:
        if not any(item.get_closest_marker(name) for name in OTHERS):
            item.add_marker(UNIT)
    items.sort(key=places.__getitem__)


def group(nodeid: str) -> str:
    """What runs in one process, one test after the other: the tests of a file, or all that use the private Slurm."""
    file = nodeid.partition("::")[0]
    return "slurm" if file.removeprefix("tests/") in CLUSTER else file


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
