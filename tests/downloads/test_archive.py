"""Unpacking of archives, most of them harmful."""

import io
import os
import stat
import struct
import warnings
import zipfile

import pytest

from demucs.downloads import archive
from demucs.downloads.archive import ArchiveError, entries, unpack

LIMITS = {"most_bytes": 100_000, "most_files": 10}
SONG = os.urandom(3000)


def zipped(path, files, *, method=zipfile.ZIP_DEFLATED):
    """A zip file of (name or ZipInfo, content)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")        # names that are there twice
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in files:
                file.writestr(name, content)
    return path


def entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.fixture
def place(tmp_path):
    (tmp_path / "outer").mkdir()
    return tmp_path / "outer" / "unpacked"


def files(place):
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_unpacks(tmp_path, place, method):
    names = ["train/A & B - Ça, \"va\"/mixture.wav", "train/C/drums.wav", "README.md", "test/x..y/.hidden"]
    path = zipped(tmp_path / "a.zip", [("train/", b""), *((name, SONG) for name in names)], method=method)
    assert unpack(path, place, **LIMITS) == 4
    assert files(place) == {name: SONG for name in names}
    assert all(path.stat().st_mode & 0o111 == 0 for path in place.rglob("*") if path.is_file())


def test_what_archivers_leave_is_left_out(tmp_path, place):
    path = zipped(tmp_path / "a.zip", [("a.wav", SONG), ("__MACOSX/a.wav", b""), ("x/.DS_Store", b""), ("x/._a.wav", b"")])
    unpack(path, place, **LIMITS)
    assert files(place) == {"a.wav": SONG}


@pytest.mark.parametrize("name,reason", [
    ("../a.wav", "outside"), ("/a.wav", "outside"), ("train/../../a.wav", "outside"), ("C:/a.wav", "outside"),
    ("a//b.wav", "outside"), ("./a.wav", "outside"), ("..", "outside"), ("a\\..\\b.wav", "unusual characters"),
    ("a\nb.wav", "unusual characters"), ("x" * 256, "too long"),
    (entry("link", stat.S_IFLNK | 0o777), "is a link"), (entry("pipe", stat.S_IFIFO), "neither a file nor a folder"),
    (entry("folder/", stat.S_IFLNK), "is a link"), (entry("disk", stat.S_IFBLK), "neither a file"),
])
def test_harmful_entries(tmp_path, place, name, reason):
    path = zipped(tmp_path / "a.zip", [("good.wav", SONG), (name, b"/etc" if "link" in str(name) else b"x")])
    with pytest.raises(ArchiveError, match=f"a.zip: the entry .* {reason}.*; nothing is unpacked"):
        unpack(path, place, **LIMITS)
    assert not place.exists() and sorted(os.listdir(tmp_path)) == ["a.zip", "outer"] and not os.listdir(tmp_path / "outer")


def test_a_null_byte_in_a_name(tmp_path, place):
    path = zipped(tmp_path / "a.zip", [("good_evil", SONG)])
    path.write_bytes(path.read_bytes().replace(b"good_evil", b"good\0evil"))
    with pytest.raises(ArchiveError, match="unusual characters"):
        unpack(path, place, **LIMITS)


def test_an_entry_without_a_name():
    assert archive._refused(zipfile.ZipInfo("")) == "has no name"


@pytest.mark.parametrize("names", [("a.wav", "a.wav"), ("Song/a.wav", "song/A.WAV"), ("a", "a/b"), ("a/b", "A")])
def test_names_that_collide(tmp_path, place, names):
    path = zipped(tmp_path / "a.zip", [(name, SONG) for name in names])
    with pytest.raises(ArchiveError, match="is there twice|is below a file"):
        unpack(path, place, **LIMITS)


def test_more_than_expected(tmp_path, place):
    many = zipped(tmp_path / "many.zip", [(f"{number}.wav", b"") for number in range(11)])
    large = zipped(tmp_path / "large.zip", [("zeros.wav", bytes(100_001))])
    assert large.stat().st_size < 1000
    for path in (many, large):
        with pytest.raises(ArchiveError, match="expected; nothing is unpacked"):
            unpack(path, place, **LIMITS)
    assert not place.exists()


def test_a_size_that_is_a_lie(tmp_path, place):
    """The directory promises ten bytes, and the compressed data are ten million."""
    path = zipped(tmp_path / "a.zip", [("bomb.wav", bytes(10_000_000))])
    data = path.read_bytes().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10))
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="'bomb.wav' is damaged"):
        unpack(path, place, **LIMITS)
    assert files(place) == {}


def test_encrypted_entries_and_other_compressions(tmp_path, place):
    path = zipped(tmp_path / "a.zip", [("a.wav", SONG)])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="is encrypted"):
        unpack(path, place, **LIMITS)
    path = zipped(tmp_path / "b.zip", [("a.wav", SONG)], method=zipfile.ZIP_LZMA)
    with pytest.raises(ArchiveError, match="a compression that is not read here"):
        unpack(path, place, **LIMITS)


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>login</html>", None])
def test_what_is_no_archive(tmp_path, place, content):
    path = tmp_path / "a.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchiveError, match="a.zip: (is no zip archive|cannot be read)"):
        entries(path, **LIMITS)


def test_damage_anywhere_is_an_error_or_harmless(tmp_path, place):
    """Each byte changed in turn: what is unpacked is right, or nothing with a wrong content has its name."""
    stream = io.BytesIO()
    zipped(stream, [("a/b.wav", SONG[:40]), ("c.wav", bytes(50))])
    good = stream.getvalue()
    for position in range(len(good)):
        data = bytearray(good)
        data[position] ^= 0x11
        (tmp_path / "a.zip").write_bytes(data)
        target = place / str(position)
        try:
            unpack(tmp_path / "a.zip", target, **LIMITS)
        except ArchiveError as error:
            assert "a.zip" in str(error) and "\n" not in str(error)
        for name, content in files(target).items():
            assert content in (SONG[:40], bytes(50)), (position, name)


def test_an_interrupted_call_is_continued(tmp_path, place, monkeypatch):
    path = zipped(tmp_path / "a.zip", [(f"{number}.wav", SONG) for number in range(4)])
    copy, copied = archive.shutil.copyfileobj, []

    def stop_at_third(source, target, *rest):
        copied.append(target.name)
        if len(copied) == 3:
            target.write(SONG[:7])
            raise KeyboardInterrupt
        copy(source, target, *rest)
    with monkeypatch.context() as patch:
        patch.setattr(archive.shutil, "copyfileobj", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, place, **LIMITS)
    assert files(place) == {"0.wav": SONG, "1.wav": SONG}
    (place / ".2.wav.1234.tmp").write_bytes(SONG[:9])        # as a killed process leaves it
    before = (place / "0.wav").stat().st_mtime_ns
    unpack(path, place, **LIMITS)
    assert files(place) == {f"{number}.wav": SONG for number in range(4)}
    assert (place / "0.wav").stat().st_mtime_ns == before


def test_a_file_that_cannot_be_written(tmp_path, place):
    path = zipped(tmp_path / "a.zip", [("a/b.wav", SONG)])
    place.mkdir()
    (place / "a").write_text("a file")
    with pytest.raises(ArchiveError, match="a.zip: cannot be unpacked: .*choose another folder"):
        unpack(path, place, **LIMITS)
