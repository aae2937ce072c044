"""Tiers of tests: `unit` without a mark of their own, and those marked `runs`, `slurm` or `browser`.

A unit test trains nothing and starts no process but short external programs. Both are enforced, so that `make unit` stays
quick. In parallel, the tests of one file run one after the other, and so do the files that share a private Slurm, which
mostly wait for it, and those of the configuration. Files with long tests come first.
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
# Files that share a private Slurm, those that compose the same configurations, and those with the longest tests.
CHAOS = "slurm/test_chaos.py"      # with a cluster of its own
CLUSTER = tuple(f"slurm/test_{name}.py" for name in
                ("real_chain", "targets", "datasets", "grid_jobs", "private_cluster", "runs_on_slurm"))
CONFIGURATION = ("test_signatures.py", "test_defaults.py", "test_grids.py", "test_published_config.py", "test_signed.py")
LONG = ("training/test_interruption.py", "training/test_distributed.py", "models/test_published_models.py", *CONFIGURATION,
        "training/test_runs.py", "training/test_nothing_lost.py", "training/test_extending.py",
        "training/test_quantised_runs.py", "test_session.py", "training/test_stopping.py",
        "graphing/test_report_in_browser.py", "evaluation/test_quality_study.py", "metrics/test_bsseval.py")


def order(items: tp.List[pytest.Item]) -> None:
    """Give each test its tier, and put the long ones first."""
    first = (CHAOS, *CLUSTER, *LONG)
    places = {item: next((place for place, file in enumerate(first) if item.path.as_posix().endswith("/tests/" + file)),
                         len(first)) for item in items}
    for item in items:
        if not any(item.get_closest_marker(name) for name in OTHERS):
            item.add_marker(UNIT)
    items.sort(key=places.__getitem__)


def group(nodeid: str) -> str:
    """What runs in one process, one test after the other: the tests of a file, all that share a private Slurm, or all that
    compose configurations (`compositions`)."""
    file = nodeid.partition("::")[0]
    name = file.removeprefix("tests/")
    return "slurm" if name in CLUSTER else "configuration" if name in CONFIGURATION else file


@contextlib.contextmanager
def kept(item: pytest.Item) -> tp.Iterator[None]:
    """A unit test fails where it starts a process or a training."""
    if not item.get_closest_marker(UNIT):
        yield
        return

    with pytest.MonkeyPatch.context() as patch:
        def guard(owner, name, what):
            original = getattr(owner, name)

            def guarded(self, *args, **kwargs):
                found = what(*args)
                if found:
                    pytest.fail(f"a unit test {found}: mark it with pytest.mark.runs (tests/tiers.py)")
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
