"""`demo.sh` on a machine without Slurm, with a Python that only writes down how it was called."""

import os
import re
import time

import pytest
from conftest import REPOSITORY, require_program

pytestmark = pytest.mark.runs

LABEL = "one excerpt of a real song of six seconds, not MUSDB18"
RECORD = "evaluation_on_one-excerpt-of-a-real-song-of-six-seconds-not-MUSDB18.json"


@pytest.fixture
def demo(no_slurm, tmp_path):
    """A checkout in which the demo has trained and exported the run 33333333."""
    for program in ("find", "ls", "sed"):
        (tmp_path / "bin" / program).symlink_to(require_program(program))
    folder = no_slurm.add_experiment("33333333", "best.th")
    (folder / ".argv.json").write_text('["dummy=demo"]')
    song = no_slurm.root / "demo" / "songs" / "test" / "Song 1"
    song.mkdir(parents=True)
    (song / "mixture.wav").write_bytes(b"audio")
    (no_slurm.root / "release_models").mkdir()
    model = no_slurm.root / "release_models" / "33333333.th"
    model.touch()
    for path, age in ((folder / "best.th", 200), (model, 100)):      # what is newer than its source is not made again
        os.utime(path, (time.time() - age, time.time() - age))
    return no_slurm


def calls(demo, module):
    return [record["argv"] for record in demo.records() if module in record["argv"]]


def test_the_demo_scores_a_real_song_as_a_test_set_of_its_own(demo):
    result = demo.script("demo.sh")
    assert result.returncode == 0, result.stderr
    real = str(demo.root / "demo" / "real")
    assert calls(demo, "tools.real_song") == [["-m", "tools.real_song", real]]
    assert sorted(calls(demo, "tools.test_pretrained")) == 2 * [
        ["-m", "tools.test_pretrained", "--repo", "./release_models", "-n", "33333333", "--musdb", real,
         "--dataset-name", LABEL]] + 2 * [
        ["-m", "tools.test_pretrained", "--repo", "./release_models", "-n", "33333333", "--reference-separators"]]
    order = [result.stdout.index(words) for words in ("Evaluation on test songs", "Separation of one song",
                                                      f"A real song: {LABEL}", "Figures and report")]
    assert order == sorted(order)


def test_a_real_song_that_is_scored_is_not_scored_again(demo):
    folder = demo.root / "demucs_results" / "runs" / "33333333"
    folder.mkdir(parents=True)
    (folder / RECORD).touch()
    assert demo.script("demo.sh").returncode == 0
    assert calls(demo, "tools.real_song") == [] and len(calls(demo, "tools.test_pretrained")) == 2


def test_the_demo_goes_on_without_the_real_song(demo):
    result = demo.script("demo.sh", TEST_FAIL_MODULE="tools.real_song")
    assert result.returncode == 0, result.stderr
    assert len(calls(demo, "tools.real_song")) == 1 and len(calls(demo, "tools.test_pretrained")) == 2
    drawn = [record["argv"][0] for record in demo.records() if record["argv"][0].startswith("graphing_scripts")]
    assert sorted(drawn) == [f"graphing_scripts/{name}.py" for name in ("plot_results", "plot_scores", "report",
                                                                       "score_table")]


def test_pages_and_script_have_the_same_words():
    assert LABEL in (REPOSITORY / "slurm_scripts" / "demo.sh").read_text()
    assert "six seconds of a real song" in re.sub(r"\s+", " ", (REPOSITORY / "README.md").read_text())
