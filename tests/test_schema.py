"""Records: what older code wrote is read, and frames survive as text."""

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
    assert card.version == 3 and card.delta is None and card.packages == {}
    assert card.sessions and all(item.gpus == {} and item.diff == "" for item in card.sessions)
