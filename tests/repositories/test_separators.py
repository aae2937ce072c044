"""Published models of Open-Unmix by name, from a server on this machine; and folders of openunmix among exported models."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.openunmix_files_cases import NETWORK, RATE, STRIDE, mixture
from repositories.loopback import FileServer

from demucs import api, pretrained
from demucs.models import zoo
from demucs.models.openunmix import bins_below
from demucs.packages import package
from demucs.repositories import catalogue, repository, separators
from demucs.repositories.catalogue import ModelLoadingError
from demucs.separation.bag import BagOfModels
from demucs.separation.song import separate_song

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FILES = GOLDEN / "openunmix_files"
PUBLISHED = json.loads((GOLDEN / "openunmix_published.json").read_text())


# The catalogue

def test_names_as_published(monkeypatch):
    monkeypatch.delenv(catalogue.MIRROR, raising=False)
    found = separators.published_separators()
    assert list(found) == list(PUBLISHED) == ["umx", "umxhq", "umxl", "umxse"]
    for name, about in found.items():
        golden = PUBLISHED[name]
        assert {target: about.url(target) for target in about.files} == golden["urls"]
        assert (about.samplerate, about.nfft, about.nhop, about.hidden_size, about.audio_channels) == \
            (golden["samplerate"], golden["nfft"], golden["nhop"], golden["hidden_size"], golden["channels"])
        assert bins_below(about.bandwidth, nfft=about.nfft, samplerate=about.samplerate) == golden["bins"]
        for target, filename in about.files.items():
            assert filename[len(target)] in "-_" and int(separators.hash_in(filename), 16) >= 0
    assert found["umxl"].licence == "CC BY-NC-SA 4.0"
    assert list(found["umxhq"].files) == ["drums", "bass", "other", "vocals"], "in the order of Demucs"


def test_another_server(monkeypatch):
    for mirror in ("http://mirror.example/demucs", "http://mirror.example/demucs/"):
        monkeypatch.setenv(catalogue.MIRROR, mirror)
        assert separators.published_separators()["umxse"].url("speech") == \
            "http://mirror.example/demucs/records/3786908/files/speech_f5e0d9f9.pth"


# Downloads

@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with small files that openunmix wrote, under the names of umxhq (stereo) and umxse (mono)."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    table, files = {}, {}
    for name, folder, joint in (("umxhq", "trained", "-"), ("umxse", "mono", "_")):
        named = {}
        for target in (FILES / folder).glob("*.json"):
            if target.stem != "separator":
                path, = (FILES / folder).glob(f"{target.stem}*.pth")
                data = path.read_bytes()
                named[target.stem] = f"{target.stem}{joint}{hashlib.sha256(data).hexdigest()[:8]}.pth"
                files[f"/records/1/files/{named[target.stem]}"] = data
        table[name] = separators.PublishedSeparator(
            name=name, data="noise", licence="CC BY-NC-SA 4.0", record="1", files=dict(sorted(named.items())),
            samplerate=RATE, audio_channels=2 if name == "umxhq" else 1, nfft=NETWORK["nfft"], nhop=64,
            hidden_size=NETWORK["hidden_size"], bandwidth=NETWORK["bandwidth"])
    monkeypatch.setattr(repository, "published_separators", lambda: table)
    with FileServer(files) as server:
        monkeypatch.setenv(catalogue.MIRROR, server.url)
        server.table = table
        yield server


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "torch" / "hub" / "checkpoints").iterdir())


def test_a_published_model(server, tmp_path, caplog):
    with np.load(GOLDEN / "openunmix_files.npz") as golden:
        for name, folder, channels in (("umxhq", "trained", 2), ("umxse", "mono", 1)):
            model = pretrained.get_model(name)
            assert set(model.sources) == set(server.table[name].files) and not model.training
            assert model.card.signature == name and model.card.model == "openunmix_separator"
            found = dict(zip(model.sources, separate_song(model, mixture(channels), shifts=0)[..., ::STRIDE]))
            for source, wav in found.items():
                expected = torch.from_numpy(golden[f"{folder}/default/{source}"])
                assert (wav - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert cached(tmp_path) == sorted(file for about in server.table.values() for file in about.files.values())
    assert len(server.paths) == 6, "each once"
    licences = [record for record in caplog.records if "licence" in record.message]
    assert [record.message for record in licences] == [
        f"{name}: the licence of its weights is CC BY-NC-SA 4.0; see https://zenodo.org/records/1"
        for name in ("umxhq", "umxse")]


def test_the_licence_is_shown_once(server, caplog):
    pretrained.get_model("umxhq")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        pretrained.get_model("umxhq")
    assert caplog.text == "" and len(server.paths) == 4


def test_only_the_chosen_targets_are_fetched(server, tmp_path):
    model = pretrained.get_model("umxhq", targets=["vocals", "bass"])
    assert model.sources == ["bass", "vocals"]
    assert [name.split("-")[0] for name in cached(tmp_path)] == ["bass", "vocals"]
    with pytest.raises(ModelLoadingError, match=r"umxhq: has no target 'vocal'\. Did you mean 'vocals'"):
        pretrained.get_model("umxhq", targets=["vocal"])


def test_files_that_openunmix_has_downloaded_are_used(server, tmp_path, monkeypatch):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for path, data in server.files.items():
        (folder / Path(path).name).write_bytes(data)
    monkeypatch.setenv(catalogue.MIRROR, "http://127.0.0.1:9")
    assert len(pretrained.get_model("umxhq").sources) == 4 and server.paths == []


def test_the_hash_is_checked(server, tmp_path):
    """A damaged file in the cache is fetched again; a server that sends something else is an error."""
    pretrained.get_model("umxse")
    path = tmp_path / "torch" / "hub" / "checkpoints" / server.table["umxse"].files["speech"]
    data = path.read_bytes()
    path.write_bytes(data[:-10] + b"0123456789")
    pretrained.get_model("umxse")
    assert path.read_bytes() == data
    path.unlink()
    server.files = {name: b"<html>please log in</html>" for name in server.files}
    with pytest.raises(ModelLoadingError, match="with the checksum .* instead of .*need a login") as caught:
        pretrained.get_model("umxse")
    assert "\n" not in str(caught.value) and not path.exists()


def test_a_network_that_breaks_off(server):
    server.plan = [("truncate", 9000), ("drop", 12000), "corrupt", ("status", 503)]
    assert len(pretrained.get_model("umxhq").sources) == 4


def test_without_a_network_one_line_says_what_to_do(server, tmp_path):
    server.files = {}
    with pytest.raises(ModelLoadingError) as caught:
        pretrained.get_model("umxhq")
    file = tmp_path / "torch" / "hub" / "checkpoints" / server.table["umxhq"].files["bass"]
    message = str(caught.value)
    assert f"the network of bass of umxhq is not in {file.parent}, and cannot be fetched from {server.url}/records/1" in message
    assert "(the server said 404" in message and f"by hand as {file};" in message and catalogue.MIRROR in message
    assert "\n" not in message


def test_unknown_names_get_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelLoadingError, match=r"no model 'umxhd'\. Did you mean 'umxhq'\?.*umx, umxhq, umxl, umxse of Open"):
        pretrained.get_model("umxhd")


# Folders

@pytest.fixture
def repo(tmp_path):
    """A folder with a folder of openunmix, a Demucs of the same sources, and a bag of both."""
    folder = tmp_path / "models"
    shutil.copytree(FILES / "trained", folder / "mine")
    (folder / "empty").mkdir()
    torch.manual_seed(0)
    model = zoo.build("hdemucs", sources=["drums", "bass", "other", "vocals"], audio_channels=2, samplerate=RATE, segment=0.3,
                      channels=4, depth=2, nfft=64)
    card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, folder / "cafe0001.th", card=card)
    (folder / "both.yaml").write_text("models: [mine, cafe0001]\nweights: [[1, 2, 1, 3], [1, 1, 1, 1]]\n")
    return folder


def test_a_folder_by_name(repo, monkeypatch, tmp_path):
    model = pretrained.get_model("mine", repo)
    assert model.sources == ["drums", "bass", "other", "vocals"] and model.card.signature == "mine"
    assert pretrained.get_model("mine", repo, targets=["vocals"]).sources == ["vocals"]
    assert repository.available(repo) == {"single": {"cafe0001": repo / "cafe0001.th", "mine": repo / "mine"},
                                          "bag": {"both": repo / "both.yaml"}}
    with pytest.raises(ModelLoadingError, match=r"no model 'mime'.*Did you mean 'mine'.*There are: cafe0001, mine, both"):
        pretrained.get_model("mime", repo)
    repo.rename(tmp_path / "release_models")
    monkeypatch.chdir(tmp_path)
    assert pretrained.get_model("mine").sources == model.sources
    assert "mine" in api.list_models()["single"]


def test_a_damaged_folder(repo):
    (repo / "mine" / "vocals.pth").write_bytes(b"")
    with pytest.raises(ModelLoadingError, match=r"vocals\.pth: ") as caught:
        pretrained.get_model("mine", repo)
    assert "\n" not in str(caught.value)


def test_a_bag_with_a_model_of_demucs(repo):
    """Demucs gets the song normalised, Open-Unmix as it is, and each source is the weighted mean of their estimates."""
    bag = pretrained.get_model("both", repo)
    assert isinstance(bag, BagOfModels) and bag.normalizes_songs and bag.default_shifts == 1
    mix = 0.3 * mixture(2) + 0.2
    for settings in (dict(shifts=0), dict(shifts=2, seed=3), dict(shifts=0, workers=2), dict(shifts=0, segment=0.25)):
        found = separate_song(bag, mix, **settings)
        if settings.get("shifts") == 2:
            continue        # every model of a bag has delays of its own
        first, second = (separate_song(model, mix, **settings) for model in bag.models)
        shares = torch.tensor([1 / 2, 2 / 3, 1 / 2, 3 / 4])[:, None, None]
        torch.testing.assert_close(found, first * shares + second * (1 - shares), rtol=0, atol=1e-6)
    other = pretrained.get_model("mine", repo)
    only = BagOfModels([other, other])
    assert not only.normalizes_songs and only.default_shifts == 0
    torch.testing.assert_close(separate_song(only, mix, shifts=0), separate_song(other, mix, shifts=0), rtol=0, atol=1e-6)


def test_sources_of_a_bag_agree(repo):
    (repo / "mine" / "vocals.json").unlink()
    (repo / "mine" / "vocals.pth").unlink()
    with pytest.raises(ModelLoadingError, match=r"both\.yaml: model 1 of the bag has sources="):
        pretrained.get_model("both", repo)


def test_songs_up_to_ten_minutes_are_one_segment(repo):
    from demucs.separation.plan import members_of

    model = pretrained.get_model("mine", repo)
    for seconds, count in ((1, 1), (600, 1), (601, 2), (3600, 6)):
        member, = members_of(model, seconds * RATE, shifts=0, seed=0, segment=None, split=True, overlap=0.25,
                             transition_power=1.)
        assert len(member.pieces()) == count, seconds


def test_the_shift_trick_is_off_unless_it_is_chosen(repo):
    model = pretrained.get_model("mine", repo)
    mix = mixture(2)

    def separated(**settings):
        return torch.stack(list(api.Separator("mine", repo, "cpu", **settings).separate_tensor(mix)[1].values()))
    assert torch.equal(separated(), separate_song(model, mix, shifts=0))
    assert not torch.equal(separated(shifts=1), separated())
    demucs = api.Separator("cafe0001", repo, "cpu").separate_tensor(mix)[1]
    expected = separate_song(pretrained.get_model("cafe0001", repo), mix, shifts=1)
    assert torch.equal(torch.stack(list(demucs.values())), expected)
