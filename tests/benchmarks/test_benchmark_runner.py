"""`benchmarks.run`: from the output of the benchmarks to the page, with artificial results."""

import json
import os

import pytest
import torch
from benchmarks import run
from benchmarks.environments import SIDES, Peer, in_turns, python, variables

pytestmark = pytest.mark.runs

FAST = {"name": "loader", "ours": 12.5, "peer": 10., "ratio": 1.25, "error": 3e-5, "unit": "segments/s"}
SLOW = {"name": "start | import", "ours": 4., "peer": 2., "ratio": 0.5, "error": None, "unit": "s"}
SCRIPT = '"""What it measures.\n\n    python x.py\n\nAnd how.\n"""\n' \
    'import sys\nprint("working", sys.argv[1:])\nprint({!r})\n'


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A repository with one benchmark and a stand-in for the environment of published Demucs."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(run, "HERE", folder)
    monkeypatch.setattr(run, "REPOSITORY", tmp_path)
    monkeypatch.setattr(run, "PAGE", tmp_path / "docs" / "benchmarks.md")
    monkeypatch.setattr(run, "conditions", lambda side: {"torch": "2.11.0", "threads": 2})
    monkeypatch.setattr(run, "peer_versions", lambda: {"demucs": "4.1.0", "torch": "2.11.0"})
    (folder / "bench_loader.py").write_text(SCRIPT.format(json.dumps([FAST])))
    return tmp_path


def test_table():
    lines = run.table([run.Result(**FAST), run.Result(**SLOW)]).splitlines()
    assert lines[2] == "| loader | 12.50 | 10.00 | segments/s | 1.25 | 3.0e-05 |"
    assert lines[3] == "| start \\| import | 4.000 | 2.000 | s | 0.50 |  |"
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}


def test_page_has_results_machine_versions_and_descriptions(workplace, capfd):
    assert run.main([]) == 0
    page = (workplace / "docs" / "benchmarks.md").read_text()
    assert "| loader | 12.50 |" in page and "--quick" not in page
    assert "- `benchmarks/bench_loader.py`: What it measures. And how." in page
    assert "demucs 4.1.0, torch 2.11.0" in page and "both sides have torch 2.11.0, and 2 threads" in page
    for key in ("processor", "cores", "memory", "date", "our environment: python"):
        assert f"- {key}" in page
    assert str(workplace) not in page and os.path.expanduser("~") + "/" not in page
    assert "working []" in capfd.readouterr().out


def test_short_settings_and_single_benchmarks_leave_the_page_alone(workplace, monkeypatch, capfd):
    monkeypatch.setitem(run.QUICK, "bench_loader.py", ["--seconds", "1"])
    assert run.main(["--quick"]) == 0
    shown = capfd.readouterr().out
    assert "working ['--seconds', '1']" in shown and "short settings" in shown and "| loader |" in shown
    assert run.main(["loader"]) == 0
    assert not (workplace / "docs" / "benchmarks.md").exists()


def test_slower_than_the_peer_is_written_and_fails(workplace, capfd):
    (workplace / "benchmarks" / "bench_start.py").write_text(SCRIPT.format(json.dumps([SLOW])))
    assert run.main([]) == 1
    assert "start \\| import" in (workplace / "docs" / "benchmarks.md").read_text()
    assert "slower than published Demucs: start | import, ratio 0.50" in capfd.readouterr().err


def test_other_forms_of_a_model_may_be_slower(workplace, capfd):
    assert set(run.MAY_BE_SLOWER) <= set(run.QUICK)
    (workplace / "benchmarks" / "bench_deployment.py").write_text(SCRIPT.format(json.dumps([SLOW])))
    assert run.main([]) == 0
    assert "ratio" not in capfd.readouterr().err


@pytest.mark.parametrize("last", ["done", "[]", "[1]", json.dumps([{"name": "loader"}]),
                                  json.dumps([{**FAST, "ours": 0}])])
def test_what_is_no_result_is_refused_with_the_name_of_the_benchmark(last):
    with pytest.raises(run.BenchmarkError, match="bench_x.py"):
        run.parse(last, "bench_x.py")


