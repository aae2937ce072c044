"""The sections of a run's report: what each of them says, as HTML built from the run's records."""

import typing as tp
from pathlib import Path

import baselines
from page import escape, facts, number, paragraph, picture, table
from plot_results import best_epoch, training_curves
from plot_scores import METRICS, score_bars, track_spread
from readers import Run
from scores import PUBLISHED, Row, measured, published, undefined

from demucs.metrics.aggregates import ALL, NSDR_MEAN, Family, aggregate
from demucs.schema import RunCard

MEANINGS = {
    "nsdr_mean": "nSDR compares a whole track with the truth in one ratio; the mean over tracks is what the Music "
                 "Demixing Challenge ranks by and what Demucs logs as nsdr.",
    "sdr_median_of_medians": "SDR of BSSEval v4 in frames of one second: the median over frames, then the median over "
                             "tracks. Most papers print this one.",
    "sdr_mean_of_medians": "The same medians over frames, but then the mean over tracks: what Demucs logs as sdr.",
    "nsdr_median": "The nSDR of the middle track instead of the mean: one bad track does not move it.",
}


def summary(run: Run) -> str:
    """The run in a sentence or two."""
    parts = []
    if run.card is not None:
        card = run.card
        parts.append(f"{card.model} ({card.parameters / 1e6:.1f} million parameters) trained for {card.epochs_done} "
                     f"of {card.epochs} planned epochs on {card.train_tracks} songs.")
    if run.evaluation is not None:
        own, *others = measured(run, NSDR_MEAN) or [None]
        if own is not None and own.values[ALL] is not None:
            told = f"On {run.evaluation.dataset} ({len(run.evaluation.tracks)} tracks) its nSDR is " \
                   f"{number(own.values[ALL])} dB (mean over tracks, then over sources)"
            compared = ", ".join(f"{row.label} {number(row.values[ALL])} dB" for row in others)
            parts.append(f"{told}; for comparison: {compared}." if compared else f"{told}.")
    elif run.history:
        parts.append(f"It has {len(run.history)} epochs in its history and was not evaluated yet "
                     f"(slurm_scripts/evaluate_slurm.sh {run.name}).")
    return " ".join(parts)


def family_scores(run: Run, family: Family, rows: tp.Sequence[baselines.Baseline]) -> str:
    """Picture and table of one family; "" where the run has no scores in it."""
    own, theirs = measured(run, family), published(run, family, rows)
    if not own or run.evaluation is None:
        return ""
    sources = [*run.evaluation.sources, ALL]
    heading = [(f"Published, {baselines.TEST_SET}" + (
        "" if baselines.comparable(run.evaluation) else ": other songs, not comparable"),)] if theirs else []

    def cells(row: Row) -> tp.List[tp.Union[str, float, None]]:
        return [row.label, *(row.values[source] for source in sources)]
    lines = [*map(cells, own), *heading, *map(cells, theirs)]
    kinds = [*(row.kind for row in own), *("group" for _ in heading), *(PUBLISHED for _ in theirs)]
    told = "; ".join(f"{row.label}: " + ", ".join(
        f"{'mean' if name == ALL else name} {number(row.values[name])}" for name in sources) for row in own)
    return (f"<h3>{escape(family.short)}</h3>" + paragraph(MEANINGS[family.key], "quiet")
            + picture(lambda theme: score_bars(run, family, theme, rows), f"Bars of {family.label}. {told}.")
            + table(["", *sources[:-1], "mean"], lines, caption=family.label, kinds=kinds)
            + paragraph(undefined(aggregate(run.evaluation, family)), "quiet"))


def training(run: Run) -> str:
    """The training curves; "" without a history."""
    if not run.history:
        return ""
    best = best_epoch(run)
    told = f"the best weights are those of epoch {best}" if best else "the best weights come from an earlier run"
    return picture(lambda theme: training_curves(run, theme), f"Training curves over {len(run.history)} epochs: loss, "
                   f"validation nSDR per source, penalty and gradient norm; {told}.")


