"""Songs that the command `demucs` separates: reading, separation and writing of each, three songs at a time."""

import argparse
import contextlib
import sys
import threading
import time
import traceback
import typing as tp
from pathlib import Path

from .api import Separator
from .audio.block_writer import BlockWriter, Encoding, kept_on_disk
from .console import debugging, one_line
from .errors import ConfigError, exhausted_memory
from .separation import finished, outputs, pipeline
from .separation.song_file import SongFile


class Job(tp.NamedTuple):
    """Song to be separated: its file, and the files of its stems by name."""
    track: Path
    paths: tp.Mapping[str, Path]


class Jobs:
    """Stages of the separation of songs, and what became of them.

    Args:
        args: options of the command.
        separator: model and settings.
    """

    def __init__(self, args: argparse.Namespace, separator: Separator):
        self.args, self.separator = args, separator
        self.encoding = Encoding(bitrate=args.mp3_bitrate, bits_per_sample=24 if args.int24 else 16,
                                 as_float=args.float32, preset=args.mp3_preset)
        self._stop = threading.Event()
        self._announced: tp.Optional[Job] = None
        self._failed = self._skipped = self._samples = 0

    def run(self, jobs: tp.Sequence[Job], failed_before: int = 0) -> bool:
        """Separate all songs; errors of single ones are printed. For several songs a last line sums up; it counts
        `failed_before` songs as failed. Returns whether all of `jobs` succeeded. Raises ConfigError for settings that
        fit no song."""
        begin = time.monotonic()
        pipeline.run(jobs, prepare=self.prepare, work=self._announce_and_work, finish=self.finish, failed=self._report,
                     discard=lambda song: None if song is None else song.close(), stop=self._stop, fatal=(ConfigError,))
        if len(jobs) + failed_before > 1 or self.args.skip_existing:
            self._sum_up(len(jobs) + failed_before, failed_before, time.monotonic() - begin)
        return not self._failed

    def prepare(self, job: Job) -> tp.Optional[SongFile]:
        """The song, entered; None if its stems are there and need not be written again. Raises AudioError."""
        files = list(job.paths.values())
        outputs.require_writable(files)
        rate, channels = self.separator.samplerate, self.separator.audio_channels
        length = finished.length_in_header(job.track, rate) if self.args.skip_existing else None
        if length is not None and finished.all_whole(files, length, channels, rate, self.encoding):
            return None
        song = SongFile(job.track, samplerate=rate, channels=channels, stop=self._stop).__enter__()
        try:
            there = self.args.skip_existing and length is None and \
                finished.all_whole(files, song.length, channels, rate, self.encoding)
        except BaseException:
            song.close()
            raise
        if there:
            song.close()
        return None if there else song

    def work(self, job: Job, song: SongFile) -> contextlib.ExitStack:
        """Separate the song, and close it. The stems appear when the result is closed. Raises AudioError, ConfigError
        or OSError."""
        args, rate, channels = self.args, song.samplerate, song.channels
        made: tp.List[Path] = []
        with song, contextlib.ExitStack() as stack:
            self._require_space(job, song)
            stack.push(lambda kind, *_: _remove(made) if kind is not None else None)
            writers: tp.Dict[str, BlockWriter] = {}
            for mix, stems in self.separator.stream_song(song, name=job.track.name):
                if args.stem is not None:
                    stems = outputs.two_stems(mix, stems, args.stem, args.other_method)
                for stem, path in job.paths.items():
                    if stem not in writers:      # folders are made once there are samples for them
                        made += _make(path.parent)
                        writers[stem] = stack.enter_context(BlockWriter(
                            path, song.length, channels, rate, clip=args.clip_mode, encoding=self.encoding))
                    writers[stem].write(stems[stem])
            self._samples += song.length
            return stack.pop_all()

    def finish(self, job: Job, stems: tp.Optional[contextlib.ExitStack]) -> None:
        """Write the stems completely; `stems` is the result of `work`. Raises AudioError or OSError."""
        if stems is not None:
            stems.close()

    def _announce_and_work(self, job: Job, song: tp.Optional[SongFile]) -> tp.Optional[contextlib.ExitStack]:
        self._announced = job
        if song is None:
            self._skipped += 1
            print(f"Skipping track {job.track}: its stems are complete", flush=True)
            return None
        print(f"Separating track {job.track}", flush=True)
        return self.work(job, song)

    def _require_space(self, job: Job, song: SongFile) -> None:
        args = self.args
        kind = "mp3" if args.mp3 else "flac" if args.flac else "wav"
        bits = 24 if args.int24 else 32 if args.float32 else 16
        rate = outputs.bytes_per_second(kind, samplerate=song.samplerate, channels=song.channels, bits=bits,
                                        bitrate=args.mp3_bitrate)
        outputs.require_space(list(job.paths.values()), song.length / song.samplerate, rate,
                              kept_on_disk(song.length, song.channels, args.clip_mode))

    def _report(self, job: Job, error: Exception) -> None:
        if self._announced is not job and job is not None:
            print(f"Separating track {job.track}", flush=True)
        self._failed += 1
        if debugging():
            traceback.print_exception(error)
        print(f"error: {what_failed(job.track, error)}", file=sys.stderr)

    def _sum_up(self, songs: int, failed_before: int, seconds: float) -> None:
        audio, failed = self._samples / self.separator.samplerate, self._failed + failed_before
        skipped = f", {self._skipped} skipped" if self.args.skip_existing else ""
        print(f"{songs} songs: {songs - failed - self._skipped} separated{skipped}, {failed} failed | {audio / 60:.1f} "
              f"min of audio in {seconds / 60:.1f} min, {audio / max(seconds, 1e-9):.1f} times real time", flush=True)


def what_failed(track: Path, error: Exception) -> str:
    """Line of text about the error that occurred while separating the file `track`, with advice if memory is
    exhausted."""
    advice = {"GPU memory": "; use a smaller --segment, or -d cpu",
              "memory": "; use a smaller --segment, fewer --jobs, or a shorter file"}.get(exhausted_memory(error), "")
    text = one_line(error)
    return text if track.name in text and not advice else f"{track}: {text}{advice}"


def _make(folder: Path) -> tp.List[Path]:
    """Create a folder with its parents. Returns those that did not exist, the outermost first."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return new[::-1]


def _remove(folders: tp.Sequence[Path]) -> None:
    """Delete those of `folders` that are empty, which `_make` created."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()
