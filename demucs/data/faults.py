"""Faults of a dataset, reported together, so that all songs can be repaired at once.

Also messages about files that cannot be opened: broken links, and files without permission to read.
"""

import os
import typing as tp
from pathlib import Path

from ..errors import DatasetError

NAMED = 20     # largest number of faults in a message


class FaultyTracks(DatasetError):
    """Tracks that cannot be used. `faults` has a sentence for each: which track, what is wrong, and what to do."""

    def __init__(self, faults: tp.Iterable[str]):
        self.faults = list(faults)
        super().__init__(self.faults)     # the arguments of pickling, for other processes

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        named = [f"({number}) {fault}" for number, fault in enumerate(self.faults[:NAMED], start=1)]
        more = f"; and {len(self.faults) - NAMED} more" if len(self.faults) > NAMED else ""
        return f"{len(self.faults)} tracks cannot be used: {'; '.join(named)}{more}"


def together(*works: tp.Callable[[], tp.Any]) -> tp.List[tp.Any]:
    """Results of calling all `works`, in their order. If some of them raise FaultyTracks, all are called, and then one
    FaultyTracks with the faults of all is raised. Any other error is raised at once."""
    results, faults = [], []
    for work in works:
        try:
            results.append(work())
        except FaultyTracks as error:
            faults += error.faults
    if faults:
        raise FaultyTracks(faults)
    return results


def broken_link(path: tp.Union[str, Path]) -> tp.Optional[str]:
    """Message about the symbolic link `path` if its target does not exist; None otherwise, and for other files."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path}: a link to {os.readlink(path)}, which is not there; mend the link or remove it"
    return None


def unreadable(path: tp.Union[str, Path], error: OSError) -> str:
    """Message about a file or folder that cannot be read because of `error`."""
    return f"{path}: cannot be read ({error.strerror or error}); make it readable, or move it elsewhere"
