"""Asynchronous checkpoints: the state is copied at once and written by a background thread. The last two are kept.

The newest is `checkpoint.th`, the previous one `checkpoint_previous.th`. Files are written atomically. If the newest
cannot be read (for instance because a disk lost power after the rename), the run continues from the previous one. The
records in `checkpoint.json` give the progress of each checkpoint to batch scripts, which do not import torch
(`runs.progress`).
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
    """Deep copy of nested dicts, lists and tuples in which all tensors are copied to the CPU, so that later training
    steps do not change them. Other values are not copied."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(item) for item in value)
    return value


class Checkpoints:
    """Reader and writer of the checkpoints of a run in `folder`: the newest, the previous one, and those that are kept.
    Only rank 0 writes them; all ranks may read them. `seconds_stalled` is the time that training has waited in
    `save`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds_stalled = 0.            # time that training waited for checkpoints
        self._damaged = False                # the newest is unreadable, and must not replace the previous one
        self._thread: tp.Optional[threading.Thread] = None
        self._error: tp.Optional[TrainingError] = None
        self._keeping: tp.Optional[str] = None

    def require_ours(self) -> None:
        """Check that the folder was not moved, deleted or cleared since the training began. Otherwise the training
        would create it again, and might write to it beside another process.

        Raises:
            TrainingError: if it was.
        """
        if lost(self.folder):
            raise TrainingError(f"{self.folder} was moved, deleted or cleared while it was trained, so this training ends; "
                                f"nothing is written there any more. What was saved before is where the folder is now.")

    def save(self, package: tp.Mapping[str, tp.Any], *, keep_as: tp.Optional[str] = None) -> None:
        """Copy `package`, the entries of a checkpoint, at once, and write it in the background as the newest one; the
        newest so far becomes the previous one. Waits until the checkpoint before is on disk. `keep_as` is the name of a
        second file with the same content, which is never deleted.

        Raises:
            TrainingError: if neither the checkpoint before nor this one could be written; if the one before could not
                be written and had `keep_as`; or if the folder was moved or deleted. A failure of this checkpoint alone
                is raised by the next `wait`.
        """
        begin = time.monotonic()
        self.require_ours()
        try:
            self.wait()
            failed = False
        except TrainingError as error:           # the disk may have room again
            if self._keeping is not None:        # no later checkpoint would write that file
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
        """Wait until the last checkpoint is on disk; at once if none is being written.

        Raises:
            TrainingError: if it could not be written. Older files are unchanged. Each failure is raised once.
        """
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
            for path in kept:            # written first: a run that continues from the newest would not write it
                write_checkpoint(package, path)
            self._note(package, fresh, *kept)
            if (self.folder / NEWEST).exists() and not self._damaged:
                self._keep_previous()
            os.replace(fresh, self.folder / NEWEST)
            self._damaged = False
        except TrainingError as error:
            self._error = error
        except Exception as error:       # any error in this thread must reach the caller of `save` or `wait`
            self._error = TrainingError(f"cannot write {self.folder / NEWEST}: {str(error) or type(error).__name__}. The "
                                        f"checkpoint before it is untouched; free some space and start the run again, it "
                                        f"continues from there.")

    def _note(self, package: tp.Mapping[str, tp.Any], *paths: Path) -> None:
        """Record the progress of the checkpoint in these files."""
        place = package.get("position") or {}
        try:
            note(self.folder, (len(package.get("history", ())), place.get("step", 0),
                               len(place.get("candidates", ())), len(place.get("tested", ()))), *paths)
        except OSError as error:         # a failed progress record must not stop the training
            logger.warning("cannot record the progress of the checkpoint in %s: %s", self.folder, error)

    def _keep_previous(self) -> None:
        """Give the newest checkpoint the name of the previous one, too, so that the newest exists at every moment."""
        second = self.folder / (NEWEST + ".second")
        try:
            second.unlink(missing_ok=True)
            os.link(self.folder / NEWEST, second)
        except OSError:                  # this file system has no hard links
            os.replace(self.folder / NEWEST, self.folder / PREVIOUS)
        else:
            os.replace(second, self.folder / PREVIOUS)

    def read(self) -> tp.Optional[tp.Tuple[tp.Dict[str, tp.Any], Path]]:
        """(entries, path) of the newest checkpoint, or of the previous one if that cannot be read, with a warning. None
        if there is neither. If this process has the lock of the run, temporary files of a killed process are removed
        first.

        Raises:
            PackageError: if there are checkpoints and none can be read, or if one has the format of a newer version.
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
                    raise PackageError(f"{error}. {self._advice()}") from error
                self._damaged = True
                logger.warning("%s. Continuing from the previous one, %s.", error, PREVIOUS)
        return None

    def _advice(self) -> str:
        kept = sorted(path.name for path in self.folder.glob("checkpoint_*.th") if path.name != PREVIOUS)
        if not kept:
            return "There is no other one: start the training anew with --clear"
        return f"To go on from one that was kept ({', '.join(kept)}), copy it to {NEWEST}"

    def _clean(self) -> None:
        """Remove temporary files of a process that was killed while it wrote them."""
        for pattern in (".*.tmp", NEWEST + ".new", NEWEST + ".second"):
            for path in self.folder.glob(pattern):
                with contextlib.suppress(OSError):
                    path.unlink()
