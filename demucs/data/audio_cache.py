"""Decoded copies of the files of a dataset, for formats that are slow to decode and folders that are slow to read.

"flac" keeps a copy of each file on a local disk: FLAC for samples of 16 or 24 bits, else WAV with 32-bit floating point.
"memory" keeps the samples of all files in the memory of each process. Neither changes a sample. "int16" keeps a copy
resampled to the sample rate of the training, in 16 bits, which is the fastest to read and changes samples by up to half a
step of 16 bits (and by clipping, beyond full scale), so it is another experiment.

Copies are named after path, size and modification time of their file, so a changed file is copied again. Nothing deletes
old copies: the folder may be deleted at any time.
"""

import dataclasses
import hashlib
import logging
import os
import shutil
import time
import typing as tp
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..audio import reading
from ..audio.writing import write_samples
from ..dsp.convert import resample
from ..errors import AudioError, DatasetError, ToolError, describe_os_error
from ..files import beside
from .faults import unreadable
from .index import TrackIndex, usable_cores
from .tracks import Files, Part, Track, Tracks, part_path, read_part

logger = logging.getLogger(__name__)

CACHES = ("none", "flac", "memory", "int16")
INTEGERS = {"PCM_16": 16, "PCM_24": 24}      # encodings without loss in FLAC
Work = tp.Callable[[Part], Part]


@dataclass(frozen=True)
class Samples:
    """The samples of a file in memory, [L, A], 16-bit integers or floating point."""
    path: Path
    samples: np.ndarray
    samplerate: int

    def read(self, start: int, frames: tp.Optional[int]) -> tp.Tuple[torch.Tensor, int]:
        part = self.samples[start:None if frames is None else start + frames]
        wav = torch.from_numpy(np.ascontiguousarray(part.T)).to(torch.float32)      # a copy
        return wav.div_(2 ** 15) if self.samples.dtype == np.int16 else wav, self.samplerate

    def read_int16(self, start: int, frames: tp.Optional[int]) -> tp.Optional[np.ndarray]:
        """The samples as they are stored, if they are integers; else None."""
        part = self.samples[start:None if frames is None else start + frames]
        return part if self.samples.dtype == np.int16 else None

    def probe(self) -> reading.AudioInfo:
        return reading.AudioInfo(len(self.samples), self.samplerate, self.samples.shape[1])


