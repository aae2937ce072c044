"""`tools.test_pretrained`: records, examples and tables of an exported model."""

import shutil
import sys

import numpy as np
import pytest
import soundfile

from demucs import schema
from demucs.inference import package
from demucs.models import zoo
from demucs.schema import Evaluation
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


def test_records_with_reference_separators(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--no-sdr", "--reference-separators", "--shifts", "2", "--seed", "3") == 0
    folder = workplace / "demucs_results" / "runs" / "cafe0001"
    records = {path.name: schema.load(Evaluation, path) for path in folder.iterdir()}
    assert sorted(records) == ["evaluation.json", "evaluation_average_filter.json", "evaluation_mixture.json",
                               "evaluation_silence.json"]
    own = records["evaluation.json"]
    assert (own.name, own.model, own.dataset, own.sources) == ("cafe0001", "hdemucs", "data test", SOURCES)
    assert own.model_hash == package.load("release_models/cafe0001.th").card.model_hash
    assert own.settings["shifts"] == 2 and own.settings["seed"] == 3 and own.settings["overlap"] == 0.25
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


def test_museval_and_saved_estimates(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "--workers", "0", "--save", "kept", "--examples", "0", "--dataset-name", "noises") == 0
    record = schema.load(Evaluation, "demucs_results/runs/cafe0001/evaluation.json")
    assert record.dataset == "noises"
    assert set(record.tracks[0].scores["drums"]) == {"nsdr", "SDR", "ISR", "SIR", "SAR"}
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
    assert record.settings == {"shifts": 2, "overlap": 0., "split": False, "segment": None, "seed": 0}
    assert record.dataset == "data test" and set(record.tracks[0].scores["drums"]) == {"nsdr"}
    assert (workplace / "separated" / "cafe0001" / "C - Three" / "vocals.mp3").exists()


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
    (["test.shifts"], "is no KEY=VALUE"), (["optim.lr=1"], "There are: dset.musdb, test.save"),
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
