"""GPUs: whether to use them, and whether they can be used."""

import os
import re
import typing as tp

import torch

from ..errors import ConfigError

CPU_ONLY = "DEMUCS_DEVICE"      # environment variable: cpu leaves GPUs alone
HIDDEN = ("", "-1", "nodevfiles", "none", "void")     # first words of CUDA_VISIBLE_DEVICES that stand for no GPU


def gpu_wanted() -> bool:
    """Whether to compute on a GPU where nobody names a device: torch can use one, and DEMUCS_DEVICE=cpu is not set.
    With it CUDA is not asked anything."""
    return os.environ.get(CPU_ONLY) != "cpu" and torch.cuda.is_available()


def given_gpus(environment: tp.Mapping[str, str]) -> str:
    """What the environment says about the GPUs that this process was given; "" for none."""
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    if visible.partition(",")[0].strip().lower() not in HIDDEN:
        return visible
    number = environment.get("SLURM_GPUS_ON_NODE", "")
    return "" if number == "0" else number


def require_kernels(device: torch.device) -> None:
    """The installed torch has kernels for a GPU: those of its own generation, or some that are compiled when needed.

    Raises:
        ConfigError: where it has none, so that the first computation would fail.
    """
    capability = torch.cuda.get_device_capability(device)
    found = torch.cuda.get_arch_list()
    known = [match for match in (re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", word) for word in found) if match]
    if known and not any(_runs(match, capability) for match in known):
        raise ConfigError(
            f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)} (compute capability "
            f"{capability[0]}.{capability[1]}), only for {', '.join(found)}; install a build of torch for older GPUs, such "
            f"as that for CUDA 12.6 (docs/cluster.md), or set {CPU_ONLY}=cpu")


def _runs(arch: tp.Match[str], capability: tp.Tuple[int, int]) -> bool:
    kind, built = arch[1], (int(arch[2]), int(arch[3]))
    return built <= capability and (kind == "compute" or built[0] == capability[0])
