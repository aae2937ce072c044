"""The examples of docs/separation.md run as described, and its tables are those of the records."""

import json
import re
import shlex

import numpy as np
import pytest
import soundfile
import torch

from benchmarks import long_songs, overlaps
from demucs import separate
from demucs.models import zoo
from demucs.packages import package

pytestmark = pytest.mark.runs

SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "separation.md").read_text()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with songs, and a tiny model under the name of the default."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=8000, segment=1., channels=4, depth=2, nfft=64)
    card = package.new_card(model, signature="htdemucs", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "release_models" / "htdemucs.th", card=card)
    for name in ("concert.mp3", "song.mp3", "music/disc 1/song.mp3", "music/other song.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, np.random.default_rng(0).normal(size=(30_000, 2)) / 10, 16000)
    return tmp_path


def test_commands(page, workplace):
    commands = re.findall(r"^    (demucs .*?) *#", page, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        separate.main(shlex.split(command.replace("cuda:0,1", "cpu,cpu"))[1:])      # there may be no GPU here
    for file in ("separated/htdemucs/concert", "stems/htdemucs/disc 1/song", "stems/htdemucs/other song"):
        assert {path.stem for path in (workplace / file).iterdir()} == set(SOURCES)
    assert "subfolders: those of `music/disc 1/song.mp3` in `separated/MODEL/disc 1/song/`" in page


def test_python(page, workplace):
    block, = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(block, "docs/separation.md", "exec"), names)
    assert names["loudest"] > 0.


@pytest.mark.parametrize("module", [long_songs, overlaps])
def test_tables_are_those_of_the_records(module, page):
    shown = page.split(module.BEGIN)[1].split(module.END)[0].strip()
    assert shown == module.section(json.loads(module.RECORD.read_text()))


def test_memory_does_not_depend_on_the_length():
    """In the measurements of the record: 50 MB at most between 15 and 60 minutes."""
    record = json.loads(long_songs.RECORD.read_text())
    pairs = [(found, record[name.replace("-15-", "-60-")]) for name, found in record.items()
             if "-15-" in name and name.replace("-15-", "-60-") in record]
    assert pairs and all(longer["peak_mb"] - short["peak_mb"] <= 50 for short, longer in pairs)