def test_failing_benchmark_keeps_the_old_page(workplace, capfd):
    page = workplace / "docs" / "benchmarks.md"
    page.write_text("as it was")
    (workplace / "benchmarks" / "bench_bad.py").write_text("import sys\nsys.exit('no such thing')")
    assert run.main([]) == 1
    assert "bench_bad.py ended with status 1" in capfd.readouterr().err
    assert page.read_text() == "as it was"


@pytest.mark.parametrize("version, threads", [("2.8.0", 2), ("2.11.0", 1)])
def test_sides_with_another_torch_or_number_of_threads_are_not_compared(workplace, monkeypatch, capfd, version, threads):
    monkeypatch.setenv("DEMUCS_ORACLE", os.__file__)
    monkeypatch.setattr(run, "conditions", lambda side: {"torch": "2.11.0", "threads": 2} if side == "ours" else
                        {"torch": version, "threads": threads})
    assert run.main([]) == 1
    shown = capfd.readouterr()
    assert f"torch {version} and {threads} threads, ours torch 2.11.0 and 2 threads" in shown.err
    assert "working" not in shown.out and not (workplace / "docs" / "benchmarks.md").exists()


def test_processor_is_described_by_more_than_its_name(monkeypatch):
    """Those of one name differ by generation, which decides what is fast."""
    lines = "model name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 2\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
    monkeypatch.setattr(run.Path, "read_text", lambda path: lines)
    assert run.machine()["processor"] == "AMD EPYC, cpu family 26, model 2, avx2, avx512f, avx512_bf16"


def test_conditions_are_those_of_a_process_of_the_side(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert run.conditions("ours") == {"torch": torch.__version__, "threads": 1}


def test_unknown_name_is_refused(workplace, capfd):
    with pytest.raises(SystemExit):
        run.main(["speed"])
    assert "no benchmark speed; there are loader" in capfd.readouterr().err


def test_every_short_setting_belongs_to_a_benchmark(repository):
    assert set(run.QUICK) <= {path.name for path in (repository / "benchmarks").glob("bench_*.py")}


def test_published_environment_does_not_see_our_code(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    assert "PYTHONPATH" not in variables("published")
    assert variables("ours")["PYTHONPATH"] == str(run.REPOSITORY)
    monkeypatch.setenv("DEMUCS_ORACLE", str(tmp_path / "missing"))
    with pytest.raises(SystemExit, match="make oracle"):
        python("published")


def test_sides_take_turns_in_changing_order():
    turns = list(in_turns(2))
    assert sorted(turns) == [(number, side) for number in range(2) for side in SIDES]
    assert turns[0][1] != turns[2][1]


def test_peer_answers_and_says_why_it_stopped(tmp_path):
    script = tmp_path / "peer.py"
    script.write_text("import json, sys\nfor line in sys.stdin:\n"
                      "    print(json.dumps([sys.argv[1], json.loads(line)['x']]), flush=True)\n"
                      "    if 'stop' in line:\n        sys.exit(3)\n")
    with Peer("ours", script, tmp_path) as peer:
        assert peer.ask(x=1) == ["ours", 1]
        assert peer.ask(x="stop") == ["ours", "stop"]
        with pytest.raises(RuntimeError, match="'ours' ended with status 3"):
            peer.ask(x=2)


def test_what_was_printed_before_is_not_measured_again(workplace, capfd):
    assert run.main([]) == 0
    printed = workplace / "printed.txt"
    printed.write_text(capfd.readouterr().out)
    (workplace / "benchmarks" / "bench_loader.py").write_text("raise SystemExit(1)")
    (workplace / "benchmarks" / "bench_start.py").write_text(SCRIPT.format(json.dumps([FAST | {"name": "start"}])))
    assert run.main([]) == 1
    assert run.main(["--printed", str(printed)]) == 0
    page = (workplace / "docs" / "benchmarks.md").read_text()
    assert "| loader | 12.50 |" in page and "| start | 12.50 |" in page
    printed.write_text("== bench_loader.py --quick\n" + json.dumps([FAST]) + "\n== bench_start.py\nworking")
    assert run.complete(printed.read_text()) == {}
