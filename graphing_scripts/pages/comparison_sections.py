"""Sections of a report that compares runs with the first one.

Runs that differ only in their seed are one configuration. Configurations are compared by their averages over seeds, and
the spread over the seeds of each has a section of its own.
"""

import dataclasses
import typing as tp

from figures.bars import ablation_bars
from figures.curves import comparison_curves
from figures.forest import forest_plot
from figures.seeds import spread_plot
from figures.tracks import paired_scatter
from records.chains import Chain
from records.configurations import Configuration, compared, configurations, spread
from records.readers import Run
from records.tracks import per_track

from demucs.errors import DatasetError
from demucs.metrics.aggregates import ALL, FAMILIES, Family, track_values
from demucs.metrics.statistics import FEWEST, Comparison, Difference, describe, describe_spread, seeds_text
from demucs.schema import Evaluation, TrackScores
from demucs.tables import DASH, interval_text, p_text, true_minus, typeset

from .elements import Cell, escape, paragraph, picture, table


def scored_configurations(runs: tp.Sequence[Run]) -> tp.List[Configuration]:
    """Configurations of those runs that have an evaluation, in the order of their first runs."""
    return configurations([run for run in runs if run.evaluation is not None])


def paired(runs: tp.Sequence[Run]) -> tp.Tuple[tp.Dict[str, tp.List[Comparison]], tp.List[str]]:
    """(comparisons, notes): paired comparisons of every further configuration with the first one, as lists by the key
    of the family, and sentences on missing ones. Families are those in which both have scores per track."""
    found: tp.Dict[str, tp.List[Comparison]] = {}
    notes: tp.List[str] = []
    scored = scored_configurations(runs)
    for other in scored[1:]:
        for family in FAMILIES.values():
            if not _both(scored[0].average, other.average, family):
                continue
            try:
                made = compared(other, scored[0], family)
            except DatasetError as error:
                notes.append(f"No paired comparison: {error}.")
            else:
                if len(made.differences) == 2:    # one source: the mean over sources is the same number
                    made = dataclasses.replace(made, differences={
                        source: each for source, each in made.differences.items() if source != ALL})
                found.setdefault(family.key, []).append(made)
    return found, list(dict.fromkeys(notes))


def _both(first: Evaluation, second: Evaluation, family: Family) -> bool:
    return all(any(track_values(made.tracks, source, family.metric) for source in made.sources)
               for made in (first, second))


def overall(comparison: Comparison) -> tp.Optional[Difference]:
    """Difference of the mean over sources in a comparison, or of its only source; None without one."""
    found = comparison.differences
    return found.get(ALL) or (next(iter(found.values())) if len(found) == 1 else None)


