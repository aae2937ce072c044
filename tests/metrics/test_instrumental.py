"""Results on the instrumental: files of the notes on variants of HTDemucs, their aggregates, and differences."""

import dataclasses
import json
import math

import numpy as np
import pytest
from metrics.instrumental_files import EARLIER, FLAT, FORMATS, SINGLE, plain, scores, write

from demucs.errors import DatasetError
from demucs.metrics import instrumental, instrumental_json
from demucs.metrics.instrumental_json import INSTRUMENTAL, read_file
from demucs.schema import Evaluation, SchemaError, TrackScores, pack_frames, unpack_frames


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(kind, suffix, tmp_path):
    tracks = scores(1)
    path = write(tmp_path / f"academic_evaluation_x{suffix}", plain(tracks, kind))
    assert instrumental_json.is_instrumental(plain(tracks, kind))
    found = read_file(path)
    assert (found.name, found.model) == ("academic_evaluation_x", "unknown" if kind == FLAT else "mine")
    assert [track.name for track in found.tracks] == list(tracks)[:1 if kind == SINGLE else None]
    assert found.settings == ({} if kind == FLAT else {"shifts": 1, "overlap": 0.25})
    for track in found.tracks:
        frames = np.array(tracks[track.name]["SDR"])
        np.testing.assert_allclose(unpack_frames(track.frames[INSTRUMENTAL]["SDR"]), frames, atol=6e-6)
        assert track.scores[INSTRUMENTAL]["SDR"] == pytest.approx(float(np.nanmedian(frames)))
        assert track.scores[INSTRUMENTAL]["nsdr"] == tracks[track.name]["NSDR"][0]
        assert track.scores[INSTRUMENTAL]["SIR"] is None and track.duration == len(frames)


def test_aggregates_are_those_of_numpy(tmp_path):
    """Frames that are not finite are dropped, whatever they are: nan, null, inf or -inf."""
    tracks = scores(2)
    tracks["Song 3"]["SDR"][1:4] = [None, float("inf"), float("-inf")]
    found = instrumental.scores(read_file(write(tmp_path / "x.json", plain(tracks))), "x.json")
    frames = [np.array([math.nan if value is None else value for value in entry["SDR"]]) for entry in tracks.values()]
    pooled = np.concatenate(frames)
    finite = pooled[np.isfinite(pooled)]
    medians = [np.median(values[np.isfinite(values)]) for values in frames]
    nsdr = [entry["NSDR"][0] for entry in tracks.values()]
    expected = dict(mean=finite.mean(), median=np.median(finite), std=finite.std(), easy=np.mean(finite >= 25),
                    mean_of_medians=np.mean(medians), median_of_medians=np.median(medians), nsdr_mean=np.mean(nsdr),
                    nsdr_median=np.median(nsdr))
    assert {key: getattr(found, key) for key in expected} == pytest.approx(expected, abs=1e-5)
    assert (found.frames, found.undefined, found.infinite, found.tracks) == (finite.size, 7, 2, 6)


def test_without_nsdr(tmp_path):
    found, other = (read_file(write(tmp_path / f"{level}.json", plain(scores(3, level), EARLIER, nsdr=level > 10)))
                    for level in (10., 11.))
    assert instrumental.scores(found).nsdr_mean is None and instrumental.scores(found).nsdr_tracks == 0
    difference, = instrumental.differences(other, found)           # not in nSDR
    assert difference.family == "sdr_mean_of_medians" and difference.value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name, model, numbers", [
    ("htdemucs", "htdemucs", (18.411, 16.347, 9.786, 17.048, 16.755, 14.716, 14.954)),
    ("42eb2890", "42eb2890", (14.675, 11.198, 10.316, 12.210, 11.313, 10.633, 10.065))])
