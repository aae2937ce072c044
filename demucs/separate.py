"""The command `demucs`: separate audio files into their sources. Same flags and defaults as published Demucs.

torch and modules that need it are imported inside functions, so that `--help` and errors in options appear without
delay.
"""

import argparse
import logging
import os
import sys
import typing as tp
from pathlib import Path

from . import __version__, openunmix_flags, pretrained
from .arguments import Parser, number
from .audio.encoding import bit_rate, check_mp3
from .console import OutputLost, command, log_messages
from .errors import ConfigError, DemucsError
from .separation import defaults
from .separation.settings import RANGES

if tp.TYPE_CHECKING:
    from .api import Separator
    from .separation.inputs import Song

logger = logging.getLogger(__name__)


def get_parser() -> argparse.ArgumentParser:
    """Parser of the command `demucs`."""
    parser = Parser(
        "demucs", description="Separate the sources of audio files (wav, flac, mp3, ogg, m4a, ...).",
        epilog="example: demucs --repo ./release_models -n 955717e8 \"my song.mp3\"")
    parser.add_argument("tracks", nargs="*", type=Path, default=[], help="audio files, and with --recursive folders")
    parser.add_argument("-r", "--recursive", action="store_true",
                        help="separate all audio files in the folders given and in their subfolders; the results are "
                             "in the same subfolders of OUT/NAME")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")

    group = parser.add_argument_group("model")
    pretrained.add_model_flags(group)
    group.add_argument("--list-models", action="store_true", help="list the models, or those in --repo, and exit")

    group = parser.add_argument_group("separation")
    group.add_argument("-d", "--device", help="device of the computation (default: cuda or mps if available, else "
                                              "cpu); several share the segments of a song: cuda:0,1")
    group.add_argument("--shifts", type=number("--shifts", RANGES["shifts"]), default=defaults.SHIFTS,
                       help="number of random shifts that are averaged: slower, slightly better (default: %(default)s; "
                            "0 for models of Open-Unmix)")
    group.add_argument("--overlap", type=number("--overlap", RANGES["overlap"]), default=0.25,
                       help="overlap of the segments (default: %(default)s)")
    pieces = group.add_mutually_exclusive_group()
    pieces.add_argument("--no-split", action="store_false", dest="split",
                        help="do not split the song into segments; needs much memory")
    pieces.add_argument("--segment", type=number("--segment", RANGES["segment"]),
                        help="seconds per segment; shorter ones need less memory")
    group.add_argument("-j", "--jobs", type=number("--jobs", RANGES["jobs"]), default=0,
                       help="threads on a CPU, each of which needs the memory for one segment (default: %(default)s)")
    group.add_argument("--batch", type=number("--batch", RANGES["batch"]), metavar="N",
                       help="segments that a model separates in one call (default: what fits into the memory of a "
                            "GPU; 1 on a CPU)")
    group.add_argument("--seed", type=number("--seed", RANGES["seed"]), default=0,
                       help="seed of the random shifts (default: %(default)s)")

    group.add_argument("--precision", choices=["float32", "bf16", "tf32"], default="float32",
                       help="bf16 multiplies in 16 bits: faster if the processor supports it, with errors some 40 dB "
                            "below the result; tf32 in 19 bits, on NVIDIA GPUs from Ampere on (default: %(default)s)")

    openunmix_flags.add_flags(parser.add_argument_group("models of Open-Unmix"))
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--out", type=Path, default=Path("separated"),
                       help="folder for the results, which are written to OUT/NAME (default: %(default)s)")
    group.add_argument("--filename", default=defaults.TEMPLATE,
                       help="template of file names with {track}, {trackext}, {stem}, {ext} (default: %(default)s)")
    group.add_argument("--skip-existing", action="store_true",
                       help="skip songs whose stems are all there, complete and of the chosen format; truncated ones "
                            "are written again")
    group.add_argument("--two-stems", dest="stem", metavar="STEM", help="write only STEM and no_STEM")
    group.add_argument("--other-method", choices=["none", "add", "minus"], default="add",
                       help="second of two stems: none, the sum of the other sources (no_STEM; the mixture minus STEM "
                            "if there are none), or the mixture minus STEM (minus_STEM) (default: %(default)s)")
    depth = group.add_mutually_exclusive_group()
    depth.add_argument("--int24", action="store_true", help="24 bits per sample instead of 16")
    depth.add_argument("--float32", action="store_true", help="wav with 32-bit floats")
    group.add_argument("--clip-mode", default="rescale", choices=["rescale", "clamp", "none"],
                       help="avoid clipping by rescaling a stem, or by clamping its samples to 0.99 (clamp) or 1 "
                            "(none) (default: %(default)s)")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument("--flac", action="store_true", help="write flac")
    kind.add_argument("--mp3", action="store_true", help="write mp3")
    group.add_argument("--mp3-bitrate", type=bit_rate, default=320, metavar="KBIT",
                       help="bit rate in kbit/s, one of those of the mp3 standard (default: %(default)s)")
    group.add_argument("--mp3-preset", type=int, choices=range(2, 8), default=2,
                       help="2 for best quality, 7 for speed (default: %(default)s)")
    return parser


def separate_file(track: Path, paths: tp.Mapping[str, Path], args: argparse.Namespace, separator: "Separator") -> None:
    """Separate the file `track` and write its stems to `paths` (by name of stem). `args` are the options of the
    command. Raises DemucsError or OSError if that fails."""
    from .song_jobs import Job, Jobs

    jobs, job = Jobs(args, separator), Job(track, paths)
    song = jobs.prepare(job)
    if song is not None:
        jobs.finish(job, jobs.work(job, song))


