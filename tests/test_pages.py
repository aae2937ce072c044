"""README, the pages in docs/ and the files about licence and citation, as a whole."""

import re
import sys

import pytest
import yaml

from demucs import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def readme(repository):
    return (repository / "README.md").read_text()


@pytest.fixture
def pages(repository):
    return [repository / "README.md", repository / "CONTRIBUTING.md", repository / "demucs_results" / "README.md",
            repository / "soundtouch" / "README.md", *sorted((repository / "docs").glob("*.md"))]


def test_links_lead_somewhere(pages):
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert re.match("https?://", link) or (page.parent / link).exists(), f"{page.name}: {link}"


def test_python_is_called_in_one_way(pages):
    for page in pages:
        found = re.findall(r"(?:\.venv/bin/|\b)python3(?: -m|\b(?= \w+/))|\.venv/bin/\w+ ", page.read_text())
        assert found == [".venv/bin/activate "] * len(found), f"{page.name}: {found}"


def test_messages_and_help_texts_call_python_as_the_pages_do(repository):
    code = [path for folder in ("demucs", "tools", "graphing_scripts", "benchmarks", "slurm_scripts")
            for path in (repository / folder).rglob("*") if path.suffix in (".py", ".sh")]
    assert code and [path.name for path in code if "python3 -m" in path.read_text()] == []


def test_the_map_lists_every_module_under_its_folder(repository):
    """In the tree of docs/map.md, folders are indented by two spaces a level, and end with a slash."""
    tree = (repository / "docs" / "map.md").read_text().split("```")[1]
    listed, path = {}, []
    for line in tree.strip("\n").splitlines():
        depth, name, rest = re.match(r"( *)(\w+/ )?(.*)", line + " ").groups()
        if name or len(depth) == 2:
            path = [*path[:len(depth) // 2], *([name.strip(" /")] if name else [])]
        listed["/".join(path)] = listed.get("/".join(path), "") + f" {rest}"
    for module in [*(repository / "demucs").rglob("*.py"), *(repository / "graphing_scripts").rglob("*.py")]:
        folder = module.parent.relative_to(repository).as_posix()
        if module.stem != "__init__" and folder != "demucs/grids":
            assert re.search(rf"(?<!\w){module.stem}(?!\w)", listed.get(folder, "")), module
    for folder in listed:
        assert (repository / folder).is_dir(), folder


def test_the_first_screen_has_no_signature(readme):
    assert not re.search(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8}\b", "\n".join(readme.splitlines()[:30]))


def test_the_table_of_contents_has_every_page_once(readme, repository):
    section = readme[readme.index("## Documentation"):].split("\n## ")[0]
    listed = re.findall(r"^\| \d+\. \[[^]]+\]\(docs/(\w+\.md)\)", section, re.M)
    assert sorted(listed) == sorted(page.name for page in (repository / "docs").glob("*.md"))


def test_three_paths_of_five_lines(readme, repository):
    section = readme[readme.index("## Three paths"):].split("\n## ")[0]
    paths = re.findall(r"^\*\*(?:.+\n)+\n((?:    .*\n)+)", section, re.M)
    assert [len(path.splitlines()) for path in paths] == [5, 5, 5]
    # Own songs begin with the settings of their page.
    exports = re.findall(r"^    (export OWN=.*)$", paths[1], re.M)
    assert exports == re.findall(r"^    (export OWN=.*)$", (repository / "docs" / "own_songs.md").read_text(), re.M)


def test_citation_and_licence_agree(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors", "references"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == project["license"] == "MIT" and project["license-files"] == ["LICENSE"]
    assert (repository / "LICENSE").read_text().startswith("MIT License\n")
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
