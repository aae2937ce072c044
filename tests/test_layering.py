"""The floors of docs/map.md: which module may import which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.runs

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"__init__": 0, "arguments": 0, "console": 0, "errors": 0, "files": 0, "notes": 0, "ranges": 0, "schema": 0,
          "tables": 0,
          "downloads": 1, "dsp": 1, "runs": 1,
          "audio": 2, "layers": 2, "metrics": 2,
          "data": 3, "models": 3,
          "packages": 4, "separation": 4,
          "evaluation": 5, "repositories": 5,
          "labels": 6, "training": 6}     # everything else in demucs/ is floor 7
TOP = 7
TOP_ONLY = {"dora", "hydra", "omegaconf", "submitit"}
NOT_IN_TRAINING = {"argparse"}
GRAPHING_MAY = {"demucs.arguments", "demucs.console", "demucs.ranges", "demucs.schema", "demucs.errors",
                "demucs.files", "demucs.notes", "demucs.tables", "demucs.runs.layout", "demucs.audio.samples",
                "demucs.metrics.aggregates", "demucs.metrics.statistics", "demucs.metrics.seeds",
                "demucs.metrics.museval_json", "demucs.metrics.instrumental_json", "demucs.metrics.verdicts",
                "demucs.metrics.study_tables"}
GRAPHING_ROOMS = {"records": 0, "figures": 1, "pages": 2}     # the scripts themselves are above
WITHOUT_TORCH = ("downloads", "runs")        # and the ground floor


def imports(path, *, checked=True):
    """Absolute dotted names of the modules that a file imports, with those imported from a package; `checked`: also those
    that only a type checker imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in statements(ast.parse(path.read_text()), checked):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            yield module
            for alias in node.names:
                yield f"{module}.{alias.name}"


def statements(node, checked):
    yield node
    for child in ast.iter_child_nodes(node):
        if checked or not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from statements(child, checked)


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
    for path in sorted((ROOT / "graphing_scripts").rglob("*.py")):
        for name in imports(path):
            assert name.split(".")[0] not in {"torch", "torchaudio", *TOP_ONLY}, (path.name, name)
            if name.startswith("demucs."):
                assert any(name == allowed or name.startswith(allowed + ".") or allowed.startswith(name + ".")
                           for allowed in GRAPHING_MAY), (path.name, name)


def test_what_graphing_may_import_brings_no_torch():
    """Not even by the package that it lies in."""
    code = f"import sys; {'; '.join(f'import {name}' for name in sorted(GRAPHING_MAY))}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_graphing_imports_go_down():
    """Records know nothing of how they are shown, figures nothing of pages, and none of them a script."""
    folder = ROOT / "graphing_scripts"
    scripts = {path.stem for path in folder.glob("*.py")}
    assert {path.parent.name for path in folder.glob("*/*.py")} == set(GRAPHING_ROOMS)
    for path in sorted(folder.glob("*/*.py")):
        own = GRAPHING_ROOMS[path.parent.name]
        for name in imports(path):
            top = name.removeprefix("graphing_scripts.").split(".")[0]
            assert top not in scripts, (path.name, name)
            assert GRAPHING_ROOMS.get(top, 0) <= own, (path.name, name)
    assert not in_circles({module(path): path for path in folder.rglob("*.py")}, within="graphing_scripts.")


def test_the_table_names_what_exists():
    for name in FLOORS:
        assert (ROOT / "demucs" / name).is_dir() or (ROOT / "demucs" / f"{name}.py").is_file()


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def in_circles(paths, *, within=""):
    """Modules that need each other, of `paths` by their dotted names; what only a type checker imports counts not.
    Imports may leave out `within`."""
    left = {}
    for name, path in paths.items():
        names = {other for found in imports(path, checked=False) for other in (found, within + found)}
        found = {other for other in names if other in paths and other != name}
        # A package whose module is meant is only on the way.
        left[name] = {other for other in found if not any(more.startswith(f"{other}.") for more in found)}
    while True:
        free = [name for name, others in left.items() if not any(other in left for other in others)]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]


def test_no_circle():
    """Of no two files each needs the other, whatever packages they are in."""
    assert not (left := in_circles({module(path): path for path in MODULES})), f"these need each other: {left}"


def test_what_has_to_be_there_at_once_knows_no_torch():
    for path in MODULES:
        own = path.relative_to(ROOT / "demucs").parts[0].removesuffix(".py")
        if own in WITHOUT_TORCH or FLOORS.get(own) == 0:
            assert not {name.split(".")[0] for name in imports(path)} & {"torch", "torchaudio", *TOP_ONLY}, path
    code = f"import sys; {'; '.join(f'import {module(path)}' for path in MODULES if 'runs' in path.parts)}; " \
           f"print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
