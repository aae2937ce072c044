"""Records: those of older versions can be read, and frames are stored as text without loss."""

import json
import math

import numpy as np
import pytest

from demucs import schema
from demucs.schema import Evaluation, SchemaError, TrackScores, pack_frames, unpack_frames

VALUES = [12.3456789, math.nan, math.inf, -math.inf, 0., -3., 100., 1e-9]
RECORD = Evaluation(
    name="cafe0001", model="hdemucs", dataset="toy test", sources=["bass"], settings={"shifts": 1}, model_hash="0" * 16,
    commit="", versions={}, created="2026-01-01T00:00:00+00:00", device="cpu", expected=["A", "B"],
    tracks=[TrackScores(name="A", duration=2.5, seconds=1., scores={"bass": {"SDR": 2.}}, ill_conditioned=False,
                        frames={"bass": {"SDR": pack_frames([1., 3.])}}, condition=1e-5, seconds_scoring=0.1)])


def test_frames_in_text():
    text = pack_frames(np.array(VALUES))
    assert text == "12.34568 - inf -inf 0 -3 100 0"
    np.testing.assert_allclose(unpack_frames(text), VALUES, atol=5e-6)      # dB: half of the fifth decimal
    assert pack_frames([]) == "" and unpack_frames("") == []


@pytest.mark.parametrize("text", ["1 two", "1,2", None, 3])
def test_text_that_is_no_frames(text):
    with pytest.raises(SchemaError, match="not the scores of frames"):
        unpack_frames(text)


def test_an_evaluation_comes_back(tmp_path):
    schema.save(RECORD, tmp_path / "evaluation.json")
    assert schema.load(Evaluation, tmp_path / "evaluation.json") == RECORD


def test_version_1_is_read(repository):
    """The committed record of the demo was written before frames were kept."""
    old = json.loads((repository / "demucs_results" / "runs" / "4c3a4313" / "evaluation.json").read_text())
    if old["version"] != 1:
        old = {key: value for key, value in old.items() if key not in ("device", "expected")} | {"version": 1}
        old["tracks"] = [{key: track[key] for key in ("name", "duration", "seconds", "scores")}
                         for track in old["tracks"]]
    record = schema.from_plain(Evaluation, old)
    assert record.version == 3 and record.tracks[0].frames == {} and record.tracks[0].ill_conditioned is None
    assert record.tracks[0].scores == old["tracks"][0]["scores"] and record.expected == []


def test_version_2_is_read():
    """Of separated files it had fingerprints that the estimates were part of, which say nothing about the songs."""
    for model, expected in (("hdemucs", "a"), ("separated files", "")):
        old = {**schema.to_plain(RECORD), "model": model, "version": 2}
        old["tracks"] = [{key: value for key, value in {**track, "fingerprint": "a"}.items() if key != "estimates"}
                         for track in old["tracks"]]
        track, = schema.from_plain(Evaluation, old).tracks
        assert (track.fingerprint, track.estimates) == (expected, "")


def test_versions_that_are_not_known():
    for version in (0, 4, None, "2"):
        with pytest.raises(SchemaError, match=r"reads version 1 and 2 and 3"):
            schema.from_plain(Evaluation, {**schema.to_plain(RECORD), "version": version})
    with pytest.raises(SchemaError, match="lacks.*'created'"):
        schema.from_plain(Evaluation, {"version": 1})


def test_a_run_card_of_version_1_is_read(repository):
    """The committed record of the demo, without what came to be recorded later."""
    path = repository / "demucs_results" / "runs" / "4c3a4313" / "run_card.json"
    old = json.loads(path.read_text())
    if old["version"] != 1:
        session = {"restarts", "gpus", "nodes", "command", "commit", "diff"}
        old = {key: value for key, value in old.items() if key not in ("delta", "packages")} | {"version": 1}
        old["sessions"] = [{key: value for key, value in item.items() if key not in session}
                           for item in old["sessions"]]
    card = schema.from_plain(schema.RunCard, old)
    assert card.version == schema.RUN_CARD_VERSION and card.delta is None and card.packages == {}
    assert card.sessions and all(item.gpus == {} and item.diff == "" for item in card.sessions)


def altered(where, value, record=None):
    """The plain record with another value at a path such as ("tracks", 0, "name")."""
    plain = json.loads(json.dumps(record if record is not None else schema.to_plain(RECORD)))
    holder = plain
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = value
    return plain


