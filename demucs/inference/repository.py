"""A folder of exported models: what lies there, and the one that was asked for."""

import logging
import typing as tp
from pathlib import Path

from torch import nn

from ..errors import SignatureError, did_you_mean
from . import package

logger = logging.getLogger(__name__)

DEFAULT_FOLDER = Path("release_models")     # where exporting puts models, relative to the repository
SUFFIX = ".th"


def list_models(repo: tp.Union[str, Path]) -> tp.Dict[str, Path]:
    """Name -> file of every model in the folder `repo`, sorted by name. Raises SignatureError where it is no folder."""
    repo = Path(repo)
    if not repo.is_dir():
        raise SignatureError(f"{repo}: no such folder of models; `python3 -m tools.export SIG -o {repo}` makes one")
    return {path.stem: path for path in sorted(repo.iterdir())
            if path.suffix == SUFFIX and path.is_file() and not path.name.startswith(".")}


def get_model(name: str, repo: tp.Union[None, str, Path] = None) -> nn.Module:
    """The model `name` (a signature) of the folder `repo`, in evaluation mode on the CPU.

    Args:
        name: a name in `list_models(repo)`; never a path, so that it cannot lead out of the folder.
        repo: default: `release_models` in the working directory.

    Raises:
        SignatureError: for a name that is not there; what is there and the nearest name are in the message.
        PackageError: where the file is not what it should be.
    """
    repo = DEFAULT_FOLDER if repo is None else Path(repo)
    if name != Path(name).name or "\\" in name:
        raise SignatureError(f"model {name!r} is a path; give the name of a model, and its folder as --repo")
    models = list_models(repo)
    if name not in models:
        raise SignatureError(f"no model {name!r} in {repo}.{did_you_mean(name, models)} There are: "
                             f"{', '.join(models) or 'none yet'}. "
                             f"`python3 -m tools.export SIG -o {repo}` puts one there.")
    logger.debug("Loading %s", models[name])
    return package.load(models[name])
