"""Compare remixes with the truth, on generated songs whose tempo, first beat and key are known, and write the figures
to docs/automix.md:

    python -m tools.study_automix datasets/automix_study

Makes the songs in that folder where they are missing. Takes ten minutes on two cores.
"""

import argparse
import sys
import textwrap
import typing as tp
from pathlib import Path

import numpy as np
import torch

from demucs.arguments import Parser, number
from demucs.audio import soundstretch
from demucs.console import command, log_messages
from demucs.data.automix import study
from demucs.data.automix.dataset import JOBS, plan, unused
from demucs.data.automix.matching import Limits
from demucs.errors import ConfigError
from demucs.files import write_text
from demucs.ranges import SEED, Range
from demucs.schema import SOURCES
from demucs.tables import markdown

PAGE = Path("docs") / "automix.md"
BEGIN, END = "<!-- written by tools.study_automix: begin -->\n", "<!-- written by tools.study_automix: end -->\n"
SONGS = Range(2, 1000, whole=True)
SECONDS = Range(15, 600, unit="seconds")
RENDERED = 40       # remixes whose first beats are measured in the rendered sound


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tools.study_automix", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, help="folder for songs and remixes")
    add("--train", type=number("--train", SONGS), default=30, help="songs of the training split (default: %(default)s)")
    add("--valid", type=number("--valid", SONGS), default=10,
        help="songs of the validation split (default: %(default)s)")
    add("--seconds", type=number("--seconds", SECONDS), default=30., help="length of every song (default: %(default)s)")
    add("--seed", type=number("--seed", SEED), default=4021, help="seed of the songs (default: %(default)s)")
    add("--jobs", type=number("--jobs", JOBS), default=2, metavar="N", help="processes (default: %(default)s)")
    add("--page", type=Path, default=PAGE, help="page for the figures (default: %(default)s)")
    return parser


def figures(folder: Path, *, train: int, valid: int, seconds: float, seed: int, jobs: int) -> str:
    """Markdown text of the figures."""
    songs, out = folder / "songs", folder / "remixes"
    if not (songs / study.TRUTH).exists():
        study.write_songs(songs, train=train, valid=valid, seconds=seconds, seed=seed, processes=jobs)
    limits, truths = Limits(), study.read_truth(songs)
    planned = plan(None, out, wavs=[songs], with_test=False, sources=SOURCES, mixes=6, seed=42, limits=limits,
                   jobs=jobs)
    record = planned.record
    analyses = {song.title: (song.split, planned.analyses[song.title]) for song in planned.songs}
    pairs = study.compare_pairs(analyses, truths, limits)
    errors = [study.compare_mix(mix, truths) for mix in record.mixes]
    chosen = [record.mixes[place] for place in np.linspace(0, len(record.mixes) - 1, RENDERED).astype(int)]
    spreads = 1000 * np.array([study.rendered_spread(mix, record, truths, soundstretch.find()) for mix in chosen])
    sure = [title for title, (_, found) in analyses.items() if not found.doubt]

    def right(title: str) -> bool:
        found, truth = analyses[title][1], truths[title]
        distance = abs(study.distance_to_bar_line(found.first_beat, truth))
        return abs(found.tempo / truth.tempo - 1) <= study.TEMPO_ERROR and distance <= study.BEAT_ERROR \
            and found.signature == truth.signature

    def share(count: int, of: int) -> str:
        return f"{count} of {of} ({100 * count / max(1, of):.1f} %)"
    count = len(errors)
    rows = [
        ["songs that are used", share(len(sure), len(analyses))],
        ["used songs whose tempo (1 %), first beat (30 ms) and key are right", share(sum(map(right, sure)), len(sure))],
        ["pairs of songs in the same split", str(pairs.pairs)],
        ["pairs that the truth calls compatible, accepted", share(pairs.found, pairs.compatible)],
        ["accepted pairs that the truth does not call compatible", share(pairs.wrong, pairs.found + pairs.wrong)],
        ["remixes", str(count)],
        ["remixes that agree in tempo, first beat and key", share(sum(each.agrees for each in errors), count)],
        ["... in tempo, within 1 %", share(sum(each.tempo <= study.TEMPO_ERROR for each in errors), count)],
        ["... in first beat, within 30 ms", share(sum(each.begin <= study.BEAT_ERROR for each in errors), count)],
        ["... in the last bar line, within 30 ms", share(sum(each.end <= study.BEAT_ERROR for each in errors), count)],
        ["... in key signature", share(sum(each.same_key for each in errors), count)],
        ["median difference of first beats", f"{1000 * np.median([each.begin for each in errors]):.1f} ms"],
        [f"rendered remixes ({len(chosen)}) whose first beats agree within 30 ms",
         share(int(np.sum(spreads <= 1000 * study.BEAT_ERROR)), len(chosen))],
        ["median difference of first beats as rendered", f"{np.median(spreads):.1f} ms"],
    ]
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(unused(record).items()))
    told = (f"{train} and {valid} songs of {seconds:g} s (seed {seed}), librosa {record.settings['librosa']}, "
            f"soundstretch {record.settings['soundstretch']}. Not used: {reasons or 'none'}.")
    return f"\n{textwrap.fill(told, 120)}\n\n{markdown(['measured', 'result'], rows)}\n\n"


@command()
def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    args = get_parser().parse_args(argv)
    log_messages()
    torch.set_num_threads(1)
    page = args.page.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ConfigError(f"{args.page}: has no place for the figures; it needs the lines {BEGIN.strip()} and "
                          f"{END.strip()}")
    text = figures(args.folder, train=args.train, valid=args.valid, seconds=args.seconds, seed=args.seed,
                   jobs=args.jobs)
    write_text(args.page, page[:page.index(BEGIN)] + BEGIN + text + page[page.index(END):])
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
