"""docs/downloads.md: its table, and its commands with small archives from a server on this machine."""

import re
import shlex
from pathlib import Path

import pytest
from data.test_download import published, zip_of
from repositories.loopback import FileServer
from training.small import write_songs

from demucs.config import read
from demucs.data import download
from demucs.data.download import ARCHIVES
from demucs.downloads import partial
from demucs.downloads.meter import size
from demucs.songs import to_download
from demucs.tables import markdown
from demucs.train import main
from tools import download_dataset


@pytest.fixture
def page(repository):
    return (repository / "docs" / "downloads.md").read_text()


@pytest.fixture
def server(tmp_path, monkeypatch):
    files = {}
    songs = write_songs(tmp_path / "songs")
    for name, archive in list(ARCHIVES.items()):
        content = zip_of(songs)
        files[f"/{archive.filename}"] = content
        published(content, monkeypatch, name)
    with FileServer(files) as server:
        monkeypatch.setenv(download.MIRROR, server.url)
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.chdir(tmp_path)
        yield server


def commands(page, first):
    return [shlex.split(line, comments=True) for line in re.findall(rf"^    ({first} .*)$", page, re.M)]


def test_the_table(page):
    rows = [[f"`{name}`", archive.title, size(archive.length), size(archive.unpacked), archive.url.split("/files/")[0]]
            for name, archive in ARCHIVES.items()]
    table = markdown(["name", "dataset", "archive", "unpacked", "page"], rows, "llrrl")
    assert table.rstrip("\n") == page.split("<!-- table: archives -->\n")[1].split("\n<!-- end -->")[0]
    assert f"Every {partial.INTERVAL // 2 ** 20} MiB" in page and download.FACTOR == 2


def test_the_command(page, server):
    command, = commands(page, "python")
    assert command[:3] == ["python", "-m", "tools.download_dataset"]
    for _ in range(2):
        assert download_dataset.main(command[3:]) == 0
    assert len(server.requests) == 1
    folder = Path(command[-1])
    assert sorted(path.name for path in folder.iterdir()) == ["download.json", "test", "train"]
    export, = re.findall(r"^    export DEMUCS_MUSDB=(.*)$", page, re.M)
    assert export == command[-1]


def test_the_trainings(page, tmp_path):
    from omegaconf import OmegaConf
    found = [command[2:] for command in commands(page, "dora run")]
    ported = [shlex.split(ours)[2:] for ours in re.findall(r"\| `(dora run .*)` \|$", page, re.M)]
    assert len(found) == len(ported) == 2
    for words in [*found, *ported]:
        xp = main.get_xp(words)
        assert xp.sig == main.get_xp([word for word in words if not word.startswith("dset.download")]).sig
        assert to_download(read(OmegaConf.to_container(xp.cfg, resolve=True))) in ARCHIVES


def test_the_message_without_a_network(page, server, capsys, monkeypatch):
    message = " ".join(re.search(r"^    (error: .*?)\n\n", page, re.M | re.S)[1].split())
    pattern = re.escape(message)
    for word in ("ADDRESS", "REASON", "FOLDER", "DIGITS"):
        pattern = pattern.replace(word, ".*")
    server.plan = [("status", 404)]
    assert download_dataset.main(["musdb18-hq", "--out", "x"]) == 1
    assert re.fullmatch(pattern, capsys.readouterr().err.splitlines()[-1])