def extension(args: argparse.Namespace) -> str:
    """Extension of the output files that the options `args` select: "wav", "flac" or "mp3"."""
    return "mp3" if args.mp3 else "flac" if args.flac else "wav"


def load(args: argparse.Namespace) -> "Separator":
    """New `Separator` with the model and the settings in `args`. Raises DemucsError if they do not fit together."""
    import torch

    from .api import Separator
    from .separation.bag import BagOfModels, longest_segment
    from .separation.devices import gpu_wanted

    device = args.device or ("cuda" if gpu_wanted() else "mps" if torch.backends.mps.is_available() else "cpu")
    model = openunmix_flags.load(args) if openunmix_flags.given(args) else \
        args.name if args.sig is None else pretrained.get_model_from_sig(args.sig)
    separator = Separator(model, args.repo, device=device, shifts=args.shifts, split=args.split, overlap=args.overlap,
                          segment=args.segment, jobs=args.jobs, progress=True, seed=args.seed,
                          precision=args.precision, batch=args.batch)
    longest = longest_segment(separator.model)
    if args.segment is not None and args.segment > longest:
        raise ConfigError(f"--segment {args.segment:g}: the model knows no longer pieces than it was trained on; the "
                          f"maximum is {longest:g} seconds")
    if args.stem is not None and args.stem not in separator.model.sources:
        raise ConfigError(f"--two-stems {args.stem}: the model separates {', '.join(separator.model.sources)}")
    if isinstance(separator.model, BagOfModels):
        logger.info("%s is a bag of %d models, which run one after the other", args.name, len(separator.model.models))
    return separator


def print_models(repo: tp.Optional[Path]) -> None:
    """Print the names of the available bags and models, or of those in the folder `repo`. Raises OutputLost if that
    fails."""
    from .api import list_models
    from .repositories.separators import published_separators

    found: tp.Dict[str, tp.Iterable[str]] = dict(list_models(repo))
    titles = {"bag": "Bag of models:", "single": "Single models:"}
    if repo is None:
        titles["openunmix"] = "Models of Open-Unmix:"
        found["openunmix"] = published_separators()
    for kind, title in titles.items():
        print(f"{title}\n    " + "\n    ".join(found[kind]), flush=True)
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:              # the list is the purpose of this call, so its loss is an error
        raise OutputLost(failure.errno, failure.strerror)


def run(args: argparse.Namespace) -> bool:
    """Separate all files as the options `args` demand, or print the models. Errors of single files are printed. Returns
    whether all files succeeded. Raises DemucsError for errors that concern all files."""
    from .separation.outputs import OutputFolder, folder_name, stem_names

    if args.list_models:
        print_models(args.repo)
        return True
    if not args.tracks:
        taken = f" (--residual took {args.residual!r} as its NAME: write --residual=NAME)" if args.residual else ""
        raise ConfigError(f"no audio file given{taken}; example: demucs --repo ./release_models -n SIG song.mp3")
    songs, bad = chosen_songs(args)
    for line in bad:                    # before loading the model, which may have to be downloaded
        print(f"error: {line}", file=sys.stderr)
    if not songs:
        return False
    from .song_jobs import Job, Jobs        # imports the models

    separator = load(args)
    if extension(args) == "mp3" or Path(args.filename).suffix.lower() == ".mp3":
        check_mp3("--mp3-bitrate", separator.samplerate, args.mp3_bitrate, args.mp3_preset)
    names = stem_names(separator.model.sources, args.stem, args.other_method)
    outputs = OutputFolder(args.out / folder_name(args.sig or args.name), template=args.filename,
                           extension=extension(args), stems=names)
    # Errors in names appear before hours of work.
    jobs = [Job(song.path, outputs.paths(song.path, names, song.inside)) for song in songs]
    print(f"Separated tracks will be stored in {outputs.folder.resolve()}", flush=True)
    return Jobs(args, separator).run(jobs, failed_before=len(bad)) and not bad


def chosen_songs(args: argparse.Namespace) -> tp.Tuple[tp.List["Song"], tp.List[str]]:
    """(songs that the options `args` name, errors as text for those that are not there)."""
    from .separation.inputs import Song, songs_in
    from .separation.outputs import folder_name

    songs, bad = [], []
    for track in args.tracks:
        if args.recursive and track.is_dir():
            try:
                songs += songs_in(track, without=[args.out / folder_name(args.sig or args.name)])
            except DemucsError as error:
                bad.append(str(error))
        elif not os.path.lexists(track) or not track.name:
            bad.append(f"{track}: {'no such file' if track.name else 'is a folder; give the files in it'}")
        else:
            songs.append(Song(track, Path()))
    return songs, bad


def main(opts: tp.Optional[tp.Sequence[str]] = None) -> None:
    """Run the command with the arguments `opts` (default: those of the process).

    Raises:
        SystemExit: with status 1 if any file could not be separated, 2 for invalid arguments.
    """
    status = _main(opts)
    if status:
        sys.exit(status)


@command()
def _main(opts: tp.Optional[tp.Sequence[str]]) -> int:
    args = get_parser().parse_args(opts)
    log_messages()
    if args.verbose:
        logging.getLogger("demucs").setLevel(logging.DEBUG)
    return 0 if run(args) else 1


if __name__ == "__main__":
    main()
