"""The report in a browser: no errors, pictures and players that load, sorting, dark and light, phone and paper."""

import dataclasses
import shutil

import numpy as np
import pytest
import report_image
import soundfile
from PIL import Image
from conftest import REPOSITORY, require_program
from pages.browser import Browser
from records.chains import find_chains
from report import comparison, report

from demucs import schema
from demucs.schema import Evaluation

pytestmark = pytest.mark.browser

SOURCES = ["drums", "bass", "other", "vocals"]
SECONDS = 2.
PAGES = ["run", "comparison"]


@pytest.fixture(scope="module")
def pages(shared_results, tmp_path_factory):
    """A report on a run and one on two runs, with sounds, as files."""
    folder = tmp_path_factory.mktemp("pages")
    for number, signature in enumerate(["1a2b3c4d", "759c9a58"]):
        song = folder / "examples" / signature / "Song & 0"
        for source in [*SOURCES, *(f"reference/{name}" for name in SOURCES), "mixture"]:
            (song / source).parent.mkdir(parents=True, exist_ok=True)
            sound = 0.1 * np.random.default_rng(number).normal(size=(4 * 8000, 2))
            soundfile.write(song / f"{source}.wav", sound, 8000)
    toy, real = find_chains(["1a2b3c4d", "759c9a58"], shared_results)
    record = schema.load(Evaluation, shared_results / "runs" / "1a2b3c4d" / "evaluation.json")
    record.tracks[3].scores["bass"]["nsdr"] = None
    toy.last.evaluation = record
    real.last.evaluation = dataclasses.replace(real.last.evaluation, tracks=real.last.evaluation.tracks[:8])
    examples = {chain.name: folder / "examples" / chain.name for chain in (toy, real)}
    texts = {"run": report(toy, examples[toy.name], seconds=SECONDS), "comparison": comparison(
        [toy, real], examples, seconds=SECONDS)}
    made = {}
    for name, text in texts.items():
        made[name] = folder / f"{name}.html"
        made[name].write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def browser():
    """Chromium. Without it the test is skipped, except in CI where the installation script installs it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if "chromium" in (REPOSITORY / "slurm_scripts" / "install_programs.sh").read_text():
            require_program("chromium")
        pytest.skip("chromium is not installed")
    with Browser(program) as found:
        yield found


@pytest.fixture(params=PAGES)
def shown(request, browser, pages):
    """The browser with one of the pages, on a wide light screen."""
    browser.messages.clear()
    browser.look()
    browser.open(pages[request.param])
    return browser


def test_nothing_is_wrong_and_everything_is_there(shown):
    """Pictures of both themes load although one of them is hidden; players know how long they are."""
    images = shown.ask("[...document.images].map((image) => [image.complete && image.naturalWidth > 0, image.alt])")
    assert len(images) > 15 and all(loaded and alt.strip() for loaded, alt in images)
    lengths = shown.ask("""Promise.all([...document.querySelectorAll("audio")].map((audio) => new Promise((done) => {
        const told = () => done(audio.error ? audio.error.message : audio.duration);
        if (audio.readyState > 0) told();
        else { audio.addEventListener("loadedmetadata", told); audio.addEventListener("error", told); }
    })))""")
    assert len(lengths) in (9, 13) and lengths == pytest.approx([SECONDS] * len(lengths), abs=0.08)   # a frame of MP3
    labels = shown.ask("[...document.querySelectorAll('audio')].map((audio) => audio.getAttribute('aria-label'))")
    assert len(set(labels)) == len(labels) and labels[0] == "the mixture"
    assert shown.messages == []


def test_an_error_in_the_page_would_be_seen(browser, tmp_path):
    """What the other tests rest on."""
    (tmp_path / "bad.html").write_text("<!DOCTYPE html><script>console.error('told'); missing();</script>")
    browser.messages.clear()
    browser.open(tmp_path / "bad.html")
    browser.ask("1")
    assert browser.messages[0] == "told" and "missing is not defined" in browser.messages[1]


def test_one_player_plays_and_the_next_goes_on_where_it_was(shown):
    times = shown.ask("""(async () => {
        const [one, two] = document.querySelectorAll(".clips:not(.one) audio");
        const wait = () => new Promise((done) => setTimeout(done, 30));
        one.currentTime = 0.5;
        await one.play();
        for (let n = 0; n < 200 && one.currentTime < 0.6; n++) await wait();
        await two.play();
        await wait();
        const result = [one.currentTime, one.paused, two.currentTime, two.paused];
        two.pause();
        return result;
    })()""")
    assert times[0] >= 0.6 and times[1] and not times[3] and times[2] >= times[0] - 0.06


def test_a_click_on_a_picture_plays_from_there(shown):
    found = shown.ask("""(async () => {
        const figure = document.querySelectorAll(".clips figure")[1];
        const [picture, audio] = [figure.querySelector(".spectrum"), figure.querySelector("audio")];
        const box = picture.getBoundingClientRect();
        const at = { bubbles: true, clientX: box.left + box.width / 2, clientY: box.top + 5 };
        picture.dispatchEvent(new MouseEvent("click", at));
        const line = figure.querySelector("i");
        const moved = () => !audio.paused && parseFloat(line.style.left) > 0;
        for (let n = 0; n < 200 && !moved(); n++) await new Promise((done) => setTimeout(done, 30));
        const result = [audio.currentTime, audio.duration, getComputedStyle(line).display, parseFloat(line.style.left)];
        audio.pause();
        return result;
    })()""")
    time, duration, display, left = found
    assert duration / 2 - 0.08 <= time <= duration and display == "block" and left >= 46.


def test_tables_sort_by_what_is_shown_and_what_is_undefined_stays_last(shown):
    columns = shown.ask("""[...document.querySelectorAll("table.sortable")].map((table) => {
        const button = table.querySelectorAll("th button")[2];
        const column = () => [...table.tBodies[0].rows].map((row) => row.cells[2].textContent);
        button.click();
        const [down, first] = [column(), button.parentElement.getAttribute("aria-sort")];
        button.click();
        return [down, first, column(), button.parentElement.getAttribute("aria-sort")];
    })""")
    assert len(columns) == 2
    for down, first, up, second in columns:
        assert (first, second) == ("descending", "ascending") and len(down) >= 6
        numbers = [float(text.replace("\u2212", "-")) for text in down if text != "\u2013"]
        assert numbers == sorted(numbers, reverse=True)
        assert down[len(numbers):] == up[len(numbers):] == ["\u2013"] * (len(down) - len(numbers))
        assert [float(text.replace("\u2212", "-")) for text in up[:len(numbers)]] == numbers[::-1]


def visible(shown, selector):
    return shown.ask(f"[...document.querySelectorAll('{selector}')].map((item) => item.checkVisibility())")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_readers_colours_and_the_pictures_that_fit_them(shown, dark):
    shown.look(dark=dark)
    background = shown.ask("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    shown.ask("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert set(visible(shown, "img.dark")) == {dark} and set(visible(shown, "img.light")) == {not dark}


def test_a_phone_scrolls_down_only(shown):
    shown.look(width=390, height=844, scale=2.)
    assert shown.ask("document.scrollingElement.scrollWidth") == 390
    widths = shown.ask("[...document.querySelectorAll('.clips figure, p, nav, audio')].map((item) =>"
                       " item.getBoundingClientRect().right)")
    assert max(widths) <= 390


def test_paper_has_no_players_but_what_was_folded(shown, tmp_path):
    """And light pictures, whatever the reader's screen is like."""
    shown.look(dark=True, medium="print")
    shown.ask("dispatchEvent(new Event('beforeprint'))")
    assert not any(visible(shown, "audio, nav, img.dark"))
    assert all(visible(shown, "img.light")) or not all(visible(shown, "details"))
    assert all(shown.ask("[...document.querySelectorAll('details.paper')].map((item) => item.open)"))
    assert not any(visible(shown, "details:not([open]) *"))
    shown.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert shown.messages == []


def test_links_lead_to_the_sections(shown):
    found = shown.ask("[...document.querySelectorAll('nav a')].map((link) =>"
                      " document.querySelector(link.getAttribute('href')).querySelector('h2').textContent"
                      " === link.textContent)")
    assert len(found) >= 5 and all(found)


def test_the_picture_in_the_documents_is_of_the_record_that_lies_there():
    """Of its numbers, that is; `python graphing_scripts/report_image.py 4c3a4313` makes it anew."""
    made = Image.open(report_image.PICTURE)
    name, _, records = made.text[report_image.LABEL].partition(" ")
    assert records == report_image.fingerprint(REPOSITORY / "demucs_results" / "runs" / name)
    assert made.size == (report_image.WIDTH, report_image.HEIGHT)


def test_a_picture_of_a_report_is_made(browser, shared_results, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["report_image.py", "759c9a58", "--results", str(shared_results), "--out",
                                     str(tmp_path / "report.png")])
    report_image.main()
    made = Image.open(tmp_path / "report.png")
    assert made.size == (report_image.WIDTH, report_image.HEIGHT) and len(made.convert("RGB").getcolors(256)) > 20
    assert made.text[report_image.LABEL].startswith("759c9a58 ")
