"""The HTML page, and the scripts as they are typed: without torch, from any folder, with one-line errors."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import readers
import soundfile
from conftest import REPOSITORY
from excerpts import excerpt, track_folders
from report import report
from sections import listening, songs

from demucs.errors import DemucsError
from demucs.metrics.aggregates import FAMILIES, NSDR_MEAN, aggregate

VOID = {"meta", "img", "source", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that elements close in order, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes out of order"

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(name, results):
    return Page(report(readers.find_run(name, results), results / "examples" / name))


@pytest.fixture(scope="module")
def toy_page(shared_results):
    """The text of the report on the toy run."""
    return report(readers.find_run("1a2b3c4d", shared_results), shared_results / "examples")


def make_examples(folder, *, rate=8000, seconds=8, reference=True):
    """Four sources that all play from second 4 on, as wav, with mixture and references."""
    time = np.arange(rate * seconds) / rate
    for number, source in enumerate(["drums", "bass", "other", "vocals"]):
        sound = 0.2 * np.sin(2 * np.pi * 200 * (number + 1) * time) * ((time >= 4) | (number == 0))
        for place in [folder, folder / "reference"] if reference else [folder]:
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{source}.wav", np.stack([sound, sound], axis=1), rate)
    soundfile.write(folder / "mixture.wav", np.zeros((rate * seconds, 2)) + 0.01, rate)


def test_the_page_stands_alone(toy_page):
    page = Page(toy_page)
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "data", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        assert tag not in ("link", "iframe", "object") and not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", toy_page)   # pictures are base64, so this is style and script
    assert all(image["alt"].strip() for image in page.of("img"))
    assert page.of("html") == [{"lang": "en"}] and {"charset": "utf-8"} in page.of("meta")
    assert "prefers-color-scheme: dark" in toy_page and "@media print" in toy_page


def test_both_themes_of_every_picture_are_there(toy_page):
    images = Page(toy_page).of("img")
    light, dark = ([image for image in images if image.get("class") == theme] for theme in ("light", "dark"))
    assert len(light) == len(dark) == len(FAMILIES) + 1 + 2   # families, curves, distributions
    assert [image["alt"] for image in light] == [image["alt"] for image in dark]
    assert all(one["src"] != other["src"] for one, other in zip(light, dark))


def test_the_summary_says_what_was_measured_and_against_what(toy_page, shared_results):
    text = Page(toy_page).text
    run = readers.find_run("1a2b3c4d", shared_results)
    overall = aggregate(run.evaluation, NSDR_MEAN).values["all"]
    assert "hdemucs (2.3 million parameters) trained for 4 of 8 planned epochs on 24 songs." in text
    assert f"On synthetic (seed 7) test (6 tracks) its nSDR is {overall:.2f} dB (mean over tracks, then" in text
    assert "silence 0.00 dB" in text and "no number here can be compared with them" in text
    assert "GPU-hours 2.00" in text   # 1800 s on four processes


def test_tables_hold_one_family_each_and_every_track(toy_page, shared_results):
    page = Page(toy_page)
    captions = [attributes["aria-label"] for attributes in page.of("div") if "aria-label" in attributes]
    assert [caption for caption in captions if caption.startswith(("nSDR", "SDR"))] == [
        FAMILIES[key].label for key in ("nsdr_mean", "sdr_median_of_medians", "sdr_mean_of_medians", "nsdr_median")]
    assert len(page.of("table")) == len(FAMILIES) + 2   # and the tracks, and the sessions
    sortable = [attributes for attributes in page.of("table") if attributes.get("class") == "sortable"]
    assert len(sortable) == 1 and len(page.of("button")) == 10   # track, 2 metrics x 4 sources, length
    run = readers.find_run("1a2b3c4d", shared_results)
    for track in run.evaluation.tracks:
        assert track.name in page.text   # "&" and "<" came through escaped
        assert {"data-value": f"{track.scores['bass']['nsdr']:.6f}"} in page.of("td")


def test_an_undefined_score_is_a_dash_that_sorts_last(results):
    run = readers.find_run("1a2b3c4d", results)
    run.evaluation.tracks[1].scores["vocals"]["nsdr"] = None
    page = Page(songs(run))
    cells = ["data-value" in cell for cell in page.of("td")]
    assert len(cells) == 6 * 9 and [place for place, value in enumerate(cells) if not value] == [9 + 3]
    assert "\u2013" in page.text


@pytest.mark.parametrize("kept, has, lacks", [
    ("history.json", ["Training", "was not evaluated yet"], ["Scores", "How it was made"]),
    ("evaluation.json", ["Scores", "Track by track", "Evaluation"], ["Training"]),
    ("run_card.json", ["How it was made"], ["Scores", "Training"])])
def test_a_part_of_the_records_makes_a_part_of_the_page(results, kept, has, lacks):
    for path in (results / "runs" / "1a2b3c4d").iterdir():
        if path.name != kept:
            path.unlink()
    text = page_of("1a2b3c4d", results).text
    assert all(f" {words}" in f" {text}" for words in has)
    headings = text.replace("Training curves", "")
    assert not any(f" {words} " in headings for words in lacks)


def test_players_stand_beside_their_references(results):
    make_examples(results / "examples" / "1a2b3c4d" / "Song & one")
    run = readers.find_run("1a2b3c4d", results)
    page = Page(listening(run, results / "examples" / run.name, seconds=3., tracks=3))
    players = page.of("audio")
    assert len(players) == 9 and all(player["src"].startswith("data:audio/mpeg;base64,") for player in players)
    alts = [image["alt"] for image in page.of("img") if image["src"].startswith("data:image/png")]
    assert alts[:3] == ["Spectrogram of the mixture", "Spectrogram of drums, separated",
                        "Spectrogram of drums, reference"] and len(alts) == 9
    assert "Song & one" in page.text


def test_the_excerpt_is_where_all_sources_play(tmp_path):
    make_examples(tmp_path / "song", reference=False)
    cut = excerpt(tmp_path / "song", ["drums", "bass", "other", "vocals"], 3.)
    assert 4 <= cut.start <= 5 and cut.seconds == 3.   # from second 4 on; the last start that fits is 5
    assert [clip.name for clip in cut.clips] == ["mixture", "drums", "bass", "other", "vocals"]
    assert cut.references == {}
    assert excerpt(tmp_path / "song", [], 60.).seconds == 8.   # a short song is played whole


def test_example_folders_are_found_at_any_depth(tmp_path):
    make_examples(tmp_path / "b" / "song")
    make_examples(tmp_path / "a", reference=False)
    assert track_folders(tmp_path) == [tmp_path / "a", tmp_path / "b" / "song"]


def test_a_broken_example_is_named(tmp_path):
    make_examples(tmp_path / "song", reference=False)
    (tmp_path / "song" / "bass.wav").write_bytes(b"RIFF not audio")
    with pytest.raises(DemucsError, match="bass.wav"):
        excerpt(tmp_path / "song", [], 3.)


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory):
    """A folder of modules that refuse to be imported, to stand before the real ones."""
    folder = tmp_path_factory.mktemp("refused")
    for name in ("torch", "torchaudio", "museval", "pandas", "scipy", "dora", "hydra"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return folder


def typed(script, *arguments, folder, without_torch):
    """Run a script as it is typed, from `folder`, in a Python that ends where torch is imported."""
    return subprocess.run([sys.executable, str(REPOSITORY / "graphing_scripts" / script), *map(str, arguments)],
                          cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(without_torch)})


def test_the_refusal_works(without_torch):
    done = subprocess.run([sys.executable, "-c", "import torch"], env={**os.environ, "PYTHONPATH": str(without_torch)},
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "torch was imported\n"


@pytest.mark.parametrize("script, makes", [
    ("plot_results.py", ["training_curves.png", "training_curves.svg"]),
    ("plot_scores.py", [f"{name}.{suffix}" for name in (*(f"scores_{key}" for key in FAMILIES), "tracks_nsdr",
                                                        "tracks_sdr") for suffix in ("png", "svg")]),
    ("report.py", ["report.html"]), ("score_table.py", [])])
def test_scripts_run_without_torch_from_anywhere(results, tmp_path_factory, without_torch, script, makes):
    make_examples(results / "examples" / "1a2b3c4d" / "song")
    done = typed(script, "--results", results, folder=tmp_path_factory.mktemp("elsewhere"),
                 without_torch=without_torch)
    assert done.returncode == 0, done.stderr
    figures = results / "figures" / "1a2b3c4d"   # the newest
    assert sorted(path.name for path in figures.glob("*")) == sorted(makes)
    assert all(str(figures / name) in done.stdout for name in makes)
    if script == "report.py":
        assert done.stdout.startswith("newest run: 1a2b3c4d\n")
        assert (results / "report.html").read_bytes() == (figures / "report.html").read_bytes()


@pytest.mark.parametrize("script", ["plot_results.py", "plot_scores.py", "report.py", "score_table.py"])
def test_help_shows_an_example_and_errors_are_one_line(results, without_torch, script):
    shown = typed(script, "--help", folder=results, without_torch=without_torch)
    assert shown.returncode == 0 and f"python graphing_scripts/{script} 162f67a7" in shown.stdout
    (results / "runs" / "1a2b3c4d" / "history.json").write_text("{")
    failed = typed(script, "1a2b3c4d", "--results", results, folder=results, without_torch=without_torch)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
    assert "history.json" in failed.stderr
