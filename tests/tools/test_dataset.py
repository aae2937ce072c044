"""`python -m tools.dataset check`: output, exit status, fix list, record, page, and plausibility of labels."""

import json
import shutil

import pytest
import soundfile
import torch
from conftest import require_program
from data.planted import RATE, delayed, load

from demucs import schema
from demucs.data.checks import listing
from demucs.data.synthetic.dataset import generate
from demucs.schema import SOURCES, DatasetCheck
from tools import dataset, dataset_labels

GUEST = "Synthetic Guest 001 - Song 001"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated")
    generate(root, train=2, test=1, seconds=6., seed=5, valid=1, processes=1)
    return root


@pytest.fixture
def songs(generated, tmp_path):
    return shutil.copytree(generated, tmp_path / "my songs")


def test_a_sound_set(generated, capsys):
    assert dataset.main(["check", str(generated)]) == 0
    out = capsys.readouterr().out
    assert "kind musdb, 3 tracks" in out and out.rstrip().endswith("no faults found")
    assert "train       1" in out and "WAV PCM_16" in out and "44100" in out


def test_errors_end_with_status_1_and_warnings_do_not(songs, capsys):
    song = songs / "test" / GUEST
    soundfile.write(song / "other.wav", load(song)["other"] + 0.02, RATE, subtype="PCM_16")
    assert dataset.main(["check", str(songs)]) == 0
    assert "warning: DC offset (1)" in capsys.readouterr().out
    soundfile.write(song / "vocals.wav", delayed(load(song)["vocals"], 441), RATE, subtype="PCM_16")
    assert dataset.main(["check", str(songs)]) == 1
    out = capsys.readouterr().out
    assert "vocals is 441 samples (10.00 ms) late" in out and out.rstrip().endswith("1 error, 1 warning")


def test_fix_list_and_record(songs, tmp_path, capsys):
    song = songs / "test" / GUEST
    (song / "bass.wav").write_bytes(b"")
    strange = song.rename(song.with_name("tabs\tand 'quotes'\nü"))
    fixes, record = tmp_path / "fixes.tsv", tmp_path / "out" / "record.json"
    assert dataset.main(["check", str(songs), "--fix-list", str(fixes), "--json", str(record)]) == 1
    head, line = fixes.read_text(encoding="utf-8").splitlines()
    row = dict(zip(head.split("\t"), line.split("\t"), strict=True))
    assert row["path"] == "test/tabs and 'quotes' ü/bass.wav"
    assert row["severity"] == "error" and row["check"] == "unreadable"
    assert row["what"] == "the file is empty (0 bytes)" and row["fix"] == "copy or download it again"
    found = schema.load(DatasetCheck, record)
    assert found.findings[0].track == strange.name and found.splits == {"train": 1, "valid": 1, "test": 1}
    assert json.loads(record.read_text())["version"] == 1


@pytest.mark.runs
def test_processes_change_nothing_and_the_page_is_drawn(songs, tmp_path, monkeypatch):
    song = songs / "test" / GUEST
    soundfile.write(song / "mixture.wav", 0.5 * load(song)["mixture"], RATE, subtype="PCM_16")
    records = []
    for jobs in ("1", "2"):
        file, page = tmp_path / f"{jobs}.json", tmp_path / f"{jobs}.html"
        assert dataset.main(["check", str(songs), "--jobs", jobs, "--json", str(file), "--html", str(page)]) == 1
        plain = json.loads(file.read_text())
        del plain["created"]
        records.append(plain)
    assert records[0] == records[1]
    text = page.read_text()
    assert "mixture minus the stems" in text and "Misaligned" in text and "src=\"http" not in text


