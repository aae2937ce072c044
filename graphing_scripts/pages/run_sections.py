"""Sections of a report on one run, as HTML built from the run's records."""

import typing as tp
from pathlib import Path

from figures.bars import score_bars
from figures.correlations import AMONG, correlations
from figures.curves import best_note, epochs_in_words, tested_curves, training_curves
from figures.tracks import track_spread
from records import baselines
from records.chains import Chain
from records.comparability import family_in_words, statement
from records.readers import RECORDS_OF_A_RUN, Run
from records.scores import (PUBLISHED, RUN, Row, advice, choose, families_with_scores, groups_of, measured,
                            of_published_sources, scored_on, subject_of, undefined)
from records.tracks import doubtful, metrics_of, per_track

from demucs import schema
from demucs.metrics.aggregates import (ALL, EVERY_FAMILY, NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS, Family, aggregate,
                                       aggregate_tracks, track_values)
from demucs.schema import Evaluation, QualityStudy
from demucs.tables import DASH, true_minus, typeset

from .elements import Cell, escape, folded, paragraph, picture, players, table
from .excerpts import HIGHEST, LOWEST, RANGE, excerpt, shared_tracks

MEANINGS = {
    "nsdr_mean": "nSDR is one ratio per track: energy of the reference divided by energy of the error, in dB. The mean "
                 "over tracks is what the Music Demixing Challenge ranks by and what Demucs logs as nsdr.",
    "sdr_median_of_medians": "SDR of BSSEval v4 in frames of one second: the median over frames, then the median over "
                             "tracks. Most papers print this one.",
    "sdr_mean_of_medians": "The same medians over frames, but then the mean over tracks: what Demucs logs as sdr.",
    "nsdr_median": "The median over tracks of the nSDR, instead of the mean: a single outlier hardly changes it.",
    "sdr_pooled_mean": "The mean over all frames of all tracks, which weighs long tracks more: what the notes on "
                       "variants of HTDemucs quote.",
    "sdr_pooled_median": "The median over all frames of all tracks, which weighs long tracks more.",
}
UNSURE = "\u2020"
SUMS = "Sums of the estimates against sums of the true sources, as in a separation into two stems."


def first_families(runs: tp.Sequence[Run]) -> tp.List[Family]:
    """Families shown first: mean nSDR and the SDR of papers, those that any of the runs has; if there is neither, the
    first family that a run has. [] without scores."""
    found = [family for family in (NSDR_MEAN, SDR_MEDIAN_OF_MEDIANS) if any(measured(run, family) for run in runs)]
    return found or [family for run in runs for family in families_with_scores(run)][:1]


def summary(chain: Chain, table_of_published: tp.Sequence[baselines.Baseline]) -> tp.List[str]:
    """Summary of the last run of a chain in plain text: a paragraph on training and scores, and a sentence on the
    comparability of the published numbers in `table_of_published` ("" if the run has no such scores)."""
    run, families = chain.last, first_families([chain.last])
    told = [_training_sentence(chain)]
    if families:
        rows = {family.key: measured(run, family) for family in families}
        where = "Its test printed" if run.evaluation is None else \
            f"On {run.evaluation.dataset} ({len(run.evaluation.tracks)} tracks)"
        numbers = [f"{typeset(rows[family.key][0].values[ALL])} dB {family_in_words(family.key)}"
                   for family in families]
        of = "the mean over sources" if len(run.sources) > 1 else f"of {run.sources[0]}"
        told.append(f"{where}: {' and '.join(numbers)}, {of}.")
        told += filter(None, (_on_a_further_set(each, families) for each in run.on_each_set[1:]))
        others = [row for row in rows[families[0].key] if row.kind not in (RUN, PUBLISHED)]
        if others:
            compared = ", ".join(f"{row.label} {typeset(row.values[ALL])} dB" for row in others)
            told.append(f"Reference separators, in {families[0].name}: {compared}.")
    elif run.history:
        told.append(f"It was not evaluated yet (slurm_scripts/evaluate_slurm.sh {run.name})."
                    if run.kind == RECORDS_OF_A_RUN else f"It has no scores: {advice(run)}.")
    note = choose(run, families[-1], table_of_published).sentence if families and of_published_sources(run) else ""
    return [" ".join(filter(None, told)), note]


