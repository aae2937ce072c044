"""Songs that are copies of one another, and stems that several songs share.

Copies have landmarks in common whose times differ by the same amount. Different songs share some landmarks by chance,
at all differences. Stems are compared exactly, by a hash of the energies of their blocks.
"""

import typing as tp

import numpy as np

from .fingerprint import SECONDS, Fingerprint

FEWEST = 12              # common landmarks at one difference in time
SHARE = 0.04             # of the smaller fingerprint, at least
NEAR = 1                 # frames by which differences in time may vary
COMMON = 300             # songs or more that have a landmark make it useless
UNITS = 1 << 22          # more than the difference of any two times


class Copy(tp.NamedTuple):
    """Two songs, by their indices `first` < `second`, that are copies: `share` of the smaller fingerprint is common,
    and the second begins `offset` seconds before (negative: after) the same moment of the first."""
    first: int
    second: int
    share: float
    offset: float


def copies(fingerprints: tp.Sequence[Fingerprint]) -> tp.List[Copy]:
    """All pairs of songs that are copies."""
    sizes = [len(each.hashes) for each in fingerprints]
    if sum(sizes) == 0:
        return []
    hashes = np.concatenate([each.hashes for each in fingerprints])
    times = np.concatenate([each.times for each in fingerprints])
    owners = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((owners, hashes))
    hashes, times, owners = hashes[order], times[order], owners[order]
    found = []
    for song, each in enumerate(fingerprints):
        low, high = np.searchsorted(hashes, each.hashes, "left"), np.searchsorted(hashes, each.hashes, "right")
        counts = np.where(high - low > max(COMMON, len(sizes) // 4), 0, high - low)
        places = np.repeat(low - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(counts.sum())
        others, differences = owners[places], times[places] - np.repeat(each.times, counts)
        earlier = others < song
        for other, count, difference in _agreeing(others[earlier], differences[earlier]):
            share = count / max(1, min(sizes[song], sizes[other]))
            if count >= FEWEST and share >= SHARE:
                found.append(Copy(other, song, min(share, 1.), difference * SECONDS / 4))
    return sorted(found)


def _agreeing(others: np.ndarray, differences: np.ndarray) -> tp.Iterator[tp.Tuple[int, int, int]]:
    """(song, largest number of landmarks within `NEAR` of one difference in time, that difference) for each song of
    `others`."""
    if not len(others):
        return
    keys = others.astype(np.int64) * 2 * UNITS + np.clip(differences, 1 - UNITS, UNITS - 1) + UNITS
    keys.sort()
    centres = np.unique(keys)
    counts = np.searchsorted(keys, centres + NEAR, "right") - np.searchsorted(keys, centres - NEAR, "left")
    songs = centres // (2 * UNITS)
    for song in np.unique(songs):
        own = np.flatnonzero(songs == song)
        best = own[counts[own].argmax()]
        yield int(song), int(counts[best]), int(centres[best] % (2 * UNITS) - UNITS)


def shared(digests: tp.Mapping[tp.Any, str]) -> tp.List[tp.List[tp.Any]]:
    """Groups of stems with the same digest, of at least two, in the order of `digests`. "" is the digest of silence."""
    groups: tp.Dict[str, tp.List[tp.Any]] = {}
    for stem, digest in digests.items():
        if digest:
            groups.setdefault(digest, []).append(stem)
    return [group for group in groups.values() if len(group) > 1]