def test_bad_arguments_are_one_line(songs, tmp_path, capsys):
    for arguments, message in (
            ([str(tmp_path / "missing")], "no such folder"),
            ([str(songs), "--kind", "musdp"], "dset.kind='musdp' is unknown"),
            ([str(songs), "--sources", "bass,,drums"], "--sources=bass,,drums"),
            ([str(songs), "--json", str(songs)], "is a folder"),
            ([str(tmp_path)], "no folder with stems")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        if arguments == [str(tmp_path)]:
            arguments = [str(tmp_path / "empty")]
        assert dataset.main(["check", *arguments]) == 1
        err = capsys.readouterr().err.strip().splitlines()
        assert message in err[-1] and err[-1].startswith("error: ") and "Traceback" not in "\n".join(err)
    with pytest.raises(SystemExit):
        dataset.main(["check"])
    assert "PATH" in capsys.readouterr().err


def test_kinds_and_sources_are_guessed(songs, tmp_path):
    assert listing.list_songs(songs).kind == "musdb"
    own = tmp_path / "own"
    for split in ("train", "valid"):
        shutil.copytree(songs / "test", own / split)
    for path in own.rglob("drums.wav"):
        path.rename(path.with_name("kick.wav"))
    for path in own.rglob("other.wav"):
        path.rename(path.with_name("no_kick.wav"))
    found = listing.list_songs(own)
    assert found.kind == "wav" and found.sources == ["bass", "kick", "vocals"]
    flat = listing.list_songs(songs / "test")
    assert flat.kind == "folders" and list(flat.splits) == ["all"] and flat.sources == list(SOURCES)


def test_the_real_excerpt_is_lossy_and_nothing_else(tmp_path, capsys):
    """It was coded as AAC: a note, since all songs of the set were."""
    require_program("ffmpeg")
    pytest.importorskip("stempeg")
    from tools.real_song import write_song
    write_song(tmp_path / "real")
    assert dataset.main(["check", str(tmp_path / "real")]) == 0
    out = capsys.readouterr().out
    assert "all files: nothing above 15.3 kHz" in out and out.rstrip().endswith("1 note")


class Oracle(torch.nn.Module):
    """Model that separates the songs of a folder perfectly: it looks for the mixture in theirs."""
    audio_channels, samplerate, segment, normalizes_songs = 2, RATE, 4., False

    def __init__(self, folder):
        super().__init__()
        self.sources = list(SOURCES)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.songs = [torch.stack([torch.from_numpy(load(song)[source].T).float() for source in SOURCES])
                      for song in folder.rglob("*") if (song / "bass.wav").exists()]

    def forward(self, mix):
        return torch.stack(list(map(self._separated, mix)))

    def _separated(self, mix):
        """Stems of the song that correlates best with `mix`, moved to where it does."""
        size, (_, length) = 1 << 20, mix.shape
        best = (0., 0, self.songs[0])
        for stems in self.songs:
            spectra = [torch.fft.rfft(wav[0], size) for wav in (mix, stems.sum(dim=0))]
            likeness = torch.fft.irfft(spectra[0] * spectra[1].conj(), size)
            best = max(best, (float(likeness.max()), int(likeness.argmax()), stems), key=lambda each: each[0])
        _, lag, stems = best
        lag -= size * (lag > size // 2)
        moved = torch.nn.functional.pad(stems, (max(lag, 0), length))[..., max(-lag, 0):]
        return moved[..., :length]


@pytest.fixture
def oracle(generated, monkeypatch):
    model = Oracle(generated)
    monkeypatch.setattr(dataset_labels, "get_model", lambda name, repo: model)
    return model


def test_swapped_stems_are_found_by_a_perfect_model(songs, oracle, capsys):
    assert dataset.main(["check", str(songs), "--model", "oracle"]) == 0
    assert "no faults found" in capsys.readouterr().out
    song = songs / "test" / GUEST
    for first, second in (("drums.wav", "spare"), ("vocals.wav", "drums.wav"), ("spare", "vocals.wav")):
        (song / first).rename(song / second)
    assert dataset.main(["check", str(songs), "--model", "oracle"]) == 0
    out = capsys.readouterr().out
    assert "warning: Implausible label (with --model) (2)" in out and out.rstrip().endswith("2 warnings")
    assert f"test/{GUEST}/drums.wav: drums resembles vocals: correlation 1.00 with the estimate of vocals" in out
    assert f"test/{GUEST}/vocals.wav: vocals resembles drums" in out


def test_a_model_without_common_sources(songs, oracle, capsys):
    oracle.sources = ["piano", "vocals"]
    assert dataset.main(["check", str(songs), "--model", "oracle"]) == 1
    assert "two sources in common" in capsys.readouterr().err
