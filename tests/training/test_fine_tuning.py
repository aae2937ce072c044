"""Fine tuning: a second training that starts from the weights of a first one, as the published second stages do."""

import json
import os

import preloaded
import pytest
import torch
from omegaconf import OmegaConf
from training.small import TINY, write_track

from demucs import schema
from demucs.building import build_solver
from demucs.config import read
from demucs.console import one_line
from demucs.errors import ConfigError, PackageError, SignatureError
from demucs.grids import mmi_ft, repro_ft
from demucs.packages import package
from demucs.separation.bag import BagOfModels
from demucs.train import main
from demucs.training.distributed import Group
from demucs.training.state import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.runs

ALONE = Group(0, 1, torch.device("cpu"))
TINY_TRANSFORMER = [
    *(argument for argument in TINY if not argument.startswith(("hdemucs.", "model=", "svd."))), "model=htdemucs",
    "htdemucs.channels=4", "htdemucs.dconv_comp=2", "htdemucs.nfft=512", "htdemucs.depth=2",
    "htdemucs.bottom_channels=8", "htdemucs.t_layers=2", "htdemucs.t_heads=2", "htdemucs.t_dropout=0.02"]


def settings(songs, argv):
    argv = [*argv, f"dset.musdb={songs}", f"dset.metadata={songs.parent / 'cache'}"]
    return read(OmegaConf.to_container(main.get_xp(argv).cfg, resolve=True))


def train(folder, config):
    folder.mkdir(parents=True, exist_ok=True)
    solver = build_solver(config, folder, ALONE, signature=folder.name)
    begin = {key: value.clone() for key, value in solver.model.state_dict().items()}
    solver.run()
    return solver, begin


def own_tracks(root, seed):
    for part, number in (("train", 2), ("valid", 1)):
        for track in range(number):
            write_track(root / part / f"{root.name} {part} {track}", seed + track)
    return root


def test_one_source_as_mmi_ft_does(songs, tmp_path, monkeypatch):
    """The published settings of the second stage of HTDemucs, on a tiny one: it starts from the best weights, only what
    the chosen source needs is trained, validation includes the second dataset."""
    monkeypatch.setenv("DEMUCS_EXTRA", str(own_tracks(tmp_path / "extra", 30)))
    monkeypatch.setenv("DEMUCS_MMI", str(own_tracks(tmp_path / "mmi", 40)))
    small = ["dset=extra_mmi_goodclean", "epochs=1", "dset.samplerate=8000", "test.shifts=0"]
    parent, _ = train(tmp_path / "parent", settings(songs, [*TINY_TRANSFORMER, *small]))
    child_argv = [*TINY_TRANSFORMER, *small, *main.value_to_argv(mmi_ft.FINE_TUNING), "continue_from=parent",
                  "weights=[0,0,0,1]", "dset.segment=1.5", "batch_size=2", "epochs=1"]
    child, begin = train(tmp_path / "child", settings(songs, child_argv))

    assert all(torch.equal(begin[key], value) for key, value in parent.best_state.items())
    groups = child.train.optimizer.param_groups
    assert isinstance(child.train.optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in groups] == [0, 0.05] and groups[0]["lr"] == 1e-4
    assert set(child.averages) == {"ema_batch_0"}
    (record,) = child.history
    assert record.train["reco"] == pytest.approx(record.train["reco_vocals"], rel=1e-6)
    assert record.valid["loss"] == pytest.approx(record.valid["reco_vocals"], rel=1e-6)
    assert record.valid["nsdr"] == pytest.approx(record.valid["nsdr_vocals"], rel=1e-6)
    cards = [schema.load(schema.RunCard, tmp_path / name / "run_card.json") for name in ("parent", "child")]
    assert [card.valid_tracks for card in cards] == [2, 3] and cards[0].train_tracks == cards[1].train_tracks == 7
    assert cards[1].continued_from == "parent"
    # The last layers write four sources; of three of them, nobody asks anything any more.
    for key in ("decoder.1.conv_tr.weight", "tdecoder.1.conv_tr.weight"):
        moved = (child.model.state_dict()[key] - begin[key]).abs().amax(dim=(0, *range(2, begin[key].dim())))
        assert moved.view(4, -1)[:3].eq(0).all() and moved.view(4, -1)[3].gt(0).all()


