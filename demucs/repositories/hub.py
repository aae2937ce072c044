"""Models on the Hugging Face hub, named `hf://[NAMESPACE/]NAME` as in Demucs 4.1.0.

A bag called NAME is a repository on the hub (`repository_of`) with a bag file NAME.yaml and a file
SIGNATURE.safetensors for each of its models. Files are downloaded and cached by the package huggingface_hub, with its
settings (HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE). All files are untrusted: names are checked before they become parts of
paths, bag files are checked key by key, and model files are read like all others.
"""

import contextlib
import re
import sys
import typing as tp
from pathlib import Path

from . import catalogue
from .catalogue import BagDefinition, ModelLoadingError
from .download import Unreachable, answer_of

PREFIX = "hf://"
NAMESPACE = "adefossez"        # the author of Demucs
SUFFIX = ".safetensors"
PROBE_TIMEOUT = 10.            # seconds

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def repository_of(name: str, namespace: str = NAMESPACE) -> str:
    """Name of the repository on the hub of the bag `name`, NAMESPACE/REPOSITORY: adefossez/HTDemucs for "htdemucs",
    adefossez/HTDemucs-ft for "htdemucs_ft", adefossez/Demucs-mdx_extra_q for "mdx_extra_q", ..."""
    if name == "htdemucs":
        return f"{namespace}/HTDemucs"
    family, _, variant = name.partition("_")
    return f"{namespace}/HTDemucs-{variant}" if family == "htdemucs" else f"{namespace}/Demucs-{name}"


def fetch_bag(address: str) -> tp.Tuple[BagDefinition, tp.Dict[str, Path]]:
    """(definition of the bag at `address`, {signature: file} of its models), downloaded or from the cache. The address
    is hf://[NAMESPACE/]NAME.

    Raises:
        ModelLoadingError: with a message of one line, if the bag cannot be downloaded or is invalid.
    """
    namespace, name = _parse(address)
    repository = repository_of(name, namespace)
    wanted = f"{name}{catalogue.BAG_SUFFIX}"
    try:
        definition = catalogue.read_bag(download(repository, wanted), where=f"{address}: {wanted}")
        for signature in definition.models:
            if not _NAME.fullmatch(signature):
                raise ModelLoadingError(f"{definition.where}: models has {signature!r}, which is no signature")
        files = {}
        for signature in dict.fromkeys(definition.models):
            wanted = signature + SUFFIX
            files[signature] = download(repository, wanted)
    except Unreachable as error:
        raise ModelLoadingError(f"{address}: {wanted} cannot be had from {place(repository)} ({error}). Without a "
                                f"network, copy the folder {_cache(repository)} from a machine that has it") from error
    return definition, files


def download(repository: str, filename: str) -> Path:
    """Local copy of the file `filename` of a repository, in the cache of huggingface_hub. It is downloaded if it is
    missing or outdated; without a network, the copy in the cache is returned.

    Raises:
        Unreachable: with the reason, if there is none.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError as error:
        raise Unreachable("the package huggingface_hub is not installed: pip install huggingface_hub") from error
    # huggingface_hub would try for half a minute before it reports that there is no network
    silent = None if constants.HF_HUB_OFFLINE else answer_of(constants.ENDPOINT, timeout=PROBE_TIMEOUT)
    with _quiet():
        try:
            return Path(huggingface_hub.hf_hub_download(repository, filename, local_files_only=silent is not None))
        except Exception as error:      # of many types, from three packages
            raise Unreachable(silent or _reason(error, filename)) from error


def place(repository: str) -> str:
    """URL of a repository on the hub, for messages."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return f"https://huggingface.co/{repository}"
    return f"{constants.ENDPOINT}/{repository}"


def _cache(repository: str) -> Path:
    try:
        from huggingface_hub import constants
    except ImportError:
        return Path("~/.cache/huggingface/hub")
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _parse(address: str) -> tp.Tuple[str, str]:
    parts = address.removeprefix(PREFIX).split("/")
    namespace, name = parts if len(parts) == 2 else (NAMESPACE, parts[0])
    if len(parts) > 2 or not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise ModelLoadingError(f"{address!r} names no model of the hub; give {PREFIX}NAME or {PREFIX}NAMESPACE/NAME")
    return namespace, name


def _reason(error: Exception, filename: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"not in its cache, and not to be fetched: {_line(error.__cause__ or 'HF_HUB_OFFLINE is set')}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private"
    if isinstance(error, errors.EntryNotFoundError):
        return f"the repository has no {filename}"
    return f"{type(error).__name__}: {_line(error)}"


def _line(error: tp.Union[BaseException, str]) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet() -> tp.Iterator[None]:
    """Context without the progress bars of huggingface_hub, which would clutter a log file."""
    from huggingface_hub import utils

    change = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()
    if change:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if change:
            utils.enable_progress_bars()
