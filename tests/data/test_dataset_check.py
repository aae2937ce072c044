"""Every fault that is planted in generated songs is found, and nothing else; sound songs have no findings."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from conftest import require_program
from data.songs import moises_song
from data.planted import RATE, decoded, delayed, load, store

from demucs.data.checks import dataset, listing, meter, scan, spectrum
from demucs.data.synthetic.dataset import generate, render_song
from demucs.schema import SOURCES

SECONDS = 12.


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Generated songs: two to train on, one to validate, one to test."""
    root = tmp_path_factory.mktemp("generated")
    generate(root, train=3, test=1, seconds=SECONDS, seed=3, valid=1, processes=1)
    return root


@pytest.fixture
def songs(generated, tmp_path):
    """A copy of them that a test may change."""
    return shutil.copytree(generated, tmp_path / "songs")


@pytest.fixture
def song(generated, tmp_path):
    """A set of one song, and this song."""
    name = "Synthetic Artist 002 - Song 002"
    shutil.copytree(generated / "train" / name, tmp_path / "one" / name)
    return tmp_path / "one" / name


def check(root, **options):
    found = listing.list_songs(root)
    return dataset.check(found.splits, root=root, kind=found.kind, sources=found.sources, **options)


def found(root):
    """{(severity, check, source)} of all findings."""
    return {(each.severity, each.check, each.source) for each in check(root).findings}


def changed(song, **stems):
    """Write the song with changed stems, and the new sum of them."""
    store(song, {**{name: wav for name, wav in load(song).items() if name != "mixture"}, **stems})


