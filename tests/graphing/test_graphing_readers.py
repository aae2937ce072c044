"""Finding and reading runs: signatures, folders, files, museval's folders, and errors about them."""

import gzip
import json
import os
import re

import pytest
from conftest import REPOSITORY
from records import readers

from demucs import schema
from demucs.errors import DemucsError
from demucs.metrics.aggregates import SDR_MEDIAN_OF_MEDIANS, aggregate


def test_a_signature_brings_every_record_of_its_folder(results):
    run = readers.find_run("1a2b3c4d", results)
    assert run.card is not None and run.card.signature == run.name == "1a2b3c4d"
    assert len(run.history) == 4 and run.evaluation is not None and len(run.evaluation.tracks) == 6
    assert sorted(run.references) == ["average_filter", "mixture", "silence"] and run.notes == []
    assert run.sources == ["drums", "bass", "other", "vocals"]


def test_the_newest_run_is_the_one_whose_records_say_so(results):
    old = results / "runs" / "759c9a58"
    os.utime(old / "evaluation.json")   # a fresh clone has arbitrary file times
    os.utime(old)
    assert readers.find_run(None, results).name == "1a2b3c4d"


@pytest.mark.parametrize("file, attribute", [
    ("run_card.json", "card"), ("history.json", "history"), ("evaluation.json", "evaluation")])
def test_a_single_file_is_recognised_by_its_content(results, file, attribute):
    run = readers.find_run(str(results / "runs" / "1a2b3c4d" / file), results)
    assert getattr(run, attribute) and run.name == "1a2b3c4d"
    assert [bool(run.card), bool(run.history), bool(run.evaluation)].count(True) == 1


def test_a_reference_on_other_tracks_is_left_out_and_named(results):
    path = results / "runs" / "1a2b3c4d" / "evaluation_mixture.json"
    other = json.loads(path.read_text())
    other["tracks"] = other["tracks"][:3]
    path.write_text(json.dumps(other))
    run = readers.find_run("1a2b3c4d", results)
    assert sorted(run.references) == ["average_filter", "silence"]
    assert len(run.notes) == 1 and "evaluation_mixture.json" in run.notes[0] and "3 tracks" in run.notes[0]


def test_published_history_is_read_with_its_sources(reference):
    run = readers.find_run(str(reference / "runs" / "history_759c9a58_epochs_1_to_127.json"), reference)
    assert len(run.history) == 127 and sorted(run.sources) == ["bass", "drums", "other", "vocals"]
    assert run.name == "759c9a58"    # rather than the file's


def test_a_museval_folder_is_an_evaluation(reference):
    run = readers.find_run(str(reference / "museval" / "open-unmix"), reference)
    assert run.evaluation is not None and run.evaluation.dataset == "MUSDB18 test"
    values = aggregate(run.evaluation, SDR_MEDIAN_OF_MEDIANS).values
    published = {"drums": 5.73, "bass": 5.23, "other": 4.02, "vocals": 6.32, "all": 5.33}
    assert values == pytest.approx(published, abs=0.0051)   # printed with two decimals
    first = run.evaluation.tracks[0]
    assert not first.name.endswith(".json") and 30 < first.duration < 600
    assert set(first.scores["bass"]) == {"SDR", "ISR", "SIR", "SAR"}


def broken(results, name, text):
    path = results / "runs" / "1a2b3c4d" / name
    path.write_text(text)
    return "1a2b3c4d", name


def changed_version(results):
    path = results / "runs" / "1a2b3c4d" / "evaluation.json"
    return broken(results, "evaluation.json", json.dumps({**json.loads(path.read_text()), "version": 99}))


@pytest.mark.parametrize("prepare", [
    lambda results: ("1a2b3c44", "did you mean 1a2b3c4d"),
    lambda results: ("nothing/like/this.json", "759c9a58"),
    lambda results: broken(results, "evaluation.json", '{"tracks": [{'),
    lambda results: broken(results, "run_card.json", "[1, 2]"),
    lambda results: broken(results, "history.json", '[{"train": {}}]'),
    lambda results: broken(results, "evaluation_silence.json", "\x00"),
    lambda results: (changed_version(results)[0], "version 99"),
    lambda results: broken(results, "evaluation.json", "[" * 100_000),
    lambda results: broken(results, "evaluation.json", "9" * 5000),
    lambda results: broken(results, "history.json", '[{"train": {"loss": "low"}, "valid": {"best": 1}}]'),
    lambda results: broken(results, "evaluation_silence.json", '{"version": 2, "tracks": {}}'),
])
def test_what_cannot_be_read_is_named(results, prepare):
    argument, named = prepare(results)
    with pytest.raises(DemucsError, match=re.escape(named)):
        readers.find_run(argument, results)


def test_files_that_are_no_record_are_refused(tmp_path):
    for name, plain in (("a.json", {"x": 1}), ("b.json", []), ("c.json", 3)):
        schema.write_json(plain, tmp_path / name)
        with pytest.raises(DemucsError, match=name):
            readers.find_run(str(tmp_path / name), tmp_path)
    with pytest.raises(DemucsError, match="a.json"):
        readers.find_run(str(tmp_path), tmp_path)
    with pytest.raises(DemucsError, match="no run in"):
        readers.find_run(None, tmp_path)


@pytest.mark.parametrize("name,content", [
    ("a.json", b"[" * 100_000), ("a.json", b"9" * 5000), ("a.json.gz", gzip.compress(b"{}" * 1000, mtime=0)[:-20]),
    ("a.json.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 50), ("a.txt", b"{" + b"(" * 5000 + b"}"),
    ("a.txt", b"{'nsdr': 1" + b"0" * 400 + b"}"), ("a.json", b'{"targets": [{"name": ["a"], "frames": []}]}'),
    ("a.json", b'{"targets": [{"name": 1, "frames": []}]}'), ("a.json", b'{"targets": {"a": 1' + b"0" * 400 + b"}}"),
    ("a.json", b'{"evaluation_metadata": {"model_name": "x"}, "tracks": {"a": {"scores": {"NSDR": [1' + b"0" * 400 + b"]}}}}")])
def test_files_of_others_that_are_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DemucsError, match=name) as caught:
        readers.find_run(str(tmp_path / name), tmp_path)
    assert len(str(caught.value)) < 1000 and len(str(caught.value).splitlines()) == 1


def test_overrides_that_are_no_list(tmp_path):
    schema.write_json([], tmp_path / "history.json")
    schema.write_json(None, tmp_path / ".argv.json")
    with pytest.raises(DemucsError, match=".argv.json: overrides are a list"):
        readers.find_run(str(tmp_path), tmp_path)


def test_the_scripts_lie_where_the_documents_say():
    assert {path.name for path in (REPOSITORY / "graphing_scripts").glob("*.py")} >= {
        "plot_results.py", "plot_scores.py", "report.py", "score_table.py"}


def test_names_that_are_no_text_can_be_drawn():
    plain = {"dataset": "d\udce9ta test", "tracks": [{"name": "song \udcff", "scores": {"caf\udce9": 1.}}], "version": 3}
    assert readers._legible(plain) == {"dataset": "d\\udce9ta test", "version": 3,
                                       "tracks": [{"name": "song \\udcff", "scores": {"caf\\udce9": 1.}}]}
    assert readers._legible("Café – 東京") == "Café – 東京"
