"""Downloads of datasets from a server on this machine, in this process and in several."""

import dataclasses
import errno
import functools
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import time
import zipfile

import numpy as np
import pytest
import torch
from preloaded import Popen
from repositories.loopback import FileServer
from training.small import TINY, write_songs

from demucs import precheck
from demucs import songs as songs_of
from demucs.config import read
from demucs.data import download
from demucs.data.download import ARCHIVES, fetch_dataset
from demucs.data.musdb import VALIDATION_TRACKS
from demucs.downloads.partial import Checksum
from demucs.errors import ConfigError, DatasetError
from demucs.train import main
from demucs.training.distributed import Group
from tools import download_dataset


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_songs(tmp_path_factory.mktemp("published") / "songs")


def zip_of(folder, **more):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
        for name, content in more.items():
            file.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def as_published(content, like):
    """The archive `like` with other content."""
    return dataclasses.replace(like, length=len(content), checksum="sha256:" + hashlib.sha256(content).hexdigest(),
                               unpacked=2 * len(content))


def published(content, monkeypatch, name="musdb18-hq"):
    monkeypatch.setitem(ARCHIVES, name, as_published(content, ARCHIVES[name]))


@pytest.fixture
def server(songs, monkeypatch):
    """A server with the archive of four songs, which `ARCHIVES` takes for MUSDB18-HQ."""
    content = zip_of(songs, **{"README.md": "About"})
    with FileServer({"/musdb18hq.zip": content}) as server:
        published(content, monkeypatch)
        monkeypatch.setenv(download.MIRROR, server.url + "/")
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "*")
        yield server


@pytest.fixture
def get(tmp_path):
    return functools.partial(fetch_dataset, "musdb18-hq", tmp_path / "data" / "musdb hq", pause=0.001, timeout=5.)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data" / "musdb hq"


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_whole(root, songs):
    found = content_of(root)
    record = json.loads(found.pop(download.RECORD))
    assert record["dataset"] == "musdb18-hq" and record["checksum"] == ARCHIVES["musdb18-hq"].checksum
    assert found == {**content_of(songs), "README.md": b"About"} and record["files"] == len(found)
    assert not (root / download.WORK).exists()
    return True


def test_a_dataset_is_downloaded_once(get, server, root, songs, caplog):
    caplog.set_level("INFO")
    assert download.is_absent(root) and get() and is_whole(root, songs)
    assert not download.is_absent(root) and not get() and len(server.requests) == 1
    assert "academic use only, see https://zenodo.org/records/3338373" in caplog.text
    assert "musdb18hq.zip | 100 % of" in caplog.text and "Unpacking" in caplog.text
    assert caplog.messages[-1] == f"MUSDB18-HQ is in {root} already"


@pytest.mark.parametrize("plan", [["corrupt"], [("drop", 30_000), ("truncate", 90_000)], [("status", 500)], ["garbage"],
                                  [("truncate", 60_000), "ignore_range"], [("truncate", 60_000), "wrong_range"],
                                  ["chunked"]])
def test_a_server_with_faults(get, server, root, songs, plan):
    server.plan = plan
    assert get() and is_whole(root, songs)


@pytest.mark.parametrize("plan,reason", [
    ([("status", 404)], r"the server said 404"), ([("status", 500)] * 9, "the server said 500"),
    ([("truncate", 5000)] * 9, "closed after"), (["corrupt"] * 9, "not the published file")])
def test_a_server_that_never_sends_it(get, server, root, songs, plan, reason):
    server.plan = list(plan)
    with pytest.raises(DatasetError, match=reason) as caught:
        get(attempts=2)
    assert "\n" not in str(caught.value) and f"{server.url}/musdb18hq.zip" in str(caught.value)
    assert download.is_absent(root) and not (root / "test").exists()
    server.plan = []
    assert get() and is_whole(root, songs)


