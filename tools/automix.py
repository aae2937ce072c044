"""Make a dataset of remixes: stems of different songs that agree in tempo, first beat and key.

    export DEMUCS_MUSDB=/datasets/musdb18hq DEMUCS_AUTOMIX=/datasets/automix_musdb
    NUMBA_NUM_THREADS=1 python -m tools.automix
    dora run -f 81de367c 'continue_from="81de367c"' dset=auto_mus variant=finetune

Tempo, beats and keys are found with librosa; tempo and pitch are changed by soundstretch. Songs whose tempo, first beat
or key is unsure are not used, and pairs of songs that do not agree are counted. Interrupted and called again, it
completes the dataset. See docs/automix.md.
"""

import argparse
import os
import sys
import typing as tp
from pathlib import Path

import torch

from demucs.arguments import Parser, number
from demucs.console import command, log_messages
from demucs.data.automix.dataset import JOBS, RECORD, make, remixes, summary
from demucs.data.automix.matching import MIXES, PITCH, TEMPO, Limits
from demucs.ranges import SEED
from demucs.schema import AutomixRecord

# Variables and folders of conf/config.yaml and conf/dset/auto_mus.yaml
MUSDB, AUTOMIX = ("DEMUCS_MUSDB", "./datasets/musdbhq"), ("DEMUCS_AUTOMIX", "./datasets/automix_musdb")


def _default(variable: tp.Tuple[str, str]) -> Path:
    return Path(os.environ.get(variable[0]) or variable[1])


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.automix", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--musdb", type=Path, default=_default(MUSDB), metavar="PATH",
        help="folder of MUSDB18-HQ (default: $DEMUCS_MUSDB, else ./datasets/musdbhq)")
    add("--wav", type=Path, action="append", default=[], metavar="PATH",
        help="folder of further songs, with train/ and perhaps valid/; may be given several times")
    add("--with-test", action="store_true",
        help="remix the test songs of MUSDB, too, for training; then its test scores mean nothing")
    add("--out", type=Path, default=_default(AUTOMIX), metavar="PATH",
        help="folder of the remixes (default: $DEMUCS_AUTOMIX, else ./datasets/automix_musdb)")
    add("--mixes", type=number("--mixes", MIXES), default=6, help="remixes for each song (default: %(default)s)")
    add("--seed", type=number("--seed", SEED), default=42,
        help="the same seed gives the same bytes (default: %(default)s)")
    add("--jobs", type=number("--jobs", JOBS), default=len(os.sched_getaffinity(0)), metavar="N",
        help="processes (default: one per core)")
    add("--max-tempo", type=number("--max-tempo", TEMPO), default=Limits.tempo, metavar="PERCENT",
        help="largest change of tempo (default: %(default)s)")
    add("--max-pitch", type=number("--max-pitch", PITCH), default=Limits.pitch, metavar="SEMITONES",
        help="largest change of key (default: %(default)s)")
    return parser


def report(record: AutomixRecord, out: Path) -> str:
    """Text about what was made, and what was not."""
    lines = [f"{split}: {remixes(sum(mix.split == split for mix in record.mixes))}; "
             f"{summary(record, split)}" for split in dict.fromkeys(pairs.split for pairs in record.pairs)]
    unused = [song for song in record.songs if song.doubt]
    for doubt in sorted({song.doubt for song in unused}):
        lines.append(f"not used, {doubt}: {', '.join(song.title for song in unused if song.doubt == doubt)}")
    lines += [f"{remixes(count)} fewer: {reason}" for reason, count in record.missing.items()]
    return "\n".join([*lines, f"dataset in {out}, record in {out / RECORD}"])


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    torch.set_num_threads(1)        # as in the processes of --jobs
    record = make(args.musdb, args.out, wavs=args.wav, with_test=args.with_test, mixes=args.mixes, seed=args.seed,
                  limits=Limits(args.max_tempo, args.max_pitch), jobs=args.jobs)
    print(report(record, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
