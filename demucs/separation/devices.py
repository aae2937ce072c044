"""Devices: the choice of a GPU, checks that it can be used, and models that are moved to it during inference."""

import contextlib
import copy
import math
import os
import re
import threading
import typing as tp
import weakref

import torch
from torch import nn

from ..errors import ConfigError

CPU_ONLY = "DEMUCS_DEVICE"      # environment variable: with the value cpu, GPUs are not used
Devices = tp.Union[None, str, torch.device, tp.Sequence[torch.device]]      # one, or several that share the chunks
HIDDEN = ("", "-1", "nodevfiles", "none", "void")     # first words of CUDA_VISIBLE_DEVICES that stand for no GPU


def gpu_wanted() -> bool:
    """Whether to compute on a GPU if the user names no device: torch can use one, and the environment variable
    DEMUCS_DEVICE is not "cpu". If it is, CUDA is not queried at all."""
    return os.environ.get(CPU_ONLY) != "cpu" and torch.cuda.is_available()


def given_gpus(environment: tp.Mapping[str, str]) -> str:
    """GPUs allocated to the process with the variables `environment`, as text: the value of CUDA_VISIBLE_DEVICES, such
    as "0,2", or if that is unset or names no GPU, the number in SLURM_GPUS_ON_NODE, such as "2". "" if both name
    none."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    if visible.partition(",")[0].strip().lower() not in HIDDEN:
        return visible
    number = environment.get("SLURM_GPUS_ON_NODE", "")
    return "" if number == "0" else number


def require_kernels(device: torch.device) -> None:
    """Check that the installed torch has kernels for the GPU `device`: binaries for its compute capability, or PTX code
    that is compiled when needed. It passes if torch lists no architectures.

    Raises:
        ConfigError: if it has none, so that the first computation would fail.
    """
    capability = torch.cuda.get_device_capability(device)
    found = torch.cuda.get_arch_list()
    known = [match for match in (re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", word) for word in found) if match]
    if known and not any(_runs(match, capability) for match in known):
        raise ConfigError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)} (compute capability "
            f"{capability[0]}.{capability[1]}), only for {', '.join(found)}; install a build of torch for older GPUs, "
            f"such as that for CUDA 12.6 (docs/cluster.md), or set {CPU_ONLY}=cpu")


def _runs(arch: tp.Match[str], capability: tp.Tuple[int, int]) -> bool:
    kind, built = arch[1], (int(arch[2]), int(arch[3]))
    return built <= capability and (kind == "compute" or built[0] == capability[0])


def usable_device(name: str) -> torch.device:
    """The torch device called `name` ("cpu", "cuda", "cuda:1", ...), after a tensor was created on it.

    Raises:
        ConfigError: if the name is invalid, this machine has no such device, torch has no kernels for it, or tensors on
            it have no data ("meta").
    """
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():
            require_kernels(device)
        torch.zeros(1, device=device).cpu()        # fails for "meta", whose tensors have no data
    except ConfigError:
        raise
    except Exception as error:                     # each kind of device raises another type if it is missing
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"device {name!r} cannot be used on this machine ({reason}); use cpu") from error
    return device


def usable_devices(name: str) -> tp.Union[torch.device, tp.Tuple[torch.device, ...]]:
    """The device called `name`, as `usable_device`; or several, separated by commas, such as "cuda:0,cuda:1", or
    "cuda:0,1" for short.

    Raises:
        ConfigError: as `usable_device`, for an empty name between commas, and for a GPU that is named twice.
    """
    words = [word.strip() for word in name.split(",")]
    if len(words) == 1:
        return usable_device(name)
    kind = words[0].partition(":")[0]
    names = [f"{kind}:{word}" if word.isdecimal() else word for word in words]
    if "" in names:
        raise ConfigError(f"device {name!r}: a name between the commas is missing; write for instance cuda:0,1")
    found = [usable_device(each) for each in names]
    places = [device for device in found if device.type != "cpu"]
    for index, device in enumerate(places):
        if any(same_device(device, other) for other in places[:index]):
            raise ConfigError(f"device {name!r}: {device} is named twice; name each GPU once")
    return tuple(found)


def same_device(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are the same; one without an index is that with index 0."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def first_device(device: Devices) -> tp.Union[None, str, torch.device]:
    """The only device, or the first of several."""
    return device[0] if isinstance(device, (list, tuple)) else tp.cast(tp.Union[None, str, torch.device], device)


def free_memory(device: torch.device) -> float:
    """Free memory of a GPU in bytes, with what torch has reserved but does not use; infinite for other devices."""
    if device.type != "cuda":
        return math.inf
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class _Use(tp.NamedTuple):
    """State of a model in use: number of users, current device, original device, and original training modes."""
    count: int
    where: torch.device
    home: torch.device
    modes: tp.List[tp.Tuple[nn.Module, bool]]


_in_use: "weakref.WeakKeyDictionary[nn.Module, _Use]" = weakref.WeakKeyDictionary()
_free = threading.Condition()


@contextlib.contextmanager
def at_work(model: nn.Module, device: tp.Union[None, str, torch.device]) -> tp.Iterator[torch.device]:
    """Context with the model in evaluation mode on `device` (None: where it is), which it yields. Afterwards the
    training mode of each module and the device are restored. A model without parameters counts as on the CPU.

    Several threads may use one model at the same time; a thread that needs it on another device waits until it is free.
    """
    where = _take(model, device)
    try:
        yield where
    finally:
        _give_back(model)


def _take(model: nn.Module, device: tp.Union[None, str, torch.device]) -> torch.device:
    with _free:
        while True:
            use = _in_use.get(model)
            home = use.home if use else next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
            where = home if device is None else torch.device(device)
            if use is None or use.where == where:
                break
            _free.wait()
        if use is None:
            use = _Use(0, where, home, [(module, module.training) for module in model.modules()])
            model.eval()
            try:
                if where != home:
                    model.to(where)
            except BaseException:
                _restore(model, use)
                raise
        _in_use[model] = use._replace(count=use.count + 1)
        return where


def _give_back(model: nn.Module) -> None:
    with _free:
        use = _in_use[model]
        _in_use[model] = use._replace(count=use.count - 1)
        if use.count > 1:
            return
        del _in_use[model]
        _restore(model, use)
        _free.notify_all()


def _restore(model: nn.Module, use: _Use) -> None:
    for module, mode in use.modes:
        module.training = mode
    if use.where != use.home:
        model.to(use.home)


class Place(tp.NamedTuple):
    """A model, or a copy of it, on a device."""
    model: nn.Module
    device: torch.device


@contextlib.contextmanager
def at_work_on(model: nn.Module, device: Devices) -> tp.Iterator[tp.List[Place]]:
    """Context as `at_work`, which yields the model on its device; of several devices the first has the model, and each
    of the others a copy. Copies are kept for later contexts as long as the weights do not change."""
    with at_work(model, first_device(device)) as where:
        others = device[1:] if isinstance(device, (list, tuple)) else ()
        yield [Place(model, where), *_copies(model, tp.cast(tp.Sequence[torch.device], others))]


_Copies = tp.Tuple[tp.Any, tp.List[Place]]
_copied: "weakref.WeakKeyDictionary[nn.Module, _Copies]" = weakref.WeakKeyDictionary()


def _copies(model: nn.Module, devices: tp.Sequence[torch.device]) -> tp.List[Place]:
    if not devices:
        return []
    with _free:
        state = [(id(tensor), tensor._version) for tensor in (*model.parameters(), *model.buffers())]
        known = _copied.get(model)
        if known is None or known[0] != state or [place.device for place in known[1]] != list(devices):
            known = state, [Place(copy.deepcopy(model).to(device), device) for device in devices]
            _copied[model] = known
        return known[1]
