"""docs/data.md: its commands fit songs as described, its tables name all kinds, samplings and caches, its code runs."""

import re
import shlex
import sys

import pytest
import yaml
from data.songs import moises_song, noise, slakh_song, write

from demucs.data.audio_cache import CACHES
from demucs.data.build import SAMPLINGS
from demucs.data.kinds import KINDS
from demucs.errors import DatasetError
from demucs.signature import signature

TINY = ["hdemucs.channels=4", "dset.segment=1", "dset.shift=0.5", "dset.samplerate=8000", "batch_size=4", "augment.remix.group_size=1",
        "augment.repitch.proba=0"]
INSTRUMENTS = ("vocals", "bass", "drums", "guitar", "piano", "wind", "bowed_strings")
NAMES = {"train": ("Fourth Song", "Fifth Song"), "valid": ("First Song", "Second Song"), "test": ("Third Song",)}


@pytest.fixture
def page(repository):
    return (repository / "docs" / "data.md").read_text()


@pytest.fixture
def datasets(page, tmp_path, monkeypatch):
    """The datasets of the page in a folder, with `conf/` and `my_songs.py` beside it, where its commands are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEMUCS_MUSDB", raising=False)
    for split, songs in NAMES.items():
        for number, song in enumerate(songs):
            moises_song(tmp_path / "moisesdb" / split / song, {stem: [noise(number)] for stem in INSTRUMENTS}, song=song)
            slakh_song(tmp_path / "slakh2100_flac_redux" / {"valid": "validation"}.get(split, split) / f"Track{number}",
                       [(program, noise(number, 2., 1)) for program in ("drums", 33, 25, 0, 60)])
            for source in ("drums", "bass", "other", "vocals"):
                write(tmp_path / "my_songs" / song / f"{source}.wav", noise(number))
            for part in ("voice", "band"):
                write(tmp_path / "datasets" / "pairs" / split / f"{song}.{part}.wav", noise(number))
    (tmp_path / "conf").mkdir()
    for name, text in re.findall(r"    # (conf/\w+\.yaml), for [^\n]*\n((?:    .*\n)+)", page):
        (tmp_path / name).write_text(text.replace("    ", ""))
        assert yaml.safe_load((tmp_path / name).read_text())
    code, = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "my_songs.py").write_text(code)
    yield tmp_path
    sys.modules.pop("my_songs", None)


def check(words, folder):
    """The overrides, as `tools.signature --ranks 1` checks them; returns the folder of the test songs."""
    words = [word.replace("/datasets/", f"{folder}/") if "=/datasets" in word else word for word in words]
    return signature([*words, *TINY], ranks=1).splitlines()[1]


def test_commands_of_the_page(page, datasets):
    commands = [shlex.split(line) for line in re.findall(r"^    (dora run .*)$", page, re.M)]
    assert len(commands) == 4
    for command in commands:
        words = [word for word in command[2:] if word != "-d"]
        place = next(word.partition("=")[2] for word in words if word.startswith("dset.musdb="))
        assert check(words, datasets) == str((datasets / place.replace("/datasets/", "")).absolute())


def test_sources_of_the_page(page, datasets):
    table = page[page.index("| sources | command |"):].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 4
    for line in table:
        words = shlex.split(re.findall(r"`([^`]+)`", line)[0])
        name = "moisesdb" if "dset.kind=moises" in words else "slakh2100_flac_redux"
        check(["model=hdemucs", *words, f"dset.musdb={datasets / name}"], datasets)
    check(["model=hdemucs", "dset.kind=moises", f"dset.musdb={datasets / 'moisesdb'}", "dset.sources=[strings,winds,other]",
           "weights=[1,1,1]", "dset.instruments=conf/my_instruments.yaml"], datasets)


def test_settings_of_the_page(page, datasets):
    rows = [line for line in page.splitlines() if re.match(r"\| `dset\.\w+=", line)]
    words = [re.findall(r"`(dset\.\S+=\S+)`", row)[0] for row in rows]
    assert len(words) == 12
    for word in words:
        more = [f"dset.wav={datasets / 'datasets' / 'pairs'}"] if "shares" in word else []
        if more or "wav2_weight" in word:
            continue      # these need two datasets: tests/data/test_sampling.py
        check(["model=hdemucs", "dset.kind=songs", "dset.split=conf/my_split.yaml", "dset.musdb=my_songs", word], datasets)


def test_tables_are_complete(page):
    kinds = page[page.index("| `dset.kind` |"):].split("\n\n")[0]
    assert {name for row in kinds.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split(" | ")[0])} == set(KINDS)
    assert set(re.findall(r"`dset\.sampling=(\w+)`", page)) == set(SAMPLINGS)
    assert set(re.findall(r"^\| `dset\.cache=(\w+)`", page, re.M)) == set(CACHES)


def test_the_own_layout_names_songs_without_a_pair(datasets):
    (datasets / "datasets" / "pairs" / "train" / "Fifth Song.band.wav").unlink()
    with pytest.raises(DatasetError, match="track Fifth Song: .*Fifth Song.band.wav is missing"):
        check(["model=hdemucs", "dset.kind=my_songs:tracks", "dset.musdb=datasets/pairs", "dset.sources=[vocals,band]",
               "weights=[1,1]"], datasets)