def test_the_numbers_of_the_notes(reference, name, model, numbers):
    found = read_file(reference / "instrumental" / f"academic_evaluation_{name}.json.gz")
    each = instrumental.scores(found)
    assert (each.mean, each.median, each.std, each.mean_of_medians, each.median_of_medians, each.nsdr_mean,
            each.nsdr_median) == pytest.approx(numbers, abs=5.1e-4)
    assert (each.tracks, each.frames, each.undefined, each.infinite, each.model) == (50, 12246, 200, 0, model)


def test_the_split_of_the_notes(reference):
    """27 % of frames have 25 dB or more with the official weights: 31.19 and 27.10 dB there, 13.69 and 10.09 elsewhere."""
    official, retrained = (read_file(reference / "instrumental" / f"academic_evaluation_{name}.json.gz")
                           for name in ("htdemucs", "42eb2890"))
    found = instrumental.split(retrained, official)
    assert found.frames == 12246 and found.share == pytest.approx(0.27, abs=0.005)
    assert (*found.easy, *found.others) == pytest.approx((27.10, 31.19, 10.09, 13.69), abs=0.0051)
    gap = instrumental.scores(retrained).mean - instrumental.scores(official).mean
    assert found.from_easy + found.from_others == pytest.approx(gap, abs=1e-9)


def made(frames, nsdr):
    tracks = [TrackScores(name=f"Song {number}", duration=1., seconds=0., frames={INSTRUMENTAL: {"SDR": pack_frames(values)}},
                          scores={INSTRUMENTAL: {"nsdr": value, "SDR": float(np.median(values))}})
              for number, (values, value) in enumerate(zip(frames, nsdr))]
    return Evaluation(name=f"{nsdr[0]:g}", model="x", dataset="x", sources=[INSTRUMENTAL], tracks=tracks, settings={},
                      model_hash="", commit="", versions={}, created="")


def test_differences_are_paired_by_song():
    one = made([[1, 30], [2, 31]] * 3, [5., 6., 7., 8., 9., 4.])
    other = made([[2, 27], [3, 25]] * 3, [4., 5.5, 7.5, 7., 8., 4.004])
    nsdr, medians = instrumental.differences(one, other)
    values = np.array([1, 0.5, -0.5, 1, 1, -0.004])
    assert nsdr.value == pytest.approx(values.mean()) and nsdr.error == pytest.approx(values.std(ddof=1) / 6 ** 0.5)
    assert (nsdr.won, nsdr.lost, nsdr.tied, nsdr.tracks) == (4, 1, 1, 6) and nsdr.low <= nsdr.value <= nsdr.high
    assert (nsdr.family, medians.family) == ("nsdr_mean", "sdr_mean_of_medians")
    found = instrumental.split(one, other)
    assert (found.share, found.easy, found.others) == (0.5, (30.5, 26.), (1.5, 2.5))
    assert (found.from_easy, found.from_others) == (2.25, -0.5)
    with pytest.raises(DatasetError, match="share 2 tracks"):
        instrumental.differences(one, dataclasses.replace(other, tracks=other.tracks[:2]))


