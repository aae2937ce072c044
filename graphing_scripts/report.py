"""Self-contained HTML report on a run or a comparison: summary, scores, sounds, curves, songs, run card.

For one run, or several that continue one another, it is a report on that training. For several other runs it is a
comparison with the first one named. Runs that differ only in their seed are a sample of one configuration: their spread
is shown, and configurations are compared over songs and seeds. The page needs no server and no network. All its content
comes from records and example separations.
"""

import typing as tp
from pathlib import Path

import command_line
from pages.cards import evaluation_card, made_by
from pages.elements import contents, escape, folded, notes, page, paragraph, section
from pages.run_sections import (family_scores, first_families, gaps, listening, other_families, other_measures,
                                quality, songs, sums_of_sources, summary, training)
from records import baselines
from records.chains import Chain, find_chains
from records.readers import on_all_sets
from records.scores import scored_on

from demucs.arguments import number
from demucs.files import write_text
from demucs.metrics.aggregates import (FAMILIES, SDR_MEAN_OF_MEDIANS, SDR_MEDIAN_OF_MEDIANS, SDR_POOLED_MEAN,
                                       SDR_POOLED_MEDIAN)
from demucs.ranges import COUNT, Range
from demucs.runs.layout import STUDY

FOOTER = "<footer>Drawn by graphing_scripts/report.py from records and example separations.</footer>"
SECONDS = Range(1, 600, unit="seconds")      # limited, since sounds are embedded in the page
FURTHER = (*FAMILIES.values(), SDR_POOLED_MEDIAN, SDR_POOLED_MEAN)


def report(chain: Chain, examples: Path, *, seconds: float = 10., tracks: int = 3,
           study: tp.Optional[Path] = None) -> str:
    """HTML page with the report on one training.

    Args:
        chain: the run, last of the runs that it continues.
        examples: folder of its example separations, beside which are those of further test sets; may be missing.
        seconds: length of the excerpts.
        tracks: maximum number of example songs.
        study: file of a study of reference-free quality measures; may be missing.
    """
    run, rows = chain.last, baselines.load()
    sets, further = run.on_each_set, run.on_each_set[1:]
    first = first_families([run])
    others = [family for family in FURTHER if family not in first]
    told, note = summary(chain, rows)
    model = run.card.model if run.card is not None else run.evaluation.model if run.evaluation is not None else ""
    head = "".join([f"<h1>{escape(f'{model} {run.name}'.strip())}</h1>", paragraph(told, "summary"),
                    notes([note] if note else []),
                    *(paragraph(text, "quiet") for part in chain.parts for text in part.run.notes)])
    body = "".join([
        section("Scores", *(family_scores(sets, family, rows) for family in first), sums_of_sources(run, first),
                gaps(run, (SDR_MEDIAN_OF_MEDIANS, SDR_MEAN_OF_MEDIANS), rows)),
        section("Listen", listening({"separated": examples}, run.sources, seconds=seconds, tracks=tracks, further={
            scored_on(each): examples.with_name(examples.name + each.suffix) for each in further})),
        section("Training", training(chain)),
        section("Track by track", songs(run), *(folded(scored_on(each), songs(each)) for each in further)),
        section("Quality without a reference", quality(study) if study is not None else ""),
        section("Aggregated in other ways", other_families(sets, others, rows), other_measures(run, FURTHER)),
        section("How it was made", made_by(chain), *map(evaluation_card, sets))])
    return page(f"Report on {run.name}", head + contents(body) + body + FOOTER)


def comparison(chains: tp.Sequence[Chain], examples: tp.Mapping[str, Path], *, seconds: float = 10.,
               tracks: int = 3) -> str:
    """HTML page with a report that compares the last runs of all `chains` with that of the first chain. `examples` has
    the folder of example separations of each chain, by name; `seconds` and `tracks`: see `report`."""
    from pages import comparison_sections as compared   # imports scipy, which takes as long as drawing a figure
    runs, rows = [chain.last for chain in chains], baselines.load()
    first = first_families(runs)
    others = [family for family in FURTHER if family not in first]
    paired, missing = compared.paired(runs)
    limits = compared.general_notes(paired)
    groups = compared.scored_configurations(runs)
    evaluations = compared.averages(groups)
    base = next(iter(evaluations.values()), None)
    seeds_alone = len(groups) == 1 and len(groups[0].runs) == len(runs) > 1
    heading = f"{runs[0].name} and {', '.join(run.name for run in runs[1:])}"
    title = f"{'Seeds of one configuration:' if seeds_alone else 'Comparison of'} {heading}"
    head = f"<h1>{escape(title)}</h1>" + "".join(
        paragraph(text, "summary") for text in compared.verdicts(runs, paired)) + notes([*missing, *limits]) + "".join(
        paragraph(text, "quiet") for run in runs for text in run.notes)
    pairs = {key: compared.differences(base, evaluations, found, limits) for key, found in paired.items() if base}
    shown = [pairs.pop(family.key) for family in first if family.key in pairs]
    body = "".join([
        section("Differences", *shown, folded("In other families", *pairs.values())),
        section("Spread over seeds", compared.spreads(groups, first),
                folded("In other families", compared.spreads(groups, [each for each in FAMILIES.values()
                                                                       if each not in first]))),
        section("Scores", *(family_scores(on_all_sets(runs), family, rows) for family in first),
                other_families(on_all_sets(runs), others, rows)),
        section("Listen", listening(examples, runs[0].sources, seconds=seconds, tracks=tracks)),
        section("Training", compared.curves_together(chains),
                *(folded(f"Training of {chain.name}", training(chain)) for chain in chains)),
        section("Track by track", compared.songs_together(runs, paired)),
        section("How they were made", compared.settings_that_differ(runs),
                *(folded(chain.name, made_by(chain), *map(evaluation_card, chain.last.on_each_set))
                  for chain in chains))])
    return page(title, head + contents(body) + body + FOOTER)


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/report.py 162f67a7")
    command_line.add_chain_options(parser)
    command_line.add_origin_options(parser)
    parser.add_argument("--seconds", type=number("--seconds", SECONDS), default=10.,
                        help="length of the example excerpts in seconds (default: 10)")
    parser.add_argument("--tracks", type=number("--tracks", COUNT), default=3,
                        help="maximum number of example songs (default: 3)")
    arguments = parser.parse_args()
    chains = find_chains(arguments.runs, arguments.results, experiments=arguments.experiments,
                         continued=arguments.continued)
    for chain in chains:
        chain.last.trained_on, chain.last.scored_on = arguments.trained_on, arguments.scored_on
    if not arguments.runs:
        print(f"newest run: {chains[0].name}")
    folders = {chain.name: arguments.results / "examples" / chain.name for chain in chains}
    options = {"seconds": arguments.seconds, "tracks": arguments.tracks}
    if len(chains) == 1:
        study = arguments.results / "quality" / chains[0].name / STUDY
        text = report(chains[0], folders[chains[0].name], study=study, **options)
    else:
        text = comparison(chains, folders, **options)
    name = command_line.together(chain.name for chain in chains)
    for path in (arguments.results / "figures" / name / "report.html", arguments.results / "report.html"):
        write_text(path, text)
        print(path)
    command_line.print_notes(note for chain in chains for part in chain.parts for note in part.run.notes)


if __name__ == "__main__":
    command_line.run(main)
