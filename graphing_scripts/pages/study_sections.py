"""Sections of the report of a study: answer, arms, comparisons, steps, songs, settings."""

import typing as tp

from figures.forest import forest_plot
from figures.seeds import spread_plot
from records.comparisons import ArmStudy

from demucs.metrics.aggregates import ALL, track_values
from demucs.metrics.study_tables import answer, arm_rows, comparison_rows, machines, notes, sentence
from demucs.metrics.verdicts import INCONCLUSIVE
from demucs.tables import true_minus

from .elements import Cell, escape, facts, paragraph, picture, table
from .elements import notes as box


def head(study: ArmStudy) -> str:
    """Title, question, answer, and limits."""
    result = study.result
    weak = [item for item in result.comparisons if item.verdict == INCONCLUSIVE]
    warning = [f"{len(weak)} of {len(result.comparisons)} comparisons are inconclusive: an arm is not shown to exceed "
               f"a fixed filter, or has one seed."] if weak else []
    return (f"<h1>Study {escape(result.name)}</h1>" + paragraph(result.question)
            + paragraph(true_minus(_capital(answer(result))), "summary") + box(warning))


def arms(study: ArmStudy) -> str:
    """Scores of every arm, over seeds and beside the fixed filter."""
    names, rows = arm_rows(study.result, study.folder)
    spreads = {arm: {ALL: found[ALL]} for arm, found in study.spreads().items() if ALL in found}
    told = "; ".join(f"{row[0]} {row[1]} dB" for row in rows)
    above = study.above_filter()
    return (table(names, [[true_minus(cell) for cell in row] for row in rows],
                  caption=f"Scores of the arms, {study.family.label}, mean over sources and seeds")
            + (picture(lambda theme: spread_plot(spreads, [], theme),
                       true_minus(f"Scores of every seed, {study.family.label}. {told}.")) if spreads else "")
            + "<h3>Beside a fixed filter</h3>"
            + paragraph("One fixed gain per source and frequency, fitted on the labelled training songs. An arm that "
                        "does not exceed it may have learned no more than average spectra: its comparisons are "
                        "inconclusive.")
            + picture(lambda theme: forest_plot(above, theme),
                      true_minus("Forest plot of every arm minus the fixed filter. " + "; ".join(
                          f"{item.first} {item.difference:+.2f} dB" for item in study.result.above_filter) + ".")))


def comparisons(study: ArmStudy) -> str:
    """Verdicts, and forest plots of the paired differences per source, which do not decide what is inconclusive."""
    result = study.result
    names, rows = comparison_rows(result)
    parts = [table(names, [[true_minus(cell) for cell in row] for row in rows],
                   caption="Verdicts by the interval over songs and seeds; the first is the question"),
             *(paragraph(true_minus(_capital(sentence(item))), "quiet") for item in result.comparisons)]
    for base in dict.fromkeys(item.second for item in result.comparisons):
        found = study.against(base)
        told = "; ".join(f"{item.first} {item.difference:+.2f} dB" for item in result.comparisons
                         if item.second == base)
        parts.append(picture(lambda theme, found=found: forest_plot(found, theme),
                             true_minus(f"Forest plot of differences to {base}, per source. Mean over sources: "
                                        f"{told}.")))
    return "".join(parts)


def trainings(study: ArmStudy) -> str:
    """Table of all trainings: time, steps, speed."""
    rows = [[f"{item.arm}, seed {item.seed}", f"{item.seconds:.1f}", str(item.steps),
             f"{1000 * item.seconds / item.steps:.0f}", str(item.examples), str(item.batch_size), f"{item.loss:.4f}",
             f"{item.load:.1f}", item.weights] for item in study.result.trainings]
    names = ["training", "seconds", "steps", "ms per step", "examples", "batch", "training loss", "load", "weights"]
    return table(names, rows, caption="Trainings: seconds of their passes over the training set; load is the number of "
                                      "running processes on the machine at the end")


def songs(study: ArmStudy) -> str:
    """Sortable table of the test songs: the mean over sources and seeds of every arm."""
    averages = {arm: study.average(arm) for arm in study.scored}
    columns = {arm: {track.name: track for track in made.tracks} for arm, made in
               {**averages, "fixed filter": study.reference}.items()}
    rows: tp.List[tp.List[Cell]] = []
    for name in columns[next(iter(averages))]:
        row: tp.List[Cell] = [name]
        for tracks in columns.values():
            values = [value for source in study.result.sources
                      for value in track_values([tracks[name]], source, study.family.metric)] if name in tracks else []
            row.append(sum(values) / len(values) if len(values) == len(study.result.sources) else None)
        rows.append(row)
    return table(["track", *columns], rows, sortable=True,
                 caption=f"{study.family.label}: mean over sources and seeds; click a column head to sort")


def settings(study: ArmStudy) -> str:
    """Overrides of the arms, and the machine."""
    result = study.result
    rows = [[arm, " ".join(own) or "none beside the common ones"] for arm, own in result.arms.items()]
    return (table(["arm", "overrides"], rows, caption="Settings in which the arms differ")
            + facts([("test songs", f"{result.dataset}, {len(study.reference.tracks)} songs"),
                     ("seeds", ", ".join(map(str, result.seeds))), ("training time", f"{result.seconds:g} s each"),
                     ("machine", "; ".join(machines(result))), ("code", result.commit[:12]),
                     ("common overrides", " ".join(result.common)), ("torch", result.versions.get("torch", "")),
                     ("finished", result.created)]))


def limits(study: ArmStudy) -> str:
    return "".join(paragraph(true_minus(note)) for note in notes(study.result, study.folder))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