@pytest.mark.parametrize("where,value,message", [
    (("tracks",), {}, "has {} as tracks, which must be a list"), (("tracks", 0), 3, r"has 3 as tracks\[0\], which must be an"),
    (("tracks", 0, "name"), ["A"], r"has \['A'\] as tracks\[0\].name, which must be text"),
    (("tracks", 0, "duration"), None, "has None as .*duration, which must be a number"),
    (("tracks", 0, "duration"), 10 ** 400, "which must be a number"), (("tracks", 0, "ill_conditioned"), 1, "true or false"),
    (("tracks", 0, "scores", "bass"), [1.], r"scores\['bass'\], which must be an object"),
    (("tracks", 0, "scores", "bass", "SDR"), "2", r"scores\['bass'\]\['SDR'\], which must be a number"),
    (("tracks", 0, "frames", "bass", "SDR"), 2., "which must be text"), (("tracks", 0, "seconds"), True, "a number"),
    (("tracks", 0, "\x1b[31m"), 1, r"in tracks\[0\] has unknown fields \['\\x1b\[31m'\] and lacks \[\]"),
    (("sources",), "bass", "has 'bass' as sources, which must be a list"), (("sources", 0), None, r"sources\[0\].*text"),
    (("settings",), [], "settings, which must be an object"), (("versions",), {"torch": 2}, r"versions\['torch'\].*text"),
    (("model_hash",), "x" * 5000, None), (("dataset",), 5, "dataset, which must be text"),
    (("version",), "9" * 5000, "version '9{50,60}[.]{3}, this")])
def test_a_field_of_another_kind_is_named(where, value, message, tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(altered(where, value)))
    if message is None:
        schema.load(Evaluation, path)
        return
    with pytest.raises(SchemaError, match=message) as caught:
        schema.load(Evaluation, path)
    assert str(caught.value).startswith(f"{path}: Evaluation has") or str(caught.value).startswith(f"{path}: Evaluation in")
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()


COMBINATION = schema.Combination(weights={"w": {"all": {"a": 0.25, "b": 0.75}}}, gates={"g": 0.5})


def test_numbers_that_are_not_finite_are_read():
    """`to_plain` writes None for them where a dictionary of numbers is."""
    plain = altered(("tracks", 0, "scores", "bass", "SDR"), None)
    assert schema.from_plain(Evaluation, plain).tracks[0].scores["bass"]["SDR"] is None
    entry = schema.EpochRecord(train={"loss": math.nan}, candidates={"main": {"loss": math.nan}}, chosen="main",
                               best=math.nan).to_history()
    again = schema.EpochRecord.from_history(schema.finite(entry))
    assert again.train == {"loss": None} and math.isnan(again.best)


@pytest.mark.parametrize("where,value,message", [
    (("train",), None, "train, which must be an object"), (("train", "loss"), "low", r"train\['loss'\], which must be a number"),
    (("valid", "main"), {"loss": [1]}, r"valid\['main'\]\['loss'\]"), (("valid", "bname"), "ema", "valid.bname is 'ema'"),
    (("valid", "bname"), ["main"], "valid.bname|unhashable"), (("valid", "best"), "1", "valid.best, which must be a number"),
    (("valid", "best"), 10 ** 400, "valid.best, which must be a number"), (("valid", "penalty"), {}, "valid.penalty"),
    (("combination",), [1], "combination, which must be an object"), (("combination", "gates"), {"a": "x"}, r"gates\['a'\]"),
    (("combination", "weights", "w", "all"), 7, r"weights\['w'\]\['all'\], which must be an object"),
    (("combination",), {"weights": {}}, r"lacks \['gates'\]"),
    (("test",), [1], "test, which must be an object"), (("seconds",), {"train": "x"}, r"seconds\['train'\]"),
    (("valid",), 7, "not an epoch of a Demucs history")])
def test_an_epoch_of_another_kind_is_named(where, value, message, tmp_path):
    entry = schema.EpochRecord(train={"loss": 1.}, candidates={"main": {"loss": 1.}}, chosen="main", best=1.,
                               seconds={"train": 1.}, combination=COMBINATION).to_history()
    assert schema.EpochRecord.from_history(entry).combination == COMBINATION
    path = tmp_path / "history.json"
    path.write_text(json.dumps([entry, altered(where, value, entry)]))
    with pytest.raises(SchemaError, match=message) as caught:
        schema.load_history(path)
    assert str(caught.value).startswith(f"{path}, epoch 2: ") and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe{}", b"{", b""])
def test_what_is_no_json(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(SchemaError, match="x.json: not a JSON file"):
        schema.read_json(tmp_path / "x.json")
    with pytest.raises(SchemaError, match="cannot be read"):
        schema.read_json(tmp_path)
