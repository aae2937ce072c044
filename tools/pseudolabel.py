"""Make a training set of unlabelled songs with the labels of a model:

    python -m tools.pseudolabel htdemucs /data/unlabelled --out datasets/pseudo --keep 0.5

Separates every song in the folder with a model or bag, measures the estimates without references, and keeps the best.
OUT/train and OUT/valid are a dataset for dset.wav2 or dset.wav (32-bit float wav, with the mixture), OUT/labels has the
labels of all songs, OUT/pseudo_labels.json records model, measures, rule, and the scores of kept and refused songs. An
interrupted call goes on where it stopped; another rule is applied to the same labels. Songs are audio files at any
depth, or folders with mixture.wav. docs/pseudo_labels.md describes the measures, the rule and the residual.
"""

import argparse
import sys
import typing as tp
from pathlib import Path

from demucs import pretrained
from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.ranges import COUNT, SEED, Range
from demucs.separation.settings import RANGES

KEEP = Range(0, 1, open_least=True)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.pseudolabel", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", metavar="MODEL", help="signature or name of a model or bag, or hf://[NAMESPACE/]NAME")
    add("songs", metavar="SONGS", type=Path, help="folder with the unlabelled songs")
    add("--out", type=Path, required=True, metavar="PATH", help="folder of the dataset")
    add("--repo", type=Path, help="folder with the model (default: ./release_models, then the published ones)")
    group = parser.add_argument_group("choice of songs")
    add = group.add_argument
    add("--keep", type=number("--keep", KEEP), default=1., metavar="SHARE",
        help="share of all labelled songs that is kept, the best by the mean of their ranks (default: %(default)g)")
    add("--threshold", action="append", default=[], metavar="[MEASURE=]DB",
        help="worst mean over stems of a measure (default: the first of --measure); may be repeated")
    add("--measure", metavar="KEYS",
        help="measures, separated by commas (default: remix_agreement,leakage,decisiveness, as far as the model allows "
             "them)")
    add("--random", type=number("--random", SEED), metavar="SEED",
        help="control: keep as many songs at random as the rule would keep")
    add("--valid", type=number("--valid", COUNT), default=1, metavar="COUNT",
        help="number of the kept songs in valid/ instead of train/ (default: %(default)s)")
    group = parser.add_argument_group("labels")
    add = group.add_argument
    add("--stems", metavar="NAMES",
        help="label these sources only, separated by commas; the rest of the song is one further stem: no_NAME, or "
             "rest for several")
    add("--residual", default="shared", metavar="USE",
        help="mixture minus estimates: shared by all stems, added to the stem that is named here, or none: then the "
             "sum of the estimates is the mixture (default: %(default)s)")
    add("--labels", type=Path, metavar="DIR",
        help="folder of the labels of all songs, which several datasets may share (default: OUT/labels)")
    add("--shifts", type=number("--shifts", RANGES["shifts"]), default=1,
        help="number of random shifts that are averaged (default: %(default)s)")
    add("--overlap", type=number("--overlap", RANGES["overlap"]), default=0.25,
        help="overlap of the segments (default: %(default)s)")
    add("--segment", type=number("--segment", RANGES["segment"]),
        help="seconds per segment (default: that of the model)")
    add("--seed", type=number("--seed", RANGES["seed"]), default=0,
        help="seed of shifts and of --valid (default: %(default)s)")
    add("-d", "--device", help="device of the computation (default: cuda if available, else cpu)")
    return parser


def run(args: argparse.Namespace) -> bool:
    """Label the songs and write the dataset. Returns whether all songs could be labelled. Raises DemucsError if model,
    songs or settings cannot be used."""
    from demucs.labels import dataset
    from demucs.labels.labelling import Labeller, default_measures
    from demucs.labels.rule import Rule, judged, thresholds_of
    from demucs.labels.songs import find_unlabelled
    from demucs.separation.devices import gpu_wanted

    labels_folder = args.labels or args.out / "labels"
    dataset.claim(args.out, labels_folder, args.songs)
    songs, faults = find_unlabelled(args.songs)
    model = pretrained.get_model(args.model, args.repo)
    measures = args.measure.split(",") if args.measure else default_measures(model)
    labeller = Labeller(model, labels_folder, measures=measures, stems=args.stems.split(",") if args.stems else None,
                        residual=args.residual, seed=args.seed, shifts=args.shifts, overlap=args.overlap,
                        segment=args.segment, device=args.device or ("cuda" if gpu_wanted() else "cpu"))
    rule = Rule(tuple(measures), args.keep, thresholds_of(args.threshold, measures), args.random, args.valid, args.seed)
    labels, unread = labeller.label_all(songs)
    faults.update(unread)
    for name, reason in faults.items():
        print(f"error: {reason if name in reason else f'{args.songs / name}: {reason}'}", file=sys.stderr)
    record = dataset.new_record(labeller, args.model, args.songs, rule, judged(labels, rule, labeller.chosen), faults)
    dataset.write(args.out, labels_folder, record)
    print(dataset.summary(record, args.out))
    return not faults


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    return 0 if run(args) else 1


if __name__ == "__main__":
    sys.exit(main())
