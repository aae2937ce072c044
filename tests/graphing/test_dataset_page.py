"""The page about a checked dataset: all findings, escaped, with pictures where there is something to draw."""

import dataclasses

import pytest
from dataset_page import dataset_page, main

from demucs import schema
from demucs.schema import DatasetCheck, FileCheck, Finding, TrackCheck, pack_frames

LEVELS = pack_frames([-20., -25., -100.])


def make_file(source, **changes):
    return dataclasses.replace(FileCheck(
        source=source, path=f"train/A & <B>/{source}.wav", form="WAV PCM_16", frames=1000, samplerate=44100, channels=2,
        level=-20., peak=-3., clipped=0, offset=0., nonfinite=0, silent=0., levels=LEVELS,
        spectrum=pack_frames([-40., -60., -120., -130.])), **changes)


def make_record(findings=(), tracks=None):
    if tracks is None:
        tracks = [TrackCheck("A & <B>", "train", "train/A & <B>", 4., [
            make_file("kazoo"), make_file("voice"), make_file("mixture", cutoff=16000., drop=40.)], residual=-10.,
            aligned=-90., lags={"kazoo": 5}, residuals=LEVELS),
            TrackCheck("C", "train", "train/C", 4., [make_file("kazoo", levels="", spectrum="")])]
    return DatasetCheck(
        path="/data/my set", kind="wav", sources=["kazoo", "voice"], splits={"train": len(tracks)}, seconds=8.,
        tracks=tracks, findings=list(findings),
        checks={key: [f"Title of {key}", "error", "one"] for key in ("misaligned", "lossy")},
        settings={"model": "x<y"}, commit="abc", versions={}, created="2026-01-01T00:00:00+00:00")


def make_finding(check, severity):
    return Finding(severity, check, "train", "A & <B>", "kazoo", "train/A & <B>/kazoo.wav", "is <late> & \"quoted\"",
                   "cut it", 5.)


def test_findings_and_pictures():
    text = dataset_page(make_record([make_finding("misaligned", "error"), make_finding("lossy", "note")]))
    assert "is &lt;late&gt; &amp;" in text and "<late>" not in text and "x&lt;y" in text
    assert "1 error, 1 note" in text and "Error: Title of misaligned (1)" in text
    for alt in ("Number of songs with each finding", "Residual of every song", "Levels over time", "Spectra of songs"):
        assert text.count(f'alt="{alt}') == 2       # in two themes
    assert 'src="http' not in text and 'href="http' not in text


@pytest.mark.parametrize("tracks", [[], [TrackCheck("C", "train", "train/C", 0., [])]])
def test_pages_with_little_to_say(tracks):
    text = dataset_page(make_record(tracks=tracks))
    assert "No faults found." in text and "<img" not in text


def test_the_script_writes_beside_the_record(tmp_path, monkeypatch, capsys):
    schema.save(make_record(), tmp_path / "dataset.json")
    monkeypatch.setattr("sys.argv", ["dataset_page.py", str(tmp_path / "dataset.json")])
    main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "dataset.html")
    assert "<h1>Dataset my set</h1>" in (tmp_path / "dataset.html").read_text()
