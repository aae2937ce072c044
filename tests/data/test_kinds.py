"""Kinds of datasets: which files are the stems of which song, and errors that name what is wrong."""

import json
import os
import sys
import textwrap

import numpy as np
import pytest
import torch
from data.songs import RATE, moises_song, noise, slakh_song, write

from demucs.data import kinds
from demucs.data.build import build_policy, kind_sets
from demucs.data.faults import FaultyTracks
from demucs.data.index import scan
from demucs.data.kinds import KindSettings
from demucs.data.kinds.mapping import Instruments
from demucs.data.kinds.splits import by_hash
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.evaluation.tracks import song_set

FOUR, SIX = ("drums", "bass", "other", "vocals"), ("drums", "bass", "other", "vocals", "guitar", "piano")
POLICY = build_policy("grid", segment=1, shift=1, seed=0)


def sets(kind, root, tmp_path, sources=FOUR, samplerate=RATE, **layout):
    return kind_sets(kind, root, sources=sources, policy=POLICY, samplerate=samplerate, channels=2, normalize=False,
                     full_cv=True, cache_dir=tmp_path / "cache", layout=layout)


def names(kind, root, part, sources=FOUR, **layout):
    return [track.name for track in kinds.tracks(kind, KindSettings(root, tuple(sources), **layout), part).tracks]


@pytest.fixture
def moises(tmp_path):
    """Three songs with all stems, in the folders of the archive, and the waveforms of the first."""
    root = tmp_path / "moisesdb"
    stems = ("vocals", "bass", "drums", "other", "guitar", "other_plucked", "percussion", "piano", "other_keys",
             "bowed_strings", "wind")
    songs = []
    for song in range(3):
        songs.append({stem: [noise(100 * song + 10 * place + part) for part in range(1 + (stem == "vocals"))]
                      for place, stem in enumerate(stems)})
        moises_song(root / "moisesdb_v0.1" / f"uuid-{song}", songs[-1], song=f"Song {song}")
    (tmp_path / "split.yaml").write_text("valid: [Artist - Song 1]\ntest: [Artist - Song 2]\n")
    return root, songs, str(tmp_path / "split.yaml")