def test_generated_songs_are_sound(generated):
    record = check(generated)
    assert record.findings == [] and record.kind == "musdb" and record.sources == list(SOURCES)
    assert record.splits == {"train": 2, "valid": 1, "test": 1} and record.seconds == 4 * SECONDS
    assert all(track.residual < -80 for track in record.tracks)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Sound songs of the demo: tones with a mean (17, 34), and tones whose highest partials end at 14 kHz (25)."""
    root = tmp_path_factory.mktemp("odd")
    for number in (17, 25, 34):
        (root / f"{number}").mkdir()
        for name, wav in render_song(1, "train", number - 1, 20.).items():
            soundfile.write(root / f"{number}" / f"{name}.wav", wav.T, RATE, subtype="PCM_16")
    return root


def test_tones_with_a_mean_or_a_last_partial_are_sound(odd):
    record = check(odd)
    assert record.findings == []
    files = {(track.name, file.source): file for track in record.tracks for file in track.files}
    for name, source in (("17", "bass"), ("34", "other")):
        assert 0.005 < files[name, source].offset < 2 * files[name, source].drift
    loud = soundfile.read(odd / "25" / "other.wav", dtype="float32", always_2d=True)[0].T
    measured = spectrum.SpectrumMeter(RATE)
    measured.add(loud)
    edge = round(14000 / measured.width)
    assert measured.levels[edge - 4:edge].mean() - measured.levels[edge + 2:].max() > 30 and measured.cutoff() is None


def test_an_offset_of_tones_with_a_mean_is_found(odd, tmp_path):
    song = shutil.copytree(odd / "17", tmp_path / "one" / "17")
    soundfile.write(song / "bass.wav", load(song)["bass"] + 0.02, RATE, subtype="PCM_16")
    assert found(song.parent) == {("warning", "dc", "bass")}


@pytest.mark.parametrize("blocks", [1, 2.1, 20])
def test_a_constant_has_no_drift(blocks):
    wav = np.full((2, round(blocks * scan.BLOCK)), 0.01, np.float32)
    wav[0] += 0.3 * np.sin(2 * np.pi * 50 * np.arange(wav.shape[1]) / RATE)
    measured = meter.FileMeter(2, RATE)
    for start in range(0, wav.shape[1], scan.BLOCK):
        measured.add(wav[:, start:start + scan.BLOCK])
    assert measured.offset == pytest.approx(0.01, abs=1e-3) and measured.drift < 0.3 * measured.offset


@pytest.mark.parametrize("lines", [False, True])
def test_the_end_of_lines_is_no_cutoff(lines):
    """Noise or tones that end at 14 kHz, at the same level."""
    draw = np.random.default_rng(0)
    spectra = draw.standard_normal(10 * RATE // 2 + 1) + 1j * draw.standard_normal(10 * RATE // 2 + 1)
    hertz = np.arange(len(spectra)) / 10
    if lines:
        spectra *= np.where(hertz % 200 == 0, 45, 0)
    wav = np.fft.irfft(np.where(hertz <= 14000, spectra, 0))
    measured = spectrum.SpectrumMeter(RATE)
    measured.add((0.1 * wav / wav.std()).astype(np.float32)[None] + 1e-5 * draw.standard_normal(len(wav)).astype(np.float32))
    edge = round(14000 / measured.width)
    assert measured.levels[edge - 4:edge].mean() - measured.levels[edge + 2:].max() > 40
    assert (measured.cutoff() is None) == lines
    if not lines:
        assert measured.cutoff()[0] == pytest.approx(14000, abs=600)


def test_sound_songs_of_other_shapes(song):
    """Soft beginnings, silence at the ends, mono sources, quiet sources."""
    wavs = load(song)
    del wavs["mixture"]
    fade = np.minimum(np.arange(len(wavs["bass"])) / (2. * RATE), 1.)[:, None] ** 2
    for name in wavs:
        wavs[name] = np.concatenate([np.zeros((RATE, 2)), wavs[name] * fade, np.zeros((2 * RATE, 2))])
    for name in ("bass", "vocals"):
        wavs[name] = np.repeat(wavs[name].mean(axis=1, keepdims=True), 2, axis=1)
    wavs["other"] *= 0.03
    store(song, wavs)
    assert found(song.parent) == set()
    mono = np.rint(wavs["bass"][:, 0] * 2 ** 15) / 2 ** 15
    soundfile.write(song / "bass.wav", mono, RATE, subtype="PCM_16")      # one channel
    assert found(song.parent) == set()


def test_a_song_without_mixture_is_sound(song):
    (song / "mixture.wav").unlink()
    assert found(song.parent) == set()


def clip(song, wavs):
    """At a tenth of full scale and less: the level was changed after clipping."""
    limit = 0.4 * np.abs(wavs["vocals"]).max()
    changed(song, vocals=np.clip(wavs["vocals"], -limit, limit))
    return {("warning", "clipping", "vocals")}


def silence(song, wavs):
    changed(song, vocals=0 * wavs["vocals"])
    return {("warning", "silent", "vocals")}


def mostly_silent(song, wavs):
    quiet = np.arange(len(wavs["bass"])) < 0.6 * len(wavs["bass"])
    changed(song, **{name: np.where(quiet[:, None], 0, wavs[name]) for name in SOURCES})
    return {("warning", "silence", "mixture")}


def offset(song, wavs):
    soundfile.write(song / "other.wav", wavs["other"] + [0., -0.02], RATE, subtype="PCM_16")
    return {("warning", "dc", "other")}


def not_finite(song, wavs):
    wavs["drums"][5000, 1], wavs["drums"][7000, 0] = np.nan, np.inf
    soundfile.write(song / "drums.wav", wavs["drums"], RATE, subtype="FLOAT")
    return {("error", "nonfinite", "drums")}


def mono(song, wavs):
    changed(song, **{name: np.repeat(wavs[name].mean(axis=1, keepdims=True), 2, axis=1) for name in SOURCES})
    return {("warning", "mono", "mixture")}


def one_sided(song, wavs):
    changed(song, drums=wavs["drums"] * [1, 0])
    return {("warning", "one-sided", "drums")}


def opposite_phase(song, wavs):
    changed(song, other=wavs["other"][:, :1] * [1, -1])
    return {("warning", "antiphase", "other")}


def louder_stem(song, wavs):
    soundfile.write(song / "vocals.wav", wavs["vocals"] * 0.5, RATE, subtype="PCM_16")
    return {("error", "residual", "mixture")}


def other_mixture(song, wavs):
    """A limiter on the mixture."""
    soundfile.write(song / "mixture.wav", np.tanh(1.5 * wavs["mixture"]) / 1.5, RATE, subtype="PCM_16")
    return {("warning", "residual", "mixture")}


def one_channel_differs(song, wavs):
    wavs["mixture"][:, 1] -= wavs["bass"][:, 1]
    soundfile.write(song / "mixture.wav", wavs["mixture"], RATE, subtype="PCM_16")
    return {("error", "residual", "mixture")}


def late(song, wavs):
    soundfile.write(song / "vocals.wav", delayed(wavs["vocals"], 1105), RATE, subtype="PCM_16")
    return {("error", "misaligned", "vocals")}


def early(song, wavs):
    soundfile.write(song / "other.wav", delayed(wavs["other"], -20000), RATE, subtype="PCM_16")
    return {("error", "misaligned", "other")}


def by_a_sample(song, wavs):
    soundfile.write(song / "drums.wav", delayed(wavs["drums"], 1), RATE, subtype="PCM_16")
    return {("error", "misaligned", "drums")}


def two_of_them(song, wavs):
    soundfile.write(song / "bass.wav", delayed(wavs["bass"], 333), RATE, subtype="PCM_16")
    soundfile.write(song / "vocals.wav", delayed(wavs["vocals"], -2000), RATE, subtype="PCM_16")
    return {("error", "misaligned", "bass"), ("error", "misaligned", "vocals")}


def same_stems(song, wavs):
    changed(song, other=0.5 * wavs["bass"])
    return {("error", "same", "bass")}


def mixture_as_stem(song, wavs):
    shutil.copy(song / "mixture.wav", song / "vocals.wav")
    return {("error", "same", "vocals")}


def shorter(song, wavs):
    soundfile.write(song / "bass.wav", wavs["bass"][:-100], RATE, subtype="PCM_16")
    return {("error", "length", "")}


def other_rate(song, wavs):
    soundfile.write(song / "bass.wav", wavs["bass"], 48000, subtype="PCM_16")
    return {("error", "rate", "")}


def truncated(song, wavs):
    content = (song / "bass.wav").read_bytes()
    (song / "bass.wav").write_bytes(content[:len(content) // 2])
    return {("error", "unreadable", "")}


def no_audio(song, wavs):
    (song / "bass.wav").write_bytes(b"not audio at all" * 100)
    return {("error", "unreadable", "")}


def empty_file(song, wavs):
    (song / "bass.wav").write_bytes(b"")
    return {("error", "unreadable", "")}


FAULTS = (clip, silence, mostly_silent, offset, not_finite, mono, one_sided, opposite_phase, louder_stem, other_mixture,
          one_channel_differs, late, early, by_a_sample, two_of_them, same_stems, mixture_as_stem, shorter, other_rate,
          truncated, no_audio, empty_file)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_found_and_nothing_else(song, fault):
    expected = fault(song, load(song))
    assert found(song.parent) == expected


def test_lags_are_exact(song):
    wavs = load(song)
    for name, lag in (("bass", 333), ("vocals", -2000), ("drums", 1)):
        soundfile.write(song / f"{name}.wav", delayed(wavs[name], lag), RATE, subtype="PCM_16")
    track, = check(song.parent).tracks
    assert track.lags == {"bass": 333, "vocals": -2000, "drums": 1}
    assert track.aligned < -30 < track.residual


def test_a_late_mixture(song):
    """As after an encoder's delay: every stem is early by it."""
    soundfile.write(song / "mixture.wav", delayed(load(song)["mixture"], 1105), RATE, subtype="PCM_16")
    track, = check(song.parent).tracks
    assert track.lags == dict.fromkeys(SOURCES, -1105)


