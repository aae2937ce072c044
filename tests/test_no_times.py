"""No test asserts a duration, since all of them are longer on a busy machine."""

import ast

import pytest
from conftest import REPOSITORY

CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time", "time_ns", "getrusage", "times", "getloadavg"}


def clocks_in(node):
    """Names of the clocks that are read inside."""
    return {call.func.attr for call in ast.walk(node)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS}


def asserted_times(source):
    """Lines with an assertion that reads a clock, or a name to which what one says was assigned in the same function."""
    found = []
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        read = {target.id for node in ast.walk(function) if isinstance(node, ast.Assign) and clocks_in(node.value)
                for target in node.targets if isinstance(target, ast.Name)}
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                # A file's time may be compared with another's.
                names = {name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)}
                if clocks_in(node.test) or names & read:
                    found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", sorted(path.relative_to(REPOSITORY).as_posix()
                                        for path in (REPOSITORY / "tests").rglob("*.py")))
def test_no_assertion_reads_a_clock(path):
    assert asserted_times((REPOSITORY / path).read_text(encoding="utf-8")) == []


def test_what_would_be_found():
    assert asserted_times("def f():\n    begin = time.monotonic()\n    assert time.monotonic() - begin < 1\n") == [3]
    assert asserted_times("def f():\n    spent = time.process_time() - 1\n    assert spent < 1\n") == [3]
    assert asserted_times("def f():\n    begin = time.time()\n    assert record.epoch == 1\n") == []
