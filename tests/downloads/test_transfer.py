"""Transfer of large files: their records on disk, lengths, kinds of checksums and log lines."""

import hashlib
import json
import logging

import numpy as np
import pytest
from repositories.loopback import FileServer

from demucs.downloads import meter
from demucs.downloads import partial as partial_module
from demucs.downloads.partial import DownloadError
from demucs.downloads.transfer import Unreachable, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(partial_module, "INTERVAL", 500_000)


@pytest.fixture
def server():
    with FileServer({"/a.zip": CONTENT}) as server:
        yield server


@pytest.fixture
def get(server, tmp_path):
    def get(**settings):
        return fetch(server.url + "/a.zip", tmp_path / "a.zip",
                     **{"checksum": MD5, "length": len(CONTENT), "timeout": 5., "pause": 0.001, **settings})
    return get


@pytest.fixture
def partial(server, get, tmp_path):
    """A partial download of 2.2 MB, and its record."""
    server.plan = [("truncate", 2_200_000), ("status", 404)]
    with pytest.raises(Unreachable):
        get()
    server.requests.clear()
    record = json.loads((tmp_path / "a.zip.part.json").read_text())
    assert record["bytes"] >= 1_700_000 and record["md5"] == hashlib.md5(CONTENT[:record["bytes"]]).hexdigest()
    return tmp_path / "a.zip.part", record["bytes"]


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("checksum", [MD5, "sha256:" + hashlib.sha256(CONTENT).hexdigest(),
                                      hashlib.sha256(CONTENT).hexdigest()[:8]])
def test_kinds_of_checksums(get, tmp_path, checksum):
    assert get(checksum=checksum).read_bytes() == CONTENT and left(tmp_path) == ["a.zip"]


def test_it_continues_behind_what_is_recorded(get, server, partial, tmp_path):
    part, recorded = partial
    assert get().read_bytes() == CONTENT and left(tmp_path) == ["a.zip"]
    assert [request["Range"] for request in server.requests] == [f"bytes={recorded}-"]


def test_the_end_of_a_part_that_never_reached_the_disk_is_fetched_again(get, server, partial):
    part, recorded = partial
    part.write_bytes(CONTENT[:recorded] + bytes(2_200_000 - recorded))       # as after a power failure
    assert get().read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [f"bytes={recorded}-"]


@pytest.mark.parametrize("damage", ["changed", "shorter"])
def test_a_part_that_disagrees_with_its_record_is_fetched_again(get, server, partial, damage, caplog):
    part, recorded = partial
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content if damage == "changed" else content[:recorded - 1])
    assert get().read_bytes() == CONTENT
    assert "the part that is here is damaged" in caplog.text
    assert [request["Range"] for request in server.requests] == [None]


@pytest.mark.parametrize("record", ["", "{", "[]", '{"bytes": -5, "md5": "0"}', '{"bytes": 7}', '{"bytes": "x", "md5": ""}'])
def test_a_record_that_says_nothing(get, server, partial, record):
    part, _ = partial
    part.with_name("a.zip.part.json").write_text(record)
    assert get().read_bytes() == CONTENT


def test_a_part_longer_than_the_file(get, server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(bytes(len(CONTENT) + 1))
    assert get().read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [None]


def test_a_file_of_another_length_is_not_fetched(get, server, tmp_path):
    with pytest.raises(DownloadError, match=r"a\.zip: has 3000000 bytes instead of 2999999; this is not the published"):
        get(length=len(CONTENT) - 1)
    assert len(server.requests) == 1 and left(tmp_path) == []


def test_more_than_the_file_without_a_length(get, server, tmp_path):
    server.plan = ["chunked"]
    with pytest.raises(DownloadError, match="sends more than the 1000000 bytes"):
        get(length=1_000_000)
    assert left(tmp_path) == []


def test_another_server_than_before(get, server, partial):
    """Whose file has another length: what is here is kept for the right one."""
    part, _ = partial
    server.files["/a.zip"] = CONTENT + b"more"
    with pytest.raises(DownloadError, match="has 3000004 bytes"):
        get()
    assert part.stat().st_size > 0


def test_lines_of_a_slow_download(caplog):
    caplog.set_level(logging.INFO)
    now = [0.]
    lines = meter.Lines("a.zip", clock=lambda: now[0])
    for second in range(0, 10_001, 5):
        now[0] = float(second)
        lines.report(second * 2_000_000, 20_000_000_000)
    found = [record.getMessage() for record in caplog.records]
    assert found[0] == "a.zip |   1 % of 20.0 GB | 2.0 MB/s | 2:45:00 left"
    assert found[-1] == "a.zip | 100 % of 20.0 GB | 2.0 MB/s" and len(found) == 100
    assert found[49].startswith("a.zip |  50 %")


def test_no_line_without_a_length(caplog):
    caplog.set_level(logging.INFO)
    meter.Lines("a.zip").report(100, None)
    assert not caplog.records