def test_gains_are_measured(song):
    soundfile.write(song / "vocals.wav", 0.5 * load(song)["vocals"], RATE, subtype="PCM_16")
    soundfile.write(song / "bass.wav", -load(song)["bass"], RATE, subtype="PCM_16")
    record = check(song.parent)
    gains = record.tracks[0].gains
    assert gains == {"vocals": pytest.approx(2, abs=0.01), "bass": pytest.approx(-1, abs=0.01),
                     "drums": pytest.approx(1, abs=0.01), "other": pytest.approx(1, abs=0.01)}
    finding, = record.findings
    assert "vocals at +6.0 dB" in finding.what and "bass inverted at" in finding.what


@pytest.mark.parametrize("codec, rate", [("libmp3lame", "128k"), ("libmp3lame", "320k"), ("aac", "128k")])
def test_lossy_sources_in_wav_files(songs, tmp_path, codec, rate):
    require_program("ffmpeg")
    song = songs / "test" / "Synthetic Guest 001 - Song 001"
    wav = decoded(song / "mixture.wav", codec, rate, tmp_path)[:round(SECONDS * RATE)]
    soundfile.write(song / "mixture.wav", wav, RATE, subtype="PCM_16")
    finding, = check(songs).findings
    assert (finding.severity, finding.check, finding.source, finding.split) == ("warning", "lossy", "mixture", "test")
    assert {"128k": 15500, "320k": 19500}[rate] < finding.value < {"128k": 17500, "320k": 20500}[rate]


