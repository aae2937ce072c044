"""Labels of a model: their sums, measures, resumption, and the dataset that is made of them."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from demucs import schema
from demucs.data.build import build_policy, training_sets
from demucs.errors import AudioError, ConfigError, DatasetError
from demucs.labels import dataset
from demucs.labels.labelling import LABEL, Labeller, available_measures, default_measures
from demucs.labels.rule import Rule, judged
from demucs.labels.songs import find_unlabelled
from demucs.schema import PseudoLabels, SongLabels
from demucs.separation.bag import BagOfModels

RATE = 8000
SOURCES = ["drums", "bass", "other", "vocals"]


class Bands(nn.Module):
    """A source for each quarter of the spectrum, at nine tenths of its level: a tenth of the mixture is missing."""
    audio_channels, samplerate, segment = 2, RATE, 1.

    def __init__(self, sources=SOURCES, gain=0.9):
        super().__init__()
        self.sources = list(sources)
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, mix):
        spectrum = torch.fft.rfft(mix)
        edges = torch.linspace(0, spectrum.shape[-1], len(self.sources) + 1).round().long()
        masks = [(torch.arange(spectrum.shape[-1]) >= low) & (torch.arange(spectrum.shape[-1]) < high)
                 for low, high in zip(edges, edges[1:])]
        return torch.stack([self.gain * torch.fft.irfft(spectrum * mask, mix.shape[-1]) for mask in masks], dim=1)


@pytest.fixture
def songs(tmp_path):
    """Four songs: two of a tone in each band, which Bands separates well, and two of noise, which it cuts in pieces."""
    time = np.arange(2 * RATE) / RATE
    rng = np.random.default_rng(0)
    for number in range(2):
        tones = sum(np.sin(2 * np.pi * (500 + 1000 * band + 17 * number) * time + band) for band in range(4)) / 8
        noise = 0.1 * rng.standard_normal((len(time), 2))
        for name, wav in (("tones", np.stack([tones, 0.5 * tones], 1)), ("noise", noise)):
            (tmp_path / "songs").mkdir(exist_ok=True)
            soundfile.write(tmp_path / "songs" / f"{name} {number}.wav", wav, RATE, subtype="FLOAT")
    return tmp_path / "songs"


def labelled(model, songs, folder, **settings):
    labeller = Labeller(model.eval(), folder, **{"measures": ["leakage"], "shifts": 1, "overlap": 0.25, "segment": None,
                                                 **settings})
    found, faults = labeller.label_all(find_unlabelled(songs)[0])
    assert not faults
    return labeller, found


def read(folder, *names):
    return np.stack([soundfile.read(folder / f"{name}.wav", dtype="float64")[0] for name in names])


def test_stems_add_up_to_the_mixture(songs, tmp_path):
    labeller, found = labelled(Bands(), songs, tmp_path / "labels")
    assert [song.stems for song in found] == [SOURCES] * 4
    for song in found:
        *stems, mixture = read(tmp_path / "labels" / song.name, *SOURCES, "mixture")
        original = soundfile.read(songs / song.file, dtype="float64")[0]
        assert np.array_equal(mixture, original)
        assert np.abs(sum(stems) - mixture).max() < 2e-7       # rounding of four float32 numbers below 1
        assert song.residual == pytest.approx(-20, abs=0.1)      # a tenth of the mixture is in no estimate
        assert soundfile.info(tmp_path / "labels" / song.name / "drums.wav").subtype == "FLOAT"


def test_the_shared_residual_is_the_projection_on_signals_that_add_up():
    """Against the least-squares projection, and never farther from sources that add up to the mixture."""
    generator = torch.Generator().manual_seed(0)
    labeller = Labeller(Bands(), None, measures=["leakage"])
    for _ in range(20):
        sources = torch.randn(4, 2, 50, generator=generator, dtype=torch.float64)
        mix = sources.sum(0)
        errors = torch.randn(4, 2, 50, generator=generator, dtype=torch.float64)
        estimates = sources + errors * torch.rand(4, 1, 1, generator=generator)
        stored = labeller.stored(estimates, mix)
        shared = torch.stack([stored[name] for name in SOURCES])
        ones = np.ones((1, 4))
        change, *_ = np.linalg.lstsq(ones, (mix - estimates.sum(0)).reshape(1, -1).numpy(), rcond=None)   # least norm
        assert np.allclose(shared.numpy(), estimates.numpy() + change.reshape(4, 2, 50), atol=1e-12)
        assert (shared - sources).square().sum() <= (estimates - sources).square().sum()
        assert torch.equal(stored["mixture"], mix)


def test_other_uses_of_the_residual():
    generator = torch.Generator().manual_seed(0)
    estimates, mix = torch.randn(4, 2, 50, generator=generator), torch.randn(2, 50, generator=generator)
    other = Labeller(Bands(), None, measures=["leakage"], residual="other").stored(estimates, mix)
    assert torch.equal(other["drums"], estimates[0]) and torch.equal(other["mixture"], mix)
    assert torch.allclose(sum(other[name] for name in SOURCES), mix, atol=1e-6)
    none = Labeller(Bands(), None, measures=["leakage"], residual="none").stored(estimates, mix)
    assert torch.equal(none["mixture"], estimates.sum(0)) and torch.equal(none["vocals"], estimates[3])


@pytest.mark.parametrize("stems, names", [
    (["vocals"], ["vocals", "no_vocals"]), (["bass", "drums"], ["bass", "drums", "rest"]), (SOURCES[::-1], SOURCES)])
def test_labels_of_some_stems(songs, tmp_path, stems, names):
    labeller, found = labelled(Bands(), songs, tmp_path / "labels", stems=stems)
    assert labeller.stems == found[0].stems == names
    folder = tmp_path / "labels" / found[0].name
    assert {path.stem for path in folder.glob("*.wav")} == {*names, "mixture"}
    assert np.allclose(read(folder, *names).sum(0), read(folder, "mixture")[0], atol=2e-7)


def test_the_same_call_gives_the_same_files_whichever_songs_there_are(songs, tmp_path):
    torch.manual_seed(0)
    model = Bands()        # made to depend on the place in a segment, and so on the random shift
    model.forward = lambda mix, plain=model.forward: plain(mix) * torch.linspace(0.9, 1.1, mix.shape[-1])
    _, first = labelled(model, songs, tmp_path / "first", measures=["leakage", "remix_agreement", "shift_agreement"])
    (songs / "noise 0.wav").unlink()
    _, second = labelled(model, songs, tmp_path / "second", measures=["leakage", "remix_agreement", "shift_agreement"])
    assert second == [song for song in first if song.name != "noise 0"]
    for song in second:
        one, other = (read(tmp_path / place / song.name, *SOURCES, "mixture") for place in ("first", "second"))
        assert np.array_equal(one, other)
    labelled(model, songs, tmp_path / "third", seed=1)
    one, other = (read(tmp_path / place / "tones 0", "bass") for place in ("second", "third"))
    assert not np.array_equal(one, other)


def test_labels_are_not_made_again_without_reason(songs, tmp_path, caplog):
    folder = tmp_path / "labels"
    labelled(Bands(), songs, folder)

    def written():
        return {path.parent.name: path.stat().st_ino for path in folder.glob(f"*/{LABEL}")}

    def changed(work, model=None, **settings):
        before = written()
        work()
        labelled(model or Bands(), songs, folder, **settings)
        after = written()
        return {name for name in after if before.get(name) != after[name]}

    assert changed(lambda: None) == set()
    assert changed(lambda: (folder / "noise 1" / "bass.wav").unlink()) == {"noise 1"}
    assert changed(lambda: (folder / "noise 0" / LABEL).write_text("{")) == {"noise 0"}
    assert changed(lambda: soundfile.write(songs / "tones 1.wav", np.zeros((2 * RATE, 2)), RATE)) == {"tones 1"}
    everything = {"noise 0", "noise 1", "tones 0", "tones 1"}
    assert changed(lambda: None, measures=["leakage", "decisiveness"]) == everything
    assert changed(lambda: None, measures=["decisiveness"]) == set()          # is there already
    assert changed(lambda: None, Bands(gain=0.8), measures=["decisiveness"]) == everything
    with caplog.at_level("INFO"):
        assert changed(lambda: None, measures=["decisiveness"], stems=["bass"]) == everything
    assert "noise 0 is labelled anew: another model made its labels" in caplog.text
    with caplog.at_level("INFO"):
        assert changed(lambda: None, measures=["decisiveness"]) == everything
    assert "noise 0 is labelled anew: they were made with other settings" in caplog.text
    assert "Labels | song 4/4 | tones 1 | decisiveness" in caplog.text


def test_an_interrupted_call_goes_on(songs, tmp_path, monkeypatch):
    labeller = Labeller(Bands().eval(), tmp_path / "labels", measures=["leakage"], shifts=1, overlap=0.25, segment=None)
    found = find_unlabelled(songs)[0]
    label, done = labeller.label, []

    def two_songs(song, mark):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(song.name)
        return label(song, mark)
    monkeypatch.setattr(labeller, "label", two_songs)
    with pytest.raises(KeyboardInterrupt):
        labeller.label_all(found)
    (tmp_path / "labels" / f".{found[2].name}.partial").mkdir()           # of a process that was killed
    monkeypatch.setattr(labeller, "label", lambda song, mark: done.append(song.name) or label(song, mark))
    labels, _ = labeller.label_all(found)
    assert sorted(done) == sorted(song.name for song in found) and len(labels) == 4
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {".lock", *(song.name for song in found)}


def test_songs_that_cannot_be_used_are_named(songs, tmp_path):
    (songs / "broken.wav").write_bytes(b"RIFF no sound at all")
    soundfile.write(songs / "short.wav", np.ones((100, 1)), RATE)
    soundfile.write(songs / "silent.wav", np.zeros((2 * RATE, 1)), RATE)
    soundfile.write(songs / "nan.wav", np.full((RATE, 1), np.nan), RATE, subtype="FLOAT")
    labeller = Labeller(Bands().eval(), tmp_path / "labels", measures=["leakage"], shifts=1, overlap=0.25, segment=None)
    found, faults = labeller.label_all(find_unlabelled(songs)[0])
    assert set(faults) == {"broken.wav", "short.wav", "nan.wav"} and len(found) == 5
    assert all(name in reason for name, reason in faults.items())
    silent = next(song for song in judged(found, Rule(("leakage",)), SOURCES) if song.name == "silent")
    assert silent.split == "" and "silent" in silent.reason and silent.residual is None


@pytest.mark.parametrize("settings, words", [
    ({"stems": ["vocls"]}, "Did you mean 'vocals'"), ({"stems": []}, "at least one"),
    ({"stems": ["bass", "bass"]}, "each once"),
    ({"residual": "rest"}, "--residual rest"), ({"measures": ["leak"]}, "no measure is called 'leak'"),
    ({"measures": ["model_agreement"]}, "needs the bag"), ({"measures": []}, "at least one measure")])
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(ConfigError, match=words):
        Labeller(Bands(), None, **{"measures": ["leakage"], **settings})


def test_measures_that_a_model_allows():
    assert default_measures(Bands()) == ["remix_agreement", "leakage", "decisiveness"]
    assert default_measures(Bands(["vocals"])) == ["remix_agreement"]
    assert "model_agreement" not in available_measures(Bands())
    one = Bands()
    assert "model_agreement" not in available_measures(BagOfModels([one, one]))
    assert "model_agreement" in available_measures(BagOfModels([one, Bands(gain=0.5)]))


def test_a_bag_is_measured_by_the_agreement_of_its_models(songs, tmp_path):
    bag = BagOfModels([Bands(gain=0.9), Bands(gain=0.7)])
    labeller, found = labelled(bag, songs, tmp_path / "labels", measures=["model_agreement", "leakage"])
    # Estimates 0.9 x and 0.7 x: the mean is 0.8 x, the variance of one of them is 2 * 0.1 ** 2 of its energy.
    expected = 10 * np.log10(0.8 ** 2 / (2 * 0.1 ** 2))
    assert found[0].values["bass"]["model_agreement"] == pytest.approx(expected, abs=0.01)
    rule = Rule(("leakage",))
    record = dataset.new_record(labeller, "pair", songs, rule, judged(found, rule, SOURCES), {})
    assert len(record.members) == 2 and record.model_hash not in record.members


def write(out, songs, labels, rule, **settings):
    labeller, found = labelled(Bands(), songs, labels, measures=list(rule.measures), **settings)
    dataset.claim(out, labels, songs)
    decisions = judged(found, rule, labeller.chosen)
    dataset.write(out, labels, dataset.new_record(labeller, "bands", songs, rule, decisions, {}))
    return schema.load(PseudoLabels, out / dataset.RECORD)


def content(out):
    return {split: sorted(path.name for path in (out / split).iterdir()) for split in ("train", "valid")}


def test_the_songs_that_separate_well_are_kept(songs, tmp_path):
    record = write(tmp_path / "out", songs, tmp_path / "labels", Rule(("decisiveness",), 0.5))
    assert sorted(sum(content(tmp_path / "out").values(), [])) == ["tones 0", "tones 1"]
    assert {song.name: bool(song.split) for song in record.songs} == {
        "noise 0": False, "noise 1": False, "tones 0": True, "tones 1": True}
    assert record.rule.startswith("the best 0.5 of all labelled songs") and record.model_hash
    assert all(song.values["bass"]["decisiveness"] is not None for song in record.songs)


def test_several_datasets_share_labels(songs, tmp_path):
    labels = tmp_path / "labels"
    write(tmp_path / "kept", songs, labels, Rule(("decisiveness",), 0.5))
    write(tmp_path / "all", songs, labels, Rule(("decisiveness",)))
    one = next((tmp_path / "kept" / "train").glob("*/bass.wav"))
    assert one.stat().st_ino == (labels / one.parent.name / "bass.wav").stat().st_ino      # no space of its own
    assert len(sum(content(tmp_path / "all").values(), [])) == 4
    write(tmp_path / "all", songs, labels, Rule(("decisiveness",), 0.5))         # another rule in its place
    assert content(tmp_path / "all") == content(tmp_path / "kept")


def test_files_are_copied_where_there_are_no_links(songs, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")
    monkeypatch.setattr("os.link", refuse)
    write(tmp_path / "out", songs, tmp_path / "labels", Rule(("decisiveness",), 0.5))
    one = next((tmp_path / "out" / "train").glob("*/bass.wav"))
    assert one.read_bytes() == (tmp_path / "labels" / one.parent.name / "bass.wav").read_bytes()


def test_a_training_reads_the_dataset(songs, tmp_path):
    """As dset.wav and as dset.wav2: examples are the labels, which add up to the song."""
    out = tmp_path / "out"
    write(out, songs, tmp_path / "labels", Rule(("decisiveness",)))
    common = dict(musdb=None, use_musdb=False, sources=SOURCES, samplerate=RATE,
                  policy=build_policy("grid", segment=1., shift=1., seed=0), channels=2, normalize=False, full_cv=True,
                  train_valid=False, cache_dir=tmp_path / "cache")
    train, valid = training_sets(wav=out, **common)
    assert len(train) == 6 and len(valid) == 1                 # two seconds of three songs; the fourth
    example, whole = train[0], valid[0]
    name = content(out)["valid"][0]
    assert np.allclose(whole[0].T, soundfile.read(songs / f"{name}.wav")[0], atol=1e-6)
    assert torch.allclose(whole[1:].sum(0), whole[0], atol=1e-6)
    song = content(out)["train"][0]
    assert np.allclose(example.sum(0).T, soundfile.read(songs / f"{song}.wav")[0][:RATE], atol=1e-6)
    both, _ = training_sets(wav=out, wav2=out, wav2_weight=0.5, **common)
    assert len(both) == 12


def test_a_single_source(songs, tmp_path):
    out = tmp_path / "out"
    write(out, songs, tmp_path / "labels", Rule(("leakage",)), stems=["vocals"])
    train, _ = training_sets(musdb=None, use_musdb=False, wav=out, sources=["vocals"], samplerate=RATE, channels=2,
                             policy=build_policy("grid", segment=1., shift=1., seed=0), normalize=False, full_cv=True,
                             train_valid=False, cache_dir=tmp_path / "cache")
    song = content(out)["train"][0]
    assert np.allclose(train[0].sum(0).T, soundfile.read(songs / f"{song}.wav")[0][:RATE], atol=1e-6)


def test_too_few_songs_leave_what_was_there(songs, tmp_path):
    out = tmp_path / "out"
    write(out, songs, tmp_path / "labels", Rule(("decisiveness",)))
    before = content(out), (out / dataset.RECORD).read_bytes()
    with pytest.raises(DatasetError, match="1 of 4 labelled songs are kept"):
        write(out, songs, tmp_path / "labels", Rule(("decisiveness",), 0.25))
    with pytest.raises(DatasetError, match="change --valid"):
        write(out, songs, tmp_path / "labels", Rule(("decisiveness",), valid=0))
    assert (content(out), (out / dataset.RECORD).read_bytes()) == before


def test_folders_that_hold_something_else(songs, tmp_path):
    (tmp_path / "mine" / "train").mkdir(parents=True)
    with pytest.raises(DatasetError, match="not pseudo-labelled"):
        dataset.claim(tmp_path / "mine", tmp_path / "labels", songs)
    for place in (songs, songs / "inside", songs.parent):
        with pytest.raises(DatasetError, match="choose another --out"):
            dataset.claim(place, tmp_path / "labels", songs)
        with pytest.raises(DatasetError, match="choose another --labels"):
            dataset.claim(tmp_path / "out", place, songs)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / dataset.RECORD).write_text("{}")
    with pytest.raises(DatasetError, match="has version"):
        dataset.claim(tmp_path / "damaged", tmp_path / "labels", songs)


@pytest.mark.runs
def test_another_process_that_labels_is_waited_for(songs, tmp_path):
    """The lock is that of a process, so another one holds it."""
    code = f"""
import fcntl, sys
file = open({str(tmp_path / "labels" / ".lock")!r}, "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    (tmp_path / "labels").mkdir()
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(DatasetError, match="labels: another process labels songs there"):
        labelled(Bands(), songs, tmp_path / "labels")
    other.communicate("")
    labelled(Bands(), songs, tmp_path / "labels")


def test_a_full_disk_is_said_before_a_song_is_written(songs, tmp_path, monkeypatch):
    monkeypatch.setattr("demucs.separation.outputs.free_bytes", lambda path: 10)
    labeller = Labeller(Bands().eval(), tmp_path / "labels", measures=["leakage"], shifts=1, overlap=0.25, segment=None)
    with pytest.raises(AudioError, match="no space left"):
        labeller.label(find_unlabelled(songs)[0][0], "")


def test_records_are_read_as_written(songs, tmp_path):
    _, found = labelled(Bands(), songs, tmp_path / "labels")
    assert schema.load(SongLabels, tmp_path / "labels" / found[0].name / LABEL) == found[0]