def _on_a_further_set(run: Run, families: tp.Sequence[Family]) -> str:
    numbers = [f"{typeset(rows[0].values[ALL])} dB {family_in_words(family.key)}" for family in families
               if (rows := measured(run, family))]
    return f"On {scored_on(run)}: {' and '.join(numbers)}." if numbers else ""


def _training_sentence(chain: Chain) -> str:
    run, before = chain.last, chain.parts[:-1]
    history = f", after {' and '.join(f'{len(part.epochs)} of {part.run.name}' for part in before)}" if before else ""
    if not before and run.first_epoch > 1:
        history = f", after {run.first_epoch - 1} of the training that it continues"
    if run.card is not None:
        card = run.card
        return (f"{card.model} ({card.parameters / 1e6:.1f} million parameters) trained for {card.epochs_done} of "
                f"{card.epochs} planned epochs{history}, on {card.train_tracks} songs.")
    return f"{len(run.history)} epochs of training{history}." if run.history else ""


def other_families(runs: tp.Sequence[Run], families: tp.Sequence[Family], rows: tp.Sequence[baselines.Baseline]) -> str:
    """HTML of the scores of `runs` in each of `families`, collapsed; `rows` are published numbers."""
    return "".join(folded(family.short, family_scores(runs, family, rows, headed=False), on_paper=True)
                   for family in families)


def family_scores(runs: tp.Sequence[Run], family: Family, rows: tp.Sequence[baselines.Baseline], *,
                  headed: bool = True) -> str:
    """HTML with bar chart and table of the scores of `runs` in one family, beside reference separators and the
    published `rows`; "" if no run has scores in it. With `headed` it has a heading."""
    groups = groups_of(runs, family, rows)
    scored = [run for run in runs if measured(run, family)]
    if not groups:
        return ""
    sources = scored[0].sources
    columns = [*sources, *([ALL] if len(sources) > 1 else [])]
    notes = list(dict.fromkeys(row.footnote for group in groups for row in group.rows if row.footnote))

    def cells(row: Row) -> tp.List[Cell]:
        mark = f" [{notes.index(row.footnote) + 1}]" if row.footnote else ""
        return [row.label + mark, *(row.values.get(source) for source in columns)]
    lines = [line for group in groups for line in ([group.heading], *map(cells, group.rows))]
    kinds = [kind for group in groups for kind in ("group", *(row.kind for row in group.rows))]
    told = "; ".join(f"{row.label}: " + ", ".join(
        f"{'mean' if name == ALL else name} {typeset(row.values.get(name))}" for name in columns)
        for group in groups for row in group.rows if row.kind == RUN)
    names = list(dict.fromkeys(run.name for run in scored))
    title = f"Scores of {names[0]}" if len(names) == 1 else f"Scores of {len(names)} runs"
    gone = [undefined(aggregate(run.evaluation, family)) for run in scored if run.evaluation is not None]
    heading = f"<h3>{escape(family.short)}</h3>" if headed else ""
    return (heading + paragraph(MEANINGS.get(family.key, ""), "quiet")
            + picture(lambda theme: score_bars(groups, sources, title, theme), f"Bars of {family.label}. {told}.")
            + table(["", *("mean" if name == ALL else name for name in columns)], lines, caption=family.label,
                    kinds=kinds)
            + "".join(paragraph(f"[{place}] {note}", "quiet") for place, note in enumerate(notes, start=1))
            + "".join(paragraph(text, "quiet") for text in dict.fromkeys(gone)) + _apart(scored[0], family, rows))


def gaps(run: Run, families: tp.Sequence[Family], rows: tp.Sequence[baselines.Baseline]) -> str:
    """HTML on the gap between the run and the best comparable one of the published `rows`, which is in the family that
    papers use: one sentence for each of `families` that the run's number could be quoted in. "" without a comparable
    row."""
    papers = SDR_MEDIAN_OF_MEDIANS
    if not measured(run, papers) or not of_published_sources(run):
        return ""
    own, beside = subject_of(run, papers), choose(run, papers, rows).beside
    told = [statement(subject_of(run, family), beside[0].subject, in_their_family=own.value)
            for family in families if measured(run, family) and beside]
    heading = "<h3>Gap to the best comparable published number</h3>"
    return heading + "".join(paragraph(true_minus(text)) for text in told) if told else ""


