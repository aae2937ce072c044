"""museval's files: museval aggregates ours, we read museval's, with the same numbers."""

import json

import numpy as np
import pytest

from demucs import schema
from demucs.metrics import museval_json
from demucs.metrics.aggregates import SDR_MEDIAN_OF_MEDIANS, aggregate
from demucs.schema import Evaluation, SchemaError, TrackScores, pack_frames

SOURCES = ["drums", "bass", "other", "vocals"]
METRICS = ("SDR", "ISR", "SIR", "SAR")


def frames(seed, count):
    """Frames with everything that occurs: undefined, infinite, small and large."""
    values = np.random.default_rng(seed).normal(5, 20, size=count)
    values[::7] = np.nan
    values[3], values[4], values[5] = np.inf, -1e-7, 0.000005
    return values


def evaluation(tracks=3, sources=SOURCES):
    made = []
    for number in range(tracks):
        values = {source: {metric: frames(100 * number + 10 * column + row, 11 + number)
                           for row, metric in enumerate(METRICS)} for column, source in enumerate([*sources, "sum"])}
        # museval knows no infinity: what it aggregates are the finite frames
        medians = {source: {metric: float(np.median(column[np.isfinite(column)])) for metric, column in several.items()}
                   for source, several in values.items()}
        made.append(TrackScores(
            name=f"Song - {number}", duration=11.5 + number, seconds=1., scores=medians,
            frames={source: {metric: pack_frames(column) for metric, column in several.items()}
                    for source, several in values.items()}))
    return Evaluation(name="cafe0001", model="hdemucs", dataset="toy test", sources=list(sources), tracks=made,
                      settings={}, model_hash="", commit="", versions={}, created="")


def test_the_text_is_that_of_museval(tmp_path):
    museval = pytest.importorskip("museval")
    own = evaluation(1)
    path, = museval_json.write_folder(own, tmp_path)
    assert path == tmp_path / "test" / "Song - 0.json"
    store = museval.TrackStore("Song - 0", win=1.0, hop=1.0)
    for column, source in enumerate(SOURCES):
        store.add_target(source, {metric: [float(f"{value:.5f}") for value in frames(10 * column + row, 11)]
                                  for row, metric in enumerate(METRICS)})
    store.scores["museval_version"] = museval_json.VERSION
    assert path.read_text() == store.json
    museval.TrackStore.validate(store)


def test_aggregates_of_museval_are_ours(tmp_path):
    museval = pytest.importorskip("museval")
    own = evaluation()
    museval_json.write_folder(own, tmp_path)
    methods = museval.MethodStore()
    methods.add_eval_dir(tmp_path)
    found = methods.agg_frames_tracks_scores()[tmp_path.stem]
    assert set(found.index.get_level_values("target")) == set(SOURCES)      # sums are no targets
    expected = aggregate(own, SDR_MEDIAN_OF_MEDIANS).values
    for source in SOURCES:
        assert found[source]["SDR"] == pytest.approx(expected[source], abs=1e-5)    # dB, five decimals
    store = museval.EvalStore(tracks_agg="mean")
    store.add_eval_dir(tmp_path)
    means = [np.mean([track.scores["bass"][metric] for track in own.tracks]) for metric in METRICS]
    assert [store.agg_frames_tracks_scores()["bass"][metric] for metric in METRICS] == pytest.approx(means, abs=1e-5)


def test_there_and_back(tmp_path):
    own = evaluation()
    museval_json.write_folder(own, tmp_path / "first")
    back = museval_json.read_folder(tmp_path / "first")
    assert back.name == "first" and back.sources == SOURCES and back.dataset == "3 tracks read from museval"
    assert [track.name for track in back.tracks] == back.expected == [track.name for track in own.tracks]
    for track, other in zip(own.tracks, back.tracks):
        for source in SOURCES:
            for metric in METRICS:
                assert other.scores[source][metric] == pytest.approx(track.scores[source][metric], abs=1e-5)
                assert other.frames[source][metric] == track.frames[source][metric].replace("inf", "-")
    museval_json.write_folder(back, tmp_path / "second")
    for path in (tmp_path / "first").rglob("*.json"):
        assert path.read_text() == (tmp_path / "second" / "test" / path.name).read_text()
    schema.save(back, tmp_path / "evaluation.json")
    assert schema.load(Evaluation, tmp_path / "evaluation.json") == back


def test_published_files(reference):
    """Demucs v2 with seed 42: time in samples, compressed; Open-Unmix."""
    record = museval_json.read_folder(reference / "museval" / "demucs-v2-seed42")
    assert record.dataset == "MUSDB18 test" and len(record.tracks) == 50 and sorted(record.sources) == sorted(SOURCES)
    assert all(30 < track.duration < 600 for track in record.tracks)
    for track in record.tracks[:5]:
        assert len(schema.unpack_frames(track.frames["bass"]["SIR"])) == track.duration
    other = museval_json.read_folder(reference / "museval" / "open-unmix", name="umx")
    assert other.name == "umx" and len(other.tracks) == 50


def test_one_measure_is_enough(tmp_path):
    track = TrackScores(name="A.B song", duration=2., seconds=0., scores={}, frames={"bass": {"SDR": "1 -"}})
    (tmp_path / "A.B song.json").write_text(museval_json.track_text(track, ["bass"]))
    back, = museval_json.read_folder(tmp_path).tracks
    assert back.name == "A.B song" and back.duration == 2.
    assert back.scores["bass"] == {"SDR": 1., "SIR": None, "SAR": None, "ISR": None}


def test_what_museval_did_not_write(tmp_path):
    with pytest.raises(SchemaError, match="contains no file of museval"):
        museval_json.read_folder(tmp_path)
    for text in ("[]", "{", json.dumps({"targets": [{"name": "bass", "frames": [{"metrics": {}}]}]}), "\x00"):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(SchemaError, match=r"a\.json: not a track of museval"):
            museval_json.read_folder(tmp_path)
    with pytest.raises(SchemaError, match="no SDR of frames for bass"):
        museval_json.track_text(TrackScores(name="x", duration=1., seconds=0., scores={}), ["bass"])
