"""The archive and the folder of published experiments, and Dora's commands in a folder that has neither."""

import json
import os
import tarfile

import preloaded
import pytest
from conftest import REPOSITORY

from demucs.grids import _published as published

pytestmark = pytest.mark.runs


def test_unpacking_keeps_what_is_there(tmp_path):
    trained = tmp_path / "xps" / "955717e8"
    trained.mkdir(parents=True)
    (trained / ".argv.json").write_text('["epochs=3"]')
    (trained / "checkpoint.th").write_bytes(b"weights")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in trained.iterdir()}
    written = published.unpack(tmp_path)
    assert set(written) == set(published.experiments()) - {"955717e8"}
    for signature in written:
        assert json.loads((tmp_path / "xps" / signature / ".argv.json").read_text()) == \
            published.experiments()[signature]
    assert published.unpack(tmp_path) == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in trained.iterdir()} == before


def test_the_archive_unpacks_into_the_same_files(tmp_path):
    published.pack(tmp_path / "outputs.tar.gz")
    published.unpack(tmp_path / "unpacked")
    with tarfile.open(tmp_path / "outputs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    def content(root):
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert content(tmp_path / "outputs") == content(tmp_path / "unpacked")
    first = (tmp_path / "outputs.tar.gz").read_bytes()
    published.pack(tmp_path / "outputs.tar.gz")
    assert (tmp_path / "outputs.tar.gz").read_bytes() == first


def run(*arguments, cwd=REPOSITORY, **environment):
    return preloaded.run(*arguments, cwd=cwd, env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment})


def test_command(tmp_path):
    total = len(published.experiments())
    done = run("-m", "tools.published_experiments", cwd=tmp_path)
    assert done.returncode == 0 and f"{total} published experiments written, 0 were there" in done.stdout
    assert len(list((tmp_path / "outputs" / "xps").iterdir())) == total
    done = run("-m", "tools.published_experiments", "--tar", "all.tar.gz", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "all.tar.gz").exists()
    (tmp_path / "file").touch()
    done = run("-m", "tools.published_experiments", "--outputs", "file", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: cannot write file")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments, signature", [
    (("-f", "955717e8"), "955717e8"), (("-f", "81de367c", "hdemucs.channels=32"), "2db45dc4"),
    (("-f", "81de367c", "continue_from=81de367c", "dset=auto_mus", "variant=finetune"), "67ddbd17"),
])
def test_dora_info_in_a_fresh_clone(arguments, signature, tmp_path):
    done = run("-m", "dora", "-P", "demucs", "info", *arguments, _DORA_TEST_PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"Sheep({signature}," in done.stdout + done.stderr
    assert str(tmp_path / "xps" / signature) in done.stdout + done.stderr


def test_dora_run_in_a_fresh_clone(tmp_path):
    """It begins as the experiment that published Demucs makes of the same command, and ends at the absent data."""
    done = run("-m", "dora", "-P", "demucs", "run", "-f", "81de367c", "hdemucs.channels=32",
               _DORA_TEST_PATH=str(tmp_path), DEMUCS_MUSDB=str(tmp_path / "nowhere"))
    assert done.returncode == 1 and "Traceback" not in done.stderr and "nowhere" in done.stdout + done.stderr
    assert "Experiment 2db45dc4" in (tmp_path / "xps" / "2db45dc4" / "train.log").read_text()


def test_unknown_signature_is_one_line(tmp_path):
    done = run("-m", "dora", "-P", "demucs", "info", "-f", "955717e9", _DORA_TEST_PATH=str(tmp_path))
    assert done.returncode == 1 and "Did you mean '955717e8'?" in done.stderr and "Traceback" not in done.stderr
