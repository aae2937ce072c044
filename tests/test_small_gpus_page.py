"""docs/small_gpus.md: its commands name experiments that exist, its presets do what it says, its figures are counted."""

import re
import shlex

import pytest

from demucs import memory, memory_page
from demucs.songs import to_download
from demucs.train import main
from tools import memory as tool

MIB = 2 ** 20
FREE = 1024          # MiB that a preset leaves for CUDA, torch, workspaces and pieces of freed memory
# Commands of the port's page, and the keys of its arguments.
PORT = ["python train.py gpus=[0] model=Demucs download=True", "python train.py gpus=[0] model=HDemucs download=True",
        "python train.py batch_size=2 augment.remix.group_size=2 model=Demucs",
        "python train.py batch_size=1 data_augmentation=False model=Demucs",
        "python train.py batch_size=1 data_augmentation=False segment=6 model=Demucs"]
ARGUMENTS = ["gpus", "download", "data_root", "model", "samplerate", "epochs", "optim.lr"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "small_gpus.md").read_text()


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def table(page, name):
    text = page[page.index(f"<!-- table: {name} -->"):].split("<!-- end -->")[0]
    return [cells(line) for line in text.splitlines()[3:]]


def number(cell):
    return int(cell.replace(",", ""))


def overrides(command):
    words = shlex.split(command, comments=True)
    return [word for word in words[words.index("run") + 1:] if "=" in word]


def commands(page):
    inside = re.findall(r"`((?:\w+=\S+ )?dora run[^`]*)`", page)
    return [*re.findall(r"^    (dora run.*)$", page, re.M), *inside]


def test_every_command_is_an_experiment(page):
    found = commands(page)
    assert len(found) >= 12
    for command in found:
        memory.configuration(overrides(command))
        variable = re.match(r"(\w+)=", command)
        assert variable is None or variable[1] in ("CUDA_VISIBLE_DEVICES", "DEMUCS_DEVICE")


def test_the_commands_with_a_download_fetch_the_dataset(page):
    found = [overrides(command) for command in commands(page) if "dset.download" in command]
    assert len(found) == 2
    for words in found:
        config = memory.configuration(words)
        assert to_download(config) == "musdb18-hq" and config.dset.musdb == "musdb18hq"
        assert main.get_xp(words).sig == main.get_xp([word for word in words if not word.startswith("dset.download")]).sig
    assert re.search(r"^\| `download=True` \| `dset.download=true` \|", page, re.M)


def test_every_count_of_the_page_is_printed(page, monkeypatch, capsys):
    """A small count stands for those of the page, which take longer."""
    counted = []
    small = memory.count(memory.configuration(["model=hdemucs", "hdemucs.channels=4", "batch_size=4"]))
    monkeypatch.setattr(memory, "count", lambda config, **settings: counted.append((config, settings)) or small)
    lines = re.findall(r"^    python -m tools\.memory (.*)$", page, re.M)
    assert len(lines) == 5
    for arguments in map(shlex.split, lines):
        assert tool.main(arguments) == 0 and capsys.readouterr().out
        config, settings = counted.pop()
        assert config.model == ("htdemucs" if "-f" in arguments else "hdemucs")
        assert settings["world_size"] == (8 if "--gpus" in arguments else 1)
        assert bool(config.misc.checkpoint_activations) == ("variant=small_gpu_8gb" in arguments)


def test_presets_are_the_same_experiment(page):
    for model in ("demucs", "hdemucs", "htdemucs"):
        known = main.get_xp([f"model={model}"]).sig
        for variant in ("small_gpu_8gb", "small_gpu_6gb"):
            assert main.get_xp([f"model={model}", f"variant={variant}"]).sig == known
    assert main.get_xp(["variant=no_augmentation"]).sig != main.get_xp([]).sig
    augment = memory.configuration(["variant=no_augmentation"]).augment
    assert not augment.flip and not augment.repitch.proba and not augment.remix.proba and not augment.scale.proba
    memory.examples_per_process(memory.configuration(["variant=no_augmentation", "batch_size=1"]), 1)


def test_every_command_and_argument_of_the_port_is_there(page, repository):
    for command in PORT:
        assert f"| `{command}` | `" in page
    for argument in ARGUMENTS:
        assert re.search(rf"^\| `{argument}=", page, re.M), argument
    original = repository.parent / "shared" / "documents" / "demucs_lightning.md"
    if original.exists():
        text = original.read_text()
        assert re.findall(r"^python train.py .*$", text, re.M) == PORT
        assert re.findall(r"^__(\S+)__:", text, re.M) == ARGUMENTS
        assert [f"{size:,}" for _, size, _ in memory_page.PORT[:2]] == re.findall(r"requires `([\d,]+) MB`", text)[:2]
        assert {f"{size:,}" for _, size, _ in memory_page.PORT} == set(re.findall(r"requires `([\d,]+) MB`", text))


def test_the_commands_of_the_two_tables_agree(page):
    for (theirs, size, ours), row in zip(memory_page.PORT, table(page, "port"), strict=True):
        assert row[:3] == [f"`{theirs}`", f"{size:,}", f"`{ours}`"]
        line = next(line for line in page.splitlines() if line.startswith("| `python train.py") and theirs in line.replace(
            "gpus=[0] ", "").replace(" download=True", ""))
        assert set(ours.split()) <= set(cells(line)[1].strip("`").split())


def test_the_target_and_the_presets_by_the_count_on_the_page(page):
    port = table(page, "port")
    assert "HDemucs" in port[1][0] and number(port[1][4]) <= 8192 - FREE      # the published recipe, 4 examples, in 8 GB
    for training, gpus, _, eight, six in table(page, "published"):
        assert number(eight) <= 8192 - FREE, (training, gpus)
        assert number(six) <= 6144 - FREE, (training, gpus)


def test_differences_on_the_page_are_those_promised(page):
    rows = table(page, "measured")
    known = [f"`{overrides.removesuffix(memory_page.SIZES).strip()}`" for overrides in memory_page.MEASURED]
    assert rows and {row[0] for row in rows} <= set(known)
    for training, counted, measured, difference in rows:
        assert abs(number(counted) / number(measured) - 1) <= 0.15, training
        assert difference == f"{100 * (number(counted) / number(measured) - 1):+.0f} %"


@pytest.mark.runs
def test_figures_are_counted_again(page):
    """One number of each table that is counted."""
    row = table(page, "precision")[1]
    assert row[0] == "`optim.precision=bf16`"
    config = memory.configuration(["model=hdemucs", "batch_size=4", "optim.precision=bf16"])
    assert memory_page.mebibytes(memory.count(config).peak) == row[1]
