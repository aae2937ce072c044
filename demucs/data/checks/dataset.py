"""Check of a whole dataset: its songs are measured in processes, then compared with one another."""

import dataclasses
import logging
import multiprocessing
import signal
import time
import typing as tp
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from ...errors import DatasetError
from ...schema import DatasetCheck, Finding, TrackCheck
from ..tracks import Track, Tracks
from . import duplicates, findings
from .fingerprint import Fingerprint
from .scan import Scan, scan
from .thresholds import CHECKS, ERROR, NOTE, SEVERITIES, WARNING

logger = logging.getLogger(__name__)

AUDIBLY = 0.05           # seconds: smaller differences of the beginnings are not named
PATIENCE = 30.           # seconds between lines of progress
AHEAD = 4                # songs per process that are submitted in advance


class Result(tp.NamedTuple):
    """What is kept of a song: without level curves and spectra if it has no findings, so that memory stays small."""
    check: TrackCheck
    findings: tp.List[Finding]
    fingerprint: Fingerprint
    digests: tp.Dict[str, str]


def examine(track: Track, split: str, root: Path) -> Result:
    """Measure one song and compare it with the thresholds."""
    scanned: Scan = scan(track, split, root)
    found = findings.of_track(scanned)
    plain = not found and not any(file.cutoff for file in scanned.check.files)
    return Result(_brief(scanned.check) if plain else scanned.check, found, scanned.fingerprint, scanned.digests)


def check(splits: tp.Mapping[str, Tracks], *, root: Path, kind: str, sources: tp.Sequence[str], jobs: int = 1,
          settings: tp.Optional[tp.Dict[str, tp.Any]] = None, provenance: tp.Optional[tp.Dict[str, tp.Any]] = None,
          more: tp.Optional[tp.Callable[[Track, str], tp.List[Finding]]] = None) -> DatasetCheck:
    """Record of the check of all songs in `splits`. It is the same for any number of processes `jobs`.

    Args:
        root: folder of the dataset; paths in the record are relative to it.
        kind, sources, settings: recorded.
        provenance: fields `commit`, `versions` and `created` of the record.
        more: further findings about a song, computed in this process.

    Raises:
        DatasetError: if a process ends unexpectedly, as for lack of memory.
    """
    work = [(track, split) for split, listed in splits.items()
            for track in sorted(listed.tracks, key=lambda track: track.name)]
    results = _examined(work, root, jobs)
    found = [_refused(fault, split) for split, fault in _faults(splits)]
    found += [finding for result in results for finding in result.findings]
    if more is not None:
        readable = [(track, split) for (track, split), result in zip(work, results) if result.check.files]
        progress = _Progress(len(readable), "Separated")
        for track, split in readable:
            found += more(track, split)
            progress.done()
    checks = [result.check for result in results]
    found += findings.of_lossy(checks) + _of_copies(results) + _of_rates(checks)
    order = list(CHECKS)
    found.sort(key=lambda each: (SEVERITIES.index(each.severity), order.index(each.check), each.split, each.track,
                                 each.path))
    concerned = {(each.split, each.track) for each in found}
    kept = [track if (track.split, track.name) in concerned else _brief(track) for track in checks]
    return DatasetCheck(
        path=str(root), kind=kind, sources=list(sources),
        splits={split: len(listed.tracks) for split, listed in splits.items()},
        seconds=round(sum(track.seconds for track in checks), 3), tracks=kept, findings=found, settings=settings or {},
        checks={key: [each.title, each.severity, each.threshold] for key, each in CHECKS.items()},
        **(provenance or {"commit": "", "versions": {}, "created": ""}))


def _brief(track: TrackCheck) -> TrackCheck:
    """The measurements of a song without curves."""
    files = [dataclasses.replace(file, levels="", spectrum="") for file in track.files]
    return dataclasses.replace(track, files=files, residuals="")