@pytest.mark.parametrize("codec, rate", [("libmp3lame", "320k"), ("aac", "128k")])
def test_a_single_lossy_stem(songs, tmp_path, codec, rate):
    require_program("ffmpeg")
    song = songs / "test" / "Synthetic Guest 001 - Song 001"
    wav = decoded(song / "drums.wav", codec, rate, tmp_path)[:round(SECONDS * RATE)]
    soundfile.write(song / "drums.wav", wav, RATE, subtype="PCM_16")
    assert ("warning", "lossy", "drums") in found(songs) <= {("warning", "lossy", "drums"), ("warning", "residual", "mixture")}


def copy_of(song, target, *, start=0, gain=1., suffix=".flac"):
    wavs = load(song)
    store(target, {name: gain * wavs[name][start:] for name in SOURCES}, suffix=suffix)


def test_copies_between_splits_are_errors(songs):
    """Of another level, beginning and format."""
    source = songs / "train" / "Synthetic Artist 002 - Song 002"
    copy_of(source, songs / "test" / "Unknown", start=70001, gain=0.4)
    finding, = check(songs).findings
    assert (finding.severity, finding.check, finding.split, finding.track) == ("error", "leak", "test", "Unknown")
    assert f"a copy of train/{source.name}, beginning 1.58 s later" in finding.what       # 70001 / 44100 = 1.587


def test_copies_within_a_split_are_warnings(songs):
    copy_of(songs / "train" / "Synthetic Artist 002 - Song 002", songs / "train" / "Zebra", start=1000)
    assert found(songs) == {("warning", "duplicate", "")}


def test_an_mp3_copy_of_another_rate_is_found(songs):
    require_program("ffmpeg")
    source = songs / "train" / "Synthetic Artist 002 - Song 002"
    target = songs / "test" / "Unknown"
    target.mkdir()
    for name in SOURCES:
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(source / f"{name}.wav"), "-ar", "48000",
                        "-b:a", "128k", str(target / f"{name}.mp3")], check=True)
    assert found(songs) == {("error", "leak", ""), ("note", "rates", "")}


def test_shared_stems(songs):
    first, second = (songs / "train" / f"Synthetic Artist 00{number} - Song 00{number}" for number in (2, 3))
    changed(second, vocals=load(first)["vocals"])
    assert found(songs) == {("warning", "shared", "vocals")}
    changed(songs / "test" / "Synthetic Guest 001 - Song 001", bass=load(first)["bass"])
    assert found(songs) == {("warning", "shared", "vocals"), ("error", "shared", "bass")}


def test_missing_stems_are_errors(songs):
    (songs / "train" / "Synthetic Artist 002 - Song 002" / "bass.wav").unlink()
    finding, = check(songs).findings
    assert (finding.severity, finding.check, finding.track) == ("error", "unusable", "Synthetic Artist 002 - Song 002")
    assert "bass.wav is missing" in finding.what