@pytest.mark.parametrize("stage", ["variant=finetune", "repro_ft"])
def test_remixes_as_the_other_second_stages_do(stage, songs, tmp_path, monkeypatch):
    """Automix data, no remixing or scaling, all sources shifted alike, longer examples; test after every epoch."""
    monkeypatch.setenv("DEMUCS_AUTOMIX", str(own_tracks(tmp_path / "automix", 30)))
    parent, _ = train(tmp_path / "parent", settings(songs, [*TINY, "epochs=1"]))
    second = ["dset=auto_mus", stage] if "=" in stage else main.value_to_argv(repro_ft.FINE_TUNING)
    config = settings(songs, [*(item for item in TINY if item.split("=")[0] not in ("epochs", "test.every")), *second,
                              "continue_from=parent", "dset.samplerate=8000", "dset.segment=1.5", "dset.shift=0.5",
                              "batch_size=2", "max_batches=1", "test.sdr=false"])
    assert config.epochs == 4 and config.test.every == 1 and config.augment.shift_same
    assert config.augment.remix.proba == config.augment.scale.proba == config.augment.repitch.proba == 0
    child, begin = train(tmp_path / "child", config)
    assert all(torch.equal(begin[key], value) for key, value in parent.best_state.items())
    assert [record.test is not None for record in child.history] == [True] * 4
    assert schema.load(schema.RunCard, tmp_path / "child" / "run_card.json").train_tracks == 5


def test_the_optimizer_goes_on(songs, tmp_path):
    """continue_opt=True with the last weights: the step after is the one that the parent would have taken."""
    long, _ = train(tmp_path / "long", settings(songs, [*TINY, "epochs=2", "ema.batch=[]", "ema.epoch=[]"]))
    train(tmp_path / "short", settings(songs, [*TINY, "epochs=1", "ema.batch=[]", "ema.epoch=[]"]))
    solver = build_solver(settings(songs, [*TINY, "ema.batch=[]", "ema.epoch=[]", "continue_from=short",
                                           "continue_best=false", "continue_opt=true"]), tmp_path / "child", ALONE)
    solver.train.run(epoch=1)
    for key, value in solver.model.state_dict().items():
        assert torch.equal(value, long.model.state_dict()[key]), key


def test_an_optimizer_of_another_size_is_refused(songs, tmp_path):
    train(tmp_path / "parent", settings(songs, [*TINY, "epochs=1"]))
    with pytest.raises(PackageError, match="optimizer"):
        build_solver(settings(songs, [*TINY, "hdemucs.channels=8", "continue_from=parent", "continue_opt=true"]),
                     tmp_path / "child", ALONE)


def test_a_published_model_by_its_name(songs, tmp_path, monkeypatch):
    """Without `pretrained_repo`, in ./release_models or else published; a bag of one is that model, others are refused."""
    parent, _ = train(tmp_path / "parent", settings(songs, [*TINY, "epochs=1"]))
    asked = []

    def get_model(name, repo=None):
        asked.append((name, repo))
        return BagOfModels([parent.model] * (2 if name == "pair" else 1))
    monkeypatch.setattr("demucs.repositories.repository.get_model", get_model)
    solver = build_solver(settings(songs, [*TINY, "continue_pretrained=one", "seed=9"]), tmp_path / "child", ALONE)
    assert asked == [("one", None)]
    for key, value in solver.model.state_dict().items():
        assert torch.equal(value, parent.model.state_dict()[key])
    with pytest.raises(ConfigError, match="bag of 2 models"):
        build_solver(settings(songs, [*TINY, "continue_pretrained=pair"]), tmp_path / "other", ALONE)


def test_an_absent_parent_is_said_before_anything_is_scanned(songs, tmp_path):
    config = settings(tmp_path / "nowhere", [*TINY, "continue_from=nothing"])
    with pytest.raises(SignatureError, match="continue_from=nothing"):
        build_solver(config, tmp_path / "child", ALONE)


def dora(*arguments, songs, folder):
    environment = {**os.environ, "DEMUCS_MUSDB": str(songs), "_DORA_TEST_PATH": str(folder)}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(name, None)
    return preloaded.run("-m", "dora", "-P", "demucs", "run", *arguments, env=environment)


