"""The device of each process of a training, and errors if there is none. CUDA is simulated."""

import os
import sys
import threading
import types

import pytest
import torch
from torch import distributed
from training.small import ALONE, settings, solver_in

from demucs import building, schema
from demucs.console import one_line
from demucs.errors import ConfigError
from demucs.separation import devices
from demucs.separation.devices import usable_device
from demucs.training.distributed import (Group, Place, _place, exchange, join_group, require_own_devices, warn_of_hidden_peers)
from demucs.training.records import RunRecorder
from demucs.training.state import random_states, set_random_states

pytestmark = pytest.mark.runs

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE",
            "SLURM_GPUS_PER_TASK", "DEMUCS_DEVICE")


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, in an environment without those of a launcher."""
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    return lambda **variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


@pytest.fixture
def gpus(monkeypatch):
    """Simulate GPUs with a name and a capability, and the kernels of the pinned torch."""
    def pretend(count=1, capability=(8, 0), archs=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla V100")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(archs))
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    return pretend


@pytest.fixture
def no_cuda_calls(monkeypatch):
    """Let all calls of CUDA by this program, though not those within torch, fail."""
    def forbid(name):
        own = getattr(torch.cuda, name)

        def guarded(*args, **kwargs):
            assert not sys._getframe(1).f_globals["__name__"].startswith("demucs"), f"CUDA was asked: {name}"
            return own(*args, **kwargs)
        monkeypatch.setattr(torch.cuda, name, guarded)
    for name in ("is_available", "device_count", "get_rng_state", "set_rng_state"):
        forbid(name)


@pytest.mark.parametrize("hidden", ["-1", "-1,0", "NoDevFiles", "none", "void", ""])
@pytest.mark.parametrize("number", [None, "0"])
def test_words_that_hide_gpus_are_no_gpus(environment, gpus, hidden, number):
    gpus(0)
    environment(CUDA_VISIBLE_DEVICES=hidden, **({} if number is None else {"SLURM_GPUS_ON_NODE": number}))
    assert join_group() == Group(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("variables, named", [
    ({"CUDA_VISIBLE_DEVICES": "0,1"}, "0,1"), ({"SLURM_GPUS_ON_NODE": "4"}, "4"),
    ({"CUDA_VISIBLE_DEVICES": "MIG-ff00"}, "MIG-ff00"),
    ({"CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_GPUS_ON_NODE": "2"}, "2"),
    ({"DEMUCS_DEVICE": "cuda"}, "DEMUCS_DEVICE=cuda")])
def test_gpus_that_were_given_and_cannot_be_used(environment, gpus, variables, named):
    gpus(0)
    environment(**variables)
    with pytest.raises(ConfigError, match=rf"given GPUs \({named}\).*DEMUCS_DEVICE=cpu"):
        join_group()


@pytest.mark.parametrize("name, value", [("WORLD_SIZE", "two"), ("LOCAL_RANK", "-1"), ("DEMUCS_DEVICE", "gpu")])
def test_variables_that_mean_nothing(environment, gpus, name, value):
    gpus(0)
    environment(**{name: value})
    with pytest.raises(ConfigError, match=f"{name}='{value}'"):
        join_group()


@pytest.mark.parametrize("capability, archs, good", [
    ((7, 0), ["sm_75", "sm_80"], False), ((6, 1), ["sm_75"], False), ((12, 0), ["sm_75", "sm_100"], False),
    ((7, 5), ["sm_75"], True), ((8, 9), ["sm_75", "sm_80", "sm_86"], True), ((9, 0), ["sm_90a"], True),
    ((12, 1), ["sm_75", "compute_90"], True), ((7, 0), ["sm_75", "compute_75"], False), ((9, 0), ["gfx90a"], True),
    ((7, 0), [], True)])
def test_a_gpu_that_torch_has_no_kernels_for(environment, gpus, monkeypatch, capability, archs, good):
    """For training, and for separation by the same check."""
    gpus(1, capability, archs)
    monkeypatch.setattr(torch, "zeros", lambda *args, **kwargs: torch.ones(1))
    if good:
        assert join_group().device == torch.device("cuda", 0) == usable_device("cuda:0")
        return
    for call in (join_group, lambda: usable_device("cuda")):
        with pytest.raises(ConfigError, match=rf"no kernels for Tesla V100 .*{capability[0]}\.{capability[1]}.*older GPUs"):
            call()


def test_each_process_takes_the_gpu_of_its_place(environment, gpus):
    gpus(4)
    environment(LOCAL_RANK="3")
    assert join_group().device == torch.device("cuda", 3)
    environment(LOCAL_RANK="4")
    with pytest.raises(ConfigError, match="LOCAL_RANK=4, but only 4 GPUs are visible"):
        join_group()
    gpus(1)        # each task sees its own
    assert join_group().device == torch.device("cuda", 0)


@pytest.mark.parametrize("places, ranks", [
    ([Place("a", "GPU-1", 1), Place("a", "GPU-1", 1)], "0 and 1"),
    ([Place("a", "GPU-1", 2), Place("a", "GPU-2", 2), Place("b", "GPU-3", 1), Place("b", "GPU-3", 1)], "2 and 3"),
    ([Place("a", "MIG-1", 1), Place("a", "MIG-2", 1), Place("a", "MIG-1", 1)], "0 and 2")])
def test_two_processes_on_one_gpu_are_refused(places, ranks):
    with pytest.raises(ConfigError, match=f"ranks {ranks} have the same GPU.*as many processes.*MIG"):
        require_own_devices(places)
    require_own_devices([Place("a", "GPU-1", 1), Place("a", "GPU-2", 1), Place("b", "GPU-1", 1)])


@pytest.mark.parametrize("variables, option", [({"SLURM_GPUS_PER_TASK": "1"}, "--gpus-per-task=1"),
                                               ({}, "--gpus-per-task or --gpu-bind")])
def test_processes_that_do_not_see_each_others_gpus(environment, caplog, variables, option):
    environment(**variables)
    warn_of_hidden_peers([Place("a", "1", 1), Place("a", "2", 1), Place("b", "3", 1)])
    message, = caplog.messages
    assert "2 processes on a" in message and option in message and "--gres=gpu:2" in message
    caplog.clear()
    warn_of_hidden_peers([Place("a", "1", 1), Place("b", "3", 1)])
    warn_of_hidden_peers([Place("a", "1", 2), Place("a", "2", 2)])
    assert not caplog.messages


def test_places_are_exchanged_before_the_processes_join():
    """Over the store alone: NCCL would crash where two have one GPU."""
    store = distributed.HashStore()
    found = {}
    own = [Place("a", f"GPU-{rank}", 3) for rank in range(3)]
    threads = [threading.Thread(target=lambda rank=rank: found.update({rank: exchange(store, rank, 3, own[rank])}))
               for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: own, 1: own, 2: own}


def test_two_processes_on_one_gpu_join_nothing(environment, gpus, monkeypatch):
    """Both end with the line, as `DEMUCS_LOCAL_TASKS=2` on one GPU does it."""
    gpus(1)
    store = distributed.HashStore()
    store.set("place 1", '["here", "GPU-7", 1]')
    store.set("read 1", "")
    monkeypatch.setattr("demucs.training.distributed.rendezvous", lambda *args, **kwargs: iter([(store, 0, 2)]))
    monkeypatch.setattr("platform.node", lambda: "here")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: types.SimpleNamespace(uuid="GPU-7"))
    environment(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="x", MASTER_PORT="1")
    with pytest.raises(ConfigError, match="ranks 0 and 1 have the same GPU") as caught:
        join_group()
    assert "\n" not in one_line(caught.value)


def test_demucs_device_cpu_asks_cuda_nothing(environment, no_cuda_calls, songs, tmp_path):
    """In a whole training, with saves and a resumed one, and where separation chooses a device."""
    environment(DEMUCS_DEVICE="cpu", CUDA_VISIBLE_DEVICES="0")
    group = join_group()
    config = settings(songs, "epochs=1", "max_batches=1", "checkpoint.steps=1")
    solver_in(tmp_path / "x", config).run()
    solver_in(tmp_path / "x", config)
    set_random_states({**random_states(group.device), "cuda": torch.zeros(16, dtype=torch.uint8)}, group.device)
    assert not devices.gpu_wanted()


def test_separation_leaves_gpus_alone_as_training_does(environment, gpus):
    gpus(1)
    assert devices.gpu_wanted()
    environment(DEMUCS_DEVICE="cpu")
    assert not devices.gpu_wanted()


@pytest.mark.parametrize("override, expected", [([], "convolutions"), (["misc.tf32=none"], "none"),
                                                (["misc.tf32=all"], "all")])
def test_a_training_says_where_it_multiplies_in_tf32(songs, tmp_path, monkeypatch, override, expected):
    """Before its model is on the GPU, and in its run card."""
    config, gpu = settings(songs, *override), Group(0, 1, torch.device("cuda"))

    def use_tf32(where):
        raise KeyError(where)
    monkeypatch.setattr(building, "use_tf32", use_tf32)
    with pytest.raises(KeyError, match=expected):
        building.build_solver(config, tmp_path, gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    for group, found in ((gpu, expected), (ALONE, "")):
        recorder = RunRecorder(building.build_model(config), folder=tmp_path, group=group, signature="x", name="x", argv=[],
                               epochs=1, batch_size=1, seed=1, train_tracks=1, valid_tracks=1, continued_from=None,
                               tf32=config.misc.tf32)
        recorder.publish([], None)
        assert schema.load(schema.RunCard, tmp_path / "run_card.json").sessions[0].tf32 == found


@pytest.mark.parametrize("value", ["false", "on", "conv", "null", "1"])
def test_a_choice_of_tf32_that_is_none(songs, value):
    with pytest.raises(ConfigError, match=r"misc\.tf32=.* is unknown; use one of none, convolutions, all"):
        settings(songs, f"misc.tf32={value}")


def test_tests_leave_gpus_alone():
    """Also those that start processes of their own; see conftest.py."""
    assert os.environ.get("DEMUCS_DEVICE") == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_this_gpu_can_be_used(environment):
    environment(DEMUCS_DEVICE="cuda")
    assert join_group().device.type == "cuda" == usable_device("cuda").type
    assert "cuda" in random_states(torch.device("cuda")) and "cuda" not in random_states()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_this_gpu_is_that_of_one_process():
    """As NCCL wants it, with what the driver says; `join_group` of two processes here would come to the same."""
    place = _place(torch.device("cuda", 0))
    assert place.gpu and place.visible == torch.cuda.device_count()
    require_own_devices([place])
    with pytest.raises(ConfigError, match=f"ranks 0 and 1 have the same GPU .{place.gpu}"):
        require_own_devices([place, place])
    devices.require_kernels(torch.device("cuda", 0))
