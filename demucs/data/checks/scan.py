"""Measurement of one song: all its files are decoded once, block by block."""

import contextlib
import typing as tp
from pathlib import Path

import numpy as np

from ...audio.blocks import BlockReader
from ...errors import AudioError, ToolError, describe_os_error
from ...schema import FileCheck, TrackCheck, pack_frames
from ..tracks import MIXTURE, Track
from .alignment import align
from .fingerprint import Fingerprint, Fingerprinter, empty
from .meter import FileMeter, decibels
from .mixing import MixMeter
from .thresholds import EXCERPT, MOST_LAG, SEEK_LAGS

BLOCK = 1 << 16              # samples decoded at a time
POINTS = 120                 # of the level curves in a record
BETTER = 10.                 # dB by which gains of least squares must lower the residual to be recorded
SILENT = -50.                # dB, level of a stem in an excerpt relative to the whole song: it is silent there


class Scan(tp.NamedTuple):
    """Measurements of a song. `ragged`: its files may differ in length. `faults` are (path, message) of files that cannot
    be read; there are no other results then. `same` are pairs of stems with the same signal."""
    check: TrackCheck
    fingerprint: Fingerprint
    digests: tp.Dict[str, str]
    same: tp.List[tp.Tuple[str, str]]
    faults: tp.List[tp.Tuple[str, str]]
    ragged: bool = False


def relative(path: Path, root: Path) -> str:
    """`path` relative to the dataset, or absolute if it is elsewhere."""
    try:
        return str(path.relative_to(root))
    except ValueError:
        return str(path)


class _Song:
    """Open files of a song with their meters. The sum of a source is that of its files."""

    def __init__(self, track: Track, stack: contextlib.ExitStack):
        self.readers: tp.Dict[str, tp.List[BlockReader]] = {}
        self.faults: tp.List[tp.Tuple[Path, str]] = []
        self.sources = [source for source in track.stems if track.stems[source]]
        for source in (*self.sources, *([MIXTURE] if track.mixture else [])):
            self.readers[source] = []
            for path in track.files(source):
                try:
                    self.readers[source].append(stack.enter_context(_reader(path)))
                except (AudioError, ToolError, OSError) as error:
                    self.faults.append((_path(path), _message(_path(path), error)))
        everything = [reader for readers in self.readers.values() for reader in readers]
        self.meters = {reader: FileMeter(reader.channels, reader.samplerate) for reader in everything}
        self.channels = max((reader.channels for reader in everything), default=1)
        rates = [reader.samplerate for reader in everything]
        self.samplerate, self.one_rate = (rates or [0])[0], len(set(rates)) <= 1

    def blocks(self) -> tp.Iterator[tp.Dict[str, np.ndarray]]:
        """Samples [A, L] of each source, with zeros after the end of shorter files. Raises `_Unreadable`."""
        while True:
            parts: tp.Dict[str, tp.List[np.ndarray]] = {}
            for source, readers in self.readers.items():
                for reader in readers:
                    try:
                        wav = reader.next(BLOCK)
                    except (AudioError, OSError) as error:
                        self.faults.append((reader.path, _message(reader.path, error)))
                        raise _Unreadable from error
                    parts.setdefault(source, []).append(self.meters[reader].add(wav))
            length = max(wav.shape[1] for wavs in parts.values() for wav in wavs)
            if not length:
                return
            yield {source: self._sum(wavs, length) for source, wavs in parts.items()}
            if length < BLOCK:
                return

    def _sum(self, wavs: tp.Sequence[np.ndarray], length: int) -> np.ndarray:
        total: tp.Optional[np.ndarray] = None
        for wav in wavs:
            if wav.shape[1] < length:
                wav = np.pad(wav, ((0, 0), (0, length - wav.shape[1])))
            if len(wav) < self.channels:
                mono = wav if len(wav) == 1 else wav.mean(axis=0, keepdims=True)
                wav = np.broadcast_to(mono, (self.channels, length))
            total = wav if total is None else total + wav
        assert total is not None
        return total


def _reader(part: tp.Any) -> BlockReader:
    """Reader of a file, or of audio that is a part of a file, which has `path` and `read`."""
    return BlockReader(part) if isinstance(part, Path) else BlockReader(part.path, lambda: part.read(0, None))


def _path(part: tp.Any) -> Path:
    return part if isinstance(part, Path) else part.path


class _Unreadable(Exception):
    """A file ended early or cannot be decoded further."""


def _message(path: Path, error: Exception) -> str:
    text = describe_os_error(error) if isinstance(error, OSError) else str(error)
    return text.removeprefix(f"{Path(path).absolute()}: ").removeprefix(f"{path}: ")


