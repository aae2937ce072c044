"""Data-parallel training with one process per GPU (or per group of CPU cores), and the collectives it needs.

The launcher sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; without them, training is a single process.
"""

import collections
import dataclasses
import datetime
import json
import logging
import os
import platform
import typing as tp

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError, DatasetError, DemucsError
from ..layers.normalisation import BatchNorm1d
from ..separation.devices import CPU_ONLY, given_gpus, require_kernels

Result = tp.TypeVar("Result")
# Ranks wait for one another while one of them scans a dataset or scores a long song; torch's default is ten minutes.
PATIENCE = datetime.timedelta(hours=6)

logger = logging.getLogger(__name__)


class _WithUnusedParameter(nn.Module):
    """A model with an additional unused parameter. With `find_unused_parameters=True` and no unused parameter, torch
    prints a long warning on every rank."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        like = next(model.parameters())
        self.spare = nn.Parameter(torch.zeros(1, device=like.device))

    def forward(self, *args: tp.Any, **kwargs: tp.Any) -> tp.Any:
        return self.model(*args, **kwargs)


class _SumOverRanks(torch.autograd.Function):
    """Sum of a tensor over all ranks, on every rank. Its gradient is the sum of the gradients of all ranks, as each
    rank's loss depends on the tensors of all. Collective, in the forward and in the backward pass."""

    @staticmethod
    def forward(ctx: tp.Any, x: torch.Tensor) -> torch.Tensor:
        return _summed(x)

    @staticmethod
    def backward(ctx: tp.Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _summed(gradients[0])


def _summed(x: torch.Tensor) -> torch.Tensor:
    total = x.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


@dataclasses.dataclass(frozen=True)
class Group:
    """Process group of a training, as seen by one rank. `device` is that of this rank. Methods called "collective" must
    be called by all ranks, and wait for them."""
    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """Name of this rank's GPU, "cuda: NAME", or the architecture of its CPU, "cpu: NAME", for records."""
        if self.device.type == "cuda":
            return f"cuda: {torch.cuda.get_device_name(self.device)}"
        return f"cpu: {platform.machine()}"

    def machines(self) -> tp.Tuple[tp.List[str], tp.Dict[str, int]]:
        """(names of the nodes of the group, each once, in the order of ranks; number of GPUs by name, {} on CPUs).
        Collective."""
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        nodes, gpus = zip(*self.gather((platform.node(), gpu)))
        return list(dict.fromkeys(nodes)), dict(collections.Counter(gpu for gpu in gpus if gpu is not None))

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model`, wrapped such that each backward pass averages the gradients over the group
        (DistributedDataParallel), and that batch normalisation has the statistics of the global batch. For a single
        process it is `model` itself. Collective."""
        if self.world_size == 1:
            return model
        for module in model.modules():
            if isinstance(module, BatchNorm1d):
                module.sum_over_ranks = _SumOverRanks.apply
        devices = [self.device] if self.device.type == "cuda" else None
        # `find_unused_parameters` keeps torch from reordering the gradient buckets after the first step of each
        # process. With three ranks or more, that order changes how the all-reduce rounds, so that a run that was
        # interrupted would differ from one that was not.
        return DistributedDataParallel(_WithUnusedParameter(model), device_ids=devices, find_unused_parameters=True)

    def sum(self, values: tp.Sequence[float]) -> tp.List[float]:
        """Elementwise sums of `values` over the group, in float64, on every rank. Collective; all ranks give equally
        many numbers."""
        if self.world_size == 1:
            return [float(value) for value in values]
        tensor = torch.tensor([float(value) for value in values], dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def gather(self, value: tp.Any) -> tp.List[tp.Any]:
        """The values of all ranks, in the order of ranks, on every rank. Collective; a value is any object that can be
        pickled."""
        if self.world_size == 1:
            return [value]
        values: tp.List[tp.Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def first_then_all(self, work: tp.Callable[[], Result]) -> Result:
        """Result of `work()`, which rank 0 calls first, then each other rank, so that they can use what rank 0 has
        cached. Collective.

        Raises:
            DemucsError: on all ranks, if `work` raises it on rank 0, so that none waits forever. An OSError there
                becomes a DatasetError.
        """
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
        """Wait until all ranks have called this."""
        if self.world_size > 1:
            distributed.barrier()


def check_launch(environment: tp.Mapping[str, str]) -> None:
    """Check of the launcher's environment variables for contradictions. None of them set means a single process. With
    WORLD_SIZE > 1, RANK is required, and outside of a Slurm job also MASTER_ADDR; MASTER_PORT is not, since Dora finds
    one.

    Raises:
        ConfigError: if one is missing or not a number, or if RANK is not below WORLD_SIZE, for instance because another
            launcher has left some of them.
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
    # Inside a Slurm job, the address is derived from its list of nodes.
    needed = ["RANK"] if "SLURM_JOB_NODELIST" in environment else ["RANK", "MASTER_ADDR"]
    missing = [name for name in needed if name not in environment]
    if world_size > 1 and missing:
        raise ConfigError(f"WORLD_SIZE={world_size}, but {', '.join(missing)} is not set; {advice}")


def join_group() -> Group:
    """Process group that the launcher's environment variables describe, joined by this process: NCCL on GPUs, gloo on
    CPUs. Waits for all other ranks. Without a launcher it is a group of one process, without torch.distributed. With
    DEMUCS_DEVICE=cpu, GPUs are not used.

    Raises:
        ConfigError: if the variables are incomplete or contradictory, if torch cannot use allocated GPUs, or
            if there are fewer GPUs than local ranks.
    """
    check_launch(os.environ)
    world_size = _number("WORLD_SIZE", 1)
    device = _own_device(_number("LOCAL_RANK", 0))
    if device.type == "cuda":
        require_kernels(device)
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
        store, rank, _ = next(rendezvous("env://", timeout=PATIENCE))
        store.set_timeout(PATIENCE)
        if device.type == "cuda":
            places = exchange(store, rank, world_size, _place(device))
            require_own_devices(places)
            if rank == 0:
                warn_of_hidden_peers(places)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank,
                                       world_size=world_size, timeout=PATIENCE)
    group = Group(distributed.get_rank(), distributed.get_world_size(), device)
    logger.info("Process %d of %d, on %s", group.rank + 1, group.world_size, device)
    return group


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise ConfigError(f"{name}={value!r} is no number; start through the batch scripts or `dora run -d`")
    return int(value)


def _own_device(local_rank: int) -> torch.device:
    """Device of this process. Raises ConfigError if GPUs were allocated and none is usable by this rank."""
    wanted = os.environ.get(CPU_ONLY, "")
    if wanted not in ("", "cpu", "cuda"):
        raise ConfigError(f"{CPU_ONLY}={wanted!r} is unknown; set it to cpu, or leave it out")
    if wanted == "cpu":
        return torch.device("cpu")
    given = given_gpus(os.environ)
    if not torch.cuda.is_available():
        if given or wanted == "cuda":
            raise ConfigError(f"this process was given GPUs ({given or f'{CPU_ONLY}=cuda'}), but torch {torch.__version__} "
                              f"can use none; check the driver of this node and that torch is a CUDA build, or set "
                              f"{CPU_ONLY}=cpu")
        return torch.device("cpu")
    count = torch.cuda.device_count()
    # If the scheduler shows each task only its own GPU, its index is 0 for all of them.
    index = local_rank if count > 1 else 0
    if index >= count:
        raise ConfigError(f"LOCAL_RANK={local_rank}, but only {count} GPUs are visible; start as many tasks per node as "
                          f"there are GPUs")
    return torch.device("cuda", index)


class Place(tp.NamedTuple):
    """Placement of a process: its node, the UUID of its GPU, and the number of GPUs it sees."""
    node: str
    gpu: str
    visible: int


def _place(device: torch.device) -> Place:
    return Place(platform.node(), str(torch.cuda.get_device_properties(device).uuid), torch.cuda.device_count())


def exchange(store: tp.Any, rank: int, world_size: int, place: Place) -> tp.List[Place]:
    """The placements `place` of all ranks, in the order of ranks, on every rank. Waits for all ranks. `store` is
    torch's key-value store of the group; it is used instead of NCCL, which crashes if two ranks have the same GPU."""
    store.set(f"place {rank}", json.dumps(place))
    places = [Place(*json.loads(store.get(f"place {other}"))) for other in range(world_size)]
    store.set(f"read {rank}", "")
    if rank == 0:                    # rank 0 hosts the store, so it must outlive the reads of the others
        store.wait([f"read {other}" for other in range(world_size)])
    return places


def require_own_devices(places: tp.Sequence[Place]) -> None:
    """Check that every rank has a GPU of its own, as NCCL requires. `places` are in the order of ranks.

    Raises:
        ConfigError: naming two ranks that share one.
    """
    first: tp.Dict[tp.Tuple[str, str], int] = {}
    for rank, place in enumerate(places):
        other = first.setdefault((place.node, place.gpu), rank)
        if other != rank:
            raise ConfigError(
                f"ranks {other} and {rank} have the same GPU ({place.gpu} on {place.node}, {place.visible} visible); start "
                f"as many processes per node as it has GPUs (DEMUCS_LOCAL_TASKS without Slurm). Of several MIG slices a "
                f"process sees the first only: train on whole GPUs")


def warn_of_hidden_peers(places: tp.Sequence[Place]) -> None:
    """Log a warning for each node in `places` with several processes, each of which sees one GPU only, as with Slurm's
    --gpus-per-task: NCCL may fail there, or be slow."""
    nodes = collections.Counter(place.node for place in places)
    for node, processes in nodes.items():
        if processes > 1 and all(place.visible == 1 for place in places if place.node == node):
            option = f"--gpus-per-task={os.environ['SLURM_GPUS_PER_TASK']}" if "SLURM_GPUS_PER_TASK" in os.environ \
                else "--gpus-per-task or --gpu-bind"
            logger.warning("Each of the %d processes on %s sees its own GPU only (%s): NCCL may fail there, or be slow. "
                           "Submit with --gres=gpu:%d instead.", processes, node, option, processes)


def lost_peer(error: BaseException) -> str:
    """Text of an error message if `error` means that another rank has ended or cannot be reached; "" for any other
    error."""
    if isinstance(error, distributed.DistError) or type(error) is RuntimeError and "gloo" in str(error):
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        return (f"another process of this run has ended or cannot be reached, and its own log says why (worker_RANK.log in "
                f"the run's folder, or that of the job); the run goes on from its last checkpoint when it is started again "
                f"({what})")
    return ""


def leave_group() -> None:
    """Leave torch's process group. Does nothing if this process is in none."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
