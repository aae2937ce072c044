"""The guard of the unit tier, and the order and groups of tests that run in parallel."""

import multiprocessing
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tiers

from demucs.training.solver import Solver

PYTHON = [sys.executable, "-c", ""]


def test_this_test_starts_no_process():
    """The guard is in force here, since conftest.py puts it around every unit test."""
    with pytest.raises(pytest.fail.Exception, match="a unit test starts python.*: mark it with pytest.mark.runs"):
        subprocess.run(PYTHON)
    with pytest.raises(pytest.fail.Exception, match="a unit test starts python"):
        subprocess.run(f"{sys.executable} -c ''", shell=False)
    for context in ("fork", "spawn", "forkserver"):
        with pytest.raises(pytest.fail.Exception, match="a unit test starts a process"):
            multiprocessing.get_context(context).Process(target=print).start()


def test_this_test_trains_nothing():
    with pytest.raises(pytest.fail.Exception, match="a unit test trains"):
        Solver.run(None)


def test_short_programs_are_allowed():
    assert b"git version" in subprocess.run(["git", "--version"], capture_output=True).stdout


@pytest.mark.runs
def test_other_tiers_start_what_they_need():
    assert subprocess.run(PYTHON).returncode == 0


def test_the_guard_ends_with_its_test():
    def item(mark):
        return SimpleNamespace(get_closest_marker=lambda name: mark if name == mark else None)
    before = subprocess.Popen.__init__, multiprocessing.process.BaseProcess.start, Solver.run
    for mark, guarded in (("unit", True), ("runs", False)):
        with tiers.kept(item(mark)):
            inside = subprocess.Popen.__init__, multiprocessing.process.BaseProcess.start, Solver.run
            assert all((one is not other) == guarded for one, other in zip(inside, before))
        assert before == (subprocess.Popen.__init__, multiprocessing.process.BaseProcess.start, Solver.run)


def test_the_named_files_exist(repository):
    for name in (tiers.CHAOS, *tiers.CLUSTER, *tiers.CONFIGURATION, *tiers.LONG):
        assert (repository / "tests" / name).is_file(), name


def test_groups():
    assert tiers.group("tests/slurm/test_real_chain.py::a") == tiers.group("tests/slurm/test_grid_jobs.py::b[c]") == "slurm"
    assert tiers.group("tests/slurm/test_chaos.py::a") != "slurm"       # which has a cluster of its own
    assert tiers.group("tests/test_grids.py::a") == tiers.group("tests/test_signed.py::b") == "configuration"
    assert tiers.group("tests/test_files.py::a") == tiers.group("tests/test_files.py::b") != tiers.group("tests/test_api.py::a")


def test_long_files_come_first_and_tests_get_their_tier(repository):
    class Item:
        def __init__(self, file, *marks):
            self.path, self.marks = repository / "tests" / file, set(marks)

        def get_closest_marker(self, name):
            return name if name in self.marks else None

        def add_marker(self, name):
            self.marks.add(name)
    items = [Item("test_files.py"), Item(tiers.LONG[1], "runs"), Item(tiers.LONG[0], "runs"), Item(tiers.CHAOS, "slurm")]
    expected = [items[3], items[2], items[1], items[0]]
    tiers.order(items)
    assert items == expected
    assert [item.marks for item in items] == [{"slurm"}, {"runs"}, {"runs"}, {"unit"}]