def verdicts(runs: tp.Sequence[Run], comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> tp.List[str]:
    """Sentences for the summary: for each further configuration the verdict against the first, in the first family with
    `comparisons`, or why there is none. If all scored runs are seeds of one configuration: a sentence on their
    spread."""
    groups = scored_configurations(runs)
    if len(groups) == 1 and len(groups[0].runs) > 1:
        return [_spread_in_words(groups[0]), *(f"{run.name} has no scores." for run in runs if run.evaluation is None)]
    told = []
    for family in FAMILIES.values():
        for found in comparisons.get(family.key, ()):
            whole = overall(found)
            words = true_minus(describe(whole)) if whole is not None else ""
            told.append(f"{found.first} against {found.second}, {words[0].lower()}{words[1:]}." if words else "")
        if told:
            return told
    return [_why_not(runs[0], other) for other in runs[1:]]


def _why_not(first: Run, other: Run) -> str:
    """Sentence on why two runs cannot be compared."""
    both, end = f"{first.name} and {other.name}", "nothing can be said about which is better."
    if first.evaluation is None or other.evaluation is None:
        missing = " and ".join(run.name for run in (first, other) if run.evaluation is None)
        return f"{both}: of {missing} there are no scores per track, so {end}"
    ours, theirs = ({track.name for track in run.evaluation.tracks} for run in (first, other) if run.evaluation)
    shared = len(ours & theirs)
    if 0 < shared < FEWEST:
        return (f"{both} have scores of {shared} song{'s' * (shared != 1)} in common, and a comparison needs {FEWEST}, "
                f"so {end}")
    if not shared:
        return f"{both} have no scores per track of the same songs: {end}"
    return f"{both} have no scores of the same sources and metric for {FEWEST} songs or more: {end}"


def _spread_in_words(configuration: Configuration) -> str:
    """Sentence on the spread over seeds of the mean over sources, in the first family with one."""
    for family in FAMILIES.values():
        found = spread(configuration, family)
        if found:
            names = ", ".join(map(_seed, configuration.runs))
            return true_minus(f"{seeds_text(len(configuration.runs))} of one configuration: {names}. "
                              f"{describe_spread(found.get(ALL) or next(iter(found.values())))}; {family.label}.")
    return f"{configuration.name}: scored on different songs or in different metrics, so there is no spread over seeds."


def spreads(groups: tp.Sequence[Configuration], families: tp.Sequence[Family]) -> str:
    """HTML with a plot and a table of the spread over seeds of each configuration in `groups`, for each of `families`;
    "" if none has several scored seeds."""
    parts = []
    for family in families:
        found = {group.name: made for group in groups if (made := spread(group, family))}
        if not found:
            continue
        sources = groups[0].average.sources
        rows: tp.List[tp.List[Cell]] = []
        for name, made in found.items():
            seeds = ", ".join(_seed(run) for group in groups if group.name == name for run in group.runs)
            rows.append([f"{name}: {seeds}"])
            rows += [["mean over sources" if source == ALL else source, each.mean, each.deviation, each.range,
                      min(each.values), max(each.values)] for source, each in made.items()]
        told = "; ".join(describe_spread(made.get(ALL) or next(iter(made.values()))) for made in found.values())
        parts.append(f"<h3>{escape(family.short)}</h3>"
                     + picture(lambda theme, found=found: spread_plot(found, sources, theme),
                               f"Scores of every seed, {family.label}. {told}.")
                     + table(["", "mean", "standard deviation", "range", "lowest", "highest"], rows,
                             caption=f"Spread over seeds of {family.label}"))
    return "".join(parts)


def _seed(run: Run) -> str:
    return f"{run.name} (seed {run.card.seed})" if run.card is not None else run.name


def general_notes(comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> tp.List[str]:
    """Notes on limits of a comparison that are the same in all families, each once."""
    pairs: tp.Dict[str, tp.List[tp.Tuple[str, ...]]] = {}
    for found in (each for several in comparisons.values() for each in several):
        pairs.setdefault(found.first, []).append(found.notes)
    return list(dict.fromkeys(note for several in pairs.values() for note in several[0]
                              if all(note in each for each in several)))


def averages(groups: tp.Sequence[Configuration]) -> tp.Dict[str, Evaluation]:
    """Evaluation of each configuration, averaged over its seeds, by name."""
    return {group.name: group.average for group in groups}


def differences(first: Evaluation, others: tp.Mapping[str, Evaluation], comparisons: tp.Sequence[Comparison],
                general: tp.Sequence[str]) -> str:
    """HTML on the paired differences in one family: forest plot, table, notes that are not in `general`, and scatter
    plots. `comparisons` are all of that family and have the base `first`; `others` are the other evaluations by name.
    "" without comparisons."""
    if not comparisons:
        return ""
    family = comparisons[0].family
    rows: tp.List[tp.List[Cell]] = []
    tested = any(each.p_value is not None for found in comparisons for each in found.differences.values())
    for found in comparisons:
        rows.append([f"{found.first} minus {found.second}, {found.tracks} tracks"])
        for source, difference in found.differences.items():
            interval = difference.interval
            p_value = [DASH if difference.p_value is None else p_text(difference.p_value)] if tested else []
            rows.append(["mean over sources" if source == ALL else source, typeset(difference.value, plus=True),
                         true_minus(interval_text(interval.low, interval.high)),
                         f"{difference.won}, {difference.lost}, {difference.tied}", *p_value, difference.verdict])
    level = next(iter(comparisons[0].differences.values())).interval.level
    told = "; ".join(describe(whole) for found in comparisons if (whole := overall(found)) is not None)
    over = " or ".join(dict.fromkeys(each.over for found in comparisons for each in found.differences.values()))
    basis = (f"The verdict follows from the interval over {over}: better or worse where it excludes zero, else not "
             f"distinguishable."
             + (" The p value decides nothing; it tests the same songs by their ranks." if tested else
                " There is no p value: the signed-rank test does not take seeds into account."))
    limits = [f"{found.first} minus {found.second}: {true_minus(note)}" for found in comparisons for note in found.notes
              if note not in general]
    several = [picture(lambda theme: ablation_bars(comparisons, first.sources, theme),
                       f"Bars of what each run changes against {first.name}, {family.label}. {told}.")] \
        if len(comparisons) > 2 else []
    scatters = [picture(lambda theme, found=found: paired_scatter(others[found.first], first, found, theme),
                        f"Scatter of {per_track(family.metric)}: {found.first} over {found.second}, per source.")
                for found in comparisons]
    return (f"<h3>{escape(family.short)}</h3>"
            + picture(lambda theme: forest_plot(comparisons, theme),
                      f"Forest plot of paired differences, {family.label}. {told}.")
            + table(["", "difference, dB", f"{level:.0%} interval", "won, lost, tied",
                     *(["signed-rank p"] if tested else []), "verdict, by the interval"], rows,
                    caption=f"Paired differences in {family.label}")
            + paragraph(basis, "quiet")
            + "".join(paragraph(text, "quiet") for text in limits) + "".join(several) + "".join(scatters))


def curves_together(chains: tp.Sequence[Chain]) -> str:
    """HTML with validation loss and nSDR of several chains in one figure; "" if fewer than two have a history."""
    names = ", ".join(chain.name for chain in chains)
    return picture(lambda theme: comparison_curves(chains, theme),
                   f"Validation loss and nSDR along the training of {names}.")


def songs_together(runs: tp.Sequence[Run], comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> str:
    """HTML with a sortable table per metric of `comparisons`: the mean over sources of each song that all scored runs
    share, for every run. With two configurations of one run each it also has the difference of every source."""
    scored = [run for run in runs if run.evaluation is not None]
    rivals = len(scored) == len(scored_configurations(runs)) == 2
    parts, seen = [], set()
    for found in comparisons.values():
        metric = found[0].family.metric
        if metric in seen:
            continue
        seen.add(metric)
        evaluations = [run.evaluation for run in scored if run.evaluation is not None]
        sources = [source for source in evaluations[0].sources if all(source in made.sources for made in evaluations)]
        tracks = [{track.name: track for track in made.tracks} for made in evaluations]
        shared = [name for name in tracks[0] if all(name in several for several in tracks)]
        head = ["track", *(f"{run.name}, mean" for run in scored)]
        signed = range(len(head), len(head) + len(sources) + 1)
        rows: tp.List[tp.List[Cell]] = [[name, *(_mean(several[name], sources, metric) for several in tracks)]
                                        for name in shared]
        if rivals:
            head += [f"{source}, difference" for source in [*sources, "mean"]]
            for row, name in zip(rows, shared):
                one, two = (_each(several[name], sources, metric) for several in tracks)
                changes = [None if a is None or b is None else b - a for a, b in zip(one, two)]
                row += [*changes, _overall(changes)]
        told = f"; differences are {scored[1].name} minus {scored[0].name}" if rivals else ""
        parts.append(table(head, rows, sortable=True, changes=signed, caption=f"{per_track(metric)}, mean over sources"
                                                                              f"{told}; click a column head to sort"))
    return "".join(parts)


def _each(track: TrackScores, sources: tp.Sequence[str], metric: str) -> tp.List[tp.Optional[float]]:
    return [next(iter(track_values([track], source, metric)), None) for source in sources]


def _overall(values: tp.Sequence[tp.Optional[float]]) -> tp.Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean(track: TrackScores, sources: tp.Sequence[str], metric: str) -> tp.Optional[float]:
    return _overall(_each(track, sources, metric))


def settings_that_differ(runs: tp.Sequence[Run]) -> str:
    """HTML table of the overrides in which runs differ; a dash means the value of the base configuration. A sentence if
    none differ; "" if fewer than two runs have overrides."""
    known = [run for run in runs if run.argv]
    if len(known) < 2:
        return ""
    settings = [{item.lstrip("+").partition("=")[0]: item.partition("=")[2] for item in run.argv} for run in known]
    keys = [key for key in dict.fromkeys(key for several in settings for key in several)
            if len({several.get(key) for several in settings}) > 1]
    rows = [[key, *(several.get(key, DASH) for several in settings)] for key in keys]
    if not rows:
        return paragraph("The runs were made with the same settings.")
    return table(["setting", *(run.name for run in known)], rows,
                 caption="Settings that differ (a dash: the base configuration's value)")