def _apart(run: Run, family: Family, rows: tp.Sequence[baselines.Baseline]) -> str:
    """HTML table of the published rows of the family that are not drawn beside the run, grouped by reason; "" if none
    is comparable. Rows of models that were trained on the test set are only counted."""
    selection = choose(run, family, rows)
    if not of_published_sources(run) or not (selection.beside or selection.others):
        return ""
    others = [("another kind of model, comparable otherwise", row) for row in selection.others]
    others += [("; ".join(item.reasons), item.row) for item in selection.apart if item.row.family == family.key]
    columns = [*baselines.SOURCES, ALL]
    lines: tp.List[tp.List[Cell]] = []
    for why in dict.fromkeys(reason for reason, _ in others):
        lines.append([why])
        lines += [[row.label, *(row.values.get(source) for source in columns), row.source]
                  for reason, row in others if reason == why]
    excluded = sum(row.family == family.key for row in selection.excluded)
    left = f"Left out: {excluded} of models that were trained on the test set." if excluded else ""
    return folded(f"{len(others)} published results that are not shown above, and why",
                  table(["", *baselines.SOURCES, "mean", "read in"], lines, caption=family.label),
                  paragraph(left, "quiet")) if others else ""


def other_measures(run: Run, shown: tp.Sequence[Family]) -> str:
    """HTML tables, collapsed, of the run's scores in all families that are neither in `shown` nor pooled, such as
    SI-SDR, ISR, SIR, SAR; "" if there are none."""
    parts = []
    for family in EVERY_FAMILY.values():
        rows = measured(run, family) if family not in shown and not family.pooled else []
        columns = [*run.sources, *([ALL] if len(run.sources) > 1 else [])]
        parts.append(table(["", *("mean" if name == ALL else name for name in columns)],
                           [[row.label, *(row.values.get(source) for source in columns)] for row in rows],
                           caption=family.label, kinds=[row.kind for row in rows]))
    return folded("Other measures", *parts, on_paper=True)


def sums_of_sources(run: Run, families: tp.Sequence[Family]) -> str:
    """HTML tables, one per family, of the run's scores of sums of sources, such as the instrumental; "" if it has none.
    They are not part of means over sources."""
    evaluation = run.evaluation
    if evaluation is None:
        return ""
    sums = list(dict.fromkeys(source for track in evaluation.tracks for source in track.scores
                              if source not in evaluation.sources))
    parts = []
    for family in families if sums else []:
        found = aggregate_tracks(evaluation.tracks, sums, family)
        if found.defined:
            parts.append(table(["", *sums], [[f"{evaluation.model} {evaluation.name}", *(
                found.values[source] for source in sums)]], caption=family.label))
    return f"<h3>Sums of sources</h3>{paragraph(SUMS, 'quiet')}{''.join(parts)}" if parts else ""


def training(chain: Chain) -> str:
    """HTML with training curves, scores of tests during training, and a table of the best weights of each run of the
    chain; "" without a history."""
    if not chain.history:
        return ""
    told = ", ".join(part.run.name for part in chain.parts)
    lines: tp.List[tp.List[Cell]] = []
    for part in (part for part in chain.parts if part.run.history):
        record = part.record(part.best) if part.best else None
        lines.append([part.run.name, f"{part.first} to {part.last}", str(part.best or DASH),
                      record.chosen if record else "of the previous run", f"{record.valid['loss']:.4f}"
                      if record and "loss" in record.valid else "", record.valid.get("nsdr") if record else None])
    return (picture(lambda theme: training_curves(chain, theme),
                    f"Training curves over {epochs_in_words(chain)} of {told}: loss, validation nSDR per source, "
                    f"chosen weights, penalty and gradient norm; {best_note(chain)}.")
            + picture(lambda theme: tested_curves(chain, theme),
                      "Scores on the test songs along the training, one panel for each way to aggregate them.")
            + table(["run", "epochs", "best epoch", "weights", "validation loss", f"validation {NSDR_MEAN.label}"],
                    lines, caption="Best weights by validation"))


