"""Check whether gradients can be accumulated over micro-batches."""

import typing as tp

from ..errors import ConfigError
from ..layers.normalisation import BatchNorm1d
from ..models.protocol import SeparationModel


def require_whole_batches(model: SeparationModel, *, at_once: tp.Optional[int], examples: int) -> None:
    """Check that the `examples` of a process are not divided into micro-batches of `at_once` (None: they are not) if
    `model` has batch normalisation, whose statistics are over the whole batch.

    Raises:
        ConfigError: if it is.
    """
    if at_once is not None and at_once < examples and any(isinstance(each, BatchNorm1d) for each in model.modules()):
        raise ConfigError(f"misc.examples_at_once={at_once}: model={model.zoo_name} has batch normalisation over the "
                          f"whole batch, so that the {examples} examples of a process cannot be computed in parts; "
                          f"leave it empty, and for less memory train with more processes, or with a smaller "
                          f"batch_size, which is another experiment")
