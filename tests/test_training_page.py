"""docs/training.md is correct about experiments, grids and groups."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from demucs.grids import _published as published
from demucs.train import main

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden" / "signatures.json").read_text())
OWN = json.loads((Path(__file__).resolve().parent / "golden" / "own_grids.json").read_text())
ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "training.md").read_text()
BAGS = {path.stem: yaml.safe_load(path.read_text())["models"] for path in (ROOT / "demucs" / "remote").glob("*.yaml")}
SIGNATURE = r"\b[0-9a-f]{8}\b"


def rows(first_cell):
    """Cells of the table whose head begins with `first_cell`."""
    lines = PAGE[PAGE.index(f"| {first_cell} |"):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_grids():
    table = rows("grid")
    assert sorted(quoted(name)[0] for name, _, _ in table) == sorted(
        path.stem for path in (ROOT / "demucs" / "grids").glob("*.py") if not path.name.startswith("_"))
    for name, count, what in table:
        grid = OWN.get(quoted(name)[0]) or GOLDEN[f"grid_{quoted(name)[0]}"]
        assert int(count) == len(grid), name
        named = set(re.findall(SIGNATURE, what))
        bags = [BAGS[word] for word in quoted(what) if word in BAGS]
        assert all(set(bag) <= named for bag in bags), name
        assert named <= set(grid).union(*bags), name


def test_the_table_of_datasets():
    table = {quoted(name)[0]: re.findall("DEMUCS_[A-Z0-9_]+", variable) for name, _, variable in rows("`dset=`")}
    files = {path.stem: re.findall("DEMUCS_[A-Z0-9_]+", path.read_text())
             for path in (ROOT / "conf" / "dset").glob("*.yaml")}
    assert table == files
    for variant in (ROOT / "conf" / "variant").glob("*.yaml"):
        assert variant.stem == "default" or f"`variant={variant.stem}`" in PAGE


@pytest.mark.parametrize("line", re.findall(r"^    (dora .*-f .*#.*\b[0-9a-f]{8}\b.*)$", PAGE, re.M))
def test_commands_give_the_signature_beside_them(line):
    command, _, comment = line.partition("#")
    words = shlex.split(command)
    signature = words.pop(words.index("-f") + 1)
    overrides = [word for word in words if "=" in word]
    assert re.findall(SIGNATURE, comment) == [main.get_xp([*main.get_argv_from_sig(signature), *overrides]).sig]


def test_signatures_are_those_of_something():
    known = set(published.experiments()).union(*GOLDEN.values(), *BAGS.values())
    known |= {"162f67a7", "d46fd197"}     # of the train script (tests/test_signatures.py); of tests/test_session.py
    assert set(re.findall(SIGNATURE, PAGE)) <= known
