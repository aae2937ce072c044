"""Memory that the training of an experiment takes on each device, counted from its configuration or measured.

The passes of a training are made with fake tensors (`training.memory`): a step, with the optimiser's state, the averages
and the gradients of an earlier micro-batch, and the validation of a song.
"""

import contextlib
import dataclasses
import typing as tp
from pathlib import Path

import torch

from .building import build_augment, build_averages, build_model
from .config import Config, read
from .data.targets import Targets
from .errors import ConfigError
from .models.protocol import set_checkpointing
from .training.accumulation import require_whole_batches
from .training.distributed import Group
from .training.ema import swapped
from .training.memory import (AVERAGES, BATCH, OPTIMIZER, PARAMETERS, MemoryCount, labelling_layers,
                              like_a_gpu)
from .training.objectives import build_objective
from .training.optim import build_optimizer
from .training.precision import Precision
from .training.stages import TrainStage
from .training.validation import ValidStage

SONG = 240.          # seconds of a song to validate on
PARTS = 2            # micro-batches that are counted: the second one finds gradients of the first
REDUCTION, VALIDATION = "all-reduce", "song, its estimates and scores"
# On a CPU, freed blocks are kept by the C library in pieces that do not fit what is asked for next. By how much the
# measured memory of several trainings (docs/small_gpus.md) exceeded the sum of blocks of less than 32 MiB:
KEPT = 0.2
MALLOC = "kept by malloc (estimate)"
PROCESS = "Python and libraries"
WARM_UP = ("model=hdemucs", "hdemucs.channels=4", "batch_size=1", "augment.remix.group_size=1", "dset.segment=2")
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Bytes of tensors at the peak of a training step and at that of the validation, by what they are."""
    train: tp.Dict[str, int]
    valid: tp.Dict[str, int]

    @property
    def peak(self) -> int:
        return max(sum(self.train.values()), sum(self.valid.values()))


@dataclasses.dataclass
class Stages:
    """The stages of a training without songs in one process, and its averages."""
    train: TrainStage
    valid: ValidStage
    averages: tp.Mapping[str, tp.Any]

    @classmethod
    def of(cls, config: Config, device: torch.device = CPU) -> "Stages":
        group = Group(0, 1, device)
        optim = config.optim
        precision = Precision(optim.precision, device)
        model = build_model(config)
        if device.type != "cpu":             # weights of fake tensors cannot be moved
            model = model.to(device)
        set_checkpointing(model, config.misc.checkpoint_activations)
        optimizer = build_optimizer(model, kind=optim.optim, lr=optim.lr, momentum=optim.momentum, beta2=optim.beta2,
                                    weight_decay=optim.weight_decay)
        averages = build_averages(config, model, group)
        targets = Targets(config.dset.sources, config.dset.targets)
        shared: tp.Dict[str, tp.Any] = dict(
            model=model, group=group, seed=config.seed, targets=targets, prints=0, loader=None,
            objective=build_objective(optim.loss, model, targets=targets.names, weights=config.target_weights))
        on_device = [average for name, average in averages.items() if name.startswith("ema_batch")]
        train = TrainStage(wrapped=model, optimizer=optimizer, sampler=tp.cast(tp.Any, None),
                           augment=build_augment(config, 1), averages=on_device, svd=config.svd,
                           clip_grad=optim.clip_grad, track_name=str, at_once=config.misc.examples_at_once,
                           precision=precision, **shared)
        valid = ValidStage(apply=config.valid_apply, split=config.test.split, max_batches=None, **shared)
        return cls(train, valid, averages)

    def step(self, stems: torch.Tensor, examples: tp.Optional[int] = None) -> None:
        """A training step on stems [b, S, A, L], of which only the first `examples` go through the model."""
        self.train.model.train()
        stems = self.train.augment(stems, epoch=0, step=0)
        self.train.step(stems[:examples], epoch=0, step=0, names=[])


def configuration(overrides: tp.Sequence[str], base: tp.Optional[str] = None) -> Config:
    """The configuration of the experiment with these overrides, added to those of the experiment `base`.

    Raises:
        ConfigError: for an invalid value.
        SystemExit: for an unknown key or experiment.
    """
    from omegaconf import OmegaConf

    from .train import main
    xp = main.get_xp([*(main.get_argv_from_sig(base) if base else []), *overrides])
    return read(tp.cast(tp.Dict[str, tp.Any], OmegaConf.to_container(xp.cfg, resolve=True)))


def examples_per_process(config: Config, world_size: int) -> int:
    """Examples of a batch per process. Raises ConfigError if it cannot be split or remixed."""
    if config.batch_size % world_size:
        raise ConfigError(f"batch_size={config.batch_size} cannot be split over {world_size} GPUs: give a multiple of "
                          f"{world_size}, or another number of GPUs")
    build_augment(config, world_size)
    return config.batch_size // world_size


def stems_shape(config: Config, examples: int) -> tp.Tuple[int, int, int, int]:
    """Shape [b, S, A, L] of the stems before augmentation. Raises ConfigError for a training on whole tracks."""
    d = config.dset
    if not d.segment:
        raise ConfigError("dset.segment=0 trains on whole tracks, and their length determines the memory: give that of the "
                          "longest one in seconds, dset.segment=SECONDS")
    return examples, len(d.sources), d.channels, config.training_length + int(d.samplerate * d.shift)


def count(config: Config, *, world_size: int = 1, gpu: bool = True, song: float = SONG) -> Footprint:
    """Memory of the training of `config` in each of `world_size` processes, on GPUs or on CPUs. Nothing of that size is
    allocated. On a CPU all of the process is counted, without the workers of the loader.

    Args:
        song: seconds of the longest song in the validation set.

    Raises:
        ConfigError: if a batch cannot be split over the processes.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode       # takes a second to import
    examples = examples_per_process(config, world_size)
    process = 0 if gpu else _process()
    with contextlib.ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        counter = stack.enter_context(MemoryCount())
        if gpu:
            stack.enter_context(like_a_gpu())
        stages = Stages.of(config)
        require_whole_batches(stages.train.model, at_once=config.misc.examples_at_once, examples=examples)
        model, optimizer = stages.train.model, stages.train.optimizer
        counter.label(PARAMETERS, model.state_dict(keep_vars=True).values())
        for average in stages.train.averages if gpu else stages.averages.values():
            counter.label(AVERAGES, average.state.values())
        _create_state(optimizer, foreach=gpu)
        counter.label(OPTIMIZER, (value for state in optimizer.state.values() for value in state.values()
                                  if isinstance(value, torch.Tensor)))
        with counter.labelling(REDUCTION):         # DistributedDataParallel has a copy of all gradients, in buckets
            buckets = [torch.empty_like(one) for one in model.parameters() if one.requires_grad and world_size > 1]
        batch = torch.empty(stems_shape(config, examples))
        counter.label(BATCH, [batch])
        with labelling_layers(counter, model):
            counter.start()
            at_once = config.misc.examples_at_once
            stages.step(batch, PARTS * at_once if at_once else None)
            train = _at_peak(counter, process)
        del batch
        counter.start()
        _validate(counter, stages, config, song)
        del buckets
        return Footprint(train, _at_peak(counter, process))


