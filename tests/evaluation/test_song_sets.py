"""Test sets of any kind: folders with and without splits and mixtures, other formats, sums of stems, MUSDB18."""

import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import require_program
from golden.evaluation_cases import STEMS, Leaky

from demucs.errors import AudioError, DatasetError
from demucs.evaluation.evaluate import evaluate_tracks
from demucs.evaluation.tracks import fingerprint, song_set, track_folders
from demucs.schema import SOURCES

RATE = 8000


def write(folder, names, length=4000, suffix=".wav", seed=0):
    """A song whose stem number n is noise of level n + 1; returns the stems."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    wavs = {name: draw.normal(size=(length, 2)) * 0.01 * (index + 1) for index, name in enumerate(names)}
    wavs = {name: wav - wav.mean() for name, wav in wavs.items()}
    for name, wav in wavs.items():
        soundfile.write(folder / f"{name}{suffix}", wav, RATE, subtype="PCM_24" if suffix == ".flac" else None)
    return {name: torch.from_numpy(wav.T).float() for name, wav in wavs.items()}


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-4, rtol=0)      # roundings of four 16-bit files


@pytest.mark.parametrize("place", ["test", ""])
def test_with_and_without_a_split(tmp_path, place):
    stems = write(tmp_path / "songs" / place / "A", ["piano", "voice"])
    write(tmp_path / "songs" / place / "B", ["piano", "voice"], seed=1)
    (tmp_path / "songs" / "notes").mkdir(exist_ok=True)
    songs = song_set(tmp_path / "songs", sources=["voice", "piano"])
    assert [track.name for track in songs.tracks] == ["A", "B"] and songs.sources == ["voice", "piano"]
    assert songs.name == ("songs test" if place else "songs") and songs.folded == {}
    song = songs.tracks[0].read()
    close(song.references, torch.stack([stems["voice"], stems["piano"]]))
    close(song.mix, stems["voice"] + stems["piano"])
    assert song.samplerate == RATE and {path.name for path in songs.tracks[0].files} == {"piano.wav", "voice.wav"}
    assert song_set(tmp_path / "songs", sources=["voice"], name="mine").name == "mine"


@pytest.mark.parametrize("suffix", [".flac", ".FLAC", ".mp3"])
def test_other_formats(tmp_path, suffix):
    stems = write(tmp_path / "test" / "A", ["piano", "voice", "mixture"], suffix=suffix)
    song = song_set(tmp_path, sources=["voice"]).tracks[0].read()
    assert song.references.shape[-1] >= 4000
    if suffix != ".mp3":
        close(song.references[0], stems["voice"])
        close(song.mix, stems["mixture"])
    (tmp_path / "test" / "A" / "voice.wav").write_bytes(b"")       # of two, wav is read
    with pytest.raises(AudioError, match=r"voice\.wav"):
        song_set(tmp_path, sources=["voice"]).tracks[0].read()


@pytest.mark.parametrize("sources,references,mixture", [
    (["vocals", "no_vocals"], [["vocals"], ["drums", "bass", "other"]], STEMS),
    (["instrumental"], [["drums", "bass", "other"]], STEMS),
    (["accompaniment", "minus_bass"], [["drums", "bass", "other"], ["drums", "other", "vocals"]], STEMS),
    (["vocals"], [["vocals"]], STEMS), (["drums", "vocals"], [["drums"], ["vocals"]], ["drums", "vocals"])])
def test_sums_of_stems(tmp_path, sources, references, mixture):
    stems = write(tmp_path / "test" / "A", STEMS)
    song = song_set(tmp_path, sources=sources).tracks[0].read()
    close(song.references, torch.stack([sum(stems[name] for name in names) for names in references]))
    close(song.mix, sum(stems[name] for name in mixture))


def test_a_file_is_preferred_to_a_sum_and_is_no_part_of_one(tmp_path):
    stems = write(tmp_path / "test" / "A", [*STEMS, "instrumental"])
    song = song_set(tmp_path, sources=["instrumental", "no_drums"]).tracks[0].read()
    close(song.references[0], stems["instrumental"])
    close(song.references[1], stems["bass"] + stems["other"] + stems["vocals"])
    close(song.mix, sum(stems[name] for name in STEMS))
    pair = write(tmp_path / "two" / "test" / "A", ["vocals", "instrumental"])
    close(song_set(tmp_path / "two", sources=["instrumental"]).tracks[0].read().mix, sum(pair.values()))


def test_a_model_that_tells_apart_what_the_set_does_not(tmp_path):
    """Of songs without an offset: that of the mixture is part of each estimate."""
    write(tmp_path / "test" / "A", STEMS)
    write(tmp_path / "test" / "B", STEMS, seed=1)

    class Six(Leaky):
        sources = [*STEMS, "guitar", "piano"]

        def forward(self, mix):
            return torch.stack([mix * part for part in (0.1, 0.2, 0.05, 0.3, 0.15, 0.2)], dim=1)

    class Four(Six):
        sources = list(STEMS)

        def forward(self, mix):
            return torch.stack([mix * part for part in (0.1, 0.2, 0.4, 0.3)], dim=1)

    songs = song_set(tmp_path, sources=Six.sources)
    assert songs.sources == list(STEMS) and songs.folded == {"guitar": "other", "piano": "other"}
    six = evaluate_tracks(Six(), songs.tracks, sources=songs.sources, folded=songs.folded, shifts=0)
    four = evaluate_tracks(Four(), songs.tracks, shifts=0)
    for one, other in zip(six, four, strict=True):
        assert list(one.scores) == list(STEMS)
        for source in STEMS:
            assert one.scores[source]["nsdr"] == pytest.approx(other.scores[source]["nsdr"], abs=1e-3)    # dB, 16 bits


def test_what_is_missing_is_named(tmp_path):
    write(tmp_path / "test" / "A", ["piano", "voice"])
    with pytest.raises(DatasetError, match=r"A: lacks the stem drums\.wav \(there are: piano, voice\)"):
        song_set(tmp_path, sources=["drums", "voice"])
    with pytest.raises(DatasetError, match=r"lacks the stem no_drums\.wav"):
        song_set(tmp_path, sources=["no_drums"])
    write(tmp_path / "one" / "test" / "A", ["voice"])
    with pytest.raises(DatasetError, match="has no mixture.wav, and one stem makes no song"):
        song_set(tmp_path / "one", sources=["voice"])
    (tmp_path / "bare" / "folder").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no such folder; set DEMUCS_MUSDB"):
        song_set(tmp_path / "bare", sources=["voice"])
    with pytest.raises(DatasetError, match="no .stem.mp4"):
        song_set(tmp_path, sources=["vocals"], compressed=True)


def test_a_stem_that_is_not_finite_is_named(tmp_path):
    write(tmp_path / "test" / "A", ["piano", "voice"])
    wav = np.zeros((4000, 2))
    wav[2000] = np.nan
    soundfile.write(tmp_path / "test" / "A" / "voice.wav", wav, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"voice\.wav: 1 samples are not finite.*0\.250 s"):
        song_set(tmp_path, sources=["voice"]).tracks[0].read()


def test_fingerprints(tmp_path):
    write(tmp_path / "A", ["voice"], length=300000)
    write(tmp_path / "B", ["voice"], length=300000)
    path, copy = tmp_path / "A" / "voice.wav", tmp_path / "B" / "voice.wav"
    first = fingerprint([path])
    assert len(first) == 16 and fingerprint([copy]) == first and fingerprint([path, copy]) != first
    content = bytearray(copy.read_bytes())
    for place in (100, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        copy.write_bytes(changed)
        assert (fingerprint([copy]) != first) == (place != len(content) // 2)      # not every part is looked at
    copy.write_bytes(content + b"x")
    assert fingerprint([copy]) != first
    assert fingerprint([path.rename(tmp_path / "A" / "other.wav")]) != first
    copy.write_bytes(b"")
    assert len(fingerprint([copy])) == 16
    with pytest.raises(AudioError, match="cannot be read"):
        fingerprint([tmp_path / "nothing.wav"])


def test_musdb18(tmp_path):
    """Two seconds of a real .stem.mp4."""
    ffmpeg = require_program("ffmpeg")
    write(tmp_path / "wav", ["mixture", *SOURCES], length=16000)
    target = tmp_path / "musdb" / "test" / "A - B.stem.mp4"
    target.parent.mkdir(parents=True)
    inputs = [part for name in ("mixture", *SOURCES) for part in ("-i", str(tmp_path / "wav" / f"{name}.wav"))]
    maps = [part for index in range(5) for part in ("-map", str(index))]
    subprocess.run([ffmpeg, "-loglevel", "error", *inputs, *maps, "-ar", "44100", "-c:a", "aac", str(target)],
                   check=True)
    songs = song_set(tmp_path / "musdb", sources=["drums", "instrumental", "guitar", "other"], compressed=True)
    assert songs.name == "MUSDB18 test" and songs.sources == ["drums", "instrumental", "other"]
    assert songs.folded == {"guitar": "other"} and [path.name for path in songs.tracks[0].files] == [target.name]
    drums, instrumental, other = songs.tracks[0].read().references.square().mean((1, 2)).tolist()
    assert instrumental == pytest.approx(drums + other + 4 * drums, rel=0.5)     # levels 1, 2 and 3
    assert len(track_folders(tmp_path / "wav" / "..", sources=["drums"], split="none")) == 1
