"""The lists that describe the environment agree: pyproject, constraints, requirements and the conda environment."""

import importlib.metadata
import re
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.fixture
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture
def pins(repository):
    """Pinned version by package, for each Python: {"3.11": {"torch": "2.11.0", ...}, ...}."""
    table = {python: {} for python in PYTHONS}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        for python in PYTHONS:
            if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
                assert canonicalize_name(requirement.name) not in table[python], f"two pins for {line}"
                table[python][canonicalize_name(requirement.name)] = pin.version
    return table


def all_dependencies(project) -> list[str]:
    return project["dependencies"] + [item for extra in project["optional-dependencies"].values() for item in extra]


def test_every_dependency_is_pinned_for_every_python(project, pins):
    for python in PYTHONS:
        for dependency in all_dependencies(project):
            requirement = Requirement(dependency)
            pin = pins[python].get(canonicalize_name(requirement.name))
            assert pin is not None, f"{dependency} has no pin in constraints.txt for Python {python}"
            assert pin in requirement.specifier


def test_torch_and_torchaudio_are_a_pair(pins):
    for python in PYTHONS:
        assert pins[python]["torch"] == pins[python]["torchaudio"]
        assert not any(name.startswith("nvidia") for name in pins[python])   # torch pins those


def test_what_is_installed_is_what_is_pinned(project, pins):
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = project["dependencies"] + [item for extra in ("train", "evaluate", "graphs", "automix", "dev")
                                        for item in project["optional-dependencies"][extra]]
    for dependency in wanted:
        installed = Version(importlib.metadata.version(Requirement(dependency).name))
        assert installed.public == pins[python][canonicalize_name(Requirement(dependency).name)], dependency


def test_requirements_are_the_project_with_its_constraints(repository, project):
    lines = [line for line in (repository / "requirements.txt").read_text().splitlines()
             if line and not line.startswith("#")]
    constraint, editable = lines
    assert constraint == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", editable)[1].split(",")
    assert set(extras) == set(project["optional-dependencies"]) - {"dev", "quantize", "curves"}


def test_conda_environment_has_the_same_packages_and_the_programs(repository, project):
    environment = yaml.safe_load((repository / "environment-cuda.yml").read_text())
    assert environment["name"] == "demucs"
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    packages = [item for item in environment["dependencies"] if isinstance(item, str)]
    names = {re.split(r"[<>=]", item)[0]: item for item in packages}
    assert set(names) == {"python", "pip", "ffmpeg", "soundtouch"}   # soundtouch has the program soundstretch
    assert names["soundtouch"] == "soundtouch>=2.1.2"
    assert names["python"].split("=")[1] in PYTHONS
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-r requirements.txt"]


def test_pythons_named_are_those_accepted(repository, project):
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert "(3, 10)" in (repository / "slurm_scripts" / "make_venv.sh").read_text()


def test_published_demucs_is_pinned_and_has_our_torch(repository):
    text = (repository / "tests" / "published.sh").read_text().replace("\\\n", "")
    (words,) = re.findall(r"pip install (.*)", text)
    packages = words.split('--target "$folder/lib"')[1].split()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package) for package in packages)
    assert "--no-deps" in words and "demucs==4.1.0" in packages
    assert not any(package.startswith("torch") for package in packages)