def _examined(work: tp.Sequence[tp.Tuple[Track, str]], root: Path, jobs: int) -> tp.List[Result]:
    """Results of all songs in the order of `work`, with progress in the log."""
    progress = _Progress(len(work), "Checked")
    jobs = min(jobs, len(work))
    results: tp.Dict[int, Result] = {}
    if jobs <= 1:
        for number, (track, split) in enumerate(work):
            results[number] = examine(track, split, root)
            progress.done(results[number].check.seconds)
        return list(results.values())
    # spawn, since a forked child of a process that has used torch's thread pool may hang
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:
        pending: tp.Dict[Future, int] = {}
        waiting = iter(enumerate(work))
        try:
            while True:
                for number, (track, split) in waiting:
                    pending[pool.submit(examine, track, split, root)] = number
                    if len(pending) >= AHEAD * jobs:
                        break
                if not pending:
                    return [results[number] for number in range(len(work))]
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    number = pending.pop(future)
                    results[number] = future.result()
                    progress.done(results[number].check.seconds)
        except BrokenProcessPool as error:
            raise DatasetError("a process of the check has ended, perhaps for lack of memory; use fewer --jobs"
                               ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    """One thread per worker, since the processes share the cores. Ctrl-C ends the main process, which ends them."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Progress:
    """Lines of progress: at every tenth of the songs, and at least every `PATIENCE` seconds in which songs end."""

    def __init__(self, total: int, verb: str):
        self.total, self.verb, self.count, self.seconds = total, verb, 0, 0.
        self.begin = self.last = time.monotonic()

    def done(self, seconds: float = 0.) -> None:
        """Count a song of which `seconds` were read."""
        self.count += 1
        self.seconds += seconds
        now = time.monotonic()
        tenth = self.count * 10 // self.total > (self.count - 1) * 10 // self.total
        if tenth or now - self.last >= PATIENCE:
            elapsed = max(now - self.begin, 1e-9)
            speed = f", {self.seconds / elapsed:.0f} times real time" if self.seconds else ""
            logger.info("%s %d/%d tracks, %.0f s%s", self.verb, self.count, self.total, elapsed, speed)
            self.last = now


def _faults(splits: tp.Mapping[str, Tracks]) -> tp.List[tp.Tuple[str, str]]:
    """(split, message) of the faults that the kind reports; each once, since splits may share a folder."""
    found: tp.Dict[str, str] = {}
    for split, tracks in splits.items():
        for fault in tracks.faults:
            found.setdefault(fault, split)
    return [(split, fault) for fault, split in found.items()]


def _refused(fault: str, split: str) -> Finding:
    what, _, fix = fault.rpartition("; ")
    name = fault.removeprefix("track ").partition(": ")[0] if fault.startswith("track ") else ""
    path = "" if name else fault.partition(": ")[0]
    return Finding(ERROR, "unusable", split, name, "", path, what or fault, fix if what else "see the message")


def _of_copies(results: tp.Sequence[Result]) -> tp.List[Finding]:
    """Findings about copies of songs, and about stems that songs share which are no copies of one another."""
    found, pairs = [], set()
    for copy in duplicates.copies([result.fingerprint for result in results]):
        first, second = results[copy.first].check, results[copy.second].check
        pairs.add((copy.first, copy.second))
        later = "later" if copy.offset > 0 else "earlier"
        moved = f", beginning {abs(copy.offset):.2f} s {later}" if abs(copy.offset) >= AUDIBLY else ""
        leak = first.split != second.split
        what = f"a copy of {first.split}/{first.name}{moved} ({copy.share:.0%} of its fingerprint)"
        fix = f"remove it from {second.split} or from {first.split}" if leak else "keep one of them"
        found.append(findings.finding("leak" if leak else "duplicate", second, what, fix, value=copy.share))
    stems = {(number, source): digest for number, result in enumerate(results)
             for source, digest in result.digests.items()}
    for group in duplicates.shared(stems):
        number, source = group[0]
        for other, name in group[1:]:
            if other == number or (number, other) in pairs:
                continue
            first, second = results[number].check, results[other].check
            file = next(file for file in second.files if file.source == name)
            found.append(findings.finding(
                "shared", second, f"{name} is that of {first.split}/{first.name} ({source})",
                "find out which song it belongs to, and remove the other one", file=file,
                severity=ERROR if first.split != second.split else WARNING))
    return found


def _of_rates(checks: tp.Sequence[TrackCheck]) -> tp.List[Finding]:
    counts: tp.Dict[int, int] = {}
    for track in checks:
        rates = {file.samplerate for file in track.files}
        if len(rates) == 1:              # several are a finding about the song
            rate, = rates
            counts[rate] = counts.get(rate, 0) + 1
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{rate} Hz in {counts[rate]}" for rate in sorted(counts))
    return [Finding(NOTE, "rates", "", "", "", ".", f"songs by sample rate: {listed}",
                    "nothing: training resamples; one rate makes it faster")]
