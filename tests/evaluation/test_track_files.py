"""Evaluations that are stopped, continued, sharded over processes and assembled, also on a full disk."""

import errno
import json
import logging
import os

import pytest
import torch
from golden.evaluation_cases import Leaky, write_tracks

from demucs import schema
from demucs.audio import reading
from demucs.data.faults import FaultyTracks
from demucs.errors import AudioError
from demucs.evaluation.collect import evaluation_record, precision
from demucs.evaluation.evaluate import evaluate_tracks
from demucs.evaluation.track_files import ResultsError, TrackFiles
from demucs.evaluation.tracks import ReferenceTrack, track_folders
from demucs.schema import Evaluation

METRICS = ("nsdr", "sdr")
NAMES = ["First - One", "Second - Two", "Third - Three"]


class Counting(Leaky):
    """Counts the songs that it separates."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, mix):
        self.calls += 1
        return super().forward(mix)


@pytest.fixture
def root(tmp_path):
    write_tracks(tmp_path / "data")
    return tmp_path / "data"


def files_of(root, model, folder, **settings):
    record = evaluation_record(model, [], name="toy", dataset="toy test", expected=NAMES, device="cpu",
                               settings={"metrics": list(METRICS), "shifts": 0, **settings})
    return TrackFiles(folder, record)


def run(root, model, folder, *, again=None, **shard):
    tracks = track_folders(root, sources=Leaky.sources)
    files = files_of(root, model, folder, **(again or {}))
    return evaluate_tracks(model, tracks, metrics=METRICS, shifts=0, split=False, files=files, **shard), files


def test_each_result_is_there_at_once_and_is_not_done_again(root, tmp_path, caplog):
    (root / "test" / "Second - Two" / "vocals.wav").rename(tmp_path / "vocals.wav")
    (root / "test" / "Second - Two" / "vocals.wav").write_bytes(b"")     # cannot be read
    model = Counting()
    with pytest.raises(AudioError, match="Second - Two"):
        run(root, model, tmp_path / "results")
    assert model.calls == 2 and sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "First - One.json", "Third - Three.json"]      # the others are done
    (tmp_path / "vocals.wav").rename(root / "test" / "Second - Two" / "vocals.wav")
    with caplog.at_level(logging.INFO):
        scores, files = run(root, model, tmp_path / "results")
    assert model.calls == 3 and [track.name for track in scores] == NAMES
    assert "Eval | 2 of 3 tracks were scored before" in caplog.text
    whole, missing = files.assemble()
    assert missing == {} and whole.tracks == scores and whole.settings["shifts"] == 0 and whole.expected == NAMES
    anew, _ = run(root, Counting(), tmp_path / "elsewhere")
    assert [track.scores for track in anew] == [track.scores for track in scores]
    assert [track.frames for track in anew] == [track.frames for track in scores]


@pytest.mark.parametrize("change,reason", [
    ("settings", "shifts was 0, now 1"), ("weights", "model_hash was "), ("audio", "its audio was another"),
    ("broken", "not a JSON file"), ("other", "not the scores of First - One"), ("older", "Evaluation has version 0")])
def test_other_circumstances_are_scored_anew_and_named(root, tmp_path, caplog, change, reason):
    model, again = Counting(), {}
    run(root, model, tmp_path / "results")
    path = tmp_path / "results" / "First - One.json"
    plain = json.loads(path.read_text())
    if change == "settings":
        again = {"shifts": 1}
    elif change == "weights":
        model.gain.data[0] += 0.1
    elif change == "audio":
        wav, rate = reading.read(root / "test" / "First - One" / "drums.wav")
        reading.write(root / "test" / "First - One" / "drums.wav", wav * 0.9, rate)
    elif change == "broken":
        path.write_text(path.read_text()[:100])
    elif change == "other":
        path.write_text((tmp_path / "results" / "Third - Three.json").read_text())
    else:
        path.write_text(json.dumps({**plain, "version": 0}))
    with caplog.at_level(logging.INFO):
        _, files = run(root, model, tmp_path / "results", again=again)
    assert model.calls == 3 + (3 if change in ("settings", "weights") else 1)
    assert f"Eval | First - One was scored before, and is scored anew: {reason}" in caplog.text.replace(f"{path}: ", "")
    assert files.assemble()[0] is not None


def test_a_copy_of_the_songs_elsewhere_is_the_same(root, tmp_path):
    model = Counting()
    run(root, model, tmp_path / "results")
    root.rename(tmp_path / "moved")
    for path in (tmp_path / "moved").rglob("*.wav"):
        os.utime(path, (0, 0))
    run(tmp_path / "moved", model, tmp_path / "results")
    assert model.calls == 3


def test_shards_write_files_of_their_own_and_the_last_puts_them_together(root, tmp_path):
    seen = set()
    for rank, others in ((1, ["First - One", "Third - Three"]), (3, ["First - One", "Third - Three"]),
                         (0, ["Third - Three"])):
        _, files = run(root, Counting(), tmp_path / "parts", rank=rank, world_size=4)
        new = {path.name for path in (tmp_path / "parts").iterdir()} - seen
        assert new == {f"{name}.json" for name in NAMES[rank:rank + 1]}
        seen |= new
        whole, missing = files.assemble()
        assert whole is None and missing == dict.fromkeys(others, "")
    # The last shard with other settings: the others are missing, and it says why.
    _, files = run(root, Counting(), tmp_path / "parts", rank=2, world_size=4, again={"shifts": 2})
    assert files.assemble()[1] == dict.fromkeys(NAMES[:2], "shifts was 0, now 2")
    _, files = run(root, Counting(), tmp_path / "parts", rank=2, world_size=4)
    whole, missing = files.assemble()
    assert missing == {}
    assert TrackFiles.found(tmp_path / "parts").assemble() == (whole, {})
    single, _ = run(root, Counting(), tmp_path / "single")
    assert [track.scores for track in whole.tracks] == [track.scores for track in single]


def test_the_whole_names_every_commit_and_device(root, tmp_path):
    _, files = run(root, Counting(), tmp_path / "results")
    for name, device, version in (("First - One", "cuda: A", "1"), ("Third - Three", "cuda: B", "2")):
        path = files.path(name)
        plain = json.loads(path.read_text())
        schema.write_json({**plain, "device": device, "commit": f"c{version}", "versions": {"torch": version},
                           "created": f"2000-01-0{version}T00:00:00+00:00"}, path)
    whole, _ = files.assemble()
    assert whole.device == "cpu, cuda: A, cuda: B"
    assert {"c1", "c2"} <= set(whole.commit.split(", "))
    assert whole.versions["torch"] == ", ".join(sorted({"1", "2", torch.__version__.split("+")[0]}))
    assert whole.created == schema.load(Evaluation, files.path("Second - Two")).created


def test_a_full_disk_loses_nothing(root, tmp_path, monkeypatch):
    _, files = run(root, Counting(), tmp_path / "results", rank=0, world_size=2)
    before = {path: path.read_text() for path in (tmp_path / "results").iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ResultsError, match=r"Second - Two\.json: cannot be written \(No space left.*call again"):
            run(root, Counting(), tmp_path / "results")
        with pytest.raises(ResultsError, match=r"First - One\.json: cannot be written"):
            run(root, Counting(), tmp_path / "results", again={"shifts": 1})
    assert {path: path.read_text() for path in (tmp_path / "results").iterdir()} == before
    model = Counting()
    run(root, model, tmp_path / "results")
    assert model.calls == 1 and files.assemble()[0] is not None


def test_estimates_that_are_to_be_kept_are_made(root, tmp_path):
    model = Counting()
    run(root, model, tmp_path / "results")
    run(root, model, tmp_path / "results", save_to=tmp_path / "kept")
    assert model.calls == 6 and len(list((tmp_path / "kept").rglob("*"))) == 3 + 6
    (tmp_path / "kept" / "First - One" / "drums.mp3").unlink()
    run(root, model, tmp_path / "results", save_to=tmp_path / "kept")
    assert model.calls == 7


def test_names_too_long_for_a_file(tmp_path):
    files = TrackFiles(tmp_path, evaluation_record(Leaky(), [], name="x", dataset="x", settings={}))
    paths = {files.path("é" * 120 + end) for end in ("", "a", "b")}
    assert len(paths) == 3 and all(len(path.name.encode()) < 230 for path in paths)


def test_nothing_there(tmp_path):
    with pytest.raises(ResultsError, match="contains no scores of tracks"):
        TrackFiles.found(tmp_path / "nowhere")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ResultsError, match="contains no scores of tracks"):
        TrackFiles.found(tmp_path)


def test_all_tracks_that_cannot_be_read_are_named_after_the_others_are_done(root, tmp_path):
    for name in NAMES[:2]:
        (root / "test" / name / "vocals.wav").write_bytes(b"")
    with pytest.raises(FaultyTracks, match=r"2 tracks.*First - One/vocals\.wav.*Second - Two/vocals\.wav"):
        run(root, Leaky(), tmp_path / "results")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["Third - Three.json"]


def test_bad_output_names_the_track(root):
    class Broken(Leaky):
        def forward(self, mix):
            return super().forward(mix) / 0.

    tracks = track_folders(root, sources=Leaky.sources)
    with pytest.raises(AudioError, match="First - One: the output of the model is not finite"):
        evaluate_tracks(Broken(), tracks, shifts=0)
    nothing = [ReferenceTrack("Unreadable", tracks[0].read, (root / "gone.wav",))]
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read \(No such file"):
        evaluate_tracks(Leaky(), nothing, files=TrackFiles(root / "x", evaluation_record(
            Leaky(), [], name="x", dataset="x", settings={})))


def test_the_gpu_is_too_small(root, monkeypatch, caplog):
    from demucs.evaluation import evaluate
    real, places = evaluate.score, []

    def score(references, *args, **kwargs):
        places.append(references.device.type)
        if len(places) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(references, *args, **kwargs)
    monkeypatch.setattr(evaluate, "score", score)
    tracks = track_folders(root, sources=Leaky.sources)[:1]
    assert evaluate_tracks(Leaky(), tracks, shifts=0)[0].scores["drums"]["nsdr"] is not None
    assert len(places) == 2 and "too little memory left to score a song of 4 s" in caplog.text


def test_precision_of_models():
    from demucs.separation.bag import BagOfModels
    half = Leaky()
    half.card = type("Card", (), {"precision": "float16"})
    assert precision(Leaky()) == {"precision": "float32"}
    assert precision(half) == {"precision": "float32", "weights": "float16"}
    assert precision(BagOfModels([Leaky(), half, Leaky().double()])) == {
        "precision": "float32, float64", "weights": "float16"}
