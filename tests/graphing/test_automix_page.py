"""The page to listen to remixes: players, grids of beats, origins."""

import re

import numpy as np
import pytest
import soundfile
from automix_page import listening_page
from pages import remixes

from demucs import schema
from demucs.errors import AudioError
from demucs.schema import AutomixMix, AutomixPairs, AutomixPart, AutomixRecord, AutomixSong, SchemaError

RATE = 8000


def record():
    parts = [AutomixPart("drums", "A <b>", 0., 0., 0, 1., 0.), AutomixPart("vocals", "B & C", -3.21, 2., 2, 0.5, 1.)]
    mixes = [AutomixMix(f"{number:04d}-01 A <b>", "train", "A <b>", 120., "C major / A minor", 4.1, 2, parts)
             for number in range(5)]
    songs = [AutomixSong("A <b>", "train", 0, 30., 120., 1., "C major / A minor", 0., ""),
             AutomixSong("B & C", "train", 0, 30., 124., .5, "B flat major / G minor", 0., "the key is unsure")]
    return AutomixRecord({"seed": 1}, 0.1, songs, [AutomixPairs("train", 10, 4, {"the keys are too far apart": 6})],
                         mixes, {})


@pytest.fixture
def folder(tmp_path):
    made = record()
    for mix in made.mixes:
        (tmp_path / "train" / mix.name).mkdir(parents=True)
        for name in ("mixture", "drums", "vocals"):
            soundfile.write(tmp_path / "train" / mix.name / f"{name}.wav",
                            0.1 * np.random.default_rng(0).standard_normal((int(4.1 * RATE), 2)), RATE)
    schema.save(made, tmp_path / "automix.json")
    return tmp_path


def test_players_name_the_origin_of_every_stem(folder):
    page = listening_page(folder, mixes=3, seconds=2.)
    assert page.count("<audio ") == page.count('class="spectrum"') == 9
    assert "drums: A &lt;b&gt;, unchanged" in page and "vocals: B &amp; C, tempo -3.2 %, pitch +2.0 semitones" in page
    assert "<b>" not in page and "B & C" not in page
    assert re.findall(r"<h3>(\d{4})", page) == ["0000", "0002", "0004"]
    assert "6: the keys are too far apart" in page and "the key is unsure" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_beats_are_over_the_waveform():
    sound = np.zeros((4 * RATE, 2))
    picture = remixes.waveform(sound, RATE, np.arange(0.5, 4, 0.5))
    columns = {place: set(picture[:, place]) for place in range(picture.shape[1])}
    beat = remixes.WIDTH // 8
    bars = [beat, beat + 1, 5 * beat, 5 * beat + 1]       # two pixels each
    assert [place for place, found in columns.items() if found & {3}] == bars
    assert [place for place, found in columns.items() if found & {2}] == [beat * number for number in (2, 3, 4, 6, 7)]


def test_files_that_cannot_be_shown(folder):
    (folder / "train" / "0000-01 A <b>" / "drums.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="drums.wav"):
        listening_page(folder)
    (folder / "automix.json").write_text("{}")
    with pytest.raises(SchemaError, match="automix.json"):
        listening_page(folder)
