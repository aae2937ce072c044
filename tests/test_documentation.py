"""The examples of docs/api.md run as described."""

import re
import shlex

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program

from demucs import separate
from demucs.models import zoo
from demucs.packages import package

SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with two songs, and tiny models under the names that the examples use."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("htdemucs", "955717e8")):
        torch.manual_seed(seed)
        model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=8000, segment=2., channels=4,
                          depth=2, nfft=64)
        card = package.new_card(model, signature=name, epochs_done=1, epochs=1, valid={}, argv=[])
        package.save(model, tmp_path / "release_models" / f"{name}.th", card=card)
    for name in ("song.mp3", "another song.wav"):
        soundfile.write(name, np.random.default_rng(0).normal(size=(66150, 2)) / 10, 44100)
    return tmp_path


@pytest.fixture
def page(repository):
    return (repository / "docs" / "api.md").read_text()


def test_commands(page, workplace, capsys):
    commands = re.findall(r"^    (demucs .*)$", page, flags=re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        separate.main(shlex.split(command)[1:])
    written = {str(path.relative_to(workplace)) for folder in ("separated", "results")
               for path in (workplace / folder).rglob("*.*")}
    assert written == {
        *(f"separated/htdemucs/song/{stem}.wav" for stem in SOURCES),
        *(f"separated/htdemucs/{song}/{stem}.flac" for song in ("song", "another song")
          for stem in ("vocals", "minus_vocals")),
        *(f"results/955717e8/song ({stem}).wav" for stem in SOURCES)}
    out = capsys.readouterr().out
    assert "Bag of models:\n    " in out and "    mdx_extra\n" in out
    call, = re.findall(r"demucs\.separate\.main\((\[.*?\])\)", page)
    separate.main(eval(call))


def test_python(page, workplace, capsys):
    require_program("ffmpeg")     # AudioFile reads through it
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert {f"{stem}.wav" for stem in SOURCES} <= {path.name for path in workplace.iterdir()}
    assert names["estimates"].shape == (4, 2, names["wav"].shape[1])
    out = capsys.readouterr().out
    assert "song.mp3 0 of 1 | round 1 | 0 of" in out
    assert "htdemuks" in out and "Did you mean 'htdemucs'" in out and "missing.mp3: no such file" in out
    assert "'htdemucs_ft'" in out
