"""The copy of the code for queued jobs: its content, its links to the repository, and independence of later changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, require_program

pytestmark = pytest.mark.runs

HELPER = REPOSITORY / "slurm_scripts" / "code_snapshot.sh"
IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True,
                          timeout=60, env={**os.environ, **IDENTITY})
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository with code, committed results and an environment that is not tracked."""
    require_program("git")
    root = tmp_path / "dir with space" / "it's a repository"
    (root / "demucs").mkdir(parents=True)
    (root / "demucs" / "__init__.py").write_text("WHICH = 1\n")
    (root / "demucs_results").mkdir()
    (root / "demucs_results" / "table.csv").write_text("a\n")
    (root / ".gitignore").write_text("__pycache__/\n/outputs/\n/release_models/\n.venv/\nsoundtouch/build/\n/separated/\n")
    git(root.parent, "init", "-q", str(root))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").write_text("python")
    return root


def snapshot(root, **environment):
    done = subprocess.run(["bash", str(HELPER), str(root)], capture_output=True, text=True, timeout=60, cwd="/",
                          env={**os.environ, **IDENTITY, **environment})
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_a_copy_of_the_commit(checkout):
    copy = snapshot(checkout)
    assert copy == checkout / "outputs" / "code" / git(checkout, "rev-parse", "--short=12", "HEAD")
    (checkout / "demucs" / "__init__.py").write_text("WHICH = 2\n")
    git(checkout, "commit", "-q", "-a", "-m", "second")
    assert (copy / "demucs" / "__init__.py").read_text() == "WHICH = 1\n"
    # What Python imports there is the copy's, as `python -m` looks into the working directory first.
    (copy / "show.py").write_text("import demucs; print(demucs.WHICH, demucs.__file__)")
    shown = subprocess.run([sys.executable, "-m", "show"], cwd=copy, capture_output=True, text=True, timeout=60).stdout
    assert shown.split(maxsplit=1) == ["1", f"{copy}/demucs/__init__.py\n"]
    # What is no code leads back.
    (copy / "outputs" / "xps").mkdir()
    (copy / "demucs_results" / "table.csv").write_text("b\n")
    (copy / "release_models" / "x.th").write_bytes(b"")
    assert (checkout / "outputs" / "xps").is_dir() and (checkout / "demucs_results" / "table.csv").read_text() == "b\n"
    assert (checkout / "release_models" / "x.th").exists() and (copy / ".venv" / "bin" / "python").exists()
    # Records made there name the commit, and no difference from it.
    (copy / "show.py").unlink()
    assert git(copy, "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty") == copy.name
    assert git(copy, "status", "--porcelain") == "" and git(copy, "diff", "HEAD") == ""
    assert snapshot(checkout) != copy and len(list((checkout / "outputs" / "code").iterdir())) == 2


def test_uncommitted_changes_are_in_it_and_known_there(checkout):
    (checkout / "demucs" / "__init__.py").write_text("WHICH = 3\n")
    (checkout / "demucs" / "new.bin").write_bytes(bytes(range(256)))
    git(checkout, "add", "demucs/new.bin")
    (checkout / "demucs_results" / "table.csv").write_text("of another job\n")
    copy = snapshot(checkout)
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert copy.name.startswith(f"{commit}-") and len(copy.name) == 21
    assert (copy / "demucs" / "__init__.py").read_text() == "WHICH = 3\n"
    assert (copy / "demucs" / "new.bin").read_bytes() == bytes(range(256))
    assert "+WHICH = 3" in git(copy, "diff", "HEAD") and git(copy, "rev-parse", "--short=12", "HEAD") == commit
    # The same code is the same folder; other changes are another one; nothing of this touches the repository.
    assert snapshot(checkout) == copy
    status = git(checkout, "status", "--porcelain")
    (checkout / "demucs" / "__init__.py").write_text("WHICH = 4\n")
    assert snapshot(checkout) != copy and git(checkout, "status", "--porcelain") == status
    assert not list((checkout / "outputs" / "code").glob(".new-*")) and git(checkout, "stash", "list") == ""


def test_several_at_once(checkout):
    running = [subprocess.Popen(["bash", str(HELPER), str(checkout)], stdout=subprocess.PIPE, text=True,
                                env={**os.environ, **IDENTITY}) for _ in range(5)]
    found = {one.communicate(timeout=60)[0] for one in running}
    assert len(found) == 1 and [one.returncode for one in running] == [0] * 5
    folders = list((checkout / "outputs" / "code").iterdir())
    assert len(folders) == 1 and sorted(item.name for item in folders[0].iterdir()).count("code") == 0


def test_where_there_is_nothing_to_copy(checkout, tmp_path):
    assert snapshot(checkout, DEMUCS_CODE_SNAPSHOT="0") == checkout
    copy = snapshot(checkout)
    assert snapshot(copy) == copy                     # submitted by a job that runs in a copy
    shutil.copytree(checkout / "demucs", tmp_path / "unpacked" / "demucs")
    assert snapshot(tmp_path / "unpacked") == tmp_path / "unpacked"


def test_a_copy_that_cannot_be_made(checkout):
    (checkout / "outputs").write_text("in the way")
    done = subprocess.run(["bash", str(HELPER), str(checkout)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == "" and "outputs" in done.stderr


def test_this_repository_in_a_copy(tmp_path):
    """The real thing: Python finds the copy's package although this one is installed, and Dora's folder is the real
    one."""
    root = tmp_path / "repository"
    git(tmp_path, "clone", "-q", str(REPOSITORY), str(root))
    copy = snapshot(root)
    code = "import demucs, demucs.runs.provenance as p; print(demucs.__file__, p.commit(), len(p.uncommitted()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [f"{copy}/demucs/__init__.py", git(root, "rev-parse", "HEAD"), "0"], done.stderr


def test_files_that_git_does_not_track_are_named(checkout):
    (checkout / "demucs" / "mine.py").write_text("")
    (checkout / "notes.txt").write_text("")
    done = subprocess.run(["bash", str(HELPER), str(checkout)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == (
        "Note: git does not track these, so the job will not have them: demucs/mine.py\n")