def _process() -> int:
    """Bytes of this process, after a training step of a small model has loaded what a training needs."""
    Stages.of(config := configuration(WARM_UP)).step(torch.zeros(stems_shape(config, 1)))
    return resident()


def _at_peak(counter: MemoryCount, process: int) -> tp.Dict[str, int]:
    if not process:
        return counter.at_peak
    return {**counter.at_peak, MALLOC: int(KEPT * counter.small_at_peak), PROCESS: process}


def _create_state(optimizer: torch.optim.Optimizer, *, foreach: bool) -> None:
    """Give Adam the state that it has after its first step. On GPUs it updates all parameters together (`foreach`)."""
    for group in optimizer.param_groups:
        group["foreach"] = foreach
        for parameter in group["params"]:
            if parameter.requires_grad:
                optimizer.state[parameter] = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter),
                                              "exp_avg_sq": torch.zeros_like(parameter)}


@torch.no_grad()
def _validate(counter: MemoryCount, stages: Stages, config: Config, seconds: float) -> None:
    d = config.dset
    length = int((seconds if d.full_cv else d.segment) * d.samplerate)
    stages.train.model.eval()
    state = next((average.state for average in stages.averages.values()), {})
    with swapped(stages.train.model, state) if state else contextlib.nullcontext(), \
            _one_call(stages.train.model), counter.labelling(VALIDATION):
        batch = torch.empty(1, 1 + len(d.sources), d.channels, length)
        stages.valid._score(batch[:, 0], batch[:, 1:], None)


@contextlib.contextmanager
def _one_call(model: torch.nn.Module) -> tp.Iterator[None]:
    """Context in which only the first forward pass of `model` is computed: all chunks of a song take the same. The
    magnitudes of a song are one such pass of their own."""
    original, lengths = model.forward, []

    def forward(mix: torch.Tensor, **other: tp.Any) -> torch.Tensor:
        if other:
            return original(mix, **other)
        lengths.append(mix.shape[-1])
        first = len(lengths) == 1
        return original(mix) if first else mix.new_empty(len(mix), len(model.sources), *mix.shape[1:])
    model.forward = forward                       # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.forward


def measure(config: Config, *, steps: int = 2) -> int:
    """Bytes that a training of `config` takes in this process at its peak: on a GPU those of torch's allocator, on a CPU
    all of the process, with Python and its libraries. Songs are noise; it makes some steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stages = Stages.of(config, device)
    stems = torch.randn(stems_shape(config, examples_per_process(config, 1)), device=device)
    for _ in range(steps):
        stages.step(stems)
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else resident("VmHWM")


def resident(key: str = "VmRSS") -> int:
    """Bytes of main memory of this process: now ("VmRSS"), or the most so far ("VmHWM")."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    return 0
