"""docs/openunmix_training.md: its commands run as they are there, on small songs, and its table is that of the code."""

import os
import re
import shlex

import preloaded
import pytest
from conftest import REPOSITORY
from data.songs import noise, write

from demucs.data.musdb import VALIDATION_TRACKS
from tools.openunmix_arguments import get_parser
from tools.openunmix_overrides import values_of

pytestmark = pytest.mark.runs

# A small network, short examples and the CPU; nothing that the page speaks of.
TINY = shlex.split("--epochs 1 --hidden-size 8 --nfft 512 --nhop 128 --batch-size 2 --seq-dur 0.3 --no-cuda --quiet")
STEMS = ["bass", "drums", "other", "vocals"]


@pytest.fixture
def page():
    return (REPOSITORY / "docs" / "openunmix_training.md").read_text()


@pytest.fixture
def place(tmp_path):
    """A folder with small datasets, by the value of --dataset."""
    for split, song in (("train", "One"), ("train", "Two"), ("train", VALIDATION_TRACKS[0]), ("test", "Three")):
        for number, name in enumerate(STEMS):
            write(tmp_path / "musdb" / split / song / f"{name}.wav", noise(number, 1.))
    for split in ("train", "valid"):
        for song in "12":
            for number, name in enumerate(["mixture.wav", "vocals.wav"]):
                write(tmp_path / "aligned" / split / song / name, noise(number, 1.))
            for number, name in enumerate(STEMS):
                write(tmp_path / "trackfolder_fix" / split / song / f"{name}.flac", noise(number, 1.))
            for number, name in enumerate(["vocals.flac", "guitar.wav", "piano.wav"]):
                write(tmp_path / "trackfolder_var" / split / song / name, noise(number, 1.))
        for number, source in enumerate(["vocals", "car_noise", "wind_noise"]):
            write(tmp_path / "sourcefolder" / split / source / "a sound.ogg", noise(number, 1.))
    return tmp_path


def commands(page):
    return [shlex.split(line)[3:] for line in re.findall(r"^    (python -m tools\.train_openunmix .*)$", page, re.M)]


def call(place, *words):
    """The command in `place`, with the dataset of its kind there."""
    words = list(words)
    kind = words[words.index("--dataset") + 1] if "--dataset" in words else "musdb"
    words[words.index("--root") + 1] = kind
    more = ["--nb-valid-samples", "2", "--nb_train_samples", "4"] if kind == "sourcefolder" else \
        ["--samples-per-track", "2"] if kind == "musdb" else []
    return preloaded.run("-m", "tools.train_openunmix", *words, *TINY, *more, cwd=place, timeout=300,
                         env={**os.environ, "PYTHONPATH": str(REPOSITORY)})


def test_commands(page, place):
    found = commands(page)
    assert len(found) == 7
    published, = (words for words in found if "umxhq" in words)           # its weights are not here
    assert values_of(get_parser().parse_args(published))["continue_pretrained"] == "umxhq"
    signatures = set()
    for words in found:
        if words is not published:
            done = call(place, *words)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "open-unmix: vocals with the best weights of" in done.stdout
            signatures.add(re.match("signature ([0-9a-f]{8}), in outputs/xps/", done.stdout)[1])
    assert len(signatures) == 6
    assert {path.name for path in (place / "outputs" / "xps").iterdir()} == signatures
    files = sorted(path.name for path in (place / "open-unmix").iterdir())
    names = [re.sub("-[0-9a-f]{8}", "-HASH", name) for name in files]
    assert names == ["separator.json", "vocals-HASH.pth", "vocals.json"]


def test_the_example_of_what_is_printed(page, place):
    shown, = re.findall(r"^    (signature SIG.*)\n    (dora run .*)$", page, re.M)
    printed = call(place, *commands(page)[0], "--dry-run").stdout.splitlines()
    assert re.sub("[0-9a-f]{8}", "SIG", printed[0]) == shown[0]
    assert set(shlex.split(shown[1])[:3]) <= set(shlex.split(printed[1])) and "misc.num_workers=0" in shown[1]