def test_the_record_does_not_depend_on_the_number_of_processes(songs):
    copy_of(songs / "train" / "Synthetic Artist 002 - Song 002", songs / "test" / "Unknown", gain=0.4)
    assert check(songs) == check(songs)


def test_songs_of_several_rates(songs):
    song = songs / "test" / "Synthetic Guest 001 - Song 001"
    for path in song.glob("*.wav"):
        wav, _ = soundfile.read(path)
        soundfile.write(path, wav, 48000, subtype="PCM_16")
    finding, = check(songs).findings
    assert (finding.severity, finding.check) == ("note", "rates") and "44100 Hz in 3, 48000 Hz in 1" in finding.what


@pytest.mark.parametrize("subtype, suffix, length, channels, rate", [
    ("PCM_16", ".wav", 65536, 2, RATE), ("PCM_16", ".wav", 65537, 2, RATE), ("PCM_24", ".flac", 70000, 2, RATE),
    ("FLOAT", ".wav", 70000, 1, 8000), ("PCM_16", ".wav", 200000, 2, 192000), ("PCM_16", ".wav", 70000, 6, RATE),
    ("PCM_16", ".wav", 3000, 1, 100), ("PCM_16", ".wav", 10, 2, RATE), ("PCM_16", ".wav", 1, 2, RATE)])
def test_files_of_all_shapes_are_measured(tmp_path, subtype, suffix, length, channels, rate):
    draw = np.random.default_rng(0)
    wavs = {name: np.rint(0.05 * 2 ** 15 * draw.standard_normal((length, channels))) / 2 ** 15 for name in SOURCES}
    (tmp_path / "song").mkdir()
    for name, wav in {**wavs, "mixture": sum(wavs.values())}.items():
        soundfile.write(tmp_path / "song" / f"{name}{suffix}", wav, rate, subtype=subtype)
    record = check(tmp_path)
    assert record.findings == [] and record.tracks[0].residual < -100
    assert {file.frames for file in record.tracks[0].files} == {length}


def test_quiet_low_tones_are_not_clipped(tmp_path):
    """Their rounded crests are runs of equal samples."""
    time = np.arange(3 * RATE) / RATE
    store(tmp_path / "song", {name: 0.003 * np.sin(2 * np.pi * (30 + 7 * number) * time)[:, None] * [1, 0.9]
                              for number, name in enumerate(SOURCES)})
    track, = check(tmp_path).tracks
    assert check(tmp_path).findings == [] and {file.clipped for file in track.files} == {0}


def test_songs_of_moisesdb(tmp_path):
    """Several files per source, which may differ in length, and no mixture file."""
    draw = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "moisesdb" / f"{number}"
        stems = {stem: [0.05 * draw.standard_normal((RATE + 100 * number, 2)) for _ in range(2)]
                 for stem in ("drums", "bass", "vocals", "guitar")}
        stems["bass"][1] = stems["bass"][1][:20000]
        moises_song(folder, stems, song=f"Song {number}")
    record = check(tmp_path / "moisesdb")
    assert record.kind == "moises" and record.findings == [] and sum(record.splits.values()) == 12
    assert {len(track.files) for track in record.tracks} == {8}


def test_missing_sources_may_be_silence(songs):
    (songs / "train" / "Synthetic Artist 002 - Song 002" / "mixture.wav").unlink()
    (songs / "train" / "Synthetic Artist 002 - Song 002" / "vocals.wav").unlink()
    found = listing.list_songs(songs, missing="silence")
    assert dataset.check(found.splits, root=songs, kind=found.kind, sources=found.sources).findings == []


def test_a_song_without_stems(songs):
    for name in SOURCES:
        (songs / "test" / "Synthetic Guest 001 - Song 001" / f"{name}.wav").unlink()
    found = listing.list_songs(songs, missing="silence")
    findings = dataset.check(found.splits, root=songs, kind=found.kind, sources=found.sources).findings
    assert [(each.severity, each.track) for each in findings] == [("error", "Synthetic Guest 001 - Song 001")]
