"""Time of a model on this device, and the fraction of the device's speed that it reaches."""

import dataclasses
import time
import typing as tp

import torch

from ..schema import ModelCost
from .operations import ALL
from .subject import SONG, Subject

SIZE = 2048                      # of the matrices whose product measures a device
ROUNDS = 3


def with_time(found: ModelCost, subject: Subject, device: torch.device, *, rounds: int = ROUNDS) -> ModelCost:
    """`found` with the time of the model on `device`, in float32 with random weights: the best of `rounds` forward
    passes after one to warm up. Raises ConfigError, see `zoo.build`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = subject.build().eval().to(device)
        mix = torch.randn(1, model.audio_channels, int(model.segment * model.samplerate)).to(device)
    with torch.no_grad():
        best = _best(lambda: model(mix), device, rounds)
    seconds = best * SONG / found.segment
    return dataclasses.replace(found, seconds=seconds, device=_name(device),
                               share=found.macs_per_second[ALL] * SONG / seconds / peak(device))


def peak(device: torch.device) -> float:
    """Multiply-adds per second of a product of square matrices of size `SIZE` in float32: the best of five. It is
    measured once."""
    if device not in _peaks:
        first, second = (torch.ones(SIZE, SIZE, device=device) for _ in range(2))
        _peaks[device] = SIZE ** 3 / _best(lambda: first @ second, device, 5)
    return _peaks[device]


_peaks: tp.Dict[torch.device, float] = {}


def _best(function: tp.Callable[[], tp.Any], device: torch.device, rounds: int) -> float:
    """Seconds of the fastest of `rounds` calls after one."""
    times = []
    for _ in range(rounds + 1):
        _finish(device)
        begin = time.perf_counter()
        function()
        _finish(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor() or device.type}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Name of the processor; "" if it is unknown."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return ""
