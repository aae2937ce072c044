"""300 mutated files through every reader, in this process: an error in one line, or a right result. `make fuzz` does 10 000.

`python tests/fuzz/fuzz.py --only KIND:NUMBER` does one of them again.
"""

import json
import os
import time

import pytest
from conftest import require_program
from fuzz import fuzz, inputs, kinds, seeds, texts

pytestmark = pytest.mark.runs

SEED, TOTAL = 0, 300
SOUNDS = ("wav", "flac", "mp3", "m4a", "ogg")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    require_program("ffmpeg")
    return inputs.prepare(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", kinds.KINDS)
def test_mutated_files(name, made, tmp_path):
    defects = {}
    for number in inputs.numbers(name, TOTAL):
        outcome = inputs.judge(made, name, number, SEED, tmp_path / str(number))
        if outcome.what == inputs.DEFECT:
            defects[f"{name}:{number}"] = outcome.message
    assert not defects, "\n".join(f"--only {key}: {message}" for key, message in defects.items())


def test_there_are_300():
    assert abs(sum(len(inputs.numbers(name, TOTAL)) for name in kinds.KINDS) - TOTAL) < 10
    assert sum(kind.share for kind in kinds.KINDS.values()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_files_that_are_whole_are_right(name, made, tmp_path):
    """What is refused below is refused for its mutation."""
    kind = kinds.KINDS[name]
    for part in kind.seeds:
        assert made[part]
        for place, data in enumerate(made[part]):
            for number in range(4):
                folder = tmp_path / f"{part}-{place}-{number}"
                folder.mkdir()
                (folder / kind.file).write_bytes(data)
                if kind.use is kinds.use_sound and number % 3 == 2 and place and part in ("wav", "flac"):
                    continue       # the stem beside it has two channels and the length of the first
                kind.use(folder / kind.file, number)


def test_the_same_seed_gives_the_same_inputs(made, tmp_path):
    again = seeds.records(tmp_path)
    for name in ("history", "evaluation", "status"):
        for number in range(5):
            assert inputs.mutated(made, name, number, 3) == inputs.mutated(again, name, number, 3)
        assert inputs.mutated(made, name, 1, 3) != inputs.mutated(made, name, 2, 3)
    value = {"a": [1, {"b": 2}]}
    assert list(texts.places(value)) == [("a",), ("a", 0), ("a", 1), ("a", 1, "b")]


def endless(path, number):
    """What a reader must not do: by the number of the input."""
    if number == 0:
        time.sleep(60)
    elif number == 1:
        os.kill(os.getpid(), 9)
    elif number == 2:
        raise KeyError("a\nb")
    elif number == 3:
        return bytearray(3 * 2 ** 30)
    elif number == 4:
        os.write(2, b"Traceback (most recent call last):\n")
    elif number == 5:
        raise kinds.schema.SchemaError("two\nlines")


def test_a_worker_that_fails_is_told(made, tmp_path, monkeypatch):
    """A hang, a crash, a traceback, too much memory, a traceback of something else, and a message of two lines; the rest of
    the inputs is done."""
    monkeypatch.setitem(kinds.KINDS, "history", kinds.Kind(1, "x", ("history",), kinds.texts.scribble, endless))
    monkeypatch.setattr(fuzz, "WATCHDOG", 5.)
    lines = []
    fuzz.run([("history", number) for number in range(8)], made, 0, tmp_path, 1, lines.append)
    assert [line["number"] for line in lines] == list(range(8))
    assert [line["what"] for line in lines] == [fuzz.HANG, fuzz.CRASH, *4 * [inputs.DEFECT], *2 * [inputs.RESULT]]
    assert "KeyError" in lines[2]["message"] and "MemoryError" in lines[3]["message"]
    assert "| history | 8 | 2 | 0 | 6 |" in fuzz.table(lines)
    json.dumps(lines)


def test_figures_go_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{fuzz.BEGIN}\nold\n{fuzz.END}\nafter\n")
    fuzz.write_figures("new", page)
    assert page.read_text() == f"before\n{fuzz.BEGIN}\nnew\n{fuzz.END}\nafter\n"
