"""Peak memory and time of the command `demucs` against the length of the song, in docs/separation.md.

    python -m benchmarks.long_songs [--rows NAME ...] [--folder FOLDER]
    python -m benchmarks.long_songs --page

Songs are one minute of generated music, repeated. Each separation is a process of its own, on the CPU, with the options
of the command as they are by default, but without the shift trick. Weights are random: memory and time do not depend on
them. "small" is a Demucs of two layers and two channels, so that a file of four hours takes minutes. Rows that are
measured replace those in benchmarks/records/long_songs.json; --page only writes the page from it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import typing as tp
from pathlib import Path

import torch

from benchmarks.bench_separation import RATE, song
from benchmarks.run import machine
from demucs.audio.block_writer import BlockWriter, Encoding
from demucs.files import write_text
from demucs.models import zoo
from demucs.packages import package
from demucs.runs.provenance import commit, now
from demucs.schema import SOURCES
from demucs.tables import markdown

REPOSITORY = Path(__file__).resolve().parents[1]
RECORD = REPOSITORY / "benchmarks" / "records" / "long_songs.json"
PAGE = REPOSITORY / "docs" / "separation.md"
BEGIN, END = "<!-- python -m benchmarks.long_songs -->", "<!-- end of python -m benchmarks.long_songs -->"
MODELS: tp.Dict[str, tp.Tuple[str, tp.Dict[str, tp.Any]]] = {
    "small": ("demucs", dict(channels=2, depth=2, resample=False, rewrite=False, lstm_layers=0, dconv_mode=0,
                             segment=10.)),
    "hdemucs": ("hdemucs", dict(segment=44.)), "htdemucs": ("htdemucs", dict(segment=7.8))}


@dataclasses.dataclass(frozen=True)
class Row:
    """Separation to measure: model, minutes of song, format of the song, and options of the command."""
    model: str
    minutes: float
    suffix: str
    options: tp.Tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name on the command line."""
        return "-".join([self.model, f"{self.minutes:g}", self.suffix])


ROWS = {row.name: row for row in [
    *(Row("small", minutes, suffix) for suffix in ("wav", "flac", "mp3", "m4a") for minutes in (15, 60)),
    Row("small", 240, "mp3", ("--two-stems", "vocals")),
    *(Row(model, minutes, "wav") for model in ("hdemucs", "htdemucs") for minutes in (2, 15, 60))]}


def make_song(path: Path, minutes: float) -> None:
    """Write a song of `minutes`. Of mp3 and m4a one encoded minute is repeated."""
    minute, length = torch.from_numpy(song(60.)), int(60 * RATE * minutes)
    if path.suffix == ".mp3" and minutes > 1:
        make_song(path, 1)
        data = path.read_bytes()
        with open(path, "wb") as file:
            for _ in range(int(minutes)):
                file.write(data)
        return
    if path.suffix == ".m4a":
        make_song(path.with_suffix(".wav"), 1)
        once = path.with_name("once.m4a")
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", path.with_suffix(".wav"), once], check=True)
        subprocess.run(["ffmpeg", "-loglevel", "error", "-stream_loop", str(int(minutes) - 1), "-i", once, "-c", "copy", path],
                       check=True)
        return
    with BlockWriter(path, length, 2, RATE, clip="none", encoding=Encoding(bitrate=128, preset=7)) as writer:
        for start in range(0, length, minute.shape[-1]):
            writer.write(0.2 * minute[:, :length - start])


def make_model(folder: Path, name: str) -> None:
    """Write a package with random weights."""
    kind, settings = MODELS[name]
    torch.manual_seed(0)
    model = zoo.build(kind, sources=list(SOURCES), audio_channels=2, samplerate=RATE, **settings)
    card = package.new_card(model, signature=name, epochs_done=1, epochs=1, valid={}, argv=[])
    package.save(model, folder / f"{name}.th", card=card)


def measure(row: Row, folder: Path) -> tp.Dict[str, tp.Any]:
    """Measurements of one separation. Raises CalledProcessError if it fails."""
    path = folder / f"song.{row.suffix}"
    make_song(path, row.minutes)
    make_model(folder / "models", row.model)
    command = [sys.executable, "-m", "demucs", "--repo", str(folder / "models"), "-n", row.model, "-d", "cpu", "--shifts",
               "0", "-o", str(folder / "out"), *row.options, str(path)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    for file in [path, *(folder / "out").rglob("*.wav")]:
        file.unlink()
    return {"model": row.model, "minutes": row.minutes, "suffix": row.suffix, "options": list(row.options),
            "peak_mb": usage.ru_maxrss / 1024, "seconds": seconds, "processor_seconds": usage.ru_utime + usage.ru_stime,
            "threads": int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))), "date": now(),
            "commit": commit(), "processor": machine()["processor"]}


def section(record: tp.Mapping[str, tp.Mapping[str, tp.Any]]) -> str:
    """Table of the page."""
    rows = [[found["model"], f"{found['minutes']:g}", found["suffix"], " ".join(found["options"]),
             f"{found['peak_mb']:.0f}", f"{found['processor_seconds']:.0f}", str(found["threads"])]
            for name, found in sorted(record.items(), key=lambda item: list(ROWS).index(item[0]))]
    said = sorted({f"{found['processor']}, {found['date'][:10]}, commit {found['commit'][:8]}" for found in record.values()})
    table = markdown(["model", "minutes", "song", "options", "peak memory, MB", "processor time, s", "threads"], rows,
                     "lrllrrr")
    return f"{table}\n\nMeasured on {'; '.join(said)}."


def write_page() -> None:
    """Write the table of the record into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{section(json.loads(RECORD.read_text()))}\n{END}{rest.split(END)[1]}")


def main(argv: tp.Optional[tp.Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser("benchmarks.long_songs", description="Measure memory against the length of a song.")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", default=list(ROWS),
                        help=f"some of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--folder", type=Path, help="folder for temporary files: 13 GB for four hours")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    args = parser.parse_args(argv)
    if not args.page:
        for name in args.rows:
            with tempfile.TemporaryDirectory(dir=args.folder) as folder:
                found = measure(ROWS[name], Path(folder))
            print(json.dumps(found), flush=True)
            record = {}
            with contextlib.suppress(FileNotFoundError):
                record = json.loads(RECORD.read_text())
            write_text(RECORD, json.dumps({**record, name: found}, indent=1, sort_keys=True) + "\n")
    write_page()


if __name__ == "__main__":
    main()
