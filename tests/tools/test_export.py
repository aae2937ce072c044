"""Export of runs from the files of their training, without Dora."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from demucs import schema
from demucs.errors import PackageError, SignatureError
from demucs.models import zoo
from demucs.packages import package, pickled
from demucs.packages.export import export as export_best
from demucs.runs import experiments
from demucs.schema import ReleaseCard, RunCard, RunStatus, Session
from tools import export

PUBLISHED_RUN = Path(__file__).resolve().parents[1] / "golden" / "published" / "run"
TINY = {"sources": ["drums", "vocals"], "audio_channels": 2, "samplerate": 8000, "segment": 2., "channels": 4,
        "depth": 2, "nfft": 64}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the experiments 162f67a7 (3 of 180 epochs), 955717e8 (no epoch yet)."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "xps" / "162f67a7"
    (tmp_path / "outputs" / "xps" / "955717e8").mkdir(parents=True)
    torch.manual_seed(0)
    model = zoo.build("hdemucs", **TINY)
    card = package.new_card(model, signature="162f67a7", epochs_done=2, epochs=180, valid={"nsdr": 4.5}, argv=["a=1"])
    package.save(model, folder / "best.th", card=card)
    run = RunCard(
        signature="162f67a7", name="epochs=180", argv=["epochs=180"], model="hdemucs", model_settings={}, seed=42,
        sources=TINY["sources"], samplerate=8000, audio_channels=2, parameters=1, epochs=180, epochs_done=3,
        batch_size=4, train_tracks=3, valid_tracks=1, commit="", versions={},
        sessions=[Session("2024-01-01", "2024-01-02", 1., 1, 3, 1, "cpu")])
    schema.save(run, folder / "run_card.json")
    schema.write_json([{"train": {"loss": 1.}, "valid": {"main": {"loss": 1.}, "bname": "main", "best": 1.}}],
                      folder / "history.json")
    return tmp_path


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    return export.main()


def test_export(workplace, monkeypatch, capsys, caplog):
    assert call(monkeypatch, "162f67a7") == 0
    assert "release_models/162f67a7.th: hdemucs" in capsys.readouterr().out
    assert "3 of 180 epochs" in caplog.text
    trained = package.load("outputs/xps/162f67a7/best.th")
    model = package.load("release_models/162f67a7.th")
    mix = torch.randn(1, 2, 4000)
    assert torch.equal(model(mix), trained(mix))
    assert (model.card.epochs_done, model.card.epochs) == (3, 180)
    assert (model.card.argv, model.card.valid) == (["epochs=180"], {"nsdr": 4.5})
    assert schema.load(ReleaseCard, "release_models/162f67a7.json") == model.card


def test_a_run_that_stopped_early_is_exported_without_a_warning(workplace, monkeypatch, capsys, caplog):
    """Its training is done, though not all planned epochs are; a run that is stopped or still trains is not done."""
    folder = workplace / "outputs" / "xps" / "162f67a7"
    for state, expected in (("done", False), ("stopped", True), ("running", True), ("failed", True)):
        status = RunStatus(signature="162f67a7", state=state, reason="", epoch=4, step=0, steps=5, epochs=180, best_nsdr=1.,
                           seconds_per_step=1., world_size=1, device="cpu", host="here", process=1, job=None, restarts=0,
                           started="", updated="")
        schema.save(status, folder / "status.json")
        caplog.clear()
        assert call(monkeypatch, "162f67a7") == 0
        assert ("the best weights so far are exported" in caplog.text) is expected, state
        assert "3 of 180 epochs" in capsys.readouterr().out


def test_half_into_another_folder(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "162f67a7", "--half", "-o", "else where/models") == 0
    assert "float16" in capsys.readouterr().out
    assert package.load("else where/models/162f67a7.th").card.precision == "float16"


@pytest.mark.parametrize("arguments,file,precision", [
    (["--format", "demucs"], "162f67a7.th", "float16"), (["--format", "demucs", "--full"], "162f67a7.th", "float32"),
    (["--format", "safetensors"], "162f67a7.safetensors", "float16"), (["--full"], "162f67a7.th", "float32"),
    (["--format", "plain", "--half"], "162f67a7.th", "float16")])
def test_formats_and_precisions(arguments, file, precision, workplace, monkeypatch, capsys):
    assert call(monkeypatch, "162f67a7", *arguments) == 0
    assert f"release_models/{file}: hdemucs" in capsys.readouterr().out
    if file.endswith(".th"):
        assert ("klass" in pickled.read(f"release_models/{file}")) == ("demucs" in arguments)
    model = package.load(f"release_models/{file}")
    assert model.card.precision == precision and model.card.argv == ["epochs=180"]
    assert schema.load(ReleaseCard, "release_models/162f67a7.json") == model.card
    trained = package.load("outputs/xps/162f67a7/best.th")
    for exported, own in zip(model.parameters(), trained.parameters()):
        assert torch.equal(exported, own if precision == "float32" else own.half().float())


@pytest.mark.parametrize("arguments", [["--half", "--full"], ["--format", "onnx"]])
def test_arguments_that_contradict_each_other(arguments, workplace, monkeypatch):
    with pytest.raises(SystemExit):
        call(monkeypatch, "162f67a7", *arguments)


@pytest.mark.parametrize("kind,precision", [("plain", "float32"), ("demucs", "float16")])
def test_a_run_of_published_demucs(kind, precision, workplace, monkeypatch, capsys):
    folder = workplace / "outputs" / "xps" / "955717e8"
    for name in ("best.th", "history.json"):
        shutil.copy(PUBLISHED_RUN / name, folder)
    schema.write_json(["epochs=2", "model=hdemucs"], folder / ".argv.json")
    assert call(monkeypatch, "955717e8", "--format", kind) == 0
    assert "2 of 2 epochs" in capsys.readouterr().out
    model = package.load("release_models/955717e8.th")
    card = model.card
    assert (card.signature, card.argv, card.precision) == ("955717e8", ["epochs=2", "model=hdemucs"], precision)
    history = schema.load_history(folder / "history.json")
    assert card.valid == history[-1].valid and card.valid["loss"] == history[-1].best


def test_quantised_stays_quantised_unless_told(workplace, monkeypatch, capsys):
    folder = workplace / "outputs" / "xps" / "955717e8"
    shutil.copy(PUBLISHED_RUN.parent / "hdemucs_diffq.th", folder / "best.th")
    found = {}
    for arguments in ([], ["--format", "demucs"], ["--format", "safetensors"], ["--half"], ["--full"]):
        assert call(monkeypatch, "955717e8", *arguments, "-o", "models") == 0
        suffix = "safetensors" if "safetensors" in arguments else "th"
        model = package.load(f"models/955717e8.{suffix}")
        found[" ".join(arguments)] = (model.card.precision, package.model_hash(model))
    trained = package.model_hash(package.load(folder / "best.th"))
    assert found.pop("--half")[0] == "float16" and found.pop("--full") == ("float32", trained)
    assert set(found.values()) == {("quantised", trained)}


def test_one_bad_signature_does_not_stop_the_others(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "162f67a8", "955717e8", "162f67a7") == 1
    first, second = capsys.readouterr().err.strip().splitlines()[:2]
    assert first.startswith("error: no experiment '162f67a8'") and "Did you mean '162f67a7'?" in first
    assert "955717e8 has no weights to export: no epoch has finished" in second
    assert (workplace / "release_models" / "162f67a7.th").exists()


@pytest.mark.parametrize("signature", ["../162f67a7", "..", ".", "", "a/b"])
def test_signatures_are_not_paths(workplace, signature):
    with pytest.raises(SignatureError, match="is not a signature"):
        experiments.experiment_folder(signature)


def test_nothing_trained_yet(tmp_path):
    with pytest.raises(SignatureError, match="There are: none yet"):
        experiments.experiment_folder("162f67a7", tmp_path / "xps")


def test_damaged_weights(workplace):
    path = workplace / "outputs" / "xps" / "162f67a7" / "best.th"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(PackageError, match=r"best\.th"):
        export_best("162f67a7", workplace / "out")
    assert not (workplace / "out").exists()


def test_collecting_a_run(workplace):
    written = experiments.collect_run("162f67a7")
    assert [path.as_posix() for path in written] == [
        "demucs_results/runs/162f67a7/run_card.json", "demucs_results/runs/162f67a7/history.json"]
    for path in written:
        assert schema.read_json(path) == schema.read_json(workplace / "outputs" / "xps" / "162f67a7" / path.name)
    assert experiments.collect_run("from_elsewhere") == []
    assert not (workplace / "demucs_results" / "runs" / "from_elsewhere").exists()


@pytest.mark.runs
def test_tools_need_no_training_packages(repository):
    code = ("import sys; import tools.export, tools.test_pretrained; unwanted = "
            "{'dora', 'hydra', 'omegaconf', 'submitit', 'museval', 'musdb', 'pandas', 'matplotlib'}; "
            "print(sorted(unwanted & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository)
    assert done.stdout == "[]\n", done.stderr


def test_torchscript(workplace, monkeypatch, capsys):
    assert call(monkeypatch, "162f67a7", "--format", "torchscript") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("release_models/162f67a7.pt: hdemucs, ") and "float32" in shown
    model, script = package.load("outputs/xps/162f67a7/best.th"), torch.jit.load("release_models/162f67a7.pt")
    mix = torch.randn(1, 2, 16000)
    with torch.no_grad():
        assert (script(mix) - model(mix)).abs().max() < 1e-6
    assert call(monkeypatch, "162f67a7", "--format", "torchscript", "--half") == 1
    assert capsys.readouterr().err == \
        "error: release_models/162f67a7.pt: TorchScript files have 32-bit floats; leave --half out\n"
