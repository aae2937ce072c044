"""One process per GPU (or per group of CPU cores), and what they have to tell each other.

The launcher sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; a process without them is alone.
"""

import dataclasses
import datetime
import logging
import os
import typing as tp

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError, DatasetError, DemucsError

Result = tp.TypeVar("Result")
# Ranks wait for one another while one of them scans a dataset or scores a long song; torch gives up after ten minutes.
PATIENCE = datetime.timedelta(hours=6)

logger = logging.getLogger(__name__)


class _WithSpare(nn.Module):
    """A model beside a parameter that nothing uses: where torch looks for such and finds none, it prints a long warning, on
    every process."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        like = next(model.parameters())
        self.spare = nn.Parameter(torch.zeros(1, device=like.device))

    def forward(self, *args: tp.Any) -> tp.Any:
        return self.model(*args)


@dataclasses.dataclass(frozen=True)
class Group:
    """This process among those that train together."""
    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """A model whose gradients are averaged over the group after each backward pass."""
        if self.world_size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        # Otherwise torch puts the gradients into another order after the first step of each process, and with three ranks
        # or more the sums of a run that was stopped would be rounded elsewhere than those of one that was not.
        return DistributedDataParallel(_WithSpare(model), device_ids=devices, find_unused_parameters=True)

    def sum(self, values: tp.Sequence[float]) -> tp.List[float]:
        """Elementwise sums over the group, in float64."""
        if self.world_size == 1:
            return [float(value) for value in values]
        tensor = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, value: tp.Any) -> tp.List[tp.Any]:
        """The values of all ranks, in their order, on every rank."""
        if self.world_size == 1:
            return [value]
        values: tp.List[tp.Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def first_then_all(self, work: tp.Callable[[], Result]) -> Result:
        """`work()` on the first rank, then on all others, which find what it has cached. Where it fails on the first,
        it fails on all, so that nobody waits for ever."""
        error: tp.Optional[DemucsError] = None
        if self.is_first:
            try:
                result = work()
            except DemucsError as caught:
                error = caught
            except OSError as caught:
                error = DatasetError(f"the dataset cannot be prepared: {caught}")
        error = self.gather(error)[0]
        if error is not None:
            raise error
        return result if self.is_first else work()

    def barrier(self) -> None:
        if self.world_size > 1:
            distributed.barrier()


def check_launch(environment: tp.Mapping[str, str]) -> None:
    """What the launcher has set must be numbers that fit together, and be all there.

    Raises:
        ConfigError: where they are not, as after another launcher that has left some of them.
    """
    advice = "unset what an earlier launcher has left, or start through the batch scripts or `dora run -d`"
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT"):
        if not environment.get(name, "0").isdecimal():
            raise ConfigError(f"{name}={environment[name]!r} in the environment is no number from 0 on; {advice}")
    rank, world_size = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    if "WORLD_SIZE" not in environment and "RANK" in environment:
        raise ConfigError(f"RANK={rank}, but WORLD_SIZE is not set; {advice}")
    if "WORLD_SIZE" in environment and rank >= world_size:
        raise ConfigError(f"RANK={rank} and WORLD_SIZE={world_size} in the environment, but ranks count from 0 to "
                          f"WORLD_SIZE - 1; {advice}")
    # Inside a job of Slurm the address follows from its nodes.
    needed = ["RANK"] if "SLURM_JOB_NODELIST" in environment else ["RANK", "MASTER_ADDR"]
    missing = [name for name in needed if name not in environment]
    if world_size > 1 and missing:
        raise ConfigError(f"WORLD_SIZE={world_size}, but {', '.join(missing)} is not set; {advice}")


def join_group() -> Group:
    """Join the group that the environment describes: NCCL on GPUs, gloo on CPUs. DEMUCS_DEVICE=cpu leaves GPUs alone.

    Raises:
        ConfigError: where the environment is incomplete.
    """
    check_launch(os.environ)
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available() and os.environ.get("DEMUCS_DEVICE") != "cpu"
    given = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("SLURM_GPUS_ON_NODE")
    if given and not cuda and os.environ.get("DEMUCS_DEVICE") != "cpu":
        raise ConfigError(f"this process was given GPUs ({given}), but torch {torch.__version__} can use none; check the "
                          f"driver of this node and that torch is a CUDA build, or set DEMUCS_DEVICE=cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    # Where the scheduler shows each task only its own GPU, that one is number 0 for all of them.
    index = local_rank if cuda and torch.cuda.device_count() > 1 else 0
    if cuda and index >= torch.cuda.device_count():
        raise ConfigError(f"LOCAL_RANK={local_rank}, but only {torch.cuda.device_count()} GPUs are visible; start as "
                          f"many tasks per node as there are GPUs")
    device = torch.device("cuda", index) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world_size == 1:
        return Group(0, 1, device)
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"WORLD_SIZE={world_size}, but {', '.join(missing)} is not set; start through the batch "
                          f"scripts or `dora run -d`")
    if not distributed.is_initialized():
        logger.info("Rank %s waits for all %d processes at %s:%s", os.environ["RANK"], world_size,
                    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
        distributed.init_process_group("nccl" if cuda else "gloo", init_method="env://", timeout=PATIENCE)
    group = Group(distributed.get_rank(), distributed.get_world_size(), device)
    logger.info("Process %d of %d, on %s", group.rank + 1, group.world_size, device)
    return group


def leave_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
