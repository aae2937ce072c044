"""Evaluation of tracks: scores of published Demucs, shards, settings, records, and faulty test songs."""

import json
import logging
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program
from golden.evaluation_cases import RATE, STEMS, Leaky, write_tracks

from demucs.audio import reading
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.evaluation.collect import ExampleWriter, evaluation_record, score_tables
from demucs.evaluation.evaluate import evaluate_tracks
from demucs.evaluation.tracks import dataset_name, musdb_stem_tracks, track_folders
from demucs.metrics.aggregates import history_aggregates

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "evaluation.json"
SOURCES = Leaky.sources


@pytest.fixture
def root(tmp_path):
    write_tracks(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def tracks(root):
    return track_folders(root, sources=SOURCES)


def test_same_scores_as_published(tracks):
    scores = evaluate_tracks(Leaky(), tracks, metrics=("nsdr", "bsseval"), shifts=0)
    assert [track.name for track in scores] == ["First - One", "Second - Two", "Third - Three"]
    assert scores[0].duration == 4.5
    ours, golden = history_aggregates(scores, SOURCES), json.loads(GOLDEN.read_text())
    assert set(ours) == set(golden)
    for name, value in golden.items():
        # dB. What enters the metrics differs by float32 rounding; the projections of BSSEval amplify it.
        assert ours[name] == pytest.approx(value, abs=1e-4 if "sdr" in name else 1e-3), name


def test_silent_reference_is_undefined_for_bsseval_only(root):
    for track in ("First - One", "Second - Two", "Third - Three"):
        wav = np.zeros_like(soundfile.read(root / "test" / track / "drums.wav")[0])
        soundfile.write(root / "test" / track / "drums.wav", wav, RATE)
    scores = evaluate_tracks(Leaky(), track_folders(root, sources=SOURCES)[:1], metrics=("nsdr", "bsseval"), shifts=0)
    assert scores[0].scores["drums"]["SDR"] is None
    assert np.isfinite(scores[0].scores["drums"]["nsdr"])


def test_shards_make_the_whole(tracks):
    whole = evaluate_tracks(Leaky(), tracks, shifts=2, seed=5)
    parts = [evaluate_tracks(Leaky(), tracks, shifts=2, seed=5, rank=rank, world_size=4) for rank in range(4)]
    assert [len(part) for part in parts] == [1, 1, 1, 0]
    assert [part[0].scores for part in parts[:3]] == [track.scores for track in whole]


def test_settings_reach_the_separation(tracks):
    class Placed(Leaky):
        """Where a piece begins shows in the output."""

        def forward(self, mix):
            return super().forward(mix) * torch.linspace(0, 1, mix.shape[-1])

    def score(**settings):
        return evaluate_tracks(Placed(), tracks[:1], **{"shifts": 1, **settings})[0].scores["drums"]["nsdr"]

    base = score()
    assert score() == base
    for settings in ({"shifts": 2}, {"shifts": 0}, {"overlap": 0.5}, {"segment": 0.5}, {"split": False}, {"seed": 1}):
        assert score(**settings) != base, settings


def test_other_rate_and_channels(tracks):
    model = Leaky()
    model.samplerate, model.audio_channels = RATE // 2, 1
    scores = evaluate_tracks(model, tracks[:1], shifts=0)
    assert scores[0].duration == 4.5
    assert np.isfinite(scores[0].scores["vocals"]["nsdr"])


def test_saving_estimates_and_examples(tracks, tmp_path):
    keep = ExampleWriter(tmp_path / "examples", sources=SOURCES, samplerate=RATE, seconds=2.,
                         names=[track.name for track in tracks[:2]])
    evaluate_tracks(Leaky(), tracks, shifts=0, save_to=tmp_path / "all", keep=keep)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "all").rglob("*.mp3")) == [
        f"all/{track.name}/{source}.mp3" for track in tracks for source in SOURCES]
    for track in tracks[:2]:
        folder = tmp_path / "examples" / track.name
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp3"))
        assert files == ["drums.mp3", "mixture.mp3", "reference/drums.mp3", "reference/vocals.mp3", "vocals.mp3"]
        wav, rate = reading.read(folder / "mixture.mp3")
        assert rate == RATE and abs(wav.shape[-1] - 2 * RATE) < 4000   # LAME adds up to two frames and its delay
        true = track.read().mix[:, RATE // 2:RATE].square().mean()
        assert reading.read(folder / "mixture.mp3")[0].square().mean() == pytest.approx(float(true), rel=0.3)
    assert not (tmp_path / "examples" / tracks[2].name).exists()


def test_progress_names_track_and_score(tracks, caplog):
    with caplog.at_level(logging.INFO):
        evaluate_tracks(Leaky(), tracks, shifts=0)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert re.fullmatch(r"Eval \| track 2/3 \| Second - Two \| nsdr -\d\.\d\d \| \d\.\d s \| 0:00:0\d left", lines[1])
    assert re.fullmatch(r"Eval \| track 3/3 \| Third - Three \| nsdr -\d\.\d\d \| \d\.\d s", lines[2])


def test_unknown_metric(tracks):
    with pytest.raises(ConfigError, match="'SDR'.*nsdr, si_sdr, sdr, bsseval"):
        evaluate_tracks(Leaky(), tracks, metrics=("SDR",))


def test_record_and_tables(tracks):
    model = Leaky()
    scores = evaluate_tracks(model, tracks, shifts=0)
    record = evaluation_record(model, scores, name="0123abcd", dataset="toy test", settings={"shifts": 0})
    assert record.model == "Leaky" and len(record.model_hash) == 16
    assert record.versions["torch"] == torch.__version__.split("+")[0]
    text = score_tables([record])
    assert "nSDR (dB): whole track, mean over tracks" in text and "nSDR (dB): whole track, median over tracks" in text
    assert "SDR (dB): median over 1 s frames" not in text, "a family without scores has no table"
    row = next(line for line in text.splitlines() if line.startswith("0123abcd"))
    means = [np.mean([track.scores[source]["nsdr"] for track in scores]) for source in SOURCES]
    assert [float(cell) for cell in row.split()[1:]] == pytest.approx([*means, np.mean(means)], abs=0.005)


def test_mixture_is_the_sum_where_there_is_no_file(root, tracks):
    with_file = tracks[0].read()
    (root / "test" / "First - One" / "mixture.wav").unlink()
    all_four = track_folders(root, sources=STEMS)[0].read()
    torch.testing.assert_close(all_four.mix, with_file.mix, atol=2e-4, rtol=0)   # roundings of five 16-bit files


def test_bad_folders(root, tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere/test: no such folder; set DEMUCS_MUSDB"):
        track_folders(tmp_path / "nowhere", sources=SOURCES)
    (tmp_path / "empty" / "test").mkdir(parents=True)
    with pytest.raises(DatasetError, match="contains no track"):
        track_folders(tmp_path / "empty", sources=SOURCES)
    with pytest.raises(DatasetError, match=r"First - One: lacks the stem piano\.wav"):
        track_folders(root, sources=["piano"])
    with pytest.raises(DatasetError, match=r"contains no \.stem\.mp4"):
        musdb_stem_tracks(root, sources=SOURCES)


@pytest.mark.parametrize("shape,rate", [((4 * RATE, 2), RATE), ((round(4.5 * RATE), 3), RATE),
                                        ((round(4.5 * RATE), 2), 2 * RATE)], ids=["length", "channels", "rate"])
def test_stems_that_do_not_fit_together(root, tracks, shape, rate):
    soundfile.write(root / "test" / "First - One" / "vocals.wav", np.full(shape, 0.1), rate)
    with pytest.raises(DatasetError, match="First - One: files differ"):
        evaluate_tracks(Leaky(), tracks)


def test_empty_file_in_a_track(root, tracks):
    (root / "test" / "First - One" / "vocals.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"First - One/vocals\.wav"):
        evaluate_tracks(Leaky(), tracks)


def test_musdb_stem_files(tmp_path):
    """A real .stem.mp4, as MUSDB18 has them, written with ffmpeg."""
    ffmpeg = require_program("ffmpeg")
    write_tracks(tmp_path / "wav")
    folder = tmp_path / "wav" / "test" / "First - One"
    target = tmp_path / "musdb" / "test" / "First - One.stem.mp4"
    target.parent.mkdir(parents=True)
    names = ["mixture", *STEMS]
    inputs = [part for name in names for part in ("-i", str(folder / f"{name}.wav"))]
    maps = [part for index in range(5) for part in ("-map", str(index))]
    subprocess.run([ffmpeg, "-loglevel", "error", *inputs, *maps, "-ar", "44100", "-c:a", "aac", "-b:a", "256k",
                    str(target)], check=True)
    track, = musdb_stem_tracks(tmp_path / "musdb", sources=SOURCES)
    song = track.read()
    assert track.name == "First - One" and song.samplerate == 44100 and song.references.shape[:2] == (2, 2)
    # coding takes some of the highest frequencies, and with them of the level
    true = [np.mean(soundfile.read(folder / f"{source}.wav")[0] ** 2) for source in SOURCES]
    assert song.references.square().mean(dim=(1, 2)).tolist() == pytest.approx(true, rel=0.2)
    drums, vocals = song.references[..., 8000:36000].abs().amax(dim=(1, 2)).tolist()
    assert drums > 0.05 and vocals < 0.005, "the vocals are silent in the first second"
    with pytest.raises(DatasetError, match="no source piano"):
        musdb_stem_tracks(tmp_path / "musdb", sources=["piano"])


def test_dataset_names(root, tmp_path):
    assert dataset_name(root) == "data test"
    (root / "synthetic.json").write_text(json.dumps({"seed": 7, "seconds": 20.0}))
    assert dataset_name(root) == "synthetic (seed 7, 20 s) test"
    (root / "synthetic.json").write_text("{}")
    with pytest.raises(DatasetError, match="synthetic.json"):
        dataset_name(root)
    for name in ["Al James - Schoolboy Facination", *(f"Other - {index}" for index in range(1, 50))]:
        (tmp_path / "hq" / "test" / name).mkdir(parents=True)
    assert dataset_name(tmp_path / "hq") == "MUSDB18-HQ test"
    (tmp_path / "hq" / "test" / "Other - 1").rmdir()
    assert dataset_name(tmp_path / "hq") == "hq test"


@pytest.mark.parametrize("error", [MemoryError("Unable to allocate 9 TiB"), torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")])
def test_a_track_that_takes_too_much_memory_does_not_stop_the_others(tracks, error):
    """All others are scored and kept before the one line that names it."""
    class Limited(Leaky):
        calls = 0

        def forward(self, mix):
            Limited.calls += 1
            if Limited.calls == 1:
                raise error
            return super().forward(mix)

    class Kept(dict):
        def find(self, name, *marks):
            return self.get(name), ""

        def add(self, scores, *, created):
            self[scores.name] = scores

    kept = Kept()
    with pytest.raises(AudioError, match=f"^{tracks[0].name}: out of .*memory; smaller segments take less") as caught:
        evaluate_tracks(Limited(), tracks, split=False, shifts=0, files=kept)
    assert list(kept) == [track.name for track in tracks[1:]] and "\n" not in str(caught.value)


def test_other_errors_of_a_model_are_not_taken_for_memory(tracks):
    class Broken(Leaky):
        def forward(self, mix):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        evaluate_tracks(Broken(), tracks)
