"""What a kind of dataset is told."""

import typing as tp
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KindSettings:
    """`root` is the folder of the dataset, `sources` are the stems that every song must have."""
    root: Path
    sources: tp.Tuple[str, ...]
