"""The sections of a report that compares runs: the first named is what the others are held against."""

import dataclasses
import typing as tp

from figures.bars import ablation_bars
from figures.curves import comparison_curves
from figures.forest import forest_plot
from figures.tracks import paired_scatter
from records.chains import Chain
from records.readers import Run
from records.tracks import per_track

from demucs.errors import DatasetError
from demucs.metrics.aggregates import ALL, FAMILIES, Family, track_values
from demucs.metrics.statistics import Comparison, Difference, compare, describe
from demucs.schema import Evaluation, TrackScores
from demucs.tables import DASH, interval_text, p_text, true_minus, typeset

from .elements import Cell, escape, paragraph, picture, table


def paired(runs: tp.Sequence[Run]) -> tp.Tuple[tp.Dict[str, tp.List[Comparison]], tp.List[str]]:
    """Each other run minus the first, in every family that both have per track, by the family's key; and why some are
    missing."""
    found: tp.Dict[str, tp.List[Comparison]] = {}
    notes: tp.List[str] = []
    scored = [run.evaluation for run in runs if run.evaluation is not None]
    for other in scored[1:]:
        for family in FAMILIES.values():
            if not _both(scored[0], other, family):
                continue
            try:
                made = compare(other, scored[0], family)
            except DatasetError as error:
                notes.append(f"No paired comparison: {error}.")
            else:
                if len(made.differences) == 2:    # the mean over one source says nothing more
                    made = dataclasses.replace(made, differences={
                        source: each for source, each in made.differences.items() if source != ALL})
                found.setdefault(family.key, []).append(made)
    return found, list(dict.fromkeys(notes))


def _both(first: Evaluation, second: Evaluation, family: Family) -> bool:
    return all(any(track_values(made.tracks, source, family.metric) for source in made.sources)
               for made in (first, second))


def overall(comparison: Comparison) -> tp.Optional[Difference]:
    """Of the mean over sources, or of the only source."""
    found = comparison.differences
    return found.get(ALL) or (next(iter(found.values())) if len(found) == 1 else None)


def verdicts(runs: tp.Sequence[Run], comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> tp.List[str]:
    """One sentence per other run: what may be said of it against the first, in the first family that there is."""
    told = []
    for family in FAMILIES.values():
        for found in comparisons.get(family.key, ()):
            whole = overall(found)
            words = true_minus(describe(whole)) if whole is not None else ""
            told.append(f"{found.first} against {found.second}, {words[0].lower()}{words[1:]}." if words else "")
        if told:
            return told
    return [f"{runs[0].name} and {', '.join(run.name for run in runs[1:])} have no scores per track of the same songs: "
            f"nothing can be said about which is better."]


def general_notes(comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> tp.List[str]:
    """What limits the comparison of two runs in whatever family."""
    pairs: tp.Dict[str, tp.List[tp.Tuple[str, ...]]] = {}
    for found in (each for several in comparisons.values() for each in several):
        pairs.setdefault(found.first, []).append(found.notes)
    return list(dict.fromkeys(note for several in pairs.values() for note in several[0]
                              if all(note in each for each in several)))


def differences(first: Evaluation, others: tp.Mapping[str, Evaluation], comparisons: tp.Sequence[Comparison],
                general: tp.Sequence[str]) -> str:
    """Forest plot, table, and scatter of each pair, of one family, with the notes that are not among `general`."""
    if not comparisons:
        return ""
    family = comparisons[0].family
    rows: tp.List[tp.List[Cell]] = []
    for found in comparisons:
        rows.append([f"{found.first} minus {found.second}, {found.tracks} tracks"])
        for source, difference in found.differences.items():
            interval = difference.interval
            rows.append(["mean over sources" if source == ALL else source, typeset(difference.value, plus=True),
                         true_minus(interval_text(interval.low, interval.high)),
                         f"{difference.won}, {difference.lost}, {difference.tied}",
                         p_text(difference.p_value), difference.verdict])
    level = next(iter(comparisons[0].differences.values())).interval.level
    told = "; ".join(describe(whole) for found in comparisons if (whole := overall(found)) is not None)
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
            + table(["", "difference, dB", f"{level:.0%} interval", "won, lost, tied", "signed-rank p", "verdict"],
                    rows, caption=f"Paired differences in {family.label}")
            + "".join(paragraph(text, "quiet") for text in limits) + "".join(several) + "".join(scatters))


def curves_together(chains: tp.Sequence[Chain]) -> str:
    names = ", ".join(chain.name for chain in chains)
    return picture(lambda theme: comparison_curves(chains, theme),
                   f"Validation loss and nSDR along the training of {names}.")


def songs_together(runs: tp.Sequence[Run], comparisons: tp.Mapping[str, tp.Sequence[Comparison]]) -> str:
    """A table per metric with each song's score of every run, the mean over sources, and with two runs the difference
    of every source."""
    scored = [run for run in runs if run.evaluation is not None]
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
        if len(scored) == 2:
            head += [f"{source}, difference" for source in [*sources, "mean"]]
            for row, name in zip(rows, shared):
                one, two = (_each(several[name], sources, metric) for several in tracks)
                changes = [None if a is None or b is None else b - a for a, b in zip(one, two)]
                row += [*changes, _overall(changes)]
        told = f"; differences are {scored[1].name} minus {scored[0].name}" if len(scored) == 2 else ""
        parts.append(table(head, rows, sortable=True, changes=signed, caption=f"{per_track(metric)}, mean over sources"
                                                                              f"{told}; a click on a head sorts"))
    return "".join(parts)


def _each(track: TrackScores, sources: tp.Sequence[str], metric: str) -> tp.List[tp.Optional[float]]:
    return [next(iter(track_values([track], source, metric)), None) for source in sources]


def _overall(values: tp.Sequence[tp.Optional[float]]) -> tp.Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean(track: TrackScores, sources: tp.Sequence[str], metric: str) -> tp.Optional[float]:
    return _overall(_each(track, sources, metric))


def settings_that_differ(runs: tp.Sequence[Run]) -> str:
    """A table of the overrides that not all runs share; a dash where a run has the base configuration's value."""
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