def songs(run: Run) -> str:
    """The distribution over tracks, and a table of them that sorts."""
    evaluation = run.evaluation
    if evaluation is None:
        return ""
    spreads = [picture(lambda theme, metric=metric: track_spread(run, metric, theme),
                       f"{text} of each of {len(evaluation.tracks)} tracks, per source.")
               for metric, text in METRICS.items()]
    known = {metric for track in evaluation.tracks for scores in track.scores.values() for metric in scores}
    columns = [(source, metric) for metric in METRICS if metric in known for source in evaluation.sources]
    head = ["track", *(f"{source} {'nSDR' if metric == 'nsdr' else metric}" for source, metric in columns), "length, s"]
    rows = [[track.name, *(track.scores.get(source, {}).get(metric) for source, metric in columns), track.duration]
            for track in evaluation.tracks]
    return "".join(spreads) + table(head, rows, sortable=True,
                                    caption="Scores of each track in dB; a click on a head sorts")


def listening(run: Run, folder: Path, *, seconds: float, tracks: int) -> str:
    """Players and spectrograms of example separations; "" where there are none."""
    if not folder.is_dir():
        return ""
    from excerpts import MIXTURE, excerpt, track_folders   # reads audio: not needed where there is none
    parts = []
    for place in track_folders(folder)[:tracks]:
        cut = excerpt(place, run.sources, seconds)
        clips = []
        for clip in cut.clips:
            what = "the mixture" if clip.name == MIXTURE else f"{clip.name}, separated"
            clips.append((what, clip))
            if clip.name in cut.references:
                clips.append((f"{clip.name}, reference", cut.references[clip.name]))
        figures = "".join(
            f'<figure><figcaption>{escape(what)}</figcaption><img src="{clip.picture}" '
            f'alt="Spectrogram of {escape(what)}"><audio controls preload="metadata" src="{clip.audio}"></audio>'
            "</figure>"
            for what, clip in clips)
        parts.append(f"<h3>{escape(cut.track)}</h3>" + paragraph(
            f"{cut.seconds:.0f} s from second {cut.start:.0f}. Pictures: 40 Hz to 16 kHz on a logarithmic scale from "
            f"bottom to top, brightness over 80 dB, the same scale in all.", "quiet")
            + f'<div class="clips">{figures}</div>')
    return "".join(parts)


def run_card(card: RunCard) -> str:
    """What is needed to repeat the run."""
    hours = sum(session.seconds * session.world_size for session in card.sessions) / 3600
    gpu = any(session.device.startswith("cuda") for session in card.sessions)
    sessions = table(
        ["started", "ended", "epochs", "processes", "device", "job"],
        [[s.started, s.ended, f"{s.first_epoch} to {s.last_epoch}", str(s.world_size), s.device, s.job or ""]
         for s in card.sessions], caption="Sessions on machines (times in UTC)")
    return facts([
        ("signature", card.signature), ("overrides", " ".join(card.argv) or "none"), ("model", card.model),
        ("sources", ", ".join(card.sources)), ("audio", f"{card.samplerate} Hz, {card.audio_channels} channels"),
        ("parameters", f"{card.parameters:,}"), ("seed", str(card.seed)), ("batch size", str(card.batch_size)),
        ("songs", f"{card.train_tracks} for training, {card.valid_tracks} for validation"),
        ("continued from", card.continued_from or ""), ("commit", card.commit),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ("GPU-hours" if gpu else "process-hours", f"{hours:.2f}"),
    ]) + sessions + "<details><summary>settings of the model</summary>" + facts(
        (name, str(value)) for name, value in card.model_settings.items()) + "</details>"


def evaluation_card(run: Run) -> str:
    """How the scores were made."""
    if run.evaluation is None:
        return ""
    made = run.evaluation
    return "<h3>Evaluation</h3>" + facts([
        ("test set", f"{made.dataset}, {len(made.tracks)} tracks"), ("weights", made.model_hash),
        ("settings", ", ".join(f"{name}={value}" for name, value in made.settings.items())), ("commit", made.commit),
        ("versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
        ("created", made.created)])
