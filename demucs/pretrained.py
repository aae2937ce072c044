"""Public door to trained models: `get_model(name, repo=None)`."""

import typing as tp
from pathlib import Path

from torch import nn

from .errors import SignatureError
from .inference import defaults, repository

DEFAULT_MODEL = defaults.MODEL
SOURCES = ["drums", "bass", "other", "vocals"]
PUBLISHED = ("htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi", "mdx", "mdx_extra", "mdx_q", "mdx_extra_q",
             "repro_mdx_a", "repro_mdx_a_time_only", "repro_mdx_a_hybrid_only")

__all__ = ["DEFAULT_MODEL", "SOURCES", "get_model"]


def get_model(name: str, repo: tp.Optional[Path] = None) -> nn.Module:
    """The model `name` of the folder `repo` (default: ./release_models), in evaluation mode on the CPU.

    Raises:
        SignatureError: where there is no such model; the message says which there are.
        PackageError: where its file is damaged or not ours.
    """
    folder = repository.DEFAULT_FOLDER if repo is None else Path(repo)
    if name in PUBLISHED and name not in (repository.list_models(folder) if folder.is_dir() else ()):
        there = ", ".join(repository.list_models(folder)) if folder.is_dir() else ""
        raise SignatureError(
            f"{name} is a model published by Demucs, and published models cannot be fetched yet. Name one that was "
            f"trained here: -n SIGNATURE --repo FOLDER. Models in {folder}: {there or 'none'}.")
    return repository.get_model(name, folder)
