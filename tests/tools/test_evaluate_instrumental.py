"""`tools.evaluate_instrumental`: results of files, folders and models, their comparison, and what is written.

A model with one output is trained, exported, evaluated and separates a song, and its numbers are those of
tools.test_pretrained.
"""

import dataclasses
import json
import logging
import re
import sys

import numpy as np
import pytest
import soundfile
import torch
from metrics.instrumental_files import EARLIER, FLAT, SINGLE, plain, scores, write
from training.small import ALONE, composed, settings

from demucs import building, schema, separate
from demucs.models import zoo
from demucs.packages import export, package
from demucs.schema import SOURCES, Evaluation, InstrumentalReport, unpack_frames
from tools import evaluate_instrumental as tool
from tools import test_pretrained

pytestmark = pytest.mark.runs

SIGNATURE = "0123abcd"
QUICK = ("variant=instrumental", "augment.repitch.proba=0", "epochs=1", "test.every=1", "max_batches=1")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder for demucs_results, with results in the formats of the notes in `results`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    write(tmp_path / "results" / "academic_evaluation_one.json", plain(scores(1, 10.)))
    write(tmp_path / "results" / "academic_evaluation_two.json.gz", plain(scores(1, 12.)))
    write(tmp_path / "results" / "all_tracks_evaluation_three.json", plain(scores(1, 11.), EARLIER, nsdr=False))
    return tmp_path


def test_files_and_folders(workplace, capsys):
    assert tool.main(["results", "--json", "report.json", "--export", "written"]) == 0
    shown = capsys.readouterr().out
    report = schema.load(InstrumentalReport, workplace / "report.json")
    assert [each.name for each in report.results] == ["one", "two", "three"]
    for each in report.results:
        row = re.search(rf"^{each.name} +(.*)$", shown, re.M)[1].split()
        assert row[:5] == [f"{value:.3f}" for value in (each.mean, each.median, each.std, each.mean_of_medians,
                                                        each.median_of_medians)]
    assert re.search(r"^three .* -  +- ", shown, re.M)                        # no nSDR
    pairs = [(item.first, item.second, item.family) for item in report.differences]
    assert pairs == [("two", "one", "nsdr_mean"), ("two", "one", "sdr_mean_of_medians"),
                     ("three", "one", "sdr_mean_of_medians"), ("three", "two", "sdr_mean_of_medians")]
    assert report.differences[0].value == pytest.approx(2) and report.differences[0].won == 6
    assert "two minus one, nSDR, mean: +2.000 dB" in shown and "better on 6 of 6 songs" in shown
    assert all(sentence in shown for sentence in report.sentences)
    # What was written gives the same numbers.
    assert tool.main(["written", "--json", "again.json"]) == 0
    again = {each.name: each for each in schema.load(InstrumentalReport, workplace / "again.json").results}
    for each in report.results:
        assert again[each.name].mean == pytest.approx(each.mean, abs=1e-5)
        assert again[each.name].nsdr_mean == each.nsdr_mean


def test_what_the_numbers_show_and_what_not(workplace, capsys):
    """A result that is 20 dB better in the easy frames and 2 dB worse in all others, by its mean as good, is called
    worse; the sentence says where the mean is from."""
    draw = np.random.default_rng(5)
    first = {f"Song {number}": {"NSDR": [5 + float(draw.normal()) / 10], "SDR": [4., 5., 6., 7., 8., 9., 9., 8., 7., 30.]}
             for number in range(8)}
    second = {name: {"NSDR": [entry["NSDR"][0] - 2], "SDR": [value + (20 if value > 25 else -2) for value in entry["SDR"]]}
              for name, entry in first.items()}
    write(workplace / "first.json", plain(first))
    write(workplace / "second.json", plain(second, FLAT))
    assert tool.main(["first.json", "second.json"]) == 0
    shown = capsys.readouterr().out
    assert ("second is worse than first in nSDR (-2.00 dB, better on 0 of 8 songs). The means over pooled frames do not "
            "show this: they differ by +0.20 dB: +2.00 dB from the 10% of frames where first has 25 dB or more (50.00 "
            "against 30.00 dB), -1.80 dB from all others (5.00 against 7.00 dB).") in shown
    assert re.search(r"is [+]\d.\d\d dB for first \(10% of its frames have 25 dB or more\), [+]\d.\d\d dB for second", shown)
    assert "comparable with other means over pooled frames only" in shown
    assert re.search(r"^first +30.00 +7.00\nsecond +50.00 +5.00$", shown, re.M)
    # The same direction in both: the sentence says so.
    third = {name: {"NSDR": [entry["NSDR"][0] + 1], "SDR": [value + 1 for value in entry["SDR"]]}
             for name, entry in first.items()}
    write(workplace / "third.json", plain(third))
    assert tool.main(["first.json", "third.json"]) == 0
    assert "differ in the same direction, by +1.00 dB" in capsys.readouterr().out


def test_results_of_too_few_songs_are_not_compared(workplace, capsys):
    write(workplace / "single.json", plain(scores(1), SINGLE))
    assert tool.main(["single.json", "results/academic_evaluation_one.json"]) == 0
    shown = capsys.readouterr().out
    assert "Not compared: " in shown and "share 1 tracks by name; a comparison needs 5" in shown


@pytest.mark.parametrize("arguments, words", [
    (["nowhere.json"], "nowhere.json: no such file"), (["bad.json"], "bad.json: not a JSON file"),
    (["results", "results/academic_evaluation_one.json"], "are called the same, or one is given twice"),
    (["empty.json"], "empty.json: has no frame with a finite SDR|empty: has no frame with a finite SDR"),
    (["record.json"], "record.json: .*version"), (["no_such_model"], "no_such_model")])
