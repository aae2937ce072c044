"""docs/own_songs.md: its settings fit songs as described, and missing settings have the described effects."""

import re
import shlex

import numpy as np
import pytest
import soundfile

from demucs.errors import DemucsError
from demucs.signature import signature

RATE = 8000
# Small enough for two songs of four seconds; nothing that the page speaks of.
TINY = ["hdemucs.channels=4", "dset.segment=2", f"dset.samplerate={RATE}", "batch_size=4", "augment.remix.group_size=1"]
FOUR = ["drums", "bass", "other", "vocals"]


@pytest.fixture
def page(repository):
    return (repository / "docs" / "own_songs.md").read_text()


@pytest.fixture
def songs(tmp_path, monkeypatch):
    """Makes `datasets/own` of songs with the given stems, where the page's commands are typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEMUCS_MUSDB", raising=False)

    def make(*stems):
        for split in ("train", "valid", "test"):
            for song in ("One", "Two"):
                folder = tmp_path / "datasets" / "own" / split / song
                folder.mkdir(parents=True)
                for seed, stem in enumerate(stems):
                    noise = np.random.default_rng(seed).normal(size=(4 * RATE, 2)) / 10
                    soundfile.write(folder / f"{stem}.wav", noise, RATE)
    return make


def settings(page):
    """What the exported variable OWN of step 2 holds."""
    first, second = re.findall(r'^    export OWN="(.*)"$', page, re.M)
    return [*first.split(), *second.split()[1:]]


def check(words):
    """The overrides, as `tools.signature --ranks 1` checks them; returns the folder of the test songs."""
    return signature([*words, *TINY], ranks=1).splitlines()[1]


def test_the_settings_of_two_stems(page, songs, tmp_path):
    songs("vocals", "accompaniment")
    assert check(settings(page)) == str(tmp_path / "datasets" / "own")


@pytest.mark.parametrize("left_out", ["dset.sources", "weights", "dset.use_musdb"])
def test_what_a_missing_setting_leads_to(page, songs, left_out):
    songs("vocals", "accompaniment")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{left_out}="))
    with pytest.raises(DemucsError) as caught:
        check([word for word in settings(page) if word.split("=")[0] != left_out])
    told = row.split(" | ")[2]
    if left_out == "dset.use_musdb":
        assert "MUSDB18-HQ, which is looked for" in told and "datasets/musdbhq" in str(caught.value)
    else:
        assert told == f"`{caught.value}` |"


def test_without_sources_and_weights_four_stems_are_looked_for(page, songs):
    songs("vocals", "accompaniment")
    message, = re.findall(r"`\.\.\. (are missing;.*?)`", page, re.S)
    with pytest.raises(DemucsError, match=re.escape(" ".join(message.split()))):
        check([word for word in settings(page) if word.split("=")[0] not in ("dset.sources", "weights")])


def test_other_sets_of_stems(page, songs, tmp_path):
    songs(*FOUR, "guitar")
    table = page[page.index("| songs have |"):].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 5
    for line in table:
        override, = re.findall(r"`([^`]+)`", line.split(" | ")[2])
        words = ["model=hdemucs", "dset.use_musdb=false", "dset.wav=datasets/own", *shlex.split(override)]
        assert check(words) == str(tmp_path / "datasets" / "own"), line


def test_settings_for_few_songs_exist(page, songs):
    songs("vocals", "accompaniment")
    table = page[page.index("| setting | default |"):].split("\n\n")[0].splitlines()[2:]
    words = [shlex.split(re.findall(r"`([^`]+)`", line)[0])[0] for line in table]
    assert len(words) == 4
    check([*settings(page), *words])
