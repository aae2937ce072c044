"""Checkpoints written beside the training: a snapshot at once, the file in the background, and always two of them.

The newest is `checkpoint.th`, the one before `checkpoint_previous.th`. A file appears whole or not at all, and where the
newest cannot be read (a disk lost power after the rename) the run goes on from the one before. Their records in
`checkpoint.json` tell batch scripts, which have no torch, how far they have come (`runs.progress`).
"""

import contextlib
import logging
import os
import threading
import time
import typing as tp
from pathlib import Path

import torch

from ..errors import PackageError, TrainingError
from ..runs.layout import NEWEST, PREVIOUS
from ..runs.lock import held, lost
from ..runs.progress import note
from .state import NewerFormatError, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)


def snapshot(value: tp.Any) -> tp.Any:
    """A copy that later training does not change, with all tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(item) for item in value)
    return value


class Checkpoints:
    """The checkpoints of a run in `folder`. Only the first rank writes; all may read."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds_stalled = 0.            # of training, by saving
        self._damaged = False                # the newest cannot be read, and must not take the place of the one before
        self._thread: tp.Optional[threading.Thread] = None
        self._error: tp.Optional[TrainingError] = None
        self._keeping: tp.Optional[str] = None

    def require_ours(self) -> None:
        """Raises TrainingError where the folder was moved or deleted since the training began, which would go on in a folder
        that it made anew, beside whoever else does."""
        if lost(self.folder):
            raise TrainingError(f"{self.folder} was moved, deleted or cleared while it was trained, so this training ends; "
                                f"nothing is written there any more. What was saved before is where the folder is now.")

    def save(self, package: tp.Mapping[str, tp.Any], *, keep_as: tp.Optional[str] = None) -> None:
        """Take a snapshot of `package` now and write it in the background, after the one before is written. `keep_as` is
        the name of a further file for the same content, which stays.

        Raises:
            TrainingError: where neither the one before nor this one could be written, or the one before was to be kept;
                or where the folder is another.
        """
        begin = time.monotonic()
        self.require_ours()
        try:
            self.wait()
            failed = False
        except TrainingError as error:           # the disk may have room again
            if self._keeping is not None:        # nobody would come back for that file
                raise
            logger.warning("%s", error)
            failed = True
        frozen, self._keeping = snapshot(dict(package)), keep_as
        self._thread = threading.Thread(target=self._write, args=(frozen, keep_as), name="checkpoint")
        self._thread.start()
        if failed:
            self.wait()
        self.seconds_stalled += time.monotonic() - begin

    def wait(self) -> None:
        """Until everything is on disk. Raises TrainingError where it could not be written; older files are untouched."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, package: tp.Mapping[str, tp.Any], keep_as: tp.Optional[str]) -> None:
        try:
            fresh = self.folder / (NEWEST + ".new")
            write_checkpoint(package, fresh)
            kept = [] if keep_as is None else [self.folder / keep_as]
            for path in kept:            # once the newest says that the epoch is done, nobody comes back for this
                write_checkpoint(package, path)
            self._note(package, fresh, *kept)
            if (self.folder / NEWEST).exists() and not self._damaged:
                self._keep_previous()
            os.replace(fresh, self.folder / NEWEST)
            self._damaged = False
        except TrainingError as error:
            self._error = error
        except Exception as error:       # whatever it is, who saves has to hear of it
            self._error = TrainingError(f"cannot write {self.folder / NEWEST}: {str(error) or type(error).__name__}. The "
                                        f"checkpoint before it is untouched; free some space and start the run again, it "
                                        f"continues from there.")

    def _note(self, package: tp.Mapping[str, tp.Any], *paths: Path) -> None:
        """Record how far the checkpoint in these files has come."""
        place = package.get("position") or {}
        try:
            note(self.folder, (len(package.get("history", ())), place.get("step", 0),
                               len(place.get("candidates", ())), len(place.get("tested", ()))), *paths)
        except OSError as error:         # records of how it goes must not be what stops it
            logger.warning("cannot write how far the checkpoint in %s has come: %s", self.folder, error)

    def _keep_previous(self) -> None:
        """Call the newest one the one before, too: at no moment is there none called the newest."""
        second = self.folder / (NEWEST + ".second")
        try:
            second.unlink(missing_ok=True)
            os.link(self.folder / NEWEST, second)
        except OSError:                  # no links on this file system
            os.replace(self.folder / NEWEST, self.folder / PREVIOUS)
        else:
            os.replace(second, self.folder / PREVIOUS)

    def read(self) -> tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]]:
        """The newest checkpoint that can be read, and its file; None where there is none.

        Raises:
            PackageError: where there are some, and none can be read, or the newest is of a newer version.
        """
        if held(self.folder):
            self._clean()
        found = [path for path in (self.folder / NEWEST, self.folder / PREVIOUS) if path.exists()]
        for path in found:
            try:
                return read_checkpoint(path), path
            except NewerFormatError:
                raise
            except PackageError as error:
                if path == found[-1]:
                    raise PackageError(f"{error}. {self._others()}") from error
                self._damaged = True
                logger.warning("%s. Going on from the one before, %s.", error, PREVIOUS)
        return None

    def _others(self) -> str:
        kept = sorted(path.name for path in self.folder.glob("checkpoint_*.th") if path.name != PREVIOUS)
        if not kept:
            return "There is no other one: start the training anew with --clear"
        return f"To go on from one that was kept ({', '.join(kept)}), copy it to {NEWEST}"

    def _clean(self) -> None:
        """Remove what a process left that was killed while it wrote."""
        for pattern in (".*.tmp", NEWEST + ".new", NEWEST + ".second"):
            for path in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
