"""Downloads from a server on this machine with typical faults: interruption, changed bytes, stalls."""

import hashlib
import logging
import os
import resource
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from repositories.loopback import FileServer

from demucs.downloads import locks, transfer
from demucs.errors import ConfigError, PackageError
from demucs.repositories.download import Unreachable, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with FileServer({"/models/a.th": CONTENT}) as server:
        yield server


@pytest.fixture
def get(server, tmp_path):
    """Fetch the file, waiting hardly at all between attempts."""
    def get(checksum=CHECKSUM, path=tmp_path / "hub" / "checkpoints" / "a.th", **settings):
        settings = {"timeout": 5., "pause": 0.001, **settings}
        return fetch(server.url + "/models/a.th", path, checksum=checksum, **settings)
    return get


def left(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_a_file_is_fetched_once(get, server, tmp_path):
    path = get()
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["a.th"]
    assert os.stat(path).st_mode & 0o777 == 0o666 & ~current_umask()
    assert get() == path
    assert len(server.requests) == 1


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_without_a_length(get, server):
    server.plan = ["chunked"]
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["drop", "truncate"])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(get, server, behaviour):
    server.plan = [(behaviour, 2_500_000), (behaviour, 2_900_000)]
    assert get().read_bytes() == CONTENT
    ranges = [request["Range"] for request in server.requests]
    assert ranges[0] is None and len(ranges) == 3
    if behaviour == "truncate":      # a reset may throw away what was still on its way
        assert ranges == [None, "bytes=2500000-", "bytes=2900000-"]


def test_what_an_earlier_process_left_is_not_fetched_again(get, server, tmp_path):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.th.part").write_bytes(CONTENT[:1_234_567])
    assert get().read_bytes() == CONTENT
    assert server.requests[0]["Range"] == "bytes=1234567-" and left(tmp_path) == ["a.th"]


@pytest.mark.parametrize("begun", [CONTENT, CONTENT[:-1] + b"?", CONTENT + b"more", b"other" * 1000])
def test_whatever_an_earlier_process_left(get, server, tmp_path, begun):
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.th.part").write_bytes(begun)
    assert get().read_bytes() == CONTENT and left(tmp_path) == ["a.th"]


def test_a_server_that_cannot_resume_sends_all_of_it(get, server):
    server.plan = [("truncate", 2_000_000), "ignore_range"]
    assert get().read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=2000000-"


def test_a_server_that_sends_another_part(get, server):
    server.plan = [("truncate", 2_000_000), "wrong_range"]
    assert get().read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [None, "bytes=2000000-", None]


def test_bytes_changed_on_the_way_are_fetched_again(get, server, tmp_path):
    server.plan = ["corrupt"]
    assert get().read_bytes() == CONTENT
    assert len(server.requests) == 2 and left(tmp_path) == ["a.th"]


def test_what_is_not_the_file_never_gets_its_name(get, server, tmp_path):
    server.plan = ["corrupt"] * 9
    with pytest.raises(PackageError, match=rf"a\.th: sent 3000000 bytes with the checksum .* instead of {CHECKSUM}, "):
        get()
    assert left(tmp_path) == [] and len(server.requests) == 2


def test_a_damaged_file_is_fetched_again(get, caplog, tmp_path):
    path = get()
    path.write_bytes(CONTENT[:-1])
    assert get().read_bytes() == CONTENT
    assert "is damaged" in caplog.text and left(tmp_path) == ["a.th"]


@pytest.mark.parametrize("status,attempts", [(404, 1), (403, 1), (410, 1), (500, 3), (503, 3), (429, 3)])
def test_refusals(get, server, tmp_path, status, attempts):
    server.plan = [("status", status)] * 9
    with pytest.raises(Unreachable, match=f"the server said {status}"):
        get(attempts=3)
    assert len(server.requests) == attempts and left(tmp_path) == []


def test_a_server_that_recovers(get, server):
    server.plan = [("status", 503), ("drop", 0), ("status", 500), "garbage"]
    assert get().read_bytes() == CONTENT


def test_attempts_are_counted_from_the_last_progress(get, server):
    server.plan = [("truncate", 1_100_000), ("status", 500), ("truncate", 2_200_000), ("status", 500)]
    assert get(attempts=3).read_bytes() == CONTENT


def test_an_attempt_that_gets_hardly_further_is_no_progress(get, server):
    server.plan = [("truncate", 1000 * count) for count in range(1, 20)]
    with pytest.raises(Unreachable, match="closed after 3000 of 3000000 bytes"):
        get(attempts=3)
    assert len(server.requests) == 3