def songs(run: Run) -> str:
    """HTML with a plot of the distribution over tracks and a sortable table of tracks, for each metric of the run; ""
    without an evaluation."""
    evaluation = run.evaluation
    if evaluation is None:
        return ""
    first, others = [], []
    for metric in metrics_of(evaluation):
        made = picture(lambda theme, metric=metric: track_spread(run, metric, theme),
                       f"{per_track(metric)}: each of {len(evaluation.tracks)} tracks, per source.")
        (first if metric in ("nsdr", "SDR") else others).append(made + _track_table(evaluation, metric))
    return "".join(first) + folded("Other metrics, track by track", *others)


def _track_table(evaluation: Evaluation, metric: str) -> str:
    unsure = doubtful(evaluation, metric)
    sources, several = evaluation.sources, len(evaluation.sources) > 1
    rows: tp.List[tp.List[Cell]] = []
    for track in evaluation.tracks:
        values = [next(iter(track_values([track], source, metric)), None) for source in sources]
        known = [value for value in values if value is not None]
        mean = [sum(known) / len(known) if len(known) == len(values) else None] if several else []
        rows.append([track.name + (UNSURE if track.name in unsure else ""), *values, *mean, track.duration])
    head = ["track", *sources, *(["mean"] if several else []), "length, s"]
    told = f"{UNSURE} The sources of these tracks are so similar that this metric depends on rounding errors."
    return table(head, rows, sortable=True, caption=f"{per_track(metric)}; click a column head to sort") + paragraph(
        told if unsure else "", "quiet")


def quality(study_file: Path) -> str:
    """HTML on the agreement of reference-free measures with true scores, from the record of a study in `study_file`; ""
    if there is no such file.

    Raises SchemaError if the file is not the record of a study.
    """
    if not study_file.exists():
        return ""
    study = schema.load(QualityStudy, study_file)
    measures = list(study.measures)
    told = f"Measured on {study.dataset}, {len(study.tracks)} songs"
    if study.dataset.startswith("synthetic"):
        told += ": results on synthesised songs need not hold for music"
    pictures = [picture(lambda theme, among=among: correlations(study, among, measures, theme),
                        f"Spearman's correlation with nSDR of {', '.join(study.measures.values())}; {words}.")
                for among, words in AMONG.items()]
    return paragraph(f"{told}.") + "".join(pictures)


def listening(folders: tp.Mapping[str, Path], sources: tp.Sequence[str], *, seconds: float, tracks: int,
              further: tp.Optional[tp.Mapping[str, Path]] = None) -> str:
    """HTML with players and spectrograms of example separations, with a column per run; "" if there are none.

    Args:
        folders: folder of examples of each run, by its name; examples of tracks that all have are shown.
        sources: order of the sources.
        seconds: length of the excerpts.
        tracks: maximum number of songs per test set.
        further: folders of examples of one run on further test sets, by the names of these, which the players show.

    Raises AudioError as `excerpt`.
    """
    shown = [players(excerpt(found, sources, seconds)) for found in _tracks_in(folders)[:tracks]]
    for test_set, folder in (further or {}).items():
        shown += [players(excerpt(found, sources, seconds), f"Test set: {test_set}.")
                  for found in _tracks_in({"separated": folder})[:tracks]]
    told = (f"Spectrograms from {LOWEST:.0f} Hz to {HIGHEST / 1000:.0f} kHz on a logarithmic scale, brightness over "
            f"{RANGE:.0f} dB, the same in all pictures of a song.")
    how = ("A click on a spectrogram plays from that time. Starting another player of the same song continues at the "
           "same time.")
    return paragraph(told, "quiet") + paragraph(how, "quiet screen") + "".join(shown) if shown else ""


def _tracks_in(folders: tp.Mapping[str, Path]) -> tp.List[tp.Dict[str, Path]]:
    return shared_tracks(folders) if folders and all(folder.is_dir() for folder in folders.values()) else []
