"""The command `demucs`: separate audio files into their sources. Same flags and defaults as published Demucs.

torch and what needs it are imported where they are used, so that `--help` and a wrong option answer at once.
"""

import argparse
import logging
import sys
import typing as tp
from pathlib import Path

from .errors import ConfigError, DemucsError
from .inference import defaults

if tp.TYPE_CHECKING:
    from torch import nn

    from .inference.outputs import OutputFolder

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "demucs", description="Separate the sources of audio files (wav, flac, mp3, ogg, m4a, ...).",
        epilog="example: demucs --repo ./release_models -n 955717e8 \"my song.mp3\"")
    parser.add_argument("tracks", nargs="*", type=Path, help="audio files")
    add = parser.add_argument_group("model").add_argument
    add("-n", "--name", default=defaults.MODEL, help="signature or name of a model (default: %(default)s)")
    add("--repo", type=Path, help="folder with the models (default: ./release_models)")
    add("--list-models", action="store_true", help="show the models of the folder and exit")

    group = parser.add_argument_group("separation")
    group.add_argument("-d", "--device", help="where to compute (default: cuda where there is a GPU, else cpu)")
    group.add_argument("--shifts", type=int, default=1,
                       help="rounds of random delays that are averaged: slower, slightly better (default: %(default)s)")
    group.add_argument("--overlap", type=float, default=0.25, help="overlap of the segments (default: %(default)s)")
    pieces = group.add_mutually_exclusive_group()
    pieces.add_argument("--no-split", action="store_false", dest="split",
                        help="do not cut the song in segments; takes much memory")
    pieces.add_argument("--segment", type=float, help="seconds per segment; shorter ones take less memory")
    group.add_argument("-j", "--jobs", type=int, default=0,
                       help="threads on a CPU, each with the memory of a segment (default: %(default)s)")
    group.add_argument("--seed", type=int, default=0, help="of the random delays (default: %(default)s)")

    group = parser.add_argument_group("output")
    group.add_argument("-o", "--out", type=Path, default=Path("separated"),
                       help="folder for the results, which go to OUT/NAME (default: %(default)s)")
    group.add_argument("--filename", default=defaults.TEMPLATE,
                       help="names below that; fields are {track}, {trackext}, {stem}, {ext} (default: %(default)s)")
    group.add_argument("--two-stems", dest="stem", metavar="STEM", help="write only STEM and no_STEM")
    group.add_argument("--other-method", choices=["none", "add", "minus"], default="add",
                       help="the other one of two stems: nothing, the sum of the other sources (no_STEM), or the song "
                            "less STEM (minus_STEM) (default: %(default)s)")
    depth = group.add_mutually_exclusive_group()
    depth.add_argument("--int24", action="store_true", help="24 bits per sample instead of 16")
    depth.add_argument("--float32", action="store_true", help="wav with 32-bit floats")
    group.add_argument("--clip-mode", default="rescale", choices=["rescale", "clamp", "none"],
                       help="against clipping: make a stem softer, cut its peaks, or nothing (default: %(default)s)")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument("--flac", action="store_true", help="write flac")
    kind.add_argument("--mp3", action="store_true", help="write mp3")
    group.add_argument("--mp3-bitrate", type=int, default=320, help="kbit/s (default: %(default)s)")
    group.add_argument("--mp3-preset", type=int, choices=range(2, 8), default=2,
                       help="2 for best quality, 7 for speed (default: %(default)s)")
    return parser


def separate_file(track: Path, args: argparse.Namespace, model: "nn.Module", outputs: "OutputFolder"
                  ) -> None:
    """Separate one file and write its stems. Raises DemucsError or OSError where that fails."""
    from .data import audio
    from .inference.outputs import two_stems
    from .inference.progress import reporter
    from .inference.song import load_song, separate_song

    mix = load_song(track, samplerate=model.samplerate, channels=model.audio_channels)
    estimates = separate_song(
        model, mix, shifts=args.shifts, split=args.split, overlap=args.overlap, segment=args.segment, seed=args.seed,
        workers=args.jobs, progress=reporter(logger, track.name))
    stems = dict(zip(model.sources, estimates))
    if args.stem is not None:
        stems = two_stems(mix, stems, args.stem, args.other_method)
    for stem, path in outputs.paths(track, stems).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, stems[stem], model.samplerate, clip=args.clip_mode, bits=24 if args.int24 else 16,
                    as_float=args.float32, mp3_bitrate=args.mp3_bitrate, mp3_preset=args.mp3_preset)
    logger.info("%s -> %s", track, path.parent)


def run(args: argparse.Namespace) -> int:
    """Exit status: 1 where any file could not be separated. Raises DemucsError for what concerns all of them."""
    import torch

    from . import pretrained
    from .inference import repository
    from .inference.apply import usable_device
    from .inference.outputs import OutputFolder

    if args.list_models:
        print("\n".join(repository.list_models(args.repo or repository.DEFAULT_FOLDER)))
        return 0
    if not args.tracks:
        raise ConfigError("no audio file given; example: demucs --repo ./release_models -n SIG song.mp3")
    device = usable_device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = pretrained.get_model(args.name, args.repo).to(device)
    if args.stem is not None and args.stem not in model.sources:
        raise ConfigError(f"--two-stems {args.stem}: the model separates {', '.join(model.sources)}")
    outputs = OutputFolder(args.out / args.name, template=args.filename,
                           extension="mp3" if args.mp3 else "flac" if args.flac else "wav")
    failed = 0
    for track in args.tracks:
        try:
            separate_file(track, args, model, outputs)
        except ConfigError:
            raise
        except torch.OutOfMemoryError:
            failed += 1
            print(f"error: {track}: out of GPU memory; use a smaller --segment, or -d cpu", file=sys.stderr)
        except (DemucsError, OSError) as error:
            failed += 1
            print(f"error: {error}" if track.name in str(error) else f"error: {track}: {error}", file=sys.stderr)
    return 1 if failed else 0


def main(opts: tp.Optional[tp.Sequence[str]] = None) -> int:
    """Run the command with the arguments `opts` (default: those of the process); returns its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return run(get_parser().parse_args(opts))
    except DemucsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