def close(wav, expected):
    torch.testing.assert_close(wav, torch.from_numpy(np.asarray(expected).T).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sources", [FOUR, SIX, ("vocals", "instrumental"), ("guitar",)])
def test_moises_sums_the_recordings_of_each_source(moises, tmp_path, sources):
    root, songs, split = moises
    train, valid = sets("moises", root, tmp_path, sources, split=split)
    assert (len(train), len(valid)) == (2, 1)
    song = {stem: sum(wavs) for stem, wavs in songs[1].items()}
    named = {source: song[source] for source in sources if source in song and source != "other"}
    named.update({source: sum(song.values()) - sum(named.values()) for source in sources if source not in named})
    for place, source in enumerate(sources):
        close(valid[0][1 + place], named[source])
    close(valid[0][0], sum(song.values()))


def test_moises_files_of_unequal_length_end_in_silence(tmp_path):
    root = tmp_path / "db"
    short, long = noise(1, 1.), noise(2, 2.)
    for song in range(2):
        moises_song(root / f"u{song}", {"vocals": [short], "drums": [long, short], "bass": [long], "piano": [short]}, song=str(song))
    (tmp_path / "split.yaml").write_text("valid: [Artist - 1]")
    train, valid = sets("moises", root, tmp_path, split=str(tmp_path / "split.yaml"))
    example = valid[0]
    assert example.shape == (5, 2, 2 * RATE)
    close(example[4], np.concatenate([short, 0 * short]))
    close(example[1], long + np.concatenate([short, 0 * short]))
    assert len(train) == 2 and not train[1][3].any()          # vocals after their end


def test_moises_splits_by_the_hash_of_the_name(tmp_path):
    root = tmp_path / "db"
    for song in range(40):
        moises_song(root / f"u{song}", {stem: [noise(song, .1)] for stem in ("vocals", "drums", "bass", "piano")}, song=f"{song}")
    found = {split: names("moises", root, split) for split in ("train", "valid", "test")}
    assert sorted(sum(found.values(), [])) == sorted(f"Artist - {song}" for song in range(40))
    assert all(by_hash(name) == split for split, some in found.items() for name in some) and min(map(len, found.values())) > 0
    moises_song(root / "new", {stem: [noise(1, .1)] for stem in ("vocals", "drums", "bass", "piano")}, song="new")
    assert all(set(some) <= set(names("moises", root, split)) for split, some in found.items())


def test_songs_of_one_name_are_told_apart(tmp_path):
    for song in ("u1", "u2", "u3"):
        moises_song(tmp_path / "db" / song, {stem: [noise(1, .1)] for stem in ("vocals", "drums", "bass", "piano")},
                    artist="AC/DC", song="Same" if song != "u3" else "..")
    tracks = [track.name for track in kinds.moises.tracks.__wrapped__(KindSettings(tmp_path / "db", FOUR), tmp_path / "db").tracks]
    assert tracks == ["AC_DC - ..", "AC_DC - Same (u1)", "AC_DC - Same (u2)"]


@pytest.mark.parametrize("harm,message", [
    (lambda song: (song / "data.json").write_text("{"), "track u0: .*data.json is no description of a song"),
    (lambda song: (song / "data.json").write_text('{"song": "x", "artist": "y", "stems": [{"stemName": "../u1", "tracks": []}]}'),
     "has no instrument of drums"),
    (lambda song: (song / "data.json").write_text(json.dumps(
        {"song": "x", "artist": "y", "stems": [{"stemName": "../u1", "tracks": [{"id": "a", "extension": "wav"}]}]})),
     r"names a file outside of its folder: \.\./u1/a\.wav"),
    (lambda song: (song / "bass" / "bass-0.wav").unlink(), "track u0: bass/bass-0.wav is missing from .*u0, and data.json names them"),
    (lambda song: (song / "bass" / "bass-0.wav").write_bytes(b"RIFF"), "track u0: .*bass-0.wav"),
    (lambda song: write(song / "bass" / "bass-0.wav", noise(1), 2 * RATE), "all files of a track must have the same rate")])
def test_faulty_songs_of_moises_are_named(tmp_path, harm, message):
    for song in range(2):
        moises_song(tmp_path / "db" / f"u{song}", {stem: [noise(1)] for stem in ("vocals", "drums", "bass", "piano")}, song=str(song))
    harm(tmp_path / "db" / "u0")
    (tmp_path / "split.yaml").write_text("valid: [Artist - 1]")
    with pytest.raises(DatasetError, match=message):
        sets("moises", tmp_path / "db", tmp_path, split=str(tmp_path / "split.yaml"))


def test_slakh_by_programs(tmp_path):
    root = tmp_path / "slakh"
    wavs = [0.5 * noise(seed, channels=1) for seed in range(6)]
    programs = ["drums", 33, 0, 7, 30, 90]
    for split in ("train", "validation", "test"):
        slakh_song(root / split / "Track00001", list(zip(programs, wavs)))
    with pytest.raises(FaultyTracks, match="Track00001: .* has no instrument of vocals .*dset.missing=silence"):
        sets("slakh", root, tmp_path)
    quantised = [np.repeat(np.round(wav * 2 ** 15) / 2 ** 15, 2, axis=1) for wav in wavs]
    _, valid = sets("slakh", root, tmp_path, missing="silence")
    drums, bass, piano1, piano2, guitar, synth = quantised
    for place, expected in enumerate([sum(quantised), drums, bass, piano1 + piano2 + guitar + synth, 0 * drums]):
        torch.testing.assert_close(valid[0][place], torch.from_numpy(expected.T).float(), atol=1e-4, rtol=0)
    _, valid = sets("slakh", root, tmp_path, ("piano", "guitar"))
    torch.testing.assert_close(valid[0][1], torch.from_numpy((piano1 + piano2).T).float(), atol=1e-4, rtol=0)
    assert [track.name for track in song_set(root, sources=["piano"], kind="slakh").tracks] == ["Track00001"]


def test_slakh_stems_that_were_not_rendered_are_not_missed(tmp_path):
    song = tmp_path / "slakh" / "train" / "Track1"
    slakh_song(song, [("drums", noise(0, channels=1)), (33, noise(1, channels=1))])
    (song / "stems" / "S01.flac").unlink()
    settings = KindSettings(tmp_path / "slakh", ("drums", "bass"), missing="silence")
    assert "stems/S01.flac is missing" in kinds.tracks("slakh", settings, "train").faults[0]
    text = (song / "metadata.yaml").read_text()
    (song / "metadata.yaml").write_text(text[:text.rindex("true")] + "false" + text[text.rindex("true") + 4:])
    settings = KindSettings(tmp_path / "slakh", ("drums", "bass"), missing="silence")
    assert kinds.tracks("slakh", settings, "train").tracks[0].stems["bass"] == ()


@pytest.mark.parametrize("text", ["", "stems: 3", "stems: {S00: {is_drum: false}}", "!!python/object/apply:os.system ['true']",
                                  "stems: {../../x: {is_drum: true, program_num: 1}}"])
def test_slakh_descriptions_are_untrusted(tmp_path, text):
    folder = tmp_path / "slakh" / "train" / "Track1"
    slakh_song(folder, [("drums", noise(0, channels=1))])
    (folder / "metadata.yaml").write_text(text)
    faults = kinds.tracks("slakh", KindSettings(tmp_path / "slakh", ("drums",)), "train").faults
    assert len(faults) == 1 and "download it again" in faults[0] and "\n" not in faults[0]


def test_flat_folders_of_songs(tmp_path):
    (tmp_path / "split.yaml").write_text("valid: [b]\ntest: [c]\n")
    for song in "abc":
        for source in FOUR:
            write(tmp_path / "db" / song / f"{source}.wav", noise(ord(song)))
    split = str(tmp_path / "split.yaml")
    assert [names("sdx23", tmp_path / "db", part, split=split) for part in ("train", "valid", "test")] == [["a"], ["b"], ["c"]]
    train, valid = sets("songs", tmp_path / "db", tmp_path, split=split)
    close(valid[0][0], 4 * noise(ord("b")))
    (song,) = song_set(tmp_path / "db", sources=FOUR, kind="songs", layout={"split": split}).tracks
    close(song.read().references[1], noise(ord("c")))


@pytest.mark.parametrize("text,message", [
    ("valid: [x]", "there is no song 'x'"), ("valid: [a]\ntest: [a]", "'a' is named twice"), ("train: [a]", "the lists `valid` and"),
    ("[", "cannot be read"), ("valid: a", "the lists"), ("valid: []", "names none of its 1 songs for split 'valid'")])
def test_split_files_are_checked(tmp_path, text, message):
    for source in FOUR:
        write(tmp_path / "db" / "a" / f"{source}.wav", noise(1, .1))
    (tmp_path / "split.yaml").write_text(text)
    with pytest.raises((ConfigError, DatasetError), match=message):
        names("songs", tmp_path / "db", "valid", split=str(tmp_path / "split.yaml"))


def test_a_missing_source_is_silence_where_it_may_be(tmp_path):
    for split in ("train", "valid", "test"):
        for source in ("drums", "bass"):
            write(tmp_path / "db" / split / "song" / f"{source}.wav", noise(len(source)))
    with pytest.raises(FaultyTracks, match="vocals.wav is missing"):
        sets("wav", tmp_path / "db", tmp_path, ("drums", "bass", "vocals"))
    train, valid = sets("wav", tmp_path / "db", tmp_path, ("drums", "bass", "vocals"), missing="silence")
    assert not train[0][2].any() and not valid[0][3].any() and valid[0].shape == (4, 2, 2 * RATE)
    close(valid[0][0], noise(5) + noise(4))
    (song,) = song_set(tmp_path / "db", sources=["drums", "bass", "vocals"], layout={"missing": "silence"}).tracks
    song.check()
    assert not song.read().references[2].any()
    with pytest.raises(FaultyTracks, match="are missing"):
        sets("wav", tmp_path / "db", tmp_path, ("guitar", "vocals"), missing="silence")


def test_one_source_is_learnt_from_the_whole_mixture(tmp_path):
    for split in ("train", "valid"):
        for source in ("drums", "vocals"):
            write(tmp_path / "db" / split / "song" / f"{source}.wav", noise(len(source)))
        write(tmp_path / "db" / split / "instrumental song" / "drums.wav", noise(5))
        write(tmp_path / "db" / split / "instrumental song" / "bass.wav", noise(3))
    train, valid = sets("wav", tmp_path / "db", tmp_path, ("vocals",), missing="silence")
    assert train[0].shape[0] == 2 and valid[0].shape[0] == 2          # vocals and the rest; the mixture and vocals
    by_name = {valid.describe(place).split(" at ")[0]: valid[place] for place in range(len(valid))}
    close(by_name["song"][0], noise(5) + noise(6))
    close(by_name["song"][1], noise(6))
    close(by_name["instrumental song"][0], noise(5) + noise(3))
    assert not by_name["instrumental song"][1].any()


@pytest.mark.parametrize("suffix,subtype,tolerance", [
    (".wav", "PCM_16", 2 ** -15), (".wav", "PCM_24", 2 ** -23), (".wav", "PCM_32", 2 ** -23), (".wav", "FLOAT", 1e-7),
    (".flac", "PCM_16", 2 ** -15), (".flac", "PCM_24", 2 ** -23), (".aiff", "PCM_16", 2 ** -15), (".aif", "PCM_24", 2 ** -23),
    (".ogg", "VORBIS", 0.05), (".mp3", "MPEG_LAYER_III", 0.05)])
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_of_files(tmp_path, suffix, subtype, tolerance, channels):
    rate, time = 16000, np.arange(16000) / 16000
    wavs = {source: np.repeat(0.2 * np.sin(2 * np.pi * tone * time)[:, None], channels, axis=1)
            for source, tone in (("drums", 200), ("bass", 300))}
    for split in ("train", "valid"):
        for source, wav in wavs.items():
            write(tmp_path / "db" / split / "song" / f"{source}{suffix}", wav, rate, subtype)
    train, valid = sets("wav", tmp_path / "db", tmp_path, ("drums", "bass"), rate)
    assert valid[0].shape[-1] == pytest.approx(rate, abs=1200)
    middle = slice(4000, 12000)
    for place, source in enumerate(("drums", "bass")):
        expected = torch.from_numpy(np.repeat(wavs[source], 2 // channels, axis=1).T).float()
        assert (valid[0][1 + place][:, middle] - expected[:, middle]).abs().max() <= tolerance


def test_names_with_unicode_quotes_and_spaces(tmp_path):
    song = "Motörhead – \"Ace\" of 'Spades' $HOME; ls 🎸"
    for split in ("train", "valid"):
        for source in ("drums", "bass"):
            write(tmp_path / "db" / split / song / f"{source}.wav", noise(1))
            (tmp_path / "db" / split / song / f"._{source}.wav").write_bytes(b"\0\5\x16\7")
        (tmp_path / "db" / split / ".hidden").mkdir()
    train, valid = sets("wav", tmp_path / "db", tmp_path, ("drums", "bass"))
    assert valid.describe(0) == f"{song} at 0.0 s"


def test_a_misnamed_file_is_recognised(tmp_path):
    for source in ("Drums", "bass"):
        write(tmp_path / "db" / "train" / "song" / f"{source}.wav", noise(1))
    (fault,) = kinds.tracks("wav", KindSettings(tmp_path / "db", ("drums", "bass")), "train").faults
    assert "Drums.wav is no drums.wav: names of sources are case-sensitive" in fault


def test_a_loop_of_links_is_a_fault(tmp_path):
    write(tmp_path / "db" / "train" / "song" / "drums.wav", noise(1))
    os.symlink(tmp_path / "db" / "train", tmp_path / "db" / "train" / "loop")
    found = kinds.tracks("wav", KindSettings(tmp_path / "db", ("drums",)), "train")
    assert any("a link to a folder that contains it" in fault for fault in found.faults)


def test_a_dataset_that_changes_is_scanned_again(tmp_path):
    path = tmp_path / "db" / "train" / "song" / "drums.wav"
    write(path, noise(1)), write(path.with_name("bass.wav"), noise(2))

    def length():
        found = kinds.tracks("wav", KindSettings(tmp_path / "db", ("drums", "bass")), "train")
        return scan(found, sources=("drums", "bass"), cache_dir=tmp_path / "cache").tracks["song"].length
    assert length() == 2 * RATE
    write(path, noise(1, 3.)), write(path.with_name("bass.wav"), noise(2, 3.))
    assert length() == 3 * RATE


def test_files_that_vanish_while_training_are_named(tmp_path):
    for split in ("train", "valid"):
        for source in ("drums", "bass"):
            write(tmp_path / "db" / split / "song" / f"{source}.wav", noise(1))
    train, _ = sets("wav", tmp_path / "db", tmp_path, ("drums", "bass"))
    (tmp_path / "db" / "train" / "song" / "bass.wav").unlink()
    with pytest.raises(AudioError, match="bass.wav: no such file"):
        train[0]


OWN = textwrap.dedent('''
    """Songs as pairs of files SONG.voice.wav and SONG.band.wav in one folder."""
    from demucs.data.tracks import Track, Tracks

    def tracks(settings, split):
        found = [Track(path.name.removesuffix(".voice.wav"), {"vocals": (path,), "rest": (band(path),)}, mixed=("vocals", "rest"))
                 for path in sorted((settings.root / split).glob("*.voice.wav"))]
        return Tracks(settings.root / split, found, [])

    def band(path):
        return path.with_name(path.name.replace(".voice.", ".band."))

    def broken(settings, split):
        return 1 / 0

    def wrong(settings, split):
        return ["song"]
''')


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_songs.py").write_text(OWN)
    for split in ("train", "valid", "test"):
        for number in range(2):
            write(tmp_path / "db" / split / f"{split} {number}.voice.wav", noise(number))
            write(tmp_path / "db" / split / f"{split} {number}.band.wav", noise(9))
    yield tmp_path / "db"
    sys.modules.pop("own_songs", None)


def test_a_kind_of_ones_own(own, tmp_path):
    train, valid = sets("own_songs:tracks", own, tmp_path, ("vocals", "rest"))
    assert (len(train), len(valid)) == (4, 2)
    close(valid[1][0], noise(1) + noise(9))
    assert [track.name for track in song_set(own, sources=["vocals"], kind="own_songs:tracks").tracks] == ["test 0", "test 1"]


@pytest.mark.parametrize("kind,message", [
    ("own_songs:nothing", "cannot be imported .*no attribute 'nothing'"), ("nowhere:tracks", "No module named 'nowhere'"),
    ("own songs:tracks", "must be MODULE:FUNCTION"), ("own_songs:OWN.x", "must be MODULE:FUNCTION"),
    ("own_songs:broken", "listing split 'train' failed .ZeroDivisionError"), ("own_songs:wrong", "must return Tracks"),
    ("moses", "Did you mean 'moises'")])
def test_faulty_kinds_of_ones_own(own, tmp_path, kind, message):
    with pytest.raises((ConfigError, DatasetError), match=message) as told:
        sets(kind, own, tmp_path, ("vocals", "rest"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text,message", [
    ("[", "cannot be read"), ("drums: [x]", "has no source 'bass', only drums"), ("3", "must map each source"),
    ("drums: [x]\nbass: [x]", "'x' belongs to drums and to bass"), ('drums: "*"\nbass: "*"', r"'\*' belongs to drums and to bass"),
    ("drums: x\nbass: []", "drums must be a list"), ("drums: [9-3]\nbass: []", "9-3 is no range"),
    ("drums: [1-99999]\nbass: []", "no range"), ("drums: !!python/name:os.system\nbass: []", "cannot be read")])
def test_maps_of_instruments_are_checked(tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as told:
        Instruments(tmp_path / "map.yaml", ("drums", "bass"))
    assert "\n" not in str(told.value)


def test_a_map_of_ones_own(moises, tmp_path):
    root, songs, split = moises
    (tmp_path / "map.yaml").write_text('strings: [bowed_strings, other_plucked]\nrest: "*"\nvocals: [vocals]\n')
    _, valid = sets("moises", root, tmp_path, ("strings", "rest"), split=split, instruments=str(tmp_path / "map.yaml"))
    close(valid[0][1], sum(songs[1]["bowed_strings"] + songs[1]["other_plucked"]))
    close(valid[0][0], sum(sum(wavs) for wavs in songs[1].values()))
