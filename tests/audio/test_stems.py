"""Decoding of stem files, compared with the package stempeg, which musdb reads them with."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import require_program

from demucs.audio import stems
from demucs.errors import AudioError, ToolError

stempeg = pytest.importorskip("stempeg")


@pytest.fixture(autouse=True)
def programs():
    require_program("ffmpeg")


@pytest.fixture
def example(tmp_path):
    """The stem file of a song of MUSDB18, of six seconds, under a name with everything."""
    return Path(shutil.copy(stempeg.example_stem_path(), tmp_path / "Ça - \"it's\" 100 %d & Co. #1.stem.mp4"))


def encoded(path, lengths, *, streams=5):
    """A stem file from ffmpeg's own encoder, which substitutes noise; streams have these lengths in samples."""
    inputs, maps = [], []
    songs, _ = stempeg.read_stems(stempeg.example_stem_path(), dtype=np.float32)
    for index in range(streams):
        wav = path.with_name(f"{index}.wav")
        noise = 1e-3 * np.random.default_rng(index).standard_normal((lengths[index % len(lengths)], 2))
        soundfile.write(wav, songs[index, :len(noise)] + noise, 44100)
        inputs += ["-i", wav]
        maps += ["-map", f"{index}:a"]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *inputs, *maps, "-c:a", "aac", "-b:a", "96k", path], check=True)
    return path


def decoded(folder):
    return {path.stem: soundfile.read(path, dtype="int16")[0] for path in folder.glob("*.flac")}


def by_stempeg(path, frames=None):
    """As musdb reads it: 16 bits, scaled to floats."""
    found = [stempeg.read_stems(str(path), stem_id=index, ffmpeg_format="s16le")[0] for index in range(5)]
    return {name: np.rint(samples * 32768).astype(np.int16)[:frames] for name, samples in zip(stems.STREAMS, found)}


def test_a_song_of_musdb18(example, tmp_path):
    stems.decode(example, tmp_path / "out" / "song")
    found, expected = decoded(tmp_path / "out" / "song"), by_stempeg(example)
    assert set(found) == {"mixture", "drums", "bass", "other", "vocals"} == set(expected)
    for name in expected:
        assert np.array_equal(found[name], expected[name]) and len(found[name]) == 268288
    info = soundfile.info(tmp_path / "out" / "song" / "drums.flac")
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 44100, 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["song"]


def test_streams_with_noise_substitution(tmp_path):
    path = encoded(tmp_path / "a.stem.mp4", [100_000])
    stems.decode(path, tmp_path / "a")
    found, expected = decoded(tmp_path / "a"), by_stempeg(path)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    # The reason why nothing is decoded from the middle: other samples would come out, and not only at the beginning.
    said = subprocess.run(["ffmpeg", "-loglevel", "error", "-ss", "1", "-i", path, "-map", "0:0", "-f", "s16le", "pipe:"],
                          check=True, capture_output=True).stdout
    part = np.frombuffer(said, np.int16).reshape(-1, 2)[4096:]
    whole = expected["mixture"][44100 + 4096:][:len(part)]
    assert np.corrcoef(part[:, 0], whole[:, 0])[0, 1] > 0.9 and np.mean(part != whole) > 0.1


def test_streams_that_end_one_after_the_other(tmp_path):
    path = encoded(tmp_path / "a.stem.mp4", [100_000, 100_700, 102_500])
    stems.decode(path, tmp_path / "a")
    found = decoded(tmp_path / "a")
    length, = {len(samples) for samples in found.values()}
    expected = by_stempeg(path, length)
    assert 100_000 <= length <= 100_000 + 1024
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_stream_that_is_too_short(tmp_path):
    path = encoded(tmp_path / "a.stem.mp4", [100_000, 40_000])
    with pytest.raises(AudioError, match=r"a\.stem\.mp4: damaged: its header promises .* drums 4.* download it again"):
        stems.decode(path, tmp_path / "a")
    assert not (tmp_path / "a").exists() and not list(tmp_path.glob(".*"))


def test_other_files(tmp_path, example):
    four = encoded(tmp_path / "four.stem.mp4", [30_000], streams=4)
    text = tmp_path / "text.stem.mp4"
    text.write_text("no audio")
    listing = tmp_path / "list.stem.mp4"
    listing.write_text(f"ffconcat version 1.0\nfile '{example}'\n")
    empty = tmp_path / "empty.stem.mp4"
    empty.write_bytes(b"")
    for path, reason in ((four, "has 4 audio streams instead of 5"), (text, "not audio"), (listing, "not audio|not read"),
                         (empty, "the file is empty"), (tmp_path / "none.stem.mp4", "no such file")):
        with pytest.raises(AudioError, match=reason):
            stems.decode(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_damaged_files(example, tmp_path, damage):
    content = bytearray(example.read_bytes())
    if damage == "cut":
        example.write_bytes(content[:len(content) // 2])
    else:
        content[len(content) // 4:len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
        example.write_bytes(content)
    try:
        stems.decode(example, tmp_path / "out")
    except AudioError as error:
        assert str(example) in str(error) and "\n" not in str(error) and not (tmp_path / "out").exists()
    else:
        assert {len(samples) for samples in decoded(tmp_path / "out").values()} == {268288}


def test_a_stream_that_lost_a_block(tmp_path):
    """All after it would be early by the length of a block."""
    path = encoded(tmp_path / "a.stem.mp4", [100_000])
    said = subprocess.run(["ffprobe", "-loglevel", "error", "-select_streams", "2", "-show_entries", "packet=pos,size",
                           "-of", "csv=p=0", path], check=True, capture_output=True, text=True).stdout.split()
    size, place = map(int, said[40].strip(",").split(",")[:2])
    content = bytearray(path.read_bytes())
    content[place:place + size] = b"\xff" * size
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.stem\.mp4: damaged: .*drums 10\d{4}, bass 9\d{4}"):
        stems.decode(path, tmp_path / "a")


def test_without_ffmpeg(example, tmp_path, monkeypatch):
    def missing(name):
        raise ToolError(f"{name} is not installed")
    monkeypatch.setattr("demucs.audio.streams.program", missing)
    with pytest.raises(ToolError, match="ffprobe is not installed"):
        stems.decode(example, tmp_path / "out")


def test_a_folder_that_cannot_be_written(example, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioError, match="file/out: cannot be written"):
        stems.decode(example, tmp_path / "file" / "out")