@dataclass(frozen=True)
class AudioCache:
    """A cache of the kind `mode`, one of CACHES. `folder` has the copies of "flac" and "int16"; `samplerate`, in Hz, is
    that of the copies of "int16"."""
    mode: str = "none"
    folder: Path = Path("metadata/audio")
    samplerate: int = 44100

    def copied(self, found: Tracks) -> Tracks:
        """The tracks with files in the cache instead of their own; unchanged if the mode has none on disk. Tracks with
        unreadable files are faults.

        Raises:
            DatasetError: if the folder cannot be written.
        """
        if self.mode not in ("flac", "int16"):
            return found
        tracks, faults = _replaced(found.tracks, self._copy, f"Copying the files of {found.root} to {self.folder}")
        return found._replace(tracks=tracks, faults=[*found.faults, *faults])

    def loaded(self, index: TrackIndex) -> TrackIndex:
        """The index with all samples in memory, if the mode is "memory"; else the index itself."""
        if self.mode != "memory":
            return index
        tracks, faults = _replaced(list(index.files.values()), _load, f"Loading {len(index)} tracks into memory")
        if faults:
            raise DatasetError("; ".join(faults))
        return TrackIndex(index.tracks, {track.name: track for track in tracks})

    def _copy(self, part: Part) -> Part:
        path = part_path(part)
        stamp = path.stat()
        name = hashlib.sha256(os.fsencode(os.path.realpath(path)) + f"\0{part}\0{stamp.st_size}\0{stamp.st_mtime_ns}".encode()
                              ).hexdigest()[:24]
        if self.mode == "int16":
            copy = self.folder / f"{name}-{self.samplerate}.wav"
            if not copy.exists():
                self._write_int16(part, copy)
            return copy
        bits = INTEGERS.get(reading.kind(path)[1]) if isinstance(part, Path) else None
        copy = self.folder / (name + (".flac" if bits else ".wav"))
        if not copy.exists():
            self._write_exact(part, copy, bits)
        return copy

    def _write_exact(self, part: Part, copy: Path, bits: tp.Optional[int]) -> None:
        wav, rate = read_part(part)
        if bits is None:
            self._write(copy, wav.T.contiguous().numpy(), rate, "FLOAT", "WAV")
        else:        # up to 24 bits are exact in floating point; libsndfile takes integers of 32 bits, left-justified
            self._write(copy, wav.T.mul(2. ** 31).to(torch.int32).contiguous().numpy(), rate, f"PCM_{bits}", "FLAC")

    def _write_int16(self, part: Part, copy: Path) -> None:
        wav, rate = read_part(part)
        scaled = resample(wav, rate, self.samplerate).mul(2 ** 15).round_()
        clipped = int((scaled < -2 ** 15).sum() + (scaled > 2 ** 15 - 1).sum())
        if clipped:
            logger.warning("%s: %d samples are beyond full scale, and clipped by dset.cache=int16", part_path(part), clipped)
        samples = scaled.clamp_(-2 ** 15, 2 ** 15 - 1).to(torch.int16).T.contiguous().numpy()
        self._write(copy, samples, self.samplerate, "PCM_16", "WAV")

    def _write(self, copy: Path, samples: np.ndarray, rate: int, subtype: str, form: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            if free < samples.nbytes:
                raise DatasetError(f"{self.folder}: has {free / 1e6:.0f} MB of free space, too little for dset.cache={self.mode}; "
                                   f"make room, or name another folder by dset.cache_folder")
            with beside(copy) as temporary:
                write_samples(temporary, samples, rate, subtype=subtype, form=form)
        except OSError as error:
            raise DatasetError(f"{self.folder}: cannot be written ({describe_os_error(error)}), which dset.cache={self.mode} "
                               f"needs; name another folder by dset.cache_folder") from error


def _load(part: Part) -> Part:
    path = part_path(part)
    wav, rate = read_part(part)
    samples = wav.T.contiguous().numpy()
    if isinstance(part, Path) and reading.kind(path)[1] == "PCM_16":
        samples = np.multiply(samples, 2 ** 15, out=samples).astype(np.int16)      # exact
    return Samples(path, samples, rate)


def _replaced(tracks: tp.Sequence[Track], work: Work, what: str) -> tp.Tuple[tp.List[Track], tp.List[str]]:
    """(tracks with the results of `work` as their files, faults of those whose files cannot be read), computed in
    threads, with progress in the log."""
    begin, done, found, faults = time.monotonic(), 0, {}, {}
    logger.info("%s", what)
    with ThreadPoolExecutor(usable_cores()) as pool:
        pending = {pool.submit(_with_parts, track, work): track.name for track in tracks}
        try:
            for future in as_completed(pending):
                name = pending[future]
                try:
                    found[name] = future.result()
                except (AudioError, ToolError) as error:
                    faults[name] = f"track {name}: {error}"
                except FileNotFoundError as error:
                    faults[name] = f"track {name}: {unreadable(error.filename, error)}"
                done += 1
                if done * 10 // len(tracks) > (done - 1) * 10 // len(tracks):
                    logger.info("%s: %d/%d tracks, %.1f s", what, done, len(tracks), time.monotonic() - begin)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [found[track.name] for track in tracks if track.name in found], [faults[name] for name in sorted(faults)]


def _with_parts(track: Track, work: Work) -> Track:
    done: tp.Dict[Part, Part] = {}

    def replaced(files: Files) -> Files:
        return tuple(done[part] if part in done else done.setdefault(part, work(part)) for part in files)
    return dataclasses.replace(track, stems={source: replaced(files) for source, files in track.stems.items()},
                               mixture=replaced(track.mixture))