def test_a_server_that_falls_silent(get, server):
    server.plan = [("stall", 1_500_000)]
    assert get(timeout=0.5).read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=1500000-"


def test_a_slow_server_is_waited_for(get, server):
    server.plan = ["slow"]      # longer as a whole than the timeout, never silent for as long
    assert get(timeout=0.8).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_without_a_server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="[Rr]efused"):
        fetch(f"http://127.0.0.1:{port}/a.th", tmp_path / "a.th", checksum=CHECKSUM, pause=0.001)
    with pytest.raises(Unreachable, match="."):
        fetch("http://no-such-host.invalid/a.th", tmp_path / "a.th", checksum=CHECKSUM, pause=0.001)
    assert left(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a.th", "", "http://", "http://[::1",
                                 "http:///a", "http://127.0.0.1:99999/a"])
def test_only_web_addresses(url, tmp_path):
    with pytest.raises(ConfigError, match="no address"):
        fetch(url, tmp_path / "a.th", checksum=CHECKSUM)


def test_a_full_disk(get, tmp_path):
    """A limit on the size of files stands for the end of the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(PackageError, match=r"a\.th: cannot be written.*free some space.*TORCH_HOME") as caught:
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(caught.value, Unreachable)
    assert left(tmp_path) == [], "the space is given back"


def test_a_folder_that_cannot_be_made(get, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match="cannot be written.*TORCH_HOME"):
        get(path=tmp_path / "file" / "a.th")


def test_an_interrupted_download_stays_for_the_next_one(get, server, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt
    server.plan = [("truncate", 2_000_000)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(transfer.time, "sleep", interrupt)
        get()
    assert left(tmp_path) == ["a.th.part"]
    assert get().read_bytes() == CONTENT and server.requests[1]["Range"] == "bytes=2000000-"


def test_where_files_cannot_be_locked(get, server, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    server.plan = [("truncate", 2_000_000)]
    path = get()
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["a.th"]
    assert os.stat(path).st_mode & 0o777 == 0o666 & ~current_umask()
    path.unlink()
    server.plan = [("status", 404)]
    with pytest.raises(Unreachable):
        get()
    assert left(tmp_path) == []


FETCH = """
import sys, logging
logging.basicConfig(level=logging.INFO)
from demucs.repositories.download import fetch
fetch(sys.argv[1], sys.argv[2], checksum=sys.argv[3], timeout=10, pause=.001)
"""


def start(server, path, repository):
    return subprocess.Popen([sys.executable, "-c", FETCH, server.url + "/models/a.th", path, CHECKSUM],
                            cwd=repository, stderr=subprocess.PIPE, text=True)


@pytest.mark.runs
def test_processes_wait_for_the_one_that_fetches(server, tmp_path, repository):
    server.plan = ["slow"]
    processes = [start(server, tmp_path / "a.th", repository) for _ in range(3)]
    logs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], logs
    assert (tmp_path / "a.th").read_bytes() == CONTENT and left(tmp_path) == ["a.th"]
    assert len(server.requests) == 1


@pytest.mark.runs
def test_a_process_takes_over_from_one_that_was_ended(server, tmp_path, repository):
    server.plan = ["slow"]
    first = start(server, tmp_path / "a.th", repository)
    while not (tmp_path / "a.th.part").exists() or (tmp_path / "a.th.part").stat().st_size < 200_000:
        assert first.poll() is None
        time.sleep(0.01)
    second = start(server, tmp_path / "a.th", repository)
    time.sleep(0.2)
    first.kill()
    first.communicate()
    assert second.wait(60) == 0, second.stderr.read()
    second.stderr.close()
    assert (tmp_path / "a.th").read_bytes() == CONTENT and left(tmp_path) == ["a.th"]
    assert server.requests[1]["Range"] not in (None, "bytes=0-")


def test_log_lines(get, server, caplog):
    caplog.set_level(logging.INFO)
    server.plan = [("truncate", 2_000_000)]
    get()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("Fetching http") and lines[0].endswith("a.th")
    assert "the connection was closed after 2000000 of 3000000 bytes; trying again in 0.001 s" in caplog.text
    shares = [line for line in lines if "% of 3.0 MB" in line]
    assert 2 <= len(shares) <= 10 and shares[-1] == "a.th | 100 % of 3.0 MB"


def test_a_bar_on_a_terminal(get, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    get()
    shown = capsys.readouterr().err
    assert "a.th: 100%" in shown and "3.00M/3.00M" in shown
