"""Errors at the start of a run or during computation: numbers in the environment, and exhausted memory."""

import os
import types

import pytest
import torch

from demucs import scheduling, train
from demucs.runs import status

pytestmark = pytest.mark.runs


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """Calls the function below Hydra as for a new run in `tmp_path`; its group cannot be joined, for the reason given."""
    def call(error, *overrides):
        cfg = train.main.get_xp(overrides).cfg
        xp = types.SimpleNamespace(sig="cafe0001", folder=tmp_path, argv=list(overrides), delta=(), cfg=cfg)

        def join_group():
            raise error
        monkeypatch.setattr(train, "get_xp", lambda: xp)
        monkeypatch.setattr(train, "prepare_signals", lambda: None)
        monkeypatch.setattr(scheduling, "set_distrib_env", lambda: None)
        monkeypatch.setattr(train, "join_group", join_group)
        with pytest.raises(SystemExit) as ended:
            train.main.main(cfg)
        return ended.value.code
    return call


@pytest.mark.parametrize("error, words", [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore"),
     "out of GPU memory; the training is the same one with a smaller misc.examples_at_once (now 3, "
     "for a batch_size of 12 over all processes)"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
     "out of GPU memory; the training"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
     "or fewer misc.num_workers (now 1)"),
    (MemoryError(), "out of memory; the training is the same one with a smaller misc.examples_at_once"),
])
def test_memory_that_runs_out_in_training(begun, caplog, tmp_path, error, words):
    assert begun(error, "batch_size=12", "misc.examples_at_once=3", "misc.num_workers=1") == 1
    line, = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert words in line and "\n" not in line
    assert words in status.last_said(tmp_path).reason


@pytest.mark.parametrize("job, port", [("7", 10007), ("1140850688", 10000 + 1140850688 % 22000),
                                       ("4294967295", 10000 + 4294967295 % 22000)])
def test_every_number_of_a_job_gives_a_port(monkeypatch, job, port):
    """In a federation, the upper six of its 32 bits are the number of the cluster."""
    for name in ("SLURM_STEP_RESV_PORTS", "MASTER_PORT", "SLURM_PROCID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)         # and what the call sets is taken back after the test
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setattr(scheduling, "set_distrib_env", lambda: None)
    scheduling.prepare_processes()
    assert os.environ["MASTER_PORT"] == str(port)


@pytest.mark.parametrize("name, value", [
    ("RANK", "first"), ("RANK", "-1"), ("RANK", "1.5"), ("SLURM_RESTART_COUNT", "many"), ("WORLD_SIZE", "two"),
    ("SLURM_JOB_ID", "x"),
])
def test_numbers_in_the_environment(begun, caplog, monkeypatch, name, value):
    """One line and a status that is not zero, not the traceback of int()."""
    monkeypatch.delenv("SLURM_STEP_RESV_PORTS", raising=False)
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv(name, value)
    code = begun(RuntimeError("no group"))
    if name in ("RANK", "SLURM_JOB_ID"):
        assert code.startswith(f"error: environment variable {name}='{value}'" if not value.lstrip("-").isdecimal() else
                               f"error: environment variable {name}={value}") and "\n" not in code
    else:
        assert code == 1 and "no group" in caplog.text
