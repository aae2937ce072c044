"""The HTML page, and the scripts on the command line: without torch, from any folder, with errors in one line."""

import base64
import dataclasses
import html
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plot_scores
import pytest
import score_table
import soundfile
from PIL import Image
from conftest import REPOSITORY
from pages import comparison_sections, run_sections
from pages.cards import run_card
from pages.excerpts import LOWEST, HIGHEST, excerpt, height_of, shared_tracks, track_folders
from pages.run_sections import listening, songs, sums_of_sources
from records import readers
from records.chains import Chain, Part, find_chains
from report import comparison, report

from demucs import schema
from demucs.errors import DemucsError
from demucs.metrics.aggregates import EVERY_FAMILY, FAMILIES, NSDR_MEAN, aggregate
from demucs.schema import QualityStudy, RankCorrelation, RunCard, pack_frames

pytestmark = pytest.mark.runs

SAMPLES = Path(__file__).resolve().parent / "samples"

VOID = {"meta", "img", "source", "br", "link", "input"}


class Page(HTMLParser):
    """HTML parser that checks nesting, and collects the elements that the tests need."""

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


def alone(run):
    return Chain(parts=(Part(run=run, first=1),))


def page_of(name, results):
    return Page(report(alone(readers.find_run(name, results)), results / "examples" / name))


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are named but not drawn: drawing takes most of the time, and is tested where a page is looked at."""
    for module in (run_sections, comparison_sections):
        monkeypatch.setattr(module, "picture", lambda draw, alt: f'<img alt="{html.escape(alt)}" src="data:">')


@pytest.fixture(scope="module")
def toy_page(shared_results):
    """The text of the report on the toy run."""
    return report(alone(readers.find_run("1a2b3c4d", shared_results)), shared_results / "examples")


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
        for name in ("src", "srcset", "data", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        assert attributes.get("href", "#").startswith("#")
        assert tag not in ("link", "iframe", "object") and not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", toy_page)   # pictures are base64, so this is style and script
    assert all(image["alt"].strip() for image in page.of("img"))
    assert page.of("html") == [{"lang": "en"}] and {"charset": "utf-8"} in page.of("meta")
    assert "prefers-color-scheme: dark" in toy_page and "@media print" in toy_page


def test_both_themes_of_every_picture_are_there(toy_page):
    images = Page(toy_page).of("img")
    light, dark = ([image for image in images if image.get("class") == theme] for theme in ("light", "dark"))
    assert len(light) == len(dark) == len(FAMILIES) + 2 + 2   # families, curves and tests, distributions
    assert [image["alt"] for image in light] == [image["alt"] for image in dark]
    assert all(one["src"] != other["src"] for one, other in zip(light, dark))


def test_the_summary_says_what_was_measured_and_against_what(toy_page, shared_results):
    text = Page(toy_page).text
    run = readers.find_run("1a2b3c4d", shared_results)
    overall = aggregate(run.evaluation, NSDR_MEAN).values["all"]
    assert "hdemucs (2.3 million parameters) trained for 4 of 8 planned epochs, on 24 songs." in text
    assert f"On synthetic (seed 7) test (6 tracks): {overall:.2f} dB nSDR (whole track, mean over tracks) and" in text
    assert "SDR (median over 1 s frames, median over tracks), the mean over sources." in text
    assert "silence 0.00 dB" in text and "no number here can be compared with them" in text


def test_tables_hold_one_family_each_and_every_track(toy_page, shared_results):
    page = Page(toy_page)
    captions = [attributes["aria-label"] for attributes in page.of("div") if "aria-label" in attributes]
    assert [caption for caption in captions if "over tracks" in caption] == [
        FAMILIES[key].label for key in ("nsdr_mean", "sdr_median_of_medians", "sdr_mean_of_medians", "nsdr_median")]
    assert [caption for caption in captions if "click a column head" in caption] == [
        f"{metric}; click a column head to sort" for metric in ("nSDR (dB): whole track",
                                                            "SDR (dB): median over 1 s frames of the track")]
    sortable = [attributes for attributes in page.of("table") if attributes.get("class") == "sortable"]
    assert len(sortable) == 2 and len(page.of("button")) == 2 * 7   # of each metric track, 4 sources, mean, length
    run = readers.find_run("1a2b3c4d", shared_results)
    for track in run.evaluation.tracks:
        assert track.name in page.text   # "&" and "<" came through escaped
        assert {"data-value": f"{track.scores['bass']['nsdr']:.6f}"} in page.of("td")


def test_an_undefined_score_is_a_dash_that_sorts_last(results, undrawn):
    run = readers.find_run("1a2b3c4d", results)
    run.evaluation.tracks[1].scores["vocals"]["nsdr"] = None
    page = Page(songs(run))
    cells = ["data-value" in cell for cell in page.of("td")]
    assert len(cells) == 2 * 6 * 6    # two metrics, six tracks: four sources, their mean, the length
    assert [place for place, value in enumerate(cells) if not value] == [6 + 3, 6 + 4]    # and so has the mean none
    assert "\u2013" in page.text


def test_published_numbers_that_stand_apart_are_listed_with_reasons_where_some_do_not(results, undrawn):
    run = readers.find_run("759c9a58", results)
    assert "not shown above" not in Page(report(alone(run), results / "examples")).text    # no row is comparable
    run.trained_on = "MUSDB18-HQ train"
    text = Page(report(alone(run), results / "examples")).text
    assert "published results that are not shown above, and why" in text and "MUSDB18-HQ + 800 songs" in text
    assert re.search(r"Left out: \d+ of models that were trained on the test set\.", text)
    assert "Gap to the best comparable published number" in text and "one model is compared with a bag" in text
    assert "in the family of the second the first has" in text    # how much of a gap is aggregation


def test_the_run_card_says_how_to_repeat_it(results):
    card = schema.load(RunCard, results / "runs" / "1a2b3c4d" / "run_card.json")
    text = Page(run_card(card, card.argv, "x")).text
    assert "command dora run epochs=4 test.every=2" in text and "4 \u00d7 NVIDIA A100" in text
    assert "2.00 GPU-hours" in text and "process-hours" not in text   # 1800 s on four processes
    assert "2 settings setting value Changed settings epochs 4 test.every 2" in re.sub(
        r"(Changed settings) (setting value)", r"\2 \1", text)
    session = dataclasses.replace(card.sessions[0], gpus={"NVIDIA H100": 3, "NVIDIA A100": 1}, nodes=["n1", "n2"],
                                  command=["dora", "run", "-d", "dset.wav=a b"], commit="c0ffee-dirty",
                                  diff="uncommitted.diff", restarts=1)
    slow = dataclasses.replace(card.sessions[0], device="cpu: x86_64", world_size=2)
    card = dataclasses.replace(card, sessions=[slow, session], delta={"epochs": 4, "hdemucs.channels": 16},
                               packages={"numpy": "2.0"})
    text = Page(run_card(card, card.argv, "x")).text
    assert "command dora run -d 'dset.wav=a b'" in text and "hdemucs.channels 16" in text
    assert "2 \u00d7 cpu: x86_64; 3 \u00d7 NVIDIA H100, 1 \u00d7 NVIDIA A100 on n1, n2" in text
    assert "2.00 GPU-hours, 1.00 process-hours on CPUs" in text and "12, restart 1" in text
    assert "c0ffee-dirty with uncommitted.diff" in text and "numpy 2.0" in text


def test_a_chain_is_one_report_on_what_stands_at_its_end(results, undrawn):
    chain, = find_chains([str(SAMPLES / "runs")], results, experiments=SAMPLES / "experiments.json")
    page = Page(report(chain, results / "none"))
    assert "3 epochs of training, after 4 of 0a1b2c3d. Its test printed: 3.38 dB nSDR (whole track" in page.text
    assert "What this result was scored on is not recorded" in page.text
    assert "0a1b2c3d 1 to 4 3 ema_epoch_0 0.2400" in page.text and "4e5f6a7b 5 to 7 6 ema_batch_0 0.2210" in page.text
    assert "Track by track" not in page.text and "Listen" not in page.text


def test_a_comparison_says_better_only_where_the_interval_does(results, undrawn):
    """The same 50 songs, once 1 dB higher with little spread: better. Then the same songs shuffled: nothing to say."""
    run = readers.find_run("759c9a58", results)
    def changed(name, change):
        made = [dataclasses.replace(track, scores={source: {"nsdr": values["nsdr"] + change(number)}
                                                   for source, values in track.scores.items()})
                for number, track in enumerate(run.evaluation.tracks)]
        return alone(readers.Run(name=name, evaluation=dataclasses.replace(run.evaluation, name=name, tracks=made)))
    better = changed("aaaa1111", lambda number: 1 + 0.01 * number)
    chance = changed("bbbb2222", lambda number: 0.5 if number % 2 else -0.5)
    page = Page(comparison([alone(run), better, chance], {}))
    first, second = re.findall(r"(aaaa1111|bbbb2222) against 759c9a58, the mean over sources: (\S+) dB .*?: (.*?)\.",
                               page.text)
    assert first[0] == "aaaa1111" and first[2] == "better (the interval over songs excludes zero)"
    assert float(first[1]) == pytest.approx(1.245, abs=0.006)
    assert second[0] == "bbbb2222" and second[2] == "not distinguishable (the interval over songs includes zero)"
    captions = [attributes["aria-label"] for attributes in page.of("div") if "aria-label" in attributes]
    assert f"Paired differences in {NSDR_MEAN.label}" in captions
    alts = " ".join(image["alt"] for image in page.of("img"))
    for words in ("Forest plot of paired differences", "Scatter of nSDR (dB): whole track", "Bars of nSDR"):
        assert words in alts
    table, = (caption for caption in captions if "mean over sources" in caption)
    assert table.startswith("nSDR (dB): whole track, mean over sources") and "Song 49 & <friends>" in page.text


def test_a_comparison_of_two_tables_the_differences_of_each_song_and_of_settings(results, undrawn):
    toy, real = (readers.find_run(name, results) for name in ("1a2b3c4d", "759c9a58"))
    real.card = dataclasses.replace(toy.card, signature="759c9a58", argv=["epochs=4", "test.every=5", "seed=43"])
    text = Page(comparison([alone(toy), alone(real)], {})).text
    one, two = (run.evaluation.tracks[2].scores["drums"]["nsdr"] for run in (toy, real))
    assert f"{two - one:.2f}".replace("-", "\u2212") in text and "differences are 759c9a58 minus 1a2b3c4d" in text
    assert "Scored on different data: 759c9a58 on MUSDB18-HQ test, 1a2b3c4d on synthetic (seed 7) test" in text
    assert "test.every 2 5 seed \u2013 43" in text and "epochs 4 4" not in text


def test_runs_without_common_songs_are_not_judged(results, undrawn):
    toy, real = (readers.find_run(name, results) for name in ("1a2b3c4d", "759c9a58"))
    real.evaluation.tracks[:] = [dataclasses.replace(track, name=f"x{track.name}") for track in real.evaluation.tracks]
    page = Page(comparison([alone(toy), alone(real)], {}))
    assert "nothing can be said about which is better" in page.text
    assert "No paired comparison:" in page.text and "share 0 tracks by name" in page.text


def test_sums_of_sources_stand_in_a_table_of_their_own(results):
    run = readers.find_run("1a2b3c4d", results)
    assert sums_of_sources(run, [NSDR_MEAN]) == ""
    for number, track in enumerate(run.evaluation.tracks):
        track.scores["instrumental"] = {"nsdr": 10. + number}
    page = Page(sums_of_sources(run, [NSDR_MEAN]))
    assert "instrumental hdemucs 1a2b3c4d 12.50" in page.text and NSDR_MEAN.label in page.text
    assert len(run.sources) == 4    # no aggregate over the sources counts it


def test_measures_that_are_drawn_nowhere_have_tables(results, undrawn):
    run = readers.find_run("1a2b3c4d", results)
    for track in run.evaluation.tracks:
        for values in track.scores.values():
            values.update(SIR=9., si_sdr=3.)
    page = Page(report(alone(run), results / "none"))
    captions = [attributes["aria-label"] for attributes in page.of("div") if "aria-label" in attributes]
    found = [caption for caption in captions if caption.startswith(("SI-SDR", "SIR")) and "over tracks" in caption]
    assert found == [EVERY_FAMILY[key].label for key in ("si_sdr_mean", "si_sdr_median", "sir_median_of_medians",
                                                         "sir_mean_of_medians")]
    assert "Other measures" in page.text and "hdemucs 1a2b3c4d 9.00 9.00 9.00 9.00 9.00" in page.text


def test_a_study_of_quality_without_references_is_shown_and_says_on_what_songs(results, undrawn, tmp_path):
    found = [RankCorrelation("hnr", source, among, over, 0.5, 0.2, 0.8) for source in [*readers.SOURCES, "all"]
             for among in ("model", "all") for over in ("tracks", "separators")]
    study = QualityStudy(name="1a2b3c4d", dataset="synthetic (seed 1) test", tracks=["a", "b"],
                         sources=list(readers.SOURCES), measures={"hnr": "harmonics-to-noise ratio (dB)"},
                         expected={"hnr": 1}, columns=[], correlations=found, settings={}, model_hash="", commit="",
                         versions={}, created="")
    run = alone(readers.find_run("1a2b3c4d", results))
    assert "quality-without-a-reference" not in report(run, results / "none", study=tmp_path / "study.json")
    schema.save(study, tmp_path / "study.json")
    page = Page(report(run, results / "none", study=tmp_path / "study.json"))
    assert "synthetic (seed 1) test, 2 songs: results on synthesised songs need not hold for music" in page.text
    assert sum("correlation with nSDR of harmonics" in image["alt"] for image in page.of("img")) == 2


def test_scores_that_depend_on_rounding_are_marked(results, undrawn):
    run = readers.find_run("1a2b3c4d", results)
    for number, track in enumerate(run.evaluation.tracks):
        for values in track.scores.values():
            values["SIR"] = 5.
        run.evaluation.tracks[number] = dataclasses.replace(
            track, ill_conditioned=number == 1, frames={"bass": {"SIR": pack_frames([5., 6.])}})
    text = Page(songs(run)).text
    assert "Song 1 & <friends>\u2020 5.00" in text and text.count("\u2020") == 2
    assert "depends on rounding errors" in text


@pytest.mark.parametrize("kept, has, lacks", [
    ("history.json", ["Training", "was not evaluated yet"], ["scores", "how-it-was-made"]),
    ("evaluation.json", ["Scores", "Track by track", "Evaluation"], ["training"]),
    ("run_card.json", ["How it was made"], ["scores", "training"])])
def test_a_part_of_the_records_makes_a_part_of_the_page(results, undrawn, kept, has, lacks):
    for path in (results / "runs" / "1a2b3c4d").iterdir():
        if path.name != kept:
            path.unlink()
    page = page_of("1a2b3c4d", results)
    assert all(f" {words}" in f" {page.text}" for words in has)
    found = {attributes["id"] for attributes in page.of("section")}
    assert not found & set(lacks) and {attributes["href"][1:] for attributes in page.of("a")} == found


def test_players_stand_beside_their_references(results):
    make_examples(results / "examples" / "1a2b3c4d" / "Song & one")
    run = readers.find_run("1a2b3c4d", results)
    page = Page(listening({"separated": results / "examples" / run.name}, run.sources, seconds=3., tracks=3))
    players = page.of("audio")
    assert len(players) == 9 and all(player["src"].startswith("data:audio/mpeg;base64,") for player in players)
    alts = [image["alt"] for image in page.of("img") if image["src"].startswith("data:image/png")]
    assert alts[:3] == ["Spectrogram of the mixture", "Spectrogram of drums, separated",
                        "Spectrogram of drums, reference"] and len(alts) == 9
    assert "Song & one" in page.text


def test_the_excerpt_is_where_all_sources_play(tmp_path):
    make_examples(tmp_path / "song", reference=False)
    cut = excerpt({"separated": tmp_path / "song"}, ["drums", "bass", "other", "vocals"], 3.)
    assert 4 <= cut.start <= 5 and cut.seconds == 3.   # from second 4 on; the last start that fits is 5
    assert list(cut.clips) == ["drums", "bass", "other", "vocals"] and cut.mixture is not None
    assert all(list(clips) == ["separated"] for clips in cut.clips.values())
    assert excerpt({"separated": tmp_path / "song"}, [], 60.).seconds == 8.   # a short song is played whole


def test_a_tone_stands_in_the_picture_where_its_scale_says(tmp_path):
    """Of sources of 200, 400, 600, 800 Hz; rows of the picture are 3.8 % of a frequency apart, bins of the FFT 2 Hz."""
    make_examples(tmp_path / "song", reference=False)
    cut = excerpt({"separated": tmp_path / "song"}, ["drums", "bass", "other", "vocals"], 3.)
    for number, clips in enumerate(cut.clips.values(), start=1):
        data = base64.b64decode(clips["separated"].picture.partition(",")[2])
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=float)
        brightest = picture.mean(axis=1).argmax()
        frequency = LOWEST * (HIGHEST / LOWEST) ** (1 - brightest / (len(picture) - 1))
        assert frequency == pytest.approx(200 * number, rel=0.05)
        assert height_of(200. * number) == pytest.approx(1 - brightest / (len(picture) - 1), abs=0.01)


def test_two_runs_are_heard_side_by_side_at_the_same_moment(results, tmp_path):
    for name in ("a", "b"):
        make_examples(tmp_path / name / "song", reference=name == "b")
    make_examples(tmp_path / "a" / "only here")
    folders = {"1a2b3c4d": tmp_path / "a", "759c9a58": tmp_path / "b"}
    assert [list(item) for item in shared_tracks(folders)] == [list(folders)]
    page = Page(listening(folders, ["drums", "bass", "other", "vocals"], seconds=3., tracks=3))
    labels = [player["aria-label"] for player in page.of("audio")]
    assert labels[:4] == ["the mixture", "drums, separated by 1a2b3c4d", "drums, separated by 759c9a58",
                          "drums, reference"] and len(labels) == 13
    assert listening({"1a2b3c4d": tmp_path / "a", "x": tmp_path / "c"}, [], seconds=3., tracks=3) == ""


def test_example_folders_are_found_at_any_depth(tmp_path):
    make_examples(tmp_path / "b" / "song")
    make_examples(tmp_path / "a", reference=False)
    assert track_folders(tmp_path) == [tmp_path / "a", tmp_path / "b" / "song"]


def test_a_broken_example_is_named(tmp_path):
    make_examples(tmp_path / "song", reference=False)
    (tmp_path / "song" / "bass.wav").write_bytes(b"RIFF not audio")
    with pytest.raises(DemucsError, match="bass.wav"):
        excerpt({"separated": tmp_path / "song"}, [], 3.)


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory):
    """A folder of modules that refuse to be imported, to stand before the real ones."""
    folder = tmp_path_factory.mktemp("refused")
    for name in ("torch", "torchaudio", "museval", "pandas", "dora", "hydra"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return folder


def typed(script, *arguments, folder, without_torch):
    """Run a script as on the command line, from `folder`, in a Python that exits if torch is imported."""
    return subprocess.run([sys.executable, str(REPOSITORY / "graphing_scripts" / script), *map(str, arguments)],
                          cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(without_torch)})


def test_the_refusal_works(without_torch):
    done = subprocess.run([sys.executable, "-c", "import torch"], env={**os.environ, "PYTHONPATH": str(without_torch)},
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "torch was imported\n"


CURVES = [f"{name}.{suffix}" for name in ("tested_curves", "training_curves") for suffix in ("png", "svg")]


@pytest.mark.parametrize("script, makes", [
    ("plot_results.py", CURVES),
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


def test_a_run_of_one_source_has_no_mean_and_no_published_numbers_beside_it(results, undrawn):
    """Published numbers are about four sources."""
    run = readers.find_run("759c9a58", results)
    run.trained_on = "MUSDB18-HQ train"
    def only(source, name, change):
        tracks = [dataclasses.replace(track, scores={source: {"nsdr": track.scores["bass"]["nsdr"] + change}})
                  for track in run.evaluation.tracks]
        made = dataclasses.replace(run.evaluation, name=name, sources=[source], tracks=tracks)
        return alone(readers.Run(name=name, evaluation=made, trained_on="MUSDB18-HQ train"))
    one, two = only("instrumental", "one", 0.), only("instrumental", "two", 1.)
    text = Page(report(one, results / "none")).text
    assert "nSDR (whole track, mean over tracks), of instrumental." in text
    assert "mean over sources" not in text and "ublished" not in text
    text = Page(comparison([one, two], {})).text
    assert "two against one, instrumental: +1.00 dB" in text and "The mean over sources" not in text


def test_scores_on_a_further_test_set_stand_beside_the_first(scored_twice, undrawn):
    chain, = find_chains(["1a2b3c4d"], scored_twice)
    assert chain.last.notes == [] and len(chain.last.references) == 3
    first, further = chain.last.on_each_set
    assert (first.evaluation.dataset, further.evaluation.dataset) == ("synthetic (seed 7) test", "own test")
    assert list(further.references) == ["silence"] and further.name == "1a2b3c4d"
    text = Page(report(chain, scored_twice / "none")).text
    assert "On own test, 7 tracks: " in text and "On synthetic (seed 7) test (6 tracks): " in text
    assert "test set own test, 7 tracks" in text and "test set synthetic (seed 7) test, 6 tracks" in text
    compared = Page(comparison([chain, *find_chains(["759c9a58"], scored_twice)], {})).text
    assert "own test, 7 tracks hdemucs 1a2b3c4d" in compared and "MUSDB18-HQ test, 50 tracks hdemucs 759c9a58" in compared


def test_excerpts_of_a_further_test_set_have_its_name_and_their_origin(scored_twice, undrawn):
    """Under players of their own; the scores of the first test set stay what they are."""
    for folder in ("1a2b3c4d/synthetic song", "1a2b3c4d_on_own-test/real song"):
        make_examples(scored_twice / "examples" / folder)
    place = scored_twice / "examples" / "1a2b3c4d_on_own-test" / "real song"
    (place / "origin.txt").write_text("By <us>, CC BY 4.0.\n")
    chain, = find_chains(["1a2b3c4d"], scored_twice)
    assert [each.suffix for each in chain.last.on_each_set] == ["", "_on_own-test"]
    page = Page(report(chain, scored_twice / "examples" / "1a2b3c4d", seconds=3.))
    assert len(page.of("audio")) == 18
    own = page.text.index("synthetic song 3 s from second")
    real = page.text.index("real song Test set: own test, 7 tracks.")
    assert own < real and "By <us>, CC BY 4.0." in page.text[real:] and page.text.count("Test set: ") == 1
    before = aggregate(chain.last.evaluation, NSDR_MEAN)
    assert before.tracks == 6 and f"(6 tracks): {before.values['all']:.2f} dB nSDR" in page.text


def test_tables_and_figures_name_every_test_set(scored_twice, monkeypatch, capsys):
    for script, expected in ((score_table, "own test, 7 tracks"), (plot_scores, "tracks_nsdr_on_own-test.png")):
        monkeypatch.setattr(sys, "argv", [script.__name__, "1a2b3c4d", "--results", str(scored_twice), "--family",
                                          "nsdr_mean"])
        script.main()
        out = capsys.readouterr().out
        assert expected in out and "left out" not in out