def test_by_the_command_line(songs, tmp_path):
    """`dora run -f PARENT continue_from=PARENT variant=finetune` is another experiment, beside its parent."""
    argv = [*TINY, "epochs=1", f"dset.metadata={tmp_path / 'cache'}"]
    xp = main.get_xp(argv)
    parent = tmp_path / "xps" / xp.sig
    train(parent, read(OmegaConf.to_container(main.get_xp([*argv, f"dset.musdb={songs}"]).cfg, resolve=True)))
    (parent / ".argv.json").write_text(json.dumps(argv))
    before = {path.name: path.read_bytes() for path in parent.iterdir()}
    done = dora("-f", xp.sig, f'continue_from="{xp.sig}"', "variant=finetune", "dset.segment=1", "dset.shift=0.25",
                "batch_size=2", "epochs=1", songs=songs, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = [path.parent for path in (tmp_path / "xps").glob("*/history.json") if path.parent != parent]
    assert f"Starting from the best weights of {parent / 'checkpoint.th'}" in (folder / "train.log").read_text()
    assert "variant=finetune" in json.loads((folder / ".argv.json").read_text())
    assert {path.name: path.read_bytes() for path in parent.iterdir()} == before


def refusal(songs, folder, *argv):
    with pytest.raises(PackageError) as caught:
        build_solver(settings(songs, [*TINY, *argv]), folder, ALONE)
    message = one_line(caught.value)
    assert message == str(caught.value) and len(message) < 1000, "one line, as it is printed"
    return message


def test_weights_that_do_not_fit_are_told_apart(songs, tmp_path):
    """The first parameters with both shapes, what is missing, what is unknown, and the setting that would be right."""
    levels = "hdemucs.depth=4"
    parent, _ = train(tmp_path / "parent", settings(songs, [*TINY, levels, "epochs=1"]))
    models = tmp_path / "models"
    package.save(parent.model, models / "0123abcd.th", card=package.new_card(
        parent.model, signature="0123abcd", epochs_done=1, epochs=1, valid={}, argv=[]))
    pretrained = [f"pretrained_repo={models}", 'continue_pretrained="0123abcd"']
    message = refusal(songs, tmp_path / "wide", *pretrained, levels, "hdemucs.channels=8")
    assert "continue_pretrained=0123abcd" in message and "hdemucs.channels=4 instead of 8" in message
    assert "of another shape (encoder.0.conv.weight is (4, 4, 4, 1) instead of (8, 4, 4, 1)," in message
    message = refusal(songs, tmp_path / "deep", *pretrained, levels, "hdemucs.norm_starts=0")
    assert "missing (" in message and "norm1.weight" in message and "hdemucs.norm_starts=9 instead of 0" in message
    message = refusal(songs, tmp_path / "other", *pretrained, *[
        item for item in TINY_TRANSFORMER if item.startswith(("model=", "htdemucs."))])
    assert "unknown (" in message and "set model=hdemucs" in message
    message = refusal(songs, tmp_path / "child", levels, "hdemucs.channels=8", "continue_from=parent", "continue_opt=true")
    assert "encoder.0.conv.weight is (4, 4, 4, 1) instead of (8, 4, 4, 1)" in message


def test_a_parent_of_another_architecture_is_described(songs, tmp_path, caplog):
    parent, _ = train(tmp_path / "parent", settings(songs, [*TINY, "epochs=1"]))
    state = {f"foreign.{key}": value for key, value in parent.model.state_dict().items()}
    write_checkpoint({**read_checkpoint(tmp_path / "parent" / "checkpoint.th"), "best_state": state},
                     tmp_path / "parent" / "checkpoint.th")
    message = refusal(songs, tmp_path / "child", "continue_from=parent")
    assert f"{len(state)} missing (encoder.0.conv.weight," in message
    assert f"{len(state)} unknown (foreign.encoder.0.conv.weight," in message
    with caplog.at_level("WARNING"):
        build_solver(settings(songs, [*TINY, "hdemucs.channels=8", "continue_from=parent", "continue_best=false"]),
                     tmp_path / "wide", ALONE)
    assert "encoder.0.conv.weight is (4, 4, 4, 1) instead of (8, 4, 4, 1)" in caplog.text


@pytest.mark.parametrize("part", ["state", "best_state", "ema_batch_0"])
def test_a_part_of_a_checkpoint_that_does_not_fit(songs, tmp_path, part):
    train(tmp_path / "run", settings(songs, [*TINY, "epochs=1"]))
    content = read_checkpoint(tmp_path / "run" / "checkpoint.th")
    weights = content[part]["state"] if part.startswith("ema") else content[part]
    weights["encoder.0.conv.bias"] = torch.zeros(1)
    write_checkpoint(content, tmp_path / "run" / "checkpoint.th")
    message = refusal(songs, tmp_path / "run", "epochs=2")
    assert f"part {part!r} does not fit this run" in message
    assert "1 of another shape (encoder.0.conv.bias is (1,) instead of (4,))" in message
