"""Figures of a checked dataset: findings by check, residuals of all songs, spectra with a cut-off, levels over time."""

import typing as tp

from matplotlib.lines import Line2D

from demucs.schema import DatasetCheck, FileCheck, TrackCheck, unpack_frames

from .style import Theme, heading, key, new_figure, source_color

COLORS = {"error": "#D55E00", "warning": "#C79400", "note": "#1E82C8"}
MIXTURE = "mixture"
LOWEST_RESIDUAL = -120.       # dB; smaller ones are drawn there
LOWEST_LEVEL = -100.          # dBFS
PANELS = 8                    # songs of a figure with one panel each


def findings_by_check(record: DatasetCheck, theme: Theme) -> tp.Any:
    """Bars of the number of songs with each finding; None without findings. Call within `themed(theme)`."""
    songs: tp.Dict[tp.Tuple[str, str], tp.Set[tp.Tuple[str, str]]] = {}
    for finding in record.findings:
        songs.setdefault((finding.check, finding.severity), set()).add((finding.split, finding.track))
    if not songs:
        return None
    rows = [(check, severity) for severity in COLORS for check in record.checks if (check, severity) in songs]
    figure = new_figure(9, 1.35 + 0.34 * len(rows))
    heading(figure, "Findings", f"number of songs with each, of {sum(record.splits.values())}", theme, below=0.3)
    key(figure, [Line2D([], [], color=color, linewidth=6, label=severity) for severity, color in COLORS.items()
                 if any(severity == found for _, found in rows)])
    axes = figure.add_subplot()
    most = max(len(found) for found in songs.values())
    for place, row in enumerate(rows):
        count = len(songs[row])
        axes.barh(-place, count, height=0.62, color=COLORS[row[1]])
        axes.annotate(str(count), (count, -place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks([-place for place in range(len(rows))], [record.checks[check][0] for check, _ in rows])
    axes.set_xlim(0, 1.08 * most)
    axes.set_ylim(0.5 - len(rows), 0.5)
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    return figure


def residuals(record: DatasetCheck, theme: Theme) -> tp.Any:
    """Residual of every song with a mixture file, in order, with that after alignment; None without mixture files. Call
    within `themed(theme)`."""
    songs = sorted((track for track in record.tracks if track.residual is not None),
                   key=lambda track: track.residual or 0.)
    if not songs:
        return None
    marked = {(finding.split, finding.track): finding.severity for finding in reversed(record.findings)
              if finding.check in ("residual", "misaligned", "same")}
    figure = new_figure(9, 3.4)
    heading(figure, "Mixture minus stems",
            "one dot per song; coloured: a finding; ring: with its stems moved by their lags", theme)
    axes = figure.add_subplot()
    for place, track in enumerate(songs):
        color = COLORS.get(marked.get((track.split, track.name), ""), theme.muted)
        axes.plot(place, max(track.residual or 0., LOWEST_RESIDUAL), "o", color=color, markersize=5)
        if track.aligned is not None:
            axes.plot(place, max(track.aligned, LOWEST_RESIDUAL), "o", markerfacecolor="none", markeredgecolor=color,
                      markersize=7)
    axes.set_ylabel("dB of the mixture")
    axes.set_xlabel("songs in the order of their residual")
    axes.set_ylim(LOWEST_RESIDUAL - 5, 8)
    axes.set_xlim(-1, max(len(songs), 10))
    axes.set_xticks([])
    axes.grid(axis="y", linewidth=0.7)
    return figure


def spectra(record: DatasetCheck, theme: Theme) -> tp.Any:
    """Long-term spectra of songs with a cut-off frequency, at most `PANELS` of them; None if there are none. Call
    within `themed(theme)`."""
    concerned = {(finding.split, finding.track) for finding in record.findings if finding.check == "lossy"}
    songs = [track for track in record.tracks if (track.split, track.name) in concerned
             and any(file.spectrum for file in track.files)]

    def draw(axes: tp.Any, track: TrackCheck) -> None:
        for file in track.files:
            levels = unpack_frames(file.spectrum)
            width = file.samplerate / 2000 / max(len(levels), 1)
            axes.plot([(place + 0.5) * width for place in range(len(levels))], levels, **_look(file, record, theme))
            if file.cutoff:
                axes.axvline(file.cutoff / 1000, color=theme.muted, linewidth=0.8, linestyle=":")
        axes.set_xlim(0, max(file.samplerate for file in track.files) / 2000)
    return _panels(songs, record, theme, draw, "Spectra that end below the Nyquist frequency",
                   "average over time of the level in dB; dotted: the cut-off frequency", "kHz", "dB")


def levels(record: DatasetCheck, theme: Theme) -> tp.Any:
    """Levels over time of songs with silent files, or whose stems do not sum to the mixture, with the residual, at most
    `PANELS` of them; None if there are none. Call within `themed(theme)`."""
    concerned = {(finding.split, finding.track) for finding in record.findings
                 if finding.check in ("residual", "misaligned", "same", "silent", "silence")}
    songs = [track for track in record.tracks if (track.split, track.name) in concerned
             and any(file.levels for file in track.files)]

    def draw(axes: tp.Any, track: TrackCheck) -> None:
        for file in track.files:
            _over_time(axes, file.levels, track.seconds, **_look(file, record, theme))
        _over_time(axes, track.residuals, track.seconds, color=theme.text, linewidth=1.2, linestyle=":")
        axes.set_xlim(0, track.seconds)
    return _panels(songs, record, theme, draw, "Levels over time",
                   "songs with silent files, or whose stems do not sum to the mixture; dotted: mixture minus stems",
                   "s", "dBFS")


def _over_time(axes: tp.Any, packed: str, seconds: float, **look: tp.Any) -> None:
    values = [max(level, LOWEST_LEVEL) for level in unpack_frames(packed)]
    places = [(place + 0.5) * seconds / len(values) for place in range(len(values))]
    axes.plot(places, values, marker="." if len(values) < 12 else "", **look)


def _look(file: FileCheck, record: DatasetCheck, theme: Theme) -> tp.Dict[str, tp.Any]:
    if file.source == MIXTURE:
        return {"color": theme.muted, "linewidth": 1.6}
    return {"color": source_color(file.source, _names(record), theme), "linewidth": 1.2}


def _names(record: DatasetCheck) -> tp.List[str]:
    """Sources of the record, and further stems of songs."""
    return list(dict.fromkeys([*record.sources, *(file.source for track in record.tracks for file in track.files
                                                  if file.source != MIXTURE)]))


def _panels(songs: tp.Sequence[TrackCheck], record: DatasetCheck, theme: Theme,
            draw: tp.Callable[[tp.Any, TrackCheck], None], title: str, subtitle: str, x: str, y: str) -> tp.Any:
    """Figure with one panel per song in two columns, and a key of the sources."""
    if not songs:
        return None
    shown = songs[:PANELS]
    more = f"; {len(songs) - len(shown)} more songs are not drawn" if len(songs) > len(shown) else ""
    rows = (len(shown) + 1) // 2
    figure = new_figure(11, 1.2 + 2.5 * rows)
    heading(figure, title, subtitle + more, theme, below=0.3)
    names = list(dict.fromkeys(file.source for track in shown for file in track.files))
    key(figure, [Line2D([], [], label=name, color=theme.muted if name == MIXTURE else
                        source_color(name, _names(record), theme)) for name in names])
    for place, track in enumerate(shown):
        axes = figure.add_subplot(rows, min(2, len(shown)), place + 1)
        name = f"{track.split}/{track.name}"
        axes.set_title(name if len(name) <= 60 else f"{name[:59]}\N{HORIZONTAL ELLIPSIS}", fontsize=9, parse_math=False)
        draw(axes, track)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(linewidth=0.6)
    return figure