BAD = {
    "no JSON": b"{", "a list": b"[]", "not UTF-8": b"\xff\xfe", "deep": b"[" * 100_000,
    "many digits": b'{"tracks": {"a": {"SDR": [1' + b"0" * 5000 + b"]}}}",
    "twice": b'{"tracks": {"a": {"SDR": [1]}, "a": {"SDR": [2]}}}', "no tracks": {"tracks": {}},
    "tracks as a list": {"tracks": [{"SDR": [1]}]}, "text": {"tracks": {"a": {"SDR": ["1"]}}},
    "true": {"tracks": {"a": {"SDR": [True]}}}, "one number": {"tracks": {"a": {"SDR": 1}}},
    "nested": {"tracks": {"a": {"SDR": [[1]]}}}, "no SDR": {"tracks": {"a": {"ISR": [1]}}},
    "lengths": {"tracks": {"a": {"SDR": [1], "ISR": [1, 2]}}}, "a track as text": {"tracks": {"a": "x"}},
    "endless": {"tracks": {"a": {"SDR": [10 ** 400]}}}, "two NSDR": {"tracks": {"a": {"SDR": [1], "NSDR": [1, 2]}}},
    "NSDR nan": {"tracks": {"a": {"SDR": [1], "NSDR": [float("nan")]}}},
    "shifts": {"evaluation_metadata": {"shifts": "one"}, "tracks": {"a": {"SDR": [1]}}},
    "metadata": {"evaluation_metadata": [], "tracks": {"a": {"SDR": [1]}}},
}


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
@pytest.mark.parametrize("what", BAD)
def test_files_that_cannot_be_read(what, suffix, tmp_path):
    path = write(tmp_path / f"bad{suffix}", BAD[what])
    with pytest.raises(SchemaError) as error:
        read_file(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < len(str(path)) + 350


def test_files_that_are_no_files(tmp_path, monkeypatch):
    with pytest.raises(SchemaError, match="no such file"):
        read_file(tmp_path / "nowhere.json")
    (tmp_path / "cut.json.gz").write_bytes(write(tmp_path / "whole.json.gz", plain(scores(1))).read_bytes()[:-20])
    (tmp_path / "plain.json.gz").write_bytes(b"{}")
    for name in ("cut.json.gz", "plain.json.gz"):
        with pytest.raises(SchemaError, match="cannot be read"):
            read_file(tmp_path / name)
    monkeypatch.setattr(instrumental_json, "LARGEST", 1000)          # what a compressed file grows to is bounded
    with pytest.raises(SchemaError, match="has more than"):
        read_file(write(tmp_path / "bomb.json.gz", b" " * 2000))


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_what_is_written_is_read_again(suffix, tmp_path):
    tracks = scores(4)
    found = read_file(write(tmp_path / "x.json", plain(tracks)))
    instrumental_json.write_file(found, tmp_path / f"again{suffix}")
    again = read_file(tmp_path / f"again{suffix}", name="x")
    assert [(track.name, track.frames) for track in again.tracks] == [(track.name, track.frames) for track in found.tracks]
    assert [track.scores[INSTRUMENTAL]["nsdr"] for track in again.tracks] == [entry["NSDR"][0] for entry in tracks.values()]
    assert again.settings == found.settings
    written = json.loads((tmp_path / "again.json").read_text()) if suffix == ".json" else None
    if written:
        each = instrumental.scores(found)
        assert written["overall_summary"] == pytest.approx({
            "overall_sdr_mean": each.mean, "overall_sdr_median": each.median, "overall_sdr_std": each.std,
            "total_tracks": 6, "total_valid_frames": each.frames})
        assert list(written["tracks"]["Song 0"]["scores"]) == ["NSDR", "SDR", "ISR", "SIR", "SAR"]


def test_the_instrumental_of_other_evaluations():
    """Of four sources it is a sum that was scored as well; models of two stems call it otherwise."""
    found = made([[1, 2]], [3.])
    four = dataclasses.replace(found, sources=["drums", "bass", "other", "vocals"])
    assert instrumental_json.of_evaluation(four).sources == [INSTRUMENTAL]
    track = found.tracks[0]
    for name in instrumental_json.NAMES:
        two = dataclasses.replace(found, sources=["vocals", name], tracks=[dataclasses.replace(
            track, scores={"vocals": {}, name: track.scores[INSTRUMENTAL]}, frames={name: track.frames[INSTRUMENTAL]})])
        assert instrumental_json.of_evaluation(two).tracks[0].scores == track.scores
    with pytest.raises(SchemaError, match="no scores of the instrumental, only of vocals"):
        instrumental_json.of_evaluation(dataclasses.replace(found, sources=["vocals"], tracks=[
            dataclasses.replace(track, scores={"vocals": {}}, frames={})]))
    with pytest.raises(SchemaError, match="Song 0 has no SDR in frames.*without --no-sdr"):
        instrumental_json.of_evaluation(dataclasses.replace(found, tracks=[dataclasses.replace(track, frames={})]))
