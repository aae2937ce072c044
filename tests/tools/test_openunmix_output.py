"""The folder of --output: networks of several trainings, for openunmix."""

import pytest
import torch
from compositions import resolved

from demucs.building import build_model, pretrained_model, require_same_architecture
from demucs.config import read
from demucs.errors import ConfigError, PackageError
from demucs.models import zoo
from demucs.packages import openunmix, package
from tools.openunmix_arguments import get_parser
from tools.openunmix_output import write_folder
from tools.openunmix_overrides import changed, plain_values, sizes_of, values_of

SIZES = {"hidden_size": 8, "nfft": 512, "nhop": 128}


@pytest.fixture
def experiment(tmp_path):
    """Makes an experiment with weights for a target."""
    def make(signature, target, seed=0, **settings):
        torch.manual_seed(seed)
        model = zoo.build("openunmix", sources=[target], audio_channels=2, samplerate=8000, segment=600.,
                          **{**SIZES, **settings})
        card = package.new_card(model, signature=signature, epochs_done=1, epochs=1, valid={"loss": 1.}, argv=[])
        package.save(model, tmp_path / "xps" / signature / "best.th", card=card)
        return lambda folder: write_folder(signature, target, tmp_path / folder, experiments=tmp_path / "xps")
    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_targets_of_several_trainings(experiment, tmp_path):
    experiment("aaaaaaaa", "vocals")("umx")
    experiment("bbbbbbbb", "drums", 1)("umx")
    first = names(tmp_path / "umx")
    experiment("cccccccc", "vocals", 2)("umx")          # trained again: its weights replace the older ones
    assert len(first) == len(names(tmp_path / "umx")) == 5 and first != names(tmp_path / "umx")
    model = openunmix.load(tmp_path / "umx")
    assert model.targets == ["drums", "vocals"] and names(tmp_path) == ["umx", "xps"]
    expected = package.load(tmp_path / "xps" / "cccccccc" / "best.th").state_dict()
    for name, value in model.target_models["vocals"].state_dict().items():
        assert torch.equal(value, expected[name])


def test_what_is_refused_leaves_the_folder_as_it_was(experiment, tmp_path):
    experiment("aaaaaaaa", "vocals")("umx")
    before = {path.name: path.read_bytes() for path in (tmp_path / "umx").iterdir()}
    with pytest.raises(PackageError, match="has networks with another transform"):
        experiment("bbbbbbbb", "drums", nhop=64)("umx")
    with pytest.raises(PackageError, match="unidirectional=True"):
        experiment("cccccccc", "drums", unidirectional=True)("umx")
    assert {path.name: path.read_bytes() for path in (tmp_path / "umx").iterdir()} == before
    with pytest.raises(PackageError, match="new: openunmix reads only networks with unidirectional=False"):
        experiment("dddddddd", "drums", unidirectional=True)("new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(PackageError, match="xps: is there already, and is no folder of openunmix"):
        experiment("eeeeeeee", "drums")("xps")


def test_fine_tuning_takes_sizes_and_weights_of_the_target(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment("aaaaaaaa", "vocals", bandwidth=2000)("umx")
    experiment("bbbbbbbb", "drums", 1, bandwidth=2000)("umx")

    def read_with(*words):
        args = get_parser().parse_args(["--root", "songs", "--model", "umx", *words])
        values = values_of(args)
        return read(resolved(changed({**values, **sizes_of(args, values)}, plain_values())))
    config = read_with("--target", "drums")
    assert (config.dset.samplerate, config.dset.channels, config.model_settings["nfft"]) == (8000, 2, 512)
    network = pretrained_model(config)
    require_same_architecture(build_model(config), network, network.state_dict(), config)
    expected = package.load(tmp_path / "xps" / "bbbbbbbb" / "best.th").state_dict()
    assert network.sources == ["drums"] and all(torch.equal(value, expected[name])
                                                for name, value in network.state_dict().items())
    assert read_with("--hidden-size", "4").model_settings["hidden_size"] == 4       # given, so that it will not fit
    with pytest.raises(ConfigError, match="--model umx: has no network of 'bass'; it has drums, vocals"):
        read_with("--target", "bass")
    bass = read(resolved(["variant=openunmix", "dset.targets={vocal:[vocals]}", "continue_pretrained=umx",
                          "pretrained_repo=."]))
    with pytest.raises(ConfigError, match="continue_pretrained=umx has no network of 'vocal'.*Did you mean 'vocals'"):
        pretrained_model(bass)
