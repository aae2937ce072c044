"""Registry of the state in a checkpoint, and checkpoint files: written atomically, read without unpickling classes.

A checkpoint is one file of plain containers and tensors with the entries of published Demucs (`state`, `optimizer`,
`history`, `best_state`, `ema_batch_0`, ...) and a few more. A run can therefore continue from a checkpoint of Demucs
4.x, whose configuration is an omegaconf object: see `packages.pickled`.
"""

import random
import typing as tp
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import PackageError, TrainingError, quoted
from ..files import atomic
from ..packages import pickled, published
from ..packages.weights import differences

NOTES = "notes"     # entry with sentences on what a checkpoint of published Demucs lacks
CPU = torch.device("cpu")
FORMAT = 1          # entry "format" of this program's checkpoints; the first ones lack it


class NewerFormatError(PackageError):
    """Error for an undamaged checkpoint that a newer version of this program has written."""


class StateRegistry:
    """Registry of the parts of a run that checkpoints hold, by name, each with a function that returns its state and
    one that sets it."""

    def __init__(self) -> None:
        self._parts: tp.Dict[str, tp.Tuple[tp.Callable[[], tp.Any], tp.Callable[[tp.Any], None]]] = {}

    def add(self, name: str, read: tp.Callable[[], tp.Any], write: tp.Callable[[tp.Any], None]) -> None:
        """Register the part `name`: `read()` returns its state, `write(state)` sets it. A name can be registered
        once."""
        assert name not in self._parts, name
        self._parts[name] = (read, write)

    def add_object(self, name: str, part: tp.Any) -> None:
        """Register `part` as `name`, by its methods `state_dict` and `load_state_dict`."""
        self.add(name, part.state_dict, part.load_state_dict)

    def collect(self) -> tp.Dict[str, tp.Any]:
        """States of all parts by name, as their functions return them (not copied)."""
        return {name: read() for name, (read, _) in self._parts.items()}

    def restore(self, package: tp.Mapping[str, tp.Any], where: str) -> None:
        """Set every registered part from `package`, the entries of a checkpoint, in the order of registration. `where`
        names the checkpoint in errors.

        Raises:
            PackageError: if a part is missing, before anything is set, or does not fit, after those before it are set;
                the message names it.
        """
        absent = sorted(set(self._parts) - set(package))
        if absent:
            raise PackageError(f"{where}: the checkpoint lacks {', '.join(absent)}. It belongs to other settings or "
                               f"was cut short; continue from an older one, or start anew with --clear.")
        for name in self._parts:
            self.restore_part(name, package, where)

    def restore_part(self, name: str, package: tp.Mapping[str, tp.Any], where: str) -> None:
        """Set the registered part `name` from `package`, the entries of a checkpoint.

        Raises:
            PackageError: with `where` in the message, if the checkpoint lacks the part or it does not fit.
        """
        try:
            self._parts[name][1](package[name])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise PackageError(f"{where}: part {name!r} does not fit this run: {reason}; put back the checkpoint of "
                               f"this run, or start anew with --clear") from error


def load_weights(model: nn.Module, state: tp.Any) -> None:
    """Set all weights of `model` from a state dict.

    Raises:
        ValueError: with the differences in one line, if names or shapes differ.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        faults = differences(model.state_dict(), state)
        raise ValueError(f"of its parameters {faults}" if faults else " ".join(str(error).split())) from error


def write_checkpoint(package: tp.Mapping[str, tp.Any], path: Path) -> None:
    """Write the entries `package` as a checkpoint to the file `path`, atomically: an existing file is replaced only by
    a complete one.

    Raises:
        TrainingError: if the disk is full or the folder is not writable.
    """
    try:
        with atomic(path) as file:
            torch.save(dict(package), file)
    except (OSError, RuntimeError) as error:   # torch wraps a failed write in a RuntimeError
        raise TrainingError(f"cannot write {path}: {error}. The previous checkpoint is untouched; free some space and "
                            f"start the run again, it continues from there.") from error


def read_checkpoint(path: Path) -> tp.Dict[str, tp.Any]:
    """Entries of a checkpoint of this program or of published Demucs 4.x, with tensors on the CPU.

    Entry "notes" is a list of sentences on what a checkpoint of Demucs lacks; it is empty for those of this program.

    Raises:
        PackageError: if the file is missing or truncated, has a newer format (NewerFormatError), or holds anything but
            plain containers, tensors and the configuration that Demucs writes.
    """
    package = pickled.read(path)
    if not isinstance(package, dict):
        raise PackageError(f"{path}: a checkpoint is a dictionary, found {type(package).__name__}")
    if not published.is_checkpoint(package):
        version = package.get("format", FORMAT)
        if type(version) is not int or version != FORMAT:
            raise NewerFormatError(f"{path}: was written in format {quoted(repr(version))} by a newer version of this "
                                   f"program, which reads format {FORMAT}; go on with that version")
        return {**package, NOTES: []}
    settings = pickled.plain(package["args"], path)
    if not isinstance(settings, dict) or not isinstance(package["history"], list):
        raise PackageError(f"{path}: looks like a checkpoint of Demucs, but its configuration or its history is none")
    notes = [f"it was written by published Demucs after epoch {len(package['history'])}: it holds no states of random "
             f"generators, and from here on examples are drawn as this program draws them, keyed by seed and epoch",
             "it does not tell when, where and how long that run was trained; the run card begins with this session"]
    quantisation = settings.get("quant") or {}
    if isinstance(quantisation, dict) and (quantisation.get("diffq") or quantisation.get("qat")):
        notes.append("it was trained for quantisation; which weights that means follows from the settings of this run")
    return {**package, "args": settings, NOTES: notes}


def different_settings(ours: tp.Mapping[str, tp.Any], theirs: tp.Mapping[str, tp.Any]) -> tp.List[str]:
    """Differences between the configuration of this run (`ours`) and that of a checkpoint (`theirs`, of this program or
    of Demucs), as sentences; empty if there are none. Keys that `theirs` lacks, locations of data, and settings of
    loading and saving are ignored."""
    own, other = dict(_flat(ours)), dict(_flat({"model_settings": theirs.get(theirs.get("model", "")) or {}, **theirs}))
    return [f"it was trained with {key.replace('model_settings.', '')}={other[key]!r}, this run has {value!r}"
            for key, value in own.items() if key in other and other[key] != value
            and not key.startswith(("misc.", "checkpoint."))
            and key not in ("dset.musdb", "dset.metadata", "dset.backend", "flag")]


def _flat(settings: tp.Mapping[str, tp.Any], prefix: str = "") -> tp.Iterator[tp.Tuple[str, tp.Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and prefix + key != "dset.targets":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def random_states(device: torch.device = CPU) -> tp.Dict[str, tp.Any]:
    """States of this process's global random generators in plain containers; that of a GPU only if `device` is one. The
    draws of this program, including those of loader workers, are keyed and do not use them; libraries might."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {"torch": torch.get_rng_state(), "python": (version, torch.tensor(numbers), gauss),
              "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached)}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: tp.Mapping[str, tp.Any], device: torch.device = CPU) -> None:
    """Restore the global random generators of this process from `states`, as returned by `random_states`. Generators
    without a state there are not changed."""
    torch.set_rng_state(states["torch"])
    if "python" in states:           # the first versions of checkpoints lack these
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers.tolist()), gauss))
    if "numpy" in states:
        kind, keys, *rest = states["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
