"""Counted memory of trainings: tensors and labels, against known sums and against a process."""

import gc
import json
import sys

import preloaded
import pytest
import torch
from torch import nn

from demucs import memory
from demucs.errors import ConfigError
from demucs.memory_page import report
from demucs.training.memory import BACKWARD, GRADIENTS, RECOMPUTED, MemoryCount, labelling_layers

MIB = 2 ** 20
TINY = ["model=hdemucs", "hdemucs.channels=16", "hdemucs.nfft=512", "hdemucs.depth=3", "hdemucs.kernel_size=4",
        "hdemucs.stride=2", "hdemucs.dconv_depth=1", "hdemucs.norm_starts=1", "hdemucs.dconv_lstm=2",
        "hdemucs.dconv_attn=9", "batch_size=4", "dset.segment=3", "augment.remix.group_size=2", "augment.repitch.proba=0"]


def test_tensors_are_counted_as_long_as_they_exist():
    with MemoryCount() as count:
        x = torch.zeros(MIB)                     # of 4 bytes
        view = x[10:]
        assert count.total == 4 * MIB
        y = view + 1
        assert count.total == 8 * MIB - 40 and count.peak == count.total
        del x
        gc.collect()
        assert count.total == 8 * MIB - 40       # the view has the same memory
        del view, y
        assert count.total == 0 and count.peak == 8 * MIB - 40
        count.start()
        assert count.peak == 0


def test_labels():
    with MemoryCount() as count:
        with count.labelling("a"):
            x = torch.zeros(MIB)
        count.label("b", [x, None])
        count.start()
        assert count.at_peak == {"b": 4 * MIB}


def test_saved_activations_and_gradients():
    """A linear layer saves its input, and tanh its output."""
    model = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.Tanh())
    with MemoryCount() as count:
        count.label("weights", model.parameters())
        with labelling_layers(count, model):
            count.start()
            out = model(torch.ones(500, 1000))
            assert count.at_peak == {"weights": 4_000_000, BACKWARD: 2_000_000, "0": 2_000_000, "1": 2_000_000}
            out.sum().backward()
        count.start()
        assert count.at_peak[GRADIENTS] == count.at_peak["weights"] == 4_000_000


def counted(*overrides, **options):
    return memory.count(memory.configuration([*TINY, *overrides]), song=5., **options)


@pytest.fixture(scope="module")
def plain():
    return counted()


@pytest.fixture(scope="module")
def weights():
    with torch.device("meta"):
        model = memory.build_model(memory.configuration(TINY))
    return 4 * sum(parameter.numel() for parameter in model.parameters())


def test_parts_of_a_training(plain, weights):
    assert plain.train["parameters"] == weights
    assert weights * 2 <= plain.train["optimizer"] <= weights * 2 + 4096         # and Adam's counts of steps
    assert plain.train["batch"] >= 4 * 4 * 4 * 2 * 2 * 44100
    assert plain.valid["parameters"] == weights and sum(plain.valid.values()) < sum(plain.train.values())
    layers = {name for name in plain.train if name.startswith(("encoder.", "tdecoder."))}
    assert {"encoder.0", "encoder.2", "tdecoder.2"} <= layers


@pytest.mark.parametrize("override, most", [
    ("misc.checkpoint_activations=true", 0.75), ("misc.examples_at_once=1", 0.5),
    ("optim.precision=fp16", 0.9)])
def test_what_saves_memory(plain, override, most):
    found = counted(override)
    assert sum(found.train.values()) < most * sum(plain.train.values())
    assert any(name.endswith(RECOMPUTED) for name in found.train) == ("checkpoint" in override)
    assert found.train["parameters"] == plain.train["parameters"] and found.train["optimizer"] == plain.train["optimizer"]


def test_averages_and_several_gpus(plain, weights):
    found = counted("ema.batch=[0.9,0.99]", "ema.epoch=[0.9]", world_size=2)
    assert found.train["averages"] == 2 * weights and found.train[memory.REDUCTION] == weights
    assert found.train["batch"] < plain.train["batch"]
    with pytest.raises(ConfigError, match="batch_size=4 cannot be split over 3 GPUs"):
        counted(world_size=3)
    with pytest.raises(ConfigError, match="remixed in groups of 2"):
        counted(world_size=4)


def test_a_gpu_keeps_normalisations_in_float32():
    """Under autocast: what a CPU stores in 16 bits."""
    found = [counted("optim.precision=bf16", gpu=gpu).train for gpu in (True, False)]
    assert found[0]["encoder.1"] > 1.1 * found[1]["encoder.1"]
    assert found[1][memory.PROCESS] > 100 * MIB and found[1][memory.MALLOC] > 0 and memory.PROCESS not in found[0]
    assert nn.LSTM.forward.__qualname__ == "LSTM.forward" and nn.GroupNorm.forward.__qualname__ == "GroupNorm.forward"


def test_a_report_has_all_parts(plain):
    config = memory.configuration(TINY)
    for layers in (False, True):
        text = report(config, plain, world_size=1, layers=layers)
        assert "hdemucs on the GPU: a batch of 4, 4 at once, of 88200 samples" in text and ("encoder.0" in text) == layers
        for part in text.split("\n\n")[1:]:
            *rows, last = [int(line.split("  ")[-1].replace(",", "")) for line in part.splitlines()[1:]]
            assert abs(sum(rows) - last) <= len(rows)


@pytest.mark.runs
def test_the_process_of_a_training_takes_as_much(repository):
    """A small HDemucs on the CPU: the peak of the whole process."""
    overrides = ["model=hdemucs", "hdemucs.channels=16", "batch_size=2", "dset.segment=4", "augment.remix.group_size=2",
                 "augment.repitch.proba=0"]
    config = memory.configuration(overrides)
    done = preloaded_free(repository, "--measure", "--json", *overrides)
    found = preloaded_free(repository, "--cpu", "--json", *overrides)
    counted = sum(found["train"].values())
    assert abs(counted / done["measured"] - 1) <= 0.15, (config.model, counted, done)


def preloaded_free(repository, *arguments):
    """What the tool prints in a process of its own, whose memory is measured: not one that was preloaded."""
    import os
    import subprocess
    done = subprocess.run([sys.executable, "-m", "tools.memory", *arguments], cwd=repository, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.runs
@pytest.mark.parametrize("arguments, words", [
    (["modle=hdemucs"], "'model'"), (["optim.precision=half"], "optim.precision='half'"), (["--gpus", "3"], "over 3 GPUs"),
    (["--gpus", "0"], "--gpus=0"), (["-f", "01234567"], "no experiment '01234567'"),
    (["--write", "missing.md"], "missing.md")])
def test_wrong_arguments_are_one_line(repository, arguments, words):
    done = preloaded.run("-m", "tools.memory", *arguments, cwd=repository)
    line, = done.stderr.strip().splitlines()
    assert done.returncode != 0 and words in line and "Traceback" not in line
