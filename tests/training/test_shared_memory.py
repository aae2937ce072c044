"""Too little shared memory, as in containers, is an error in one line with advice."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from conftest import REPOSITORY
from training.small import settings, solver_in

from demucs.errors import TrainingError
from demucs.training import workers
from demucs.training.workers import Loader, naming_shared_memory, warn_of_little_shared_memory

pytestmark = pytest.mark.runs

ADVICE = ("misc.num_workers=0", "mount -o remount,size=", "--shm-size")
Usage = namedtuple("Usage", "total used free")


def is_one_line(message):
    return "\n" not in message and len(message) < 400 and all(words in message for words in ADVICE)


@pytest.mark.parametrize("text", [
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File\n"
    "RuntimeError: unable to allocate shared memory(shm) for file </torch_1_2_0>: Resource temporarily unavailable (11)",
    "unable to open shared memory object </torch_1_2> in read-write mode: No space left on device (28)",
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of ...",
    "DataLoader worker (pid(s) 7) exited unexpectedly: Bus error"])
def test_what_torch_says(text):
    with pytest.raises(TrainingError, match="out of shared memory: /dev/shm has [0-9.]+ MB left") as told:
        with naming_shared_memory():
            raise RuntimeError(text)
    assert is_one_line(str(told.value))


@pytest.mark.parametrize("error", [RuntimeError("Bus error of another kind"), RuntimeError("shapes differ"), KeyError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as told, naming_shared_memory():
        raise error
    assert told.value is error


def test_none_at_all_is_told_before_a_worker_starts(monkeypatch):
    loader = Loader(torch.zeros(4), num_workers=2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 ** 20, 2 ** 20 - 4096, 4096))
    with pytest.raises(TrainingError, match="/dev/shm has 0.0 MB left for the batches of 2 loader workers") as told:
        iter(loader)
    assert is_one_line(str(told.value))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 ** 30, 0, 2 ** 30))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(TrainingError, match="out of shared memory"):
        iter(loader)
    assert len(list(Loader(torch.zeros(4), num_workers=0))) == 4
    monkeypatch.setattr(workers, "SHARED_MEMORY", "/nowhere")      # on other systems
    assert workers.shared_memory_left() == -1


def test_a_megabyte_has_a_million_bytes(monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 ** 30, 0, 50_000_000))
    assert "/dev/shm has 50.0 MB left" in str(workers.no_shared_memory())
    warn_of_little_shared_memory(70e6, 2)
    assert "/dev/shm has 50 MB left, and batches of 2 loader workers may take 70 MB" in caplog.text


def test_workers_that_cannot_be_started(monkeypatch):
    def refuse(self):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", refuse)
    with pytest.raises(TrainingError, match="misc.num_workers=3: so many loader workers cannot be started"):
        iter(Loader(torch.zeros(4), num_workers=3))


def test_a_warning_before_training(monkeypatch, caplog, songs, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 ** 20, 2 ** 20 - 2 ** 14, 2 ** 14))
    solver_in(tmp_path / "none", settings(songs, "misc.num_workers=0"))
    assert "/dev/shm" not in caplog.text
    solver_in(tmp_path / "some", settings(songs, "misc.num_workers=2"))
    warning, = (record.getMessage() for record in caplog.records if "/dev/shm" in record.getMessage())
    assert warning.startswith("/dev/shm has 0 MB left, and batches of 2 loader workers may take")
    assert is_one_line(warning)
    caplog.clear()
    warn_of_little_shared_memory(2 ** 13, 2)
    assert caplog.text == ""


REAL = """
import subprocess
import torch
from demucs.errors import TrainingError
from demucs.training.workers import Loader, ending_workers, naming_shared_memory
for size in ("2m", "16k"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/dev/shm"], check=True)
    try:
        with ending_workers(), naming_shared_memory():
            for batch in Loader(torch.zeros(8, 2 ** 18), batch_size=4, num_workers=1):
                pass
        print("nothing")
    except TrainingError as error:
        print(error)
"""


def test_a_real_one_that_is_too_small():
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    done = subprocess.run(["unshare", "--mount", sys.executable, "-c", REAL], capture_output=True, text=True,
                          cwd=REPOSITORY)
    told = done.stdout.splitlines()
    assert len(told) == 2 and done.stderr == "", done.stdout + done.stderr
    assert all(is_one_line(line) and line.startswith("out of shared memory") for line in told)
