"""The session in docs/training.md, run line by line: an experiment, both export formats, and separations with them by
this code and by published Demucs. The last part is skipped if published Demucs is not installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from demucs.audio.comparison import songs

pytestmark = pytest.mark.runs

PAGE = (REPOSITORY / "docs" / "training.md").read_text()
SESSION = PAGE[PAGE.index("## A whole session"):].split("\n## ")[0]
LINES = re.findall(r"^    (.+)$", SESSION, re.M)
SETTINGS = [line for line in LINES if line.startswith("export ")]
PUBLISHED = ".published/bin/demucs"
COMPARE = "python -m tools.compare_separations"
THERE = [line for line in LINES if line.startswith((PUBLISHED, COMPARE))]
HERE = [line for line in LINES if line not in SETTINGS + THERE]


def shell(lines, folder):
    """Run lines of the page in `folder`, where `.published` is; returns what they print."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DORA_PACKAGE": "demucs", "OMP_NUM_THREADS": "1",
                   "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "_DORA_TEST_PATH"):
        environment.pop(name, None)
    # A module path for ours would lead published Demucs to ours.
    lines = [line.replace(PUBLISHED, f"env -u PYTHONPATH {PUBLISHED}") for line in lines]
    done = subprocess.run(["bash", "-euc", "\n".join([*SETTINGS, *lines])], cwd=folder, env=environment, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    return folder, shell(HERE, folder)


def test_our_part(session):
    folder, printed = session
    (signature,) = set(re.findall(r"\b[0-9a-f]{8}\b", "\n".join(LINES)))
    assert f"Sheep({signature}," in printed
    assert [path.name for path in (folder / "outputs" / "xps").iterdir()] == [signature]
    assert "Train Summary | Epoch 2" in printed
    stems = {f"{stem}.wav" for stem in ("drums", "bass", "other", "vocals")}
    ours = folder / "demo" / "session" / "ours"
    assert set(songs(ours)) == {
        f"{name}/mixture/{stem}" for name in (signature, f"me_{signature}") for stem in stems}
    # Both files hold the same model.
    for stem in stems:
        one, other = (ours / name / "mixture" / stem for name in (signature, f"me_{signature}"))
        assert one.read_bytes() == other.read_bytes()


def test_published_demucs_separates_the_same(session, published_python):
    folder, _ = session
    (folder / ".published").mkdir()
    (folder / ".published" / "bin").symlink_to(published_python.parent)
    printed = shell(THERE, folder)
    assert len(re.findall(r"\.wav: \d+ of \d+ samples differ", printed)) == 8
    results = folder / "demo" / "session"
    assert set(songs(results / "published")) == set(songs(results / "ours"))
