"""Scores and cost of separation against the overlap of the segments, in docs/separation.md.

    python -m benchmarks.overlaps MODEL.th [--songs 4] [--seconds 60] [--real FOLDER]
    python -m benchmarks.overlaps --page

Songs are generated, their stems known exactly (split "test", seed 1234), and with --real the song in FOLDER, which
`python -m tools.real_song` writes. The score is the nSDR of each source, averaged over sources and songs; cost is the
number of samples that the model computes per sample of song. All without random shifts. The record is
benchmarks/records/overlaps.json; --page only writes the page from it.
"""

import json
import sys
import time
import typing as tp
from pathlib import Path

import torch
from torch import nn

from demucs.arguments import Parser, number
from demucs.audio import reading
from demucs.console import command
from demucs.data.synthetic.dataset import render_song
from demucs.errors import ConfigError
from demucs.files import write_text
from demucs.metrics.nsdr import nsdr
from demucs.packages import package
from demucs.ranges import Range
from demucs.runs.provenance import commit, now
from demucs.separation.song import separate_song
from demucs.tables import markdown

REPOSITORY = Path(__file__).resolve().parents[1]
RECORD = REPOSITORY / "benchmarks" / "records" / "overlaps.json"
PAGE = REPOSITORY / "docs" / "separation.md"
BEGIN, END = "<!-- python -m benchmarks.overlaps -->", "<!-- end of python -m benchmarks.overlaps -->"
OVERLAPS = (0.5, 0.25, 0.15, 0.1, 0.05, 0.02, 0.)
DEFAULT = 0.25
SEED = 1234


def generated(model: nn.Module, index: int, seconds: float) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """(mixture [2, L], stems [S, 2, L]) of a generated song."""
    song = {name: torch.from_numpy(wav.astype("float32")) / 2 ** 15
            for name, wav in render_song(SEED, "test", index, seconds).items()}
    return song["mixture"], torch.stack([song[source] for source in model.sources])


def real(model: nn.Module, folder: Path) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """(mixture [2, L], stems [S, 2, L]) of the song in `folder`."""
    wavs = [reading.read(folder / f"{name}.wav")[0] for name in ("mixture", *model.sources)]
    return wavs[0], torch.stack(wavs[1:])


class _Counter:
    """Number of samples that a model computes."""

    def __init__(self, model: nn.Module):
        self.samples = 0
        model.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, inputs: tp.Tuple[torch.Tensor, ...]) -> None:
        self.samples += inputs[0].shape[-1]


def scores(model: nn.Module, songs: tp.Sequence[tp.Tuple[torch.Tensor, torch.Tensor]], overlap: float
           ) -> tp.Dict[str, tp.Any]:
    """nSDR in dB by source and on average, samples computed per sample of song, and seconds of processor time."""
    counter, begin, found = _Counter(model), time.process_time(), []
    for mixture, stems in songs:
        found.append(nsdr(stems.double(), separate_song(model, mixture, shifts=0, overlap=overlap).double()))
    by_source = torch.stack(found).mean(dim=0)
    return {"nsdr": float(by_source.mean()), "by_source": dict(zip(model.sources, by_source.tolist())),
            "computed": counter.samples / sum(mixture.shape[-1] for mixture, _ in songs),
            "processor_seconds": time.process_time() - begin}


def measured(path: Path, songs: int, seconds: float, folder: tp.Optional[Path]) -> tp.Dict[str, tp.Any]:
    """The record: scores by set of songs and overlap, and what was measured. Raises PackageError, AudioError or
    ConfigError."""
    model = package.load(path)
    if model.samplerate != 44100 or model.audio_channels != 2 or set(model.sources) != {"drums", "bass", "other", "vocals"}:
        raise ConfigError(f"{path}: generated songs have drums, bass, other and vocals in stereo at 44100 Hz")
    sets = {f"{songs} generated songs of {seconds:g} s": [generated(model, index, seconds) for index in range(songs)]}
    if folder is not None:
        sets["the real excerpt of 6 s"] = [real(model, folder)]
    found: tp.Dict[str, tp.Dict[str, tp.Any]] = {}
    for name, several in sets.items():
        for overlap in OVERLAPS:
            found.setdefault(name, {})[f"{overlap:g}"] = result = scores(model, several, overlap)
            print(f"{name} | overlap {overlap:g} | nSDR {result['nsdr']:.3f} dB | {result['computed']:.2f} computed", flush=True)
    valid = model.card.valid.get("nsdr")
    return {"sets": found, "model": model.zoo_name, "signature": path.stem, "segment": model.segment, "commit": commit(),
            "date": now(), "valid_nsdr": valid}


def section(record: tp.Mapping[str, tp.Any]) -> str:
    """Table of the page."""
    names = list(record["sets"])
    first = record["sets"][names[0]]
    rows = [[f"{overlap:g}" + (" (default)" if overlap == DEFAULT else ""), f"{first[f'{overlap:g}']['computed']:.2f}",
             *(f"{found[f'{overlap:g}']['nsdr']:.3f} ({found[f'{overlap:g}']['nsdr'] - found[f'{DEFAULT:g}']['nsdr']:+.3f})"
               for found in record["sets"].values())] for overlap in OVERLAPS]
    table = markdown(["overlap", "computed per sample of song", *(f"nSDR of {name}, dB" for name in names)], rows,
                     "lr" + "r" * len(names))
    valid = record["valid_nsdr"]
    trained = "" if valid is None else f", which has an nSDR of {valid:.2f} dB on its validation set"
    return (f"{table}\n\nMeasured with {record['model']} {record['signature']}{trained}; segments of {record['segment']:g} s; "
            f"{record['date'][:10]}, commit {record['commit'][:8]}. In brackets: the difference from the default.")


def write_page() -> None:
    """Write the table of the record into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{section(json.loads(RECORD.read_text()))}\n{END}{rest.split(END)[1]}")


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> None:
    parser = Parser("benchmarks.overlaps", description="Measure scores against the overlap of segments.")
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL.th", help="a package of a trained model")
    parser.add_argument("--songs", type=number("--songs", Range(1, 1000, whole=True)), default=4,
                        help="generated songs (default: %(default)s)")
    parser.add_argument("--seconds", type=number("--seconds", Range(1, 7200)), default=60., help="their length")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="a song with its stems, such as tools.real_song writes")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    args = parser.parse_args(argv)
    if not args.page:
        if args.model is None:
            parser.error("a model is missing")
        write_text(RECORD, json.dumps(measured(args.model, args.songs, args.seconds, args.real), indent=1) + "\n")
    write_page()


if __name__ == "__main__":
    sys.exit(main())
