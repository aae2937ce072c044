"""The floors of the house: who may import whom. The table is the diagram in docs/map.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"__init__": 0, "arguments": 0, "console": 0, "errors": 0, "files": 0, "notes": 0, "ranges": 0, "schema": 0, "dsp": 0,
          "layers": 1, "data": 1, "metrics": 1,
          "models": 2, "inference": 3, "training": 4}     # everything else in demucs/ is floor 5
TOP = 5
TOP_ONLY = {"dora", "hydra", "omegaconf", "submitit"}
NOT_IN_TRAINING = {"argparse"}
GRAPHING_MAY = {"demucs.arguments", "demucs.console", "demucs.ranges", "demucs.schema", "demucs.errors",
                "demucs.files", "demucs.notes", "demucs.metrics.aggregates",
                "demucs.metrics.statistics", "demucs.metrics.museval_json"}


def imports(path):
    """Absolute dotted names of the modules that a file imports, with those imported from a package."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield module
            for alias in node.names:
                yield f"{module}.{alias.name}"


def part(name):
    """"layers" of "demucs.layers.dconv"; "train" of "demucs.train"."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


MODULES = sorted((ROOT / "demucs").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_imports_go_down(path):
    own = path.relative_to(ROOT / "demucs").parts[0].removesuffix(".py")
    floor = FLOORS.get(own, TOP)
    for name in imports(path):
        top = name.split(".")[0]
        assert floor == TOP or top not in TOP_ONLY, f"{top} belongs on floor {TOP}"
        assert own != "training" or top not in NOT_IN_TRAINING
        if top == "demucs" and part(name) != own:
            target = FLOORS.get(part(name), None)
            if target is None and not (ROOT / "demucs" / f"{part(name)}.py").exists() \
                    and not (ROOT / "demucs" / part(name)).is_dir():
                continue    # a name from demucs/__init__.py
            target = TOP if target is None else target
            ground = floor == 0 and target == 0
            assert target < floor or (floor == TOP and target == TOP) or ground, f"{name} is on floor {target}"


def test_graphing_scripts_stay_light():
    for path in sorted((ROOT / "graphing_scripts").glob("*.py")):
        for name in imports(path):
            assert name.split(".")[0] not in {"torch", "torchaudio", *TOP_ONLY}, (path.name, name)
            if name.startswith("demucs."):
                assert any(name == allowed or name.startswith(allowed + ".") or allowed.startswith(name + ".")
                           for allowed in GRAPHING_MAY), (path.name, name)


def test_the_table_names_what_exists():
    for name in FLOORS:
        assert (ROOT / "demucs" / name).is_dir() or (ROOT / "demucs" / f"{name}.py").is_file()