def scan(track: Track, split: str, root: Path) -> Scan:
    """Measure a song of the dataset in `root`. Files that cannot be read are in `Scan.faults`."""
    with contextlib.ExitStack() as stack:
        song = _Song(track, stack)
        bare = TrackCheck(track.name, split, relative(track.folder, root), 0., [])
        if song.faults or not song.sources:
            return _failed(bare, song, root)
        mixed = [source for source in track.mixed if source in song.sources] or song.sources
        mix = MixMeter(mixed, with_mixture=bool(track.mixture) and bool(track.mixed))
        printer = Fingerprinter(song.samplerate)
        try:
            for parts in song.blocks():
                if not song.one_rate:
                    continue
                mixture = parts.get(MIXTURE)
                whole = mix.add({source: parts[source] for source in mixed}, mixture if mix.with_mixture else None)
                printer.add(whole if mixture is None else mixture)
        except _Unreadable:
            return _failed(bare, song, root)
    files = [_file(source, reader, song.meters[reader], root) for source, readers in song.readers.items()
             for reader in readers]
    seconds = max((file.frames / file.samplerate for file in files if file.samplerate), default=0.)
    check = TrackCheck(track.name, split, bare.folder, seconds, files, **_consistency(track, song, mix, mixed))
    if not song.one_rate:
        return Scan(check, empty(), {}, [], [], track.ragged)
    return Scan(check, printer.result(), mix.digests(), mix.same(), [], track.ragged)


def _failed(bare: TrackCheck, song: _Song, root: Path) -> Scan:
    faults = [(relative(path, root), message) for path, message in song.faults]
    return Scan(bare, empty(), {}, [], faults or [(bare.folder, "has no stems")])


def curve(powers: tp.Sequence[float]) -> str:
    """Mean squares of blocks as at most `POINTS` levels in dBFS, packed."""
    if not len(powers):
        return ""
    parts = np.array_split(np.asarray(powers), min(POINTS, len(powers)))
    return pack_frames(round(decibels(float(part.mean())), 1) for part in parts)


def _file(source: str, reader: BlockReader, meter: FileMeter, root: Path) -> FileCheck:
    found = meter.spectrum.cutoff()

    def rounded(value: tp.Optional[float]) -> tp.Optional[float]:
        return None if value is None else round(value, 2)
    return FileCheck(
        source=source, path=relative(reader.path, root), form=reader.form, frames=meter.frames,
        samplerate=reader.samplerate, channels=reader.channels, level=round(decibels(meter.power), 2),
        peak=round(decibels(meter.peak ** 2), 2),
        clipped=meter.clipped, offset=round(meter.offset, 6), drift=round(meter.drift, 6),
        nonfinite=meter.nonfinite, silent=round(meter.silent, 4),
        side=rounded(meter.side), balance=rounded(meter.balance), cutoff=found and round(found[0]),
        drop=found and round(found[1], 1), levels=curve(meter.levels),
        spectrum=pack_frames(round(float(level), 1) for level in meter.spectrum.levels))


def _consistency(track: Track, song: _Song, mix: MixMeter, mixed: tp.Sequence[str]) -> tp.Dict[str, tp.Any]:
    """Fields of a TrackCheck about the sum of the stems, with lags and gains where they explain the residual."""
    found = mix.residual()
    if found is None:
        return {}
    residual, _ = found
    result: tp.Dict[str, tp.Any] = {"residual": round(residual, 2), "residuals": curve(mix.levels)}
    if residual < SEEK_LAGS:
        return result
    gains, explained = mix.gains()
    if explained < residual - BETTER:
        result["gains"] = {source: round(gain, 4) for source, gain in gains.items()}
        return result
    lags, aligned = _lags(track, song, mix, mixed)
    if any(lags.values()):
        result.update(lags={source: lag for source, lag in lags.items() if lag}, aligned=round(aligned, 2))
    return result


def _lags(track: Track, song: _Song, mix: MixMeter, mixed: tp.Sequence[str]) -> tp.Tuple[tp.Dict[str, int], float]:
    """(lags by stem, residual in dB with them), sought in the excerpt with the largest residual, and for stems that are
    silent there, where these are loudest."""
    frames = max(meter.frames for meter in song.meters.values())
    length = min(frames, round(EXCERPT * song.samplerate))
    most = min(round(MOST_LAG * song.samplerate), length // 4)

    def aligned(powers: tp.Sequence[float]) -> tp.Tuple[tp.Dict[str, int], float, tp.Set[str]]:
        centre = (int(np.argmax(powers)) * 2 + 1) * BLOCK // 2
        start = min(max(centre - length // 2, 0), frames - length)
        wavs = {source: _excerpt(track, source, start, length) for source in (*mixed, MIXTURE)}
        found = align(wavs[MIXTURE], {source: wavs[source] for source in mixed}, most)
        heard = {source for source in mixed if np.mean(np.square(wavs[source])) >
                 10 ** (SILENT / 10) * np.mean(mix.powers[source])}
        return found.lags, found.after, heard
    try:
        lags, after, heard = aligned(mix.levels)
        for source in mixed:
            if source not in heard and max(mix.powers[source]) > 0:
                lags[source] = aligned(mix.powers[source])[0][source]
    except (AudioError, ToolError, OSError):         # the dataset changes while it is read
        return {}, 0.
    return lags, after


def _excerpt(track: Track, source: str, start: int, frames: int) -> np.ndarray:
    """Mono excerpt of a source, with zeros after its end, and for samples that are not finite."""
    wav = track.read(source, start, frames).numpy().mean(axis=0)
    return np.nan_to_num(np.pad(wav, (0, frames - len(wav))), nan=0., posinf=0., neginf=0.)
