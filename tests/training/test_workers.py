"""Loader workers that hang at their start, as a fork beside other threads can leave them."""

import multiprocessing
import os
import time

import pytest
import torch

from demucs.errors import TrainingError
from demucs.training import workers
from demucs.training.workers import Loader, ending_workers

pytestmark = pytest.mark.runs

HANGS = []      # files; a forked process that can delete one hangs


def _hang_if_told():
    for path in HANGS:
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
        time.sleep(1000)


os.register_at_fork(after_in_child=_hang_if_told)


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    def hang(times):
        for index in range(times):
            (tmp_path / str(index)).touch()
            HANGS.append(tmp_path / str(index))
    monkeypatch.setattr(workers, "START", 1.)
    yield hang
    HANGS.clear()


class Noise(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.rand(3) + index


@pytest.mark.parametrize("persistent", [False, True])
def test_a_worker_that_hangs_is_replaced(hanging, caplog, persistent):
    def batches():
        torch.manual_seed(3)
        with ending_workers():
            loader = Loader(Noise(), batch_size=2, shuffle=True, num_workers=2, persistent_workers=persistent)
            epochs = [torch.stack(list(loader)) for _ in range(2)]
        return torch.stack(epochs), torch.get_rng_state()

    expected, state = batches()
    assert not caplog.records
    hanging(1)
    got, state_after = batches()
    assert torch.equal(got, expected) and torch.equal(state, state_after)
    assert [record.message for record in caplog.records] == [
        "a loader worker did not start within 1 s; all 2 are started again"]
    assert not multiprocessing.active_children()


def test_workers_that_always_hang_are_an_error(hanging, monkeypatch):
    monkeypatch.setattr(workers, "START", .2)
    hanging(20)
    with pytest.raises(TrainingError, match=r"misc.num_workers=1: 3 times, a loader worker did not start within 0.2 s"):
        iter(Loader(Noise(), num_workers=1))
    assert not multiprocessing.active_children()
    HANGS.clear()
    assert len(list(Loader(Noise(), num_workers=1))) == 8


def test_a_worker_that_dies_at_its_start_is_reported(hanging, monkeypatch):
    monkeypatch.setattr(workers, "_start_in_worker", _die)
    with pytest.raises(RuntimeError, match="DataLoader worker"), ending_workers():
        list(Loader(Noise(), num_workers=2))


def _die(reports, index):
    time.sleep(.3)
    os._exit(3)