def test_without_a_network(get, server, root, songs, monkeypatch, tmp_path):
    """The error has what is needed to do it by hand, and that works."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(download.MIRROR, f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(DatasetError) as caught:
        get()
    message = str(caught.value)
    own = root / "musdb18hq.zip"
    for part in ("MUSDB18-HQ cannot be fetched from http://127.0.0.1", "refused", f"put it there as {own}",
                 ARCHIVES["musdb18-hq"].checksum.partition(":")[2], download.MIRROR):
        assert part in message
    own.write_bytes(server.files["/musdb18hq.zip"][:-1] + b"?")
    with pytest.raises(DatasetError, match="is not the published archive of .* bytes with the sha256 .*; remove it, or"):
        get()
    own.write_bytes(server.files["/musdb18hq.zip"])
    assert get() and own.exists(), "what was put there by hand stays"
    own.unlink()
    assert is_whole(root, songs)


def test_the_published_addresses(monkeypatch):
    monkeypatch.delenv(download.MIRROR, raising=False)
    assert ARCHIVES["musdb18-hq"].address == "https://zenodo.org/records/3338373/files/musdb18hq.zip"
    assert {name: archive.filename for name, archive in ARCHIVES.items()} == {
        "musdb18-hq": "musdb18hq.zip", "musdb18": "musdb18.zip", "musdb18-preview": "MUSDB18-7-STEMS.zip"}
    torchaudio = pytest.importorskip("torchaudio.datasets.musdb_hq")
    assert ARCHIVES["musdb18-hq"].checksum == f"sha256:{torchaudio._CHECKSUM}"
    for archive in ARCHIVES.values():
        kind, digits = Checksum.parse(archive.checksum)
        assert len(digits) == 2 * hashlib.new(kind).digest_size
    monkeypatch.setenv(download.MIRROR, "file:///etc")
    with pytest.raises(ConfigError, match="file:///etc/musdb18hq.zip.*no address"):
        fetch_dataset("musdb18-hq", "nowhere")


def test_too_little_space(get, server, root, songs, monkeypatch):
    archive = ARCHIVES["musdb18-hq"]
    monkeypatch.setattr(download, "free_bytes", lambda _: archive.length + archive.unpacked - 1)
    with pytest.raises(DatasetError, match=r"MB of free space, and MUSDB18-HQ needs .* for its archive, .* unpacked; free"):
        get(elsewhere="take --out")
    assert not server.requests
    # The part that is here needs no space.
    (root / download.WORK).mkdir(exist_ok=True)
    (root / download.WORK / "musdb18hq.zip.part").write_bytes(server.files["/musdb18hq.zip"][:1000])
    assert get() and is_whole(root, songs) and server.requests[0]["Range"] == "bytes=1000-"


def test_files_larger_than_expected(get, server, root, monkeypatch):
    monkeypatch.setitem(ARCHIVES, "musdb18-hq", dataclasses.replace(ARCHIVES["musdb18-hq"], unpacked=1000))
    with pytest.raises(DatasetError, match="expected; nothing is unpacked"):
        get()
    assert download.is_absent(root)


@pytest.mark.parametrize("more,reason", [({"..__evil": b"x"}, "outside of the folder"), (None, "has no test/")])
def test_an_archive_that_is_something_else(server, get, root, songs, tmp_path, monkeypatch, more, reason):
    folder = songs
    if more is None:
        folder = tmp_path / "other"
        shutil.copytree(songs / "train", folder / "train")
    server.files["/musdb18hq.zip"] = content = zip_of(folder, **(more or {}))
    published(content, monkeypatch)
    with pytest.raises(DatasetError, match=reason):
        get()
    assert download.is_absent(root) and not list(tmp_path.rglob("evil"))


def test_interrupted_at_every_file_operation(get, server, root, tmp_path, monkeypatch):
    """After each one the process ends; nothing looks whole before it is, and the next call goes on."""
    songs = tmp_path / "songs"
    for name in ("train/A/drums.wav", "train/A/bass.wav", "train/B/drums.wav", "test/C/drums.wav", "test/C/bass.wav"):
        (songs / name).parent.mkdir(parents=True, exist_ok=True)
        (songs / name).write_bytes(name.encode())
    server.files["/musdb18hq.zip"] = content = zip_of(songs)
    published(content, monkeypatch)
    names, ends = ("replace", "open", "fsync"), 0
    originals = {name: getattr(os, name) for name in names}

    class End(BaseException):
        pass

    for moment in range(1, 1000):
        shutil.rmtree(root, ignore_errors=True)
        calls = iter(range(1, 10 ** 6))

        def count(original, *arguments, **named):
            result = original(*arguments, **named)
            if next(calls) == moment:
                raise End
            return result
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, functools.partial(count, originals[name]))
            try:
                get()
                break
            except End:
                ends += 1
        if (root / "train").exists():
            assert content_of(root / "train") == content_of(songs / "train")
            assert content_of(root / "test") == content_of(songs / "test")
        if (root / "test").exists():
            assert content_of(root / "test") == content_of(songs / "test")
        get()
        assert {key: value for key, value in content_of(root).items() if key.startswith("t")} == content_of(songs), moment
    assert ends > 3 * 5


def test_another_dataset_was_interrupted_there(get, server, root, songs, monkeypatch):
    """It was unpacked, and not yet renamed."""
    other = zip_of(songs, other__song=b"x")
    server.files["/musdb18.zip"] = other
    published(other, monkeypatch, "musdb18")
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "rmtree", lambda *_, **__: None)
        assert fetch_dataset("musdb18", root)
    whole = root / download.WORK / (download.WHOLE + "musdb18")
    for split in ("train", "test"):
        (root / split).rename(whole / split)
    (root / download.RECORD).unlink()
    (root / "other" / "song").unlink()
    (root / "other").rmdir()
    assert get() and is_whole(root, songs)


def test_what_is_there_is_not_touched(get, server, root):
    (root / "train" / "Song").mkdir(parents=True)
    assert not get() and not server.requests and os.listdir(root) == ["train"]


def test_another_dataset_is_there(get, server, root, songs, monkeypatch):
    assert get()
    with pytest.raises(DatasetError, match="holds musdb18-hq, not musdb18; choose another"):
        fetch_dataset("musdb18", root)
    (root / download.RECORD).write_text("?")
    with pytest.raises(DatasetError, match=r"holds songs that are not as .stem.mp4, not musdb18-preview"):
        fetch_dataset("musdb18-preview", root)
    shutil.rmtree(root / "train")
    with pytest.raises(DatasetError, match="has test/ and no train/; remove test/ before MUSDB18-HQ is downloaded, or"):
        get()
    shutil.rmtree(root / "test")
    (root / "train").mkdir()
    (root / "train" / "Song.stem.mp4").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"holds songs as .stem.mp4, not musdb18-hq"):
        get()


@pytest.mark.parametrize("obstacle", ["file", "read-only", "train is a file"])
def test_a_root_that_cannot_be_written(get, server, root, obstacle):
    root.parent.mkdir()
    if obstacle == "file":
        root.write_text("")
    elif obstacle == "train is a file":
        root.mkdir()
        (root / "train").write_text("")
    else:
        root.mkdir(mode=0o555)
        if os.access(root, os.W_OK):
            pytest.skip("this user may write everywhere")
    with pytest.raises(DatasetError, match="MUSDB18-HQ cannot be downloaded into .*musdb hq.*or choose another folder"):
        get()


def test_a_link_to_the_place_for_data(get, server, root, songs, tmp_path):
    (tmp_path / "large disk").mkdir()
    root.parent.mkdir()
    root.symlink_to(tmp_path / "large disk")
    assert get() and root.is_symlink() and is_whole(tmp_path / "large disk", songs)


def test_where_files_cannot_be_locked(get, server, root, songs, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")
    monkeypatch.setattr("demucs.downloads.locks.fcntl.flock", refuse)
    server.plan = [("truncate", 50_000)]
    assert get() and is_whole(root, songs)


def test_the_preview_is_what_musdb_finds(songs, tmp_path, monkeypatch):
    """The package musdb would download it without a checksum; here it finds it where it would put it."""
    musdb, stempeg = pytest.importorskip("musdb"), pytest.importorskip("stempeg")
    stem = open(stempeg.example_stem_path(), "rb").read()
    names = [f"train__{VALIDATION_TRACKS[0]}.stem.mp4", "train__A - B.stem.mp4", "test__C - D.stem.mp4"]
    content = zip_of(tmp_path / "none", **dict.fromkeys(names, stem))
    published(content, monkeypatch, "musdb18-preview")
    with FileServer({"/MUSDB18-7-STEMS.zip": content}) as server:
        monkeypatch.setenv(download.MIRROR, server.url)
        monkeypatch.setenv("no_proxy", "*")
        assert fetch_dataset("musdb18-preview", tmp_path / "preview")
    found = musdb.DB(str(tmp_path / "preview"), download=True, subsets="train", split="valid")
    assert [track.name for track in found] == [VALIDATION_TRACKS[0]]


# The command

def test_the_command(server, tmp_path, songs, capsys, monkeypatch):
    assert download_dataset.main(["musdb18-hq", "--out", str(tmp_path / "hq")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'hq'}\n" and is_whole(tmp_path / "hq", songs)
    assert download_dataset.main(["musdb18", "--out", str(tmp_path / "hq")]) == 1
    assert "choose another folder with --out" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        download_dataset.main(["musdb", "--out", "x"])
    assert caught.value.code == 2 and "invalid choice: 'musdb'" in capsys.readouterr().err


# In a training

def config(root, *overrides, **dset):
    from omegaconf import OmegaConf
    values = OmegaConf.to_container(main.get_xp([*TINY, "dset.download=true", *overrides]).cfg, resolve=True)
    values["dset"].update({"musdb": str(root), "metadata": str(root.parent / "cache"), **dset})
    return read(values)


def test_values_of_the_setting():
    assert [download.chosen(value) for value in (None, False, True, "musdb18", "musdb18-preview")] == [
        None, None, "musdb18-hq", "musdb18", "musdb18-preview"]
    for value in ("musdb18-previw", "", 1, "True "):
        with pytest.raises(ConfigError, match=r"dset.download=.* is unknown; use true \(musdb18-hq\), false, or one of"):
            download.chosen(value)


@pytest.mark.parametrize("override", ["dset.use_musdb=false", "dset.kind=wav"])
def test_a_training_without_musdb(root, override):
    with pytest.raises(ConfigError, match="dset.download=True downloads musdb18-hq into dset.musdb, which is not"):
        songs_of.to_download(config(root, override))


def test_before_a_training(server, root, tmp_path, monkeypatch):
    """The check before a job downloads nothing, but demands the space."""
    settings = config(root)
    assert precheck.check(settings, ranks=1, folder=tmp_path / "run") == root.absolute()
    assert not server.requests and not root.exists()
    monkeypatch.setattr(download, "free_bytes", lambda _: 1000)
    with pytest.raises(DatasetError, match="by dset.musdb or the environment variable DEMUCS_MUSDB"):
        precheck.check(settings, ranks=1, folder=tmp_path / "run")
    monkeypatch.undo()
    (root / "train" / "Song").mkdir(parents=True)
    with pytest.raises(ConfigError, match="moreover"):
        precheck.check(settings, ranks=1, folder=tmp_path / "run")


def test_of_several_ranks_the_first_downloads(server, root, songs):
    settings = config(root)
    songs_of.download(settings, Group(0, 1, torch.device("cpu")))
    assert is_whole(root, songs)
    shutil.rmtree(root)

    class Second(Group):
        def gather(self, value):
            return [None, value]
    songs_of.download(settings, Second(1, 2, torch.device("cpu")))
    assert not root.exists() and len(server.requests) == 1


def test_a_finished_run_downloads_nothing(server, root):
    songs_of.download(config(root), Group(0, 1, torch.device("cpu")), needed=lambda: False)
    assert not root.exists() and not server.requests


def environment(server, tmp_path):
    """Of a process in which `patch.py` is imported first: it puts the archive of the server into `ARCHIVES`."""
    archive = ARCHIVES["musdb18-hq"]
    (tmp_path / "patched.py").write_text(
        "import dataclasses, runpy, sys\nfrom demucs.data import download\nfrom demucs.downloads import transfer\n"
        f"download.ARCHIVES['musdb18-hq'] = dataclasses.replace(download.ARCHIVES['musdb18-hq'], length={archive.length}, "
        f"checksum={archive.checksum!r}, unpacked={archive.unpacked})\ntransfer.PROGRESS = 1\n"
        "transfer.fetch.__kwdefaults__['pause'] = .01\n"
        "sys.argv = sys.argv[1:]\nrunpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n")
    return {**os.environ, download.MIRROR: server.url, "_DORA_TEST_PATH": str(tmp_path / "outputs")}


@pytest.mark.runs
def test_a_training_on_two_processes(server, root, songs, tmp_path):
    """The first downloads the songs, in spite of a drop, and the other one waits."""
    server.plan = [("drop", 40_000)]
    env = {**environment(server, tmp_path), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1",
           "MASTER_PORT": str(20000 + os.getpid() % 10000)}
    settings = [*TINY, f"dset.musdb={root}".replace(" ", "\\ "), f"dset.metadata={tmp_path / 'cache'}", "epochs=1",
                "augment.remix.group_size=2"]
    ranks = [Popen(tmp_path / "patched.py", "dora", "run", *settings, "dset.download=True", merge=True,
                   env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    outputs = [process.communicate()[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], outputs
    assert is_whole(root, songs) and "100 % of" in outputs[0] and "100 % of" not in outputs[1]
    folder, = (tmp_path / "outputs" / "xps").iterdir()
    assert folder.name == main.get_xp([*settings]).sig, "how songs come to their folder is no part of the signature"
    history = json.loads((folder / "history.json").read_text())
    assert len(history) == 1 and np.isfinite(history[0]["train"]["loss"])


@pytest.mark.runs
def test_processes_wait_for_the_one_that_downloads(server, root, songs, tmp_path):
    server.plan = ["slow"]
    env = environment(server, tmp_path)
    processes = [Popen(tmp_path / "patched.py", "tools.download_dataset", "musdb18-hq", "--out", root, env=env, merge=True)
                 for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0], [process.communicate() for process in processes]
    assert is_whole(root, songs) and len(server.requests) == 1
    assert sum("waiting for that one" in process.communicate()[0] for process in processes) == 2


@pytest.mark.runs
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_and_one_that_takes_over(server, root, songs, tmp_path, number):
    server.plan = ["slow"]
    env = environment(server, tmp_path)
    arguments = (tmp_path / "patched.py", "tools.download_dataset", "musdb18-hq", "--out", root)
    first = Popen(*arguments, env=env, merge=True)
    part = root / download.WORK / "musdb18hq.zip.part"
    while not part.exists() or part.stat().st_size < 50_000:
        assert first.returncode is None
        time.sleep(0.01)
    os.kill(first.pid, number)
    first.wait(30)
    assert download.is_absent(root) and part.exists()
    assert Popen(*arguments, env=env).wait(60) == 0
    assert is_whole(root, songs) and server.requests[1]["Range"] not in (None, "bytes=0-")