def test_bad_input(arguments, words, workplace, capsys):
    (workplace / "bad.json").write_text("{")
    write(workplace / "record.json", {"version": 99, "tracks": []})
    write(workplace / "empty.json", plain({"a": {"SDR": [None, None]}}))
    assert tool.main([*arguments, "--repo", "results"]) == 1
    error = capsys.readouterr().err.strip()
    assert re.search(words, error) and len(error.splitlines()) == 1 and "Traceback" not in error


def test_a_model_with_one_output_from_training_to_comparison(songs, tmp_path, monkeypatch, capsys, caplog):
    """Trained with the variant, exported, evaluated, compared with a model of four sources, and used on a song."""
    monkeypatch.chdir(tmp_path)
    config = settings(songs, *QUICK)
    folder = tmp_path / "outputs" / "xps" / SIGNATURE
    folder.mkdir(parents=True)
    solver = building.build_solver(config, folder, ALONE, signature=SIGNATURE, argv=[*QUICK],
                                   test_set=building.test_set(config))
    assert solver.model.sources == ["instrumental"] and solver.train.augment.same
    solver.run()
    assert solver.history[0].test["nsdr_instrumental"] is not None
    export.export(SIGNATURE, tmp_path / "release_models")
    torch.manual_seed(0)
    four = zoo.build("hdemucs", sources=list(SOURCES), audio_channels=2, samplerate=8000, segment=2., channels=4, depth=2,
                     nfft=64)
    package.save(four, tmp_path / "release_models" / "four0000.th",
                 card=package.new_card(four, signature="four0000", epochs_done=1, epochs=1, valid={}, argv=[]))
    flags = ["--musdb", str(songs), "-d", "cpu", "--examples", "0"]
    assert tool.main([SIGNATURE, "four0000", *flags, "--json", "report.json"]) == 0
    report = schema.load(InstrumentalReport, tmp_path / "report.json")
    assert [(each.name, each.model, each.tracks, each.frames) for each in report.results] == [
        (SIGNATURE, "hdemucs", 1, 2), ("four0000", "hdemucs", 1, 2)]
    # The numbers are those of the records of tools.test_pretrained, which find the work done.
    caplog.set_level(logging.INFO)
    for name, each in zip((SIGNATURE, "four0000"), report.results):
        monkeypatch.setattr(sys, "argv", ["test_pretrained", "-n", name, *flags])
        assert test_pretrained.main() == 0
        record = schema.load(Evaluation, tmp_path / "demucs_results" / "runs" / name / "evaluation.json")
        track, = record.tracks
        assert each.nsdr_mean == track.scores["instrumental"]["nsdr"]
        frames = unpack_frames(track.frames["instrumental"]["SDR"])
        assert each.mean == pytest.approx(np.mean(frames)) and each.std == pytest.approx(np.std(frames))
    assert caplog.text.count("1 of 1 tracks were scored before") == 2
    # SDR of a single reference: the energy of the reference by that of the error, in each second.
    loaded = package.load(tmp_path / "release_models" / f"{SIGNATURE}.th")
    assert loaded.sources == ["instrumental"]
    # Without the model, its record is read.
    (tmp_path / "release_models" / f"{SIGNATURE}.th").rename(tmp_path / "away.th")
    capsys.readouterr()
    assert tool.main([SIGNATURE, *flags, "--repo", "release_models"]) == 0
    assert re.search(rf"^{SIGNATURE} +{report.results[0].mean:.3f} ", capsys.readouterr().out, re.M)
    (tmp_path / "away.th").rename(tmp_path / "release_models" / f"{SIGNATURE}.th")
    # Separation of a song, whose file is scored with the same result.
    mixture = songs / "test" / "Test song" / "mixture.wav"
    separate.main(["-n", SIGNATURE, "--repo", "release_models", "-o", "out", "-d", "cpu", "--float32", "--clip-mode", "none",
                   "--filename", "{track}/Test song/{stem}.{ext}", str(mixture)])
    made, = (tmp_path / "out").rglob("instrumental.wav")
    capsys.readouterr()
    assert tool.main([str(made.parents[1]), *flags, "--json", "files.json"]) == 0
    of_files, = schema.load(InstrumentalReport, tmp_path / "files.json").results
    reference = sum(soundfile.read(mixture.with_name(f"{name}.wav"))[0] for name in SOURCES[:3])
    error = reference - soundfile.read(made)[0]
    seconds = [10 * np.log10((reference[begin:begin + 8000] ** 2).sum() / (error[begin:begin + 8000] ** 2).sum())
               for begin in (0, 8000)]
    assert of_files.mean == pytest.approx(np.mean(seconds), abs=1e-4)
    assert of_files.nsdr_mean == pytest.approx(10 * np.log10((reference ** 2).sum() / (error ** 2).sum()), abs=1e-4)
    assert json.loads((tmp_path / "files.json").read_text())["version"] == 1


def test_the_variant_is_one_output_without_remixing():
    config = composed("variant=instrumental")
    assert config["dset"]["targets"] == {"instrumental": ["drums", "bass", "other"]}
    assert config["augment"]["same"] and config["augment"]["shift_same"] and config["augment"]["remix"]["proba"] == 0
    other = composed("variant=instrumental", "dset.targets={rhythm:[drums,bass]}")
    assert other["dset"]["targets"] == {"rhythm": ["drums", "bass"]}           # in place of the variant's


def test_every_field_of_the_report_is_documented(repository):
    page = (repository / "docs" / "instrumental.md").read_text()
    for field in dataclasses.fields(schema.InstrumentalScores):
        assert f"`{field.name}`" in page, field.name
