"""Public interface to trained models: `get_model(name, repo=None)`, with the names of `demucs.pretrained` in Demucs
4.1.0.

Modules that need torch are imported inside functions, so that the command line shows its help without delay.
"""

import argparse
import typing as tp
from pathlib import Path

from . import schema
from .errors import SignatureError
from .repositories.catalogue import REMOTE_ROOT, ROOT_URL, ModelLoadingError
from .separation import defaults

if tp.TYPE_CHECKING:
    from torch import nn

DEFAULT_MODEL = defaults.MODEL
SOURCES = list(schema.SOURCES)

__all__ = ["DEFAULT_MODEL", "REMOTE_ROOT", "ROOT_URL", "SOURCES", "ModelLoadingError", "add_model_flags",
           "demucs_unittest", "get_model", "get_model_from_args", "get_model_from_sig"]


def get_model(name: str, repo: tp.Union[None, str, Path] = None, *, targets: tp.Optional[tp.Sequence[str]] = None
              ) -> "nn.Module":
    """The model or bag of models `name`, in evaluation mode on the CPU.

    `name` is a signature or the name of a bag in the folder `repo`; without `repo`, in ./release_models or among the
    models that Demucs published (downloaded once); or `hf://[NAMESPACE/]NAME` on the Hugging Face hub.
    It may also be the name of a folder of openunmix in `repo` or ./release_models, or of a published model of
    Open-Unmix (umx, umxhq, umxl, umxse), of which only the networks of `targets` are loaded if that is given.

    Raises:
        ModelLoadingError: if there is no such model, or it cannot be downloaded or read. The message says what to do.
    """
    from .repositories import repository

    return repository.get_model(name, repo, targets=targets)


def get_model_from_sig(sig: str) -> "nn.Module":
    """The model of the experiment `sig` in outputs/xps, with its best weights so far, in evaluation mode on the CPU.

    Raises:
        SignatureError: if there is no such experiment, or none of its epochs has finished.
        PackageError: if its weights are damaged.
    """
    from .packages import package
    from .runs.experiments import experiment_folder
    from .runs.layout import BEST

    best = experiment_folder(sig) / BEST
    if not best.is_file():
        raise SignatureError(f"experiment {sig} has no weights yet: no epoch has finished ({best} is not there)")
    return package.load(best)


def demucs_unittest() -> "nn.Module":
    """A small HDemucs with new random weights, for tests of other programs; also `get_model("demucs_unittest")`."""
    return get_model("demucs_unittest")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags -s/--sig, -n/--name and --repo, which select a model, to `parser`; see `get_model_from_args`."""
    which = parser.add_mutually_exclusive_group(required=False)
    which.add_argument("-s", "--sig", help="signature of an experiment that was trained here (outputs/xps/SIG)")
    which.add_argument("-n", "--name", default=DEFAULT_MODEL,
                       help="signature or name of a model, or hf://[NAMESPACE/]NAME (default: %(default)s)")
    parser.add_argument("--repo", type=Path,
                        help="folder with the models for -n (default: ./release_models, then the published ones)")


def get_model_from_args(args: argparse.Namespace) -> "nn.Module":
    """The model selected by the flags of `add_model_flags` in `args`: the experiment `sig` if it is given, else `name`
    in `repo`. Raises the errors of `get_model_from_sig` and `get_model`."""
    if getattr(args, "sig", None) is not None:
        return get_model_from_sig(args.sig)
    return get_model(args.name or DEFAULT_MODEL, args.repo)
