"""Invalid numbers on the command lines of tools and graphing scripts and in the environment, and their messages."""

import argparse
import importlib
import sys

import pytest

from demucs import evaluation_settings
from demucs.arguments import Parser, number
from demucs.errors import ConfigError
from demucs.ranges import Range, from_environment

# Options with the smallest set of other arguments.
TOOLS = {"test_pretrained": ([], ["--shifts", "--overlap", "--segment", "--seed", "--workers", "--examples"]),
         "study_quality": ([], ["--seed", "--overlap"]), "score_quality": (["folder"], ["--seed"]),
         "extend": (["cafe0001"], ["EPOCHS"]), "evaluate": (["folder"], ["--examples"]),
         "make_synthetic": (["out"], ["--train", "--test", "--seconds", "--seed", "--valid", "--processes"]),
         "compare_separations": (["a", "b"], ["--steps"]), "launch": (["count"], ["--tee"]),
         "signature": (["epochs=1"], ["--ranks"]),
         "automix": ([], ["--mixes", "--seed", "--jobs", "--max-tempo", "--max-pitch"]),
         "study_automix": (["folder"], ["--train", "--valid", "--seconds", "--seed", "--jobs"]),
         "dataset": (["check", "folder"], ["--jobs", "--seconds"]), "memory": ([], ["--gpus", "--song"]),
         "pseudolabel": (["model", "songs"], ["--keep", "--random", "--valid", "--shifts", "--overlap", "--segment", "--seed"]),
         "study": (["name"], ["--scale", "--seeds"]), "complexity": (["htdemucs"], ["--segment", "--rounds"]),
         "train_openunmix": (["--dry-run"], ["--epochs", "--batch-size", "--hidden-size", "--nfft", "--nhop", "--nb-workers",
                                             "--lr-decay-patience", "--lr-decay-gamma", "--weight-decay", "--bandwidth",
                                             "--nb-channels", "--seed", "--samples-per-track"])}
ONE_FOR_ALL = ("evaluate", "openunmix_arguments")      # one line reads the numbers of a table of options
SCRIPTS = {"automix_page": (["folder"], ["--mixes", "--seconds"]), "report": ([], ["--seconds", "--tracks"]), "plot_comparison": ([], ["--level", "--resamples", "--seed"])}
OPTIONS = [(folder, name, others, option) for folder, table in (("tools", TOOLS), ("graphing_scripts", SCRIPTS))
           for name, (others, options) in table.items() for option in options]


@pytest.fixture
def call(monkeypatch, repository, tmp_path, capsys):
    """Runs a command line in an empty folder; returns its exit status and the lines on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(folder, name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        if folder == "graphing_scripts":
            monkeypatch.syspath_prepend(str(repository / folder))
        module = importlib.import_module(f"tools.{name}" if folder == "tools" else name)
        try:
            if folder == "tools":
                status = module.main()
            else:
                status = importlib.import_module("command_line").run(module.main)
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err.splitlines()
    return run


@pytest.mark.parametrize("folder, name, others, option", OPTIONS, ids=[f"{name}{option}" for _, name, _, option in OPTIONS])
@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e300", "99999999999999", "many", ""])
def test_numbers_outside_their_ranges(call, folder, name, others, option, text):
    given = [text] if option == "EPOCHS" else [f"{option}={text}"]
    status, lines = call(folder, name, *others, *given)
    assert status in (1, 2) and len(lines) == 1
    assert option in lines[0] and (text in lines[0] or str(float(text)) in lines[0]), lines
    assert "must be" in lines[0]


def test_every_option_with_a_number_is_tested(repository):
    """Where a tool takes numbers by themselves, it does so without a range."""
    for folder in ("tools", "graphing_scripts", "demucs"):
        for path in sorted((repository / folder).glob("*.py")):
            text = path.read_text()
            assert not any(bare in text for bare in ("type=int,", "type=float,")) or path.name == "separate.py", path
            if folder != "demucs":
                table = TOOLS if folder == "tools" else SCRIPTS
                found = text.count("type=number(")
                known = len(table.get(path.stem, ([], []))[1]) - ("--examples" in table.get(path.stem, ([], []))[1])
                if path.stem != "train_openunmix":           # its options are in openunmix_arguments
                    assert found == (1 if path.stem in ONE_FOR_ALL else known), path


@pytest.mark.parametrize("override, words", [
    ("test.shifts=-1", "test.shifts=-1 must be"), ("test.overlap=.nan", "test.overlap=nan must be a number"),
    ("test.overlap=1", "test.overlap=1.0"), ("test.workers=99999", "test.workers"),
    ("test.overlap=" + "9" * 400, "test.overlap"),
])
def test_numbers_by_their_keys(override, words):
    with pytest.raises(ConfigError, match=words):
        evaluation_settings.apply_overrides(argparse.Namespace(), [override])


@pytest.mark.parametrize("tool", ["evaluate", "score_quality"])
@pytest.mark.parametrize("sources, words", [("bass,drums,bass", "'bass' 2 times"), ("bass,,drums", "cannot be the name")])
def test_sources_named_twice(call, tool, sources, words):
    status, lines = call("tools", tool, "folder", "--sources", sources)
    assert status == 1 and len(lines) == 1 and "--sources" in lines[0] and words in lines[0]


@pytest.mark.parametrize("text", ["many", "-1", "0", "1.5", "nan", "9" * 5000])
def test_numbers_in_the_environment(call, monkeypatch, text):
    monkeypatch.setenv("DEMUCS_MOST_FAILURES", text)
    monkeypatch.setenv("DEMUCS_EXPECTED_SIGNATURE", "")       # what is set for its tasks is undone
    status, lines = call("tools", "launch", "train", "cafe0001", "--mode=job", "--", "true")
    assert status == 2 and len(lines) == 1
    assert "environment variable DEMUCS_MOST_FAILURES=" in lines[0] and "must be" in lines[0]


def test_an_empty_variable_is_as_none():
    allowed = Range(1, 9, whole=True)
    assert [from_environment("X", 3, allowed, values) for values in ({}, {"X": ""}, {"X": "9"})] == [3, 3, 9]


@pytest.mark.parametrize("allowed, inside, outside", [
    (Range(0, 1), ["0", "1", "0.5", "1e-3"], ["-0.1", "1.1", "nan", "inf"]),
    (Range(0, 1, open_least=True, open_most=True), ["0.5"], ["0", "1", "nan", "-inf"]),
    (Range(-2, 2, whole=True), ["-2", "0", "2"], ["-3", "3"]),
])
def test_a_range_as_the_type_of_an_option(allowed, inside, outside, capsys):
    parser = Parser(prog="tool")
    parser.add_argument("--x", type=number("--x", allowed))
    for text in inside:
        assert parser.parse_args([f"--x={text}"]).x == float(text)
    for text in outside:
        with pytest.raises(ConfigError, match="^--x=.* must be "):
            parser.parse_args([f"--x={text}"])
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--x=half"])
    line, = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and str(allowed) in line
    assert line.startswith("tool: error: argument --x: 'half' must be a ")
