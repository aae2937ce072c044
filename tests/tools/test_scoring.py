"""`tools.test_pretrained`, `tools.evaluate` and `tools.museval_scores`: records, shards, examples and tables."""

import dataclasses
import errno
import logging
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch

from demucs import schema
from demucs.errors import ConfigError
from demucs.evaluation import records, shards, test_sets
from demucs.models import zoo
from demucs.packages import package
from demucs.schema import Evaluation
from tools import evaluate, museval_scores
from tools import test_pretrained as tool

RATE = 8000
SOURCES = ["drums", "vocals"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with an exported model and a small dataset: drums are high, vocals are low noise."""
    monkeypatch.chdir(tmp_path)
    model = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=2., channels=4, depth=2,
                      nfft=64)
    card = package.new_card(model, signature="cafe0001", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, tmp_path / "release_models" / "cafe0001.th", card=card)
    for number, (split, name) in enumerate([("train", "A - One"), ("train", "B - Two"), ("test", "C - Three"),
                                            ("test", "D - Four")]):
        folder = tmp_path / "data" / split / name
        folder.mkdir(parents=True)
        noise = np.random.default_rng(number).normal(size=(2, 3 * RATE + 1, 2)) * 0.1
        drums, vocals = noise[0, 1:] - noise[0, :-1], noise[1, 1:] + noise[1, :-1]
        for stem, wav in (("drums", drums), ("vocals", vocals), ("mixture", drums + vocals)):
            soundfile.write(folder / f"{stem}.wav", wav, RATE, subtype="FLOAT")
    return tmp_path


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["test_pretrained", "-n", "cafe0001", "--musdb", "data", "-d", "cpu", *arguments])
    return tool.main()


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    return module.main()


def evaluation(name="cafe0001"):
    return schema.load(Evaluation, f"demucs_results/runs/{name}/evaluation.json")


def test_records_with_reference_separators(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--no-sdr", "--reference-separators", "--shifts", "2", "--seed", "3") == 0
    folder = workplace / "demucs_results" / "runs" / "cafe0001"
    records = {path.name: schema.load(Evaluation, path) for path in folder.glob("*.json")}
    assert sorted(records) == ["evaluation.json", "evaluation_average_filter.json", "evaluation_mixture.json",
                               "evaluation_silence.json"]
    own = records["evaluation.json"]
    assert (own.name, own.model, own.dataset, own.sources) == ("cafe0001", "hdemucs", "data test", SOURCES)
    assert own.model_hash == package.load("release_models/cafe0001.th").card.model_hash
    assert own.settings == {"metrics": ["nsdr", "si_sdr"], "shifts": 2, "overlap": 0.25, "split": True, "segment": None,
                            "seed": 3, "precision": "float32"}
    assert own.device == "cpu" and own.expected == ["C - Three", "D - Four"]
    assert sorted(path.relative_to(folder / "tracks").as_posix() for path in (folder / "tracks").rglob("*.json")) == [
        f"{record[:-5]}/{track}.json" for record in sorted(records) for track in own.expected]
    assert [track.name for track in own.tracks] == ["C - Three", "D - Four"]

    def score(name, source):
        return np.mean([track.scores[source]["nsdr"] for track in records[f"evaluation_{name}.json"].tracks])

    for source in SOURCES:
        assert score("silence", source) == pytest.approx(0, abs=1e-3)    # the mean of the song remains, dB
        assert score("mixture", source) == pytest.approx(0, abs=0.3)     # two sources of equal level
        assert score("average_filter", source) == pytest.approx(6, abs=3)
    assert score("average_filter", "drums") > score("mixture", "drums") + 2

    out = capsys.readouterr().out
    assert "nSDR (dB): whole track, mean over tracks; data test, 2 tracks" in out
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["cafe0001", "silence", "mixture", "average_filter"]
    examples = workplace / "demucs_results" / "examples" / "cafe0001"
    assert sorted(path.name for path in examples.iterdir()) == ["C - Three", "D - Four"]
    assert (examples / "C - Three" / "reference" / "drums.mp3").exists()


def test_all_metrics_and_saved_estimates(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--workers", "8", "--save", "kept", "--examples", "0", "--dataset-name", "noises") == 0
    record = schema.load(Evaluation, "demucs_results/runs/cafe0001/evaluation.json")
    assert record.dataset == "noises"
    assert set(record.tracks[0].scores["drums"]) == {"nsdr", "si_sdr", "SDR", "ISR", "SIR", "SAR"}
    assert len(schema.unpack_frames(record.tracks[0].frames["drums"]["SIR"])) == 3
    assert record.tracks[0].ill_conditioned is False and 0 < record.tracks[0].seconds_scoring < record.tracks[0].seconds
    assert "SDR (dB): median over 1 s frames, median over tracks" in capsys.readouterr().out
    assert (workplace / "kept" / "C - Three" / "vocals.mp3").exists()
    assert not (workplace / "demucs_results" / "examples").exists()


def test_overrides_mean_the_same_as_flags(workplace, monkeypatch):
    (workplace / "elsewhere").mkdir()
    shutil.move(workplace / "data", workplace / "elsewhere" / "data")
    assert call(monkeypatch, "--examples", "0", "dset.musdb=elsewhere/data", "test.shifts=2", "test.overlap=0",
                "test.sdr=false", "test.split=no", "test.workers=0", "test.save=true", "test.every=3",
                "test.nonhq=") == 0
    record = schema.load(Evaluation, "demucs_results/runs/cafe0001/evaluation.json")
    assert record.settings == {"metrics": ["nsdr", "si_sdr"], "shifts": 2, "overlap": 0., "split": False,
                               "segment": None, "seed": 0, "precision": "float32"}
    assert record.dataset == "data test" and set(record.tracks[0].scores["drums"]) == {"nsdr", "si_sdr"}
    assert (workplace / "separated" / "cafe0001" / "C - Three" / "vocals.mp3").exists()


def test_another_precision_is_another_record(workplace, monkeypatch, caplog):
    found = {}
    for precision in ("float32", "bf16", "tf32"):
        with caplog.at_level("INFO"):
            assert call(monkeypatch, "--no-sdr", "--examples", "0", "--precision", precision) == 0
        record = evaluation()
        assert record.settings["precision"] == precision
        found[precision] = record.tracks[0].scores["drums"]["nsdr"]
    assert "precision was float32, now bf16" in caplog.text
    assert 0 < abs(found["bf16"] - found["float32"]) < 0.1


def test_a_bag_and_a_run(workplace, monkeypatch, capsys):
    (workplace / "release_models" / "twice.yaml").write_text("models: [cafe0001, cafe0001]\n")
    single, bag, run = [], [], []
    for name, found in (("cafe0001", single), ("twice", bag)):
        assert call(monkeypatch, "-n", name, "--no-sdr", "--examples", "0", "--reference-separators",
                    "test.shifts=0") == 0
        found += schema.load(Evaluation, f"demucs_results/runs/{name}/evaluation.json").tracks
    folder = workplace / "outputs" / "xps" / "cafe0005"
    folder.mkdir(parents=True)
    shutil.copy("release_models/cafe0001.th", folder / "best.th")
    monkeypatch.setattr(sys, "argv", ["test_pretrained", "-s", "cafe0005", "-d", "cpu", "--no-sdr", "--examples", "0",
                                      "test.shifts=0", "dset.musdb=data"])
    assert tool.main() == 0
    run += schema.load(Evaluation, "demucs_results/runs/cafe0005/evaluation.json").tracks
    for others in (bag, run):
        for track, other in zip(single, others, strict=True):
            for source in SOURCES:
                assert other.scores[source]["nsdr"] == pytest.approx(track.scores[source]["nsdr"], abs=1e-3)    # dB
    assert "twice" in capsys.readouterr().out


@pytest.mark.parametrize("arguments,message", [
    (["test.shift=2"], "Did you mean 'test.shifts'"), (["musdb=data"], "Did you mean 'dset.musdb'"),
    (["test.shifts"], "is no KEY=VALUE"), (["optim.lr=1"], "There are: dset.musdb, dset.kind"),
    (["test.shifts=many"], "test.shifts=many: must be of type int"), (["test.overlap=[1"], "not a value"),
    (["test.split=1"], "must be of type bool"), (["test.shifts=null"], "must be of type int"),
    (["test.workers=-1"], "workers=-1"), (["dset.musdb="], "must be of type str"),
    (["test.nonhq=data"], "no .stem.mp4"),
    (["--musdb", "nowhere"], "DEMUCS_MUSDB"), (["-n", "cafe0002"], "Did you mean 'cafe0001'"),
    (["--nonhq", "data"], "no .stem.mp4"), (["--nonhq", "data", "--reference-separators"], "leave --nonhq out"),
    (["--overlap", "2"], "overlap=2.0"), (["--device", "abacus"], "'abacus' cannot be used"),
])
def test_impossible_calls(workplace, monkeypatch, capsys, arguments, message):
    assert call(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (workplace / "demucs_results").exists()


def test_a_second_call_does_nothing_again(workplace, monkeypatch, caplog):
    assert call(monkeypatch, "--examples", "0") == 0
    first, created = evaluation(), (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text()
    caplog.set_level(logging.INFO)
    assert call(monkeypatch, "--examples", "0") == 0
    assert "2 of 2 tracks were scored before" in caplog.text
    assert (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text() == created
    assert call(monkeypatch, "--examples", "0", "--again") == 0
    again = evaluation()
    assert [track.scores for track in again.tracks] == [track.scores for track in first.tracks]
    assert [track.seconds for track in again.tracks] != [track.seconds for track in first.tracks]
    caplog.clear()
    assert call(monkeypatch, "--examples", "0", "--shifts", "0") == 0
    assert "C - Three was scored before, and is scored anew: shifts was 1, now 0" in caplog.text
    assert evaluation().settings["shifts"] == 0


def test_shards_and_collecting(workplace, monkeypatch, capsys, caplog):
    assert call(monkeypatch, "--examples", "0", "--no-sdr") == 0
    whole = evaluation()
    shutil.rmtree("demucs_results")
    with caplog.at_level(logging.INFO):
        assert call(monkeypatch, "--no-sdr", "--examples", "1", "--shard", "1/2") == 0
    assert "Scoring cafe0001 on data test (2 tracks; part 1 of 2: 1)" in caplog.text
    assert "1 of 2 tracks are not scored yet: C - Three. The last shard" in caplog.text
    assert not (workplace / "demucs_results/runs/cafe0001/evaluation.json").exists()
    capsys.readouterr()
    assert call(monkeypatch, "--collect") == 1
    assert "not complete" in capsys.readouterr().err
    assert not (workplace / "demucs_results/examples").exists()      # of the first track, which is another shard's
    for key, value in (("DEMUCS_SHARED_SCORING", "job"), ("SLURM_ARRAY_TASK_ID", "4"), ("SLURM_ARRAY_TASK_MIN", "4"),
                       ("SLURM_ARRAY_TASK_MAX", "5"), ("SLURM_ARRAY_TASK_COUNT", "2")):
        monkeypatch.setenv(key, value)
    assert call(monkeypatch, "--no-sdr", "--examples", "1") == 0
    assert [track.scores for track in evaluation().tracks] == [track.scores for track in whole.tracks]
    assert "nSDR (dB): whole track, mean over tracks; data test, 2 tracks" in capsys.readouterr().out
    assert [path.name for path in (workplace / "demucs_results/examples/cafe0001").iterdir()] == ["C - Three"]
    text = (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text()
    (workplace / "demucs_results/runs/cafe0001/evaluation.json").unlink()
    assert call(monkeypatch, "--collect") == 0
    assert (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text() == text


def test_in_the_jobs_of_others_all_songs_are_scored(workplace, monkeypatch, caplog):
    """An array that somebody made for other reasons, and what an earlier launcher has left behind."""
    for key, value in (("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_MIN", "0"), ("SLURM_ARRAY_TASK_MAX", "7"),
                       ("SLURM_ARRAY_TASK_COUNT", "8"), ("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(key, value)
    with caplog.at_level(logging.INFO):
        assert call(monkeypatch, "--examples", "0", "--no-sdr") == 0
    assert "Task 1 of this Slurm array scores all songs; with --shard I/N it scores a part" in caplog.text
    assert "part " not in caplog.text and len(evaluation().tracks) == 2


def test_numbers_in_the_environment_that_are_none(workplace, monkeypatch, capsys):
    monkeypatch.setenv("DEMUCS_SHARED_SCORING", "here")
    for rank, world_size, says in (("x", "2", "RANK=x in the environment is no number"), ("1", "-1", "WORLD_SIZE=-1"),
                                   ("3", "2", "RANK=3 of WORLD_SIZE=2"), ("0", "0", "RANK=0 of WORLD_SIZE=0")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", world_size)
        capsys.readouterr()
        assert call(monkeypatch, "--examples", "0", "--no-sdr") == 1
        text = capsys.readouterr().err
        assert says in text and "--shard I/N" in text and "unexpected" not in text


def test_collecting_nothing(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--collect") == 1
    assert "contains no scores of tracks" in capsys.readouterr().err


def test_where_a_process_stands():
    def place(shared="job", **environment):
        return shards.shard_of({"DEMUCS_SHARED_SCORING": shared, **{key: str(value) for key, value in environment.items()}})

    def array(task, first, last, count, **more):
        return place(SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_MIN=first, SLURM_ARRAY_TASK_MAX=last,
                     SLURM_ARRAY_TASK_COUNT=count, **more)
    assert place() == place(RANK="", WORLD_SIZE="") == (0, 1) and place(RANK=2, WORLD_SIZE=3) == (2, 3)
    assert [array(task, 0, 7, 8) for task in range(8)] == [(task, 8) for task in range(8)]
    assert array(5, 1, 9, 3) == (1, 3) and array(7, 7, 7, 1) == (0, 1)      # --array=1-9:4 and --array=7
    assert sorted(array(task, 2, 3, 2, RANK=rank, WORLD_SIZE=2) for task in (2, 3) for rank in (0, 1)) == [
        (index, 4) for index in range(4)]
    for task, first, last, count in ((3, 1, 7, 3), (1, 0, 2, 2)):      # --array=1,3,7; no such task
        with pytest.raises(ConfigError, match=f"not evenly spaced.*--array=0-{count - 1}"):
            array(task, first, last, count)
    assert array(3, 0, 7, 8, shared="here", RANK=1, WORLD_SIZE=2) == (1, 2) and array(3, 0, 7, 8, shared="") == (0, 1)
    assert shards.device_of("cpu", {"LOCAL_RANK": "3"}) == torch.device("cpu")


@pytest.mark.parametrize("text", ["8/8", "1", "-1/2", "a/b", "1/2/3", "0/0"])
def test_parts_that_do_not_exist(workplace, monkeypatch, capsys, text):
    with pytest.raises(SystemExit):
        call(monkeypatch, f"--shard={text}")
    assert f"{text!r} is no part I/N" in capsys.readouterr().err


def test_separated_files(workplace, monkeypatch, capsys):
    for track in ("C - Three", "D - Four"):
        (workplace / "theirs" / track).mkdir(parents=True)
        for source, other in (("drums", "mixture"), ("vocals", "vocals")):
            wav, _ = soundfile.read(workplace / "data" / "test" / track / f"{other}.wav")
            soundfile.write(workplace / "theirs" / track / f"{source}.wav", wav, RATE, subtype="FLOAT")
    assert run(monkeypatch, evaluate, "theirs", "--musdb", "data", "-d", "cpu", "--examples", "1") == 0
    record = evaluation("theirs")
    assert (record.name, record.model, record.model_hash) == ("theirs", "separated files", "")
    assert record.settings == {"metrics": ["nsdr", "si_sdr", "bsseval"], "files": "wav"}
    assert record.dataset == "data test" and record.sources == SOURCES
    assert record.tracks[0].scores["drums"]["nsdr"] == pytest.approx(0, abs=0.3)     # two sources of equal level
    assert record.tracks[0].scores["vocals"]["nsdr"] > 90                            # a copy of 32-bit floats
    assert (workplace / "demucs_results/examples/theirs/C - Three/reference/drums.mp3").exists()
    assert run(monkeypatch, evaluate, "theirs", "--musdb", "data", "--sources", "vocals", "-n", "voice", "-d", "cpu",
               "--examples", "0", "--no-sdr") == 0
    assert evaluation("voice").sources == ["vocals"]
    assert run(monkeypatch, evaluate, "theirs", "-n", "voice", "--collect") == 0
    capsys.readouterr()
    for arguments, message in ((["theirs", "-n", "cafe0001"], "choose another name with --name"),
                               (["nowhere"], "nowhere: no such folder"), (["theirs", "--sources", "bass"], "bass")):
        schema.save(dataclasses.replace(record, model="hdemucs"), "demucs_results/runs/cafe0001/evaluation.json")
        assert run(monkeypatch, evaluate, *arguments, "--musdb", "data", "-d", "cpu") == 1
        assert message in capsys.readouterr().err


def test_museval_there_and_back(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--examples", "0") == 0
    own = evaluation()
    record = "demucs_results/runs/cafe0001/evaluation.json"
    assert run(monkeypatch, museval_scores, "export", record, "out/mine") == 0
    assert sorted(path.name for path in (workplace / "out/mine/test").iterdir()) == ["C - Three.json", "D - Four.json"]
    assert run(monkeypatch, museval_scores, "import", "out/mine") == 0
    back = evaluation("mine")
    for track, other in zip(own.tracks, back.tracks, strict=True):
        for source in SOURCES:
            assert other.frames[source] == {metric: track.frames[source][metric] for metric in other.frames[source]}
    capsys.readouterr()
    for arguments, message in ((["import", "out/mine", "-n", "cafe0001"], "choose another name"),
                               (["import", "data"], "contains no file of museval"),
                               (["export", "nothing.json", "out"], "no such file")):
        assert run(monkeypatch, museval_scores, *arguments) == 1
        assert message in capsys.readouterr().err


def test_a_full_disk_is_one_line(workplace, monkeypatch, capsys):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", full)
    assert call(monkeypatch, "--no-sdr", "--examples", "0") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "C - Three.json: cannot be written (No space left on device)" in error
    assert not list(workplace.glob("demucs_results/runs/**/*.json"))


def own_data(signature, folder, key="dset.wav", **changes):
    """A run card in outputs/xps that says where the test songs are."""
    card = schema.RunCard(
        signature=signature, name="x", argv=[], model="hdemucs", model_settings={}, sources=SOURCES, samplerate=RATE,
        audio_channels=2, parameters=1, seed=1, epochs=1, epochs_done=1, batch_size=1, train_tracks=2, valid_tracks=1,
        commit="", versions={}, sessions=[], test_set=schema.TestSet(key, folder) if folder else None)
    schema.save(dataclasses.replace(card, **changes), f"outputs/xps/{signature}/run_card.json")


QUICK = ("-n", "cafe0001", "-d", "cpu", "--no-sdr", "--examples", "0")


@pytest.mark.parametrize("folder", ["data", "${oc.env:TEST_SONGS,./nothing}"])
def test_a_model_is_scored_on_the_test_songs_of_its_own_data(workplace, monkeypatch, capsys, folder):
    monkeypatch.setenv("DEMUCS_MUSDB", "musdb")
    monkeypatch.setenv("TEST_SONGS", "data")
    own_data("cafe0001", folder)
    assert run(monkeypatch, tool, *QUICK, "--reference-separators") == 0
    assert evaluation().dataset == "data test" and evaluation().expected == ["C - Three", "D - Four"]
    shutil.rmtree("outputs")                                # the release and the records came to another machine
    (workplace / "data").rename(workplace / "songs")
    capsys.readouterr()
    monkeypatch.delenv("TEST_SONGS")
    assert run(monkeypatch, tool, *QUICK) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: the test songs of cafe0001 are those of dset.wav=")
    assert "--musdb" in error and folder in error
    assert ("TEST_SONGS" in error) == ("TEST_SONGS" in folder)
    assert run(monkeypatch, tool, *QUICK, "--musdb", "songs") == 0


def test_a_bag_is_scored_on_the_test_songs_of_its_models(workplace, monkeypatch):
    (workplace / "release_models" / "twice.yaml").write_text("models: [cafe0001, cafe0001]\n")
    own_data("cafe0001", "data")
    assert run(monkeypatch, tool, *QUICK, "-n", "twice") == 0
    assert evaluation("twice").dataset == "data test"


@pytest.mark.parametrize("changes, expected", [
    (dict(argv=["dset.wav=data", "dset.use_musdb=false"]), "data test"),
    (dict(delta={"dset.wav": "data", "dset.use_musdb": False}), "data test"),
    (dict(delta={"dset.wav": "elsewhere"}), "musdb test"), (dict(delta={"dset.musdb": "data"}), "data test"),
    (dict(delta={"dset.musdb": "another/machine"}), "musdb test"), (dict(argv=["dset=sdx23_bleeding"]), "musdb test"),
    (dict(test_set=schema.TestSet("dset.wav", "data/train")), "musdb test")])      # which has no folder test/
def test_where_the_run_card_is_older_or_the_data_have_no_test_songs(workplace, monkeypatch, changes, expected):
    shutil.copytree("data", "musdb")
    monkeypatch.setenv("DEMUCS_MUSDB", "musdb")
    own_data("cafe0001", None, **changes)
    assert run(monkeypatch, tool, *QUICK) == 0
    assert evaluation().dataset == expected


def test_scores_on_several_test_sets_stand_side_by_side(workplace, monkeypatch, capsys):
    shutil.copytree("data", "more songs")
    (workplace / "more songs" / "test" / "D - Four").rename(workplace / "more songs" / "test" / "E - Five")
    own_data("cafe0001", "data")
    assert run(monkeypatch, tool, *QUICK, "--examples", "1") == 0
    first = (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text()
    capsys.readouterr()
    assert run(monkeypatch, tool, *QUICK, "--musdb", "more songs", "--examples", "1", "--reference-separators") == 0
    out = capsys.readouterr().out
    assert "; more songs test, 2 tracks" in out and "; data test, 2 tracks" in out
    assert (workplace / "demucs_results/runs/cafe0001/evaluation.json").read_text() == first
    folder = workplace / "demucs_results/runs/cafe0001"
    assert sorted(path.name for path in folder.glob("evaluation*.json")) == ["evaluation.json"] + [
        f"evaluation_on_more-songs-test{other}.json" for other in ("", "_average_filter", "_mixture", "_silence")]
    record = schema.load(Evaluation, folder / "evaluation_on_more-songs-test.json")
    assert (record.name, record.dataset, record.expected) == ("cafe0001", "more songs test", ["C - Three", "E - Five"])
    assert sorted(path.name for path in (workplace / "demucs_results/examples").iterdir()) == [
        "cafe0001", "cafe0001_on_more-songs-test"]
    (folder / "evaluation_on_more-songs-test.json").unlink()
    assert run(monkeypatch, tool, *QUICK, "--collect") == 0
    assert schema.load(Evaluation, folder / "evaluation_on_more-songs-test.json") == record
    for path in (workplace / "more songs" / "test").iterdir():
        path.rename(path.with_name(f"{path.name} again"))
    capsys.readouterr()
    assert run(monkeypatch, tool, *QUICK, "--musdb", "more songs") == 1
    assert "other songs, on a test set that is called 'more songs test', too" in capsys.readouterr().err
    assert run(monkeypatch, tool, *QUICK, "--musdb", "more songs", "--dataset-name", "other songs") == 0
    assert (folder / "evaluation_on_other-songs.json").exists()


def test_an_evaluation_that_was_made_meanwhile_is_not_replaced(workplace, monkeypatch, capsys):
    shutil.copytree("data", "more")
    assert run(monkeypatch, tool, *QUICK, "--musdb", "data") == 0
    monkeypatch.setattr(records, "record_of", lambda folder, songs: records.RECORD)       # as where both began at once
    assert run(monkeypatch, tool, *QUICK, "--musdb", "more") == 1
    assert "has the scores on data test by now; evaluate on more test again" in capsys.readouterr().err
    assert evaluation().dataset == "data test"


@pytest.mark.parametrize("name", ["..", ".", "", "cafe0001/..", "../xps/cafe0001"])
def test_what_leads_out_of_the_experiments_names_none(workplace, name):
    own_data("cafe0001", "data")
    shutil.copy("outputs/xps/cafe0001/run_card.json", "outputs")
    shutil.copy("outputs/xps/cafe0001/run_card.json", "outputs/xps")
    assert test_sets.belonging_to("cafe0001") == schema.TestSet("dset.wav", "data")
    assert test_sets.belonging_to(name) is None
