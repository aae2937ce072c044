"""Writes tests/golden/old_run: a small training as the code of its commit leaves it, stopped within its second epoch, and
what that code makes of it: `python tests/golden/make_old_run.py`.

`begun/` is the run's folder when it was stopped; `ended/` is what came of it: the run's folder without its checkpoints, the
exported package with its card, the record of its evaluation, and estimates of one song. `tests/test_old_run.py` goes on
with all of that, so that no later change of code or of files can leave old runs behind. The folder is not made anew when
formats change: then it would show nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from training.small import TINY, write_songs   # noqa: E402

from demucs.pretrained import get_model           # noqa: E402

TARGET = Path(__file__).resolve().parent / "old_run"
LEVELS = "hdemucs.depth=4"
# Relative paths: they are part of the signature.
ARGUMENTS = [*(LEVELS if item.startswith("hdemucs.depth=") else item for item in TINY), "dset.musdb=songs",
             "dset.metadata=cache", "epochs=4", "test.every=2", "test.sdr=True", "batch_size=1", "max_batches=12",
             "augment.remix.group_size=1", "dset.valid_samples=4", "checkpoint.minutes=0", "checkpoint.steps=1"]
STOPPED_IN = 2       # the epoch
SONG = "Test song"


def environment(root: Path) -> dict:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "_DORA_TEST_PATH": "outputs", "OMP_NUM_THREADS": "1",
            "DEMUCS_DEVICE": "cpu"}


def training(root: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "dora", "-P", "demucs", "run", *ARGUMENTS], cwd=root,
                            env=environment(root))


def tool(root: Path, name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", f"tools.{name}", *map(str, arguments)], cwd=root, env=environment(root), check=True)


def stop_within_an_epoch(root: Path) -> Path:
    """The folder of the run, whose checkpoint is between two steps of epoch `STOPPED_IN`."""
    run = training(root)
    while run.poll() is None:
        for path in root.glob("outputs/xps/*/history.json"):
            if len(json.loads(path.read_text())) == STOPPED_IN - 1:
                time.sleep(0.15)
                run.send_signal(signal.SIGTERM)
                run.wait()
        time.sleep(0.005)
    folder, = (root / "outputs" / "xps").iterdir()
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["epoch"]) == ("stopped", STOPPED_IN) and 0 < status["step"] < status["steps"], status
    return folder


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_songs(root / "songs")
        folder = stop_within_an_epoch(root)
        kept = shutil.ignore_patterns("lock", "*.log", "*.log.*", ".hydra", "checkpoint_*")
        shutil.copytree(folder, TARGET / "begun", ignore=kept)
        assert training(root).wait() == 0
        shutil.copytree(folder, TARGET / "ended", ignore=shutil.ignore_patterns(
            "lock", "*.log", "*.log.*", "checkpoint*", "best.th", ".hydra"))
        signature = folder.name
        tool(root, "export", signature)
        tool(root, "test_pretrained", "-n", signature)
        shutil.copytree(root / "release_models", TARGET / "release_models")
        records = TARGET / "demucs_results" / "runs" / signature
        shutil.copytree(root / "demucs_results" / "runs" / signature, records)
        model = get_model(signature, repo=TARGET / "release_models")
        mixture = torch.from_numpy(np.random.default_rng(5).standard_normal((1, 2, 12_000)).astype(np.float32) / 10)
        with torch.no_grad():
            np.savez_compressed(TARGET / "estimates.npz", mixture=mixture.numpy(), estimates=model(mixture).numpy())
    (TARGET / "signature.txt").write_text(f"{signature}\n")


if __name__ == "__main__":
    main()
