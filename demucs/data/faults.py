"""Faults of a dataset, told together: whoever mends songs wants to know all of them, not the first.

Here is also what can be said of a file without reading it: that it is a link to nothing, or may not be read.
"""

import os
import typing as tp
from pathlib import Path

from ..errors import DatasetError

NAMED = 20     # faults in a message


class FaultyTracks(DatasetError):
    """Tracks that cannot be used. `faults` says of each which it is, what is wrong, and what to do."""

    def __init__(self, faults: tp.Iterable[str]):
        self.faults = list(faults)
        super().__init__(self.faults)     # so that it can be sent to other processes

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        named = [f"({number}) {fault}" for number, fault in enumerate(self.faults[:NAMED], start=1)]
        more = f"; and {len(self.faults) - NAMED} more" if len(self.faults) > NAMED else ""
        return f"{len(self.faults)} tracks cannot be used: {'; '.join(named)}{more}"


def together(*works: tp.Callable[[], tp.Any]) -> tp.List[tp.Any]:
    """What each of `works` returns. All are done, and then all their faulty tracks are raised as one FaultyTracks; any
    other error ends it at once."""
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
    """What to tell of a link that leads nowhere, None where `path` is none."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"{path}: a link to {os.readlink(path)}, which is not there; mend the link or remove it"
    return None


def unreadable(path: tp.Union[str, Path], error: OSError) -> str:
    """What to tell of a file or folder that the operating system does not let us read."""
    return f"{path}: cannot be read ({error.strerror or error}); make it readable, or move it elsewhere"
