"""One self-contained HTML page about a run: summary, scores, sounds, curves, songs, run card.

It needs no server and no network. Everything in it comes from the run's records and its example separations.
"""

from pathlib import Path

import baselines
import common
from page import escape, page, paragraph, section
from readers import Run, find_run
from scores import comparison_note
from sections import evaluation_card, family_scores, listening, run_card, songs, summary, training

from demucs.metrics.aggregates import FAMILIES, NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS

FIRST = (NSDR_MEAN.key, SDR_MEDIAN_OF_MEDIANS.key)   # what most readers look for; the others stand further down


def report(run: Run, examples: Path, *, seconds: float = 10., tracks: int = 3) -> str:
    """The page about `run`. `examples` is the folder of its example separations, which need not exist."""
    rows = baselines.load()
    scores = {key: family_scores(run, family, rows) for key, family in FAMILIES.items()}
    first = [key for key in FIRST if scores[key]]
    note = paragraph(comparison_note(run), "note") if any(scores.values()) else ""
    body = [f"<h1>{escape(run.card.model + ' ' if run.card else '')}{escape(run.name)}</h1>",
            paragraph(summary(run), "summary"), note, *(paragraph(text, "quiet") for text in run.notes),
            section("Scores", *(scores.pop(key) for key in first)),
            section("Listen", listening(run, examples, seconds=seconds, tracks=tracks)),
            section("Training", training(run)), section("Track by track", songs(run)),
            section("The same scores, aggregated in other ways", *scores.values()),
            section("How it was made", run_card(run.card) if run.card else "", evaluation_card(run)),
            "<footer>Drawn by graphing_scripts/report.py from the records of this run.</footer>"]
    return page(f"Report on {run.name}", "".join(body))


def main() -> None:
    parser = common.parser(__doc__, "python graphing_scripts/report.py 162f67a7")
    parser.add_argument("--seconds", type=float, default=10., help="length of the example excerpts (default: 10)")
    parser.add_argument("--tracks", type=int, default=3, help="how many example songs to show (default: 3)")
    arguments = parser.parse_args()
    for argument in arguments.runs or [None]:
        run = find_run(argument, arguments.results)
        if argument is None:
            print(f"newest run: {run.name}")
        text = report(run, arguments.results / "examples" / run.name, seconds=arguments.seconds,
                      tracks=arguments.tracks)
        for path in (arguments.results / "figures" / run.name / "report.html", arguments.results / "report.html"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    common.run(main)
