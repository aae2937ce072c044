"""Folder of --output of the training script of Open-Unmix: the networks of several trainings, for openunmix."""

import os
import re
import tempfile
from pathlib import Path

from demucs.errors import PackageError
from demucs.files import atomic
from demucs.packages.export import export
from demucs.runs.layout import EXPERIMENTS

SETTINGS = "separator.json"       # transform of all networks of a folder, in the format of openunmix


def write_folder(signature: str, target: str, folder: Path, *, experiments: Path = EXPERIMENTS) -> None:
    """Write the best weights of an experiment to `folder` in the format of openunmix, as the network of `target`.
    Networks of other targets stay; an older one of this target is replaced.

    Raises:
        PackageError: if openunmix could not load the network, if the folder has networks with another transform or
            other files, or if it cannot be written.
    """
    require_usable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
            try:
                export(signature, Path(temporary), kind="openunmix", experiments=experiments)
            except PackageError as error:
                raise PackageError(str(error).replace(str(Path(temporary) / signature), str(folder))) from error
            _move(Path(temporary) / signature, target, folder)
    except OSError as error:
        raise PackageError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder with "
                           f"--output") from error
    finally:
        if folder.is_dir() and not any(folder.iterdir()):      # the network could not be exported
            folder.rmdir()


def require_usable(folder: Path) -> None:
    """Raise PackageError if `folder` is a file, or a folder with other content than that of openunmix."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / SETTINGS).is_file()):
        raise PackageError(f"{folder}: is there already, and is no folder of openunmix; choose another one with "
                           f"--output")


def _move(made: Path, target: str, folder: Path) -> None:
    """Move the files of one network to a folder, `separator.json` last, and delete older weights of it."""
    settings = (made / SETTINGS).read_bytes()
    if (folder / SETTINGS).exists() and (folder / SETTINGS).read_bytes() != settings:
        raise PackageError(f"{folder}: has networks with another transform ({SETTINGS}) than this one; choose another "
                           f"folder with --output")
    files = [path for path in sorted(made.iterdir()) if path.name != SETTINGS]
    weights = re.compile(re.escape(target) + r"([-_][0-9a-f]{8,64})?\.(pth|chkpnt)")
    old = [path for path in folder.iterdir() if weights.fullmatch(path.name)]
    for path in files:
        os.replace(path, folder / path.name)
    for path in old:
        if path.name not in {file.name for file in files}:
            path.unlink()
    with atomic(folder / SETTINGS) as file:
        file.write(settings)
