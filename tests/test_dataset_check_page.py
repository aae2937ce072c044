"""docs/dataset_check.md: its table is that of the checks, its commands run, its example is what the command prints."""

import re
import shlex
import shutil

import pytest
import soundfile
from data.planted import RATE, delayed, load, store

from demucs.data.checks.thresholds import CHECKS
from demucs.data.synthetic.dataset import generate
from demucs.schema import SOURCES
from demucs.tables import markdown
from tools import dataset

pytestmark = pytest.mark.runs


@pytest.fixture
def page(repository):
    return (repository / "docs" / "dataset_check.md").read_text()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Generated songs with a late stem, and with a copy of a song in the test set."""
    root = generate(tmp_path_factory.mktemp("faulty"), train=3, test=1, seconds=12., seed=3, valid=1, processes=1)
    song, other = (root / "train" / f"Synthetic Artist 00{number} - Song 00{number}" for number in (2, 3))
    soundfile.write(song / "vocals.wav", delayed(load(song)["vocals"], 1105), RATE, subtype="PCM_16")
    wavs = load(other)
    store(root / "test" / "Unknown", {name: 0.4 * wavs[name][70001:] for name in SOURCES}, suffix=".flac")
    return root


@pytest.fixture
def own(faulty, tmp_path, monkeypatch):
    """datasets/own with these songs."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(faulty, tmp_path / "datasets" / "own")


def test_the_table_is_that_of_the_checks(page):
    written = page.split("<!-- checks -->\n")[1].split("\n<!-- end of checks -->")[0]
    assert written == markdown(["check", "severity", "reported from"],
                               [[each.title, each.severity, each.threshold] for each in CHECKS.values()])


def test_the_example_is_what_the_command_prints(page, own, capsys):
    assert dataset.main(["check", str(own)]) == 1
    out = capsys.readouterr().out
    block = re.search(r"^    error: (?:.*\n|\n)*?    2 errors\n", page, flags=re.MULTILINE).group()
    assert "\n".join(line.removeprefix("    ") for line in block.splitlines()) in out


def test_the_commands_run(page, own, tmp_path):
    commands = re.findall(r"^    python -m tools\.dataset (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 4
    for split in ("train", "valid", "test"):
        (own / split).mkdir(exist_ok=True)
    for command in commands:
        arguments = shlex.split(command)
        if "--model" in arguments:
            continue                   # downloads a model; tests/tools/test_dataset.py has an oracle instead
        if "--kind" in arguments:
            for path in [*own.rglob("drums.*"), *own.rglob("bass.*")]:
                path.unlink()
            for path in own.rglob("other.*"):
                path.rename(path.with_name(f"accompaniment{path.suffix}"))
        assert dataset.main(arguments) == 1
    assert all((tmp_path / name).exists() for name in ("fixes.tsv", "dataset.json", "dataset.html"))


def test_all_options_are_listed(page):
    options = set(re.findall(r"--[a-z]+[a-z-]*", page))
    check = dataset.get_parser()._subparsers._group_actions[0].choices["check"]
    assert {option for action in check._actions for option in action.option_strings if option.startswith("--")} - \
        {"--help", "--device"} <= options
