"""Sections of the page about a checked dataset."""

import collections
import typing as tp

from figures import datasets

from demucs.schema import DatasetCheck, Finding
from demucs.tables import counted, duration, tally

from .elements import Cell, facts, folded, notes, paragraph, picture, section, table

SEVERITIES = ("error", "warning", "note")
ROWS = 300          # of a table of findings; the fix list has all


def verdict(record: DatasetCheck) -> str:
    """Summary of a record in a sentence."""
    tracks = f"{counted(sum(record.splits.values()), 'song')}, {record.seconds / 3600:.2f} hours"
    counts = collections.Counter(finding.severity for finding in record.findings)
    if not counts:
        return f"{tracks}: no faults found."
    return f"{tracks}: {', '.join(counted(counts[severity], severity) for severity in SEVERITIES if counts[severity])}."


def overview(record: DatasetCheck) -> str:
    """Table of the splits with rates and formats."""
    rows: tp.List[tp.List[Cell]] = []
    for split, count in record.splits.items():
        tracks = [track for track in record.tracks if track.split == split]
        files = [file for track in tracks for file in track.files]
        rows.append([split, str(count), duration(sum(track.seconds for track in tracks), fine=True),
                     *(tally(values, unit=" files") for values in ([f"{file.samplerate} Hz" for file in files],
                                                                   [str(file.channels) for file in files],
                                                                   [file.form for file in files]))])
    return table(["split", "songs", "length", "sample rate", "channels", "format"], rows, caption="Songs by split")


def findings(record: DatasetCheck) -> str:
    """Pictures and tables of the findings, one table per check."""
    groups: tp.Dict[tp.Tuple[str, str], tp.List[Finding]] = {}
    for finding in record.findings:
        groups.setdefault((finding.severity, finding.check), []).append(finding)
    bars = picture(lambda theme: datasets.findings_by_check(record, theme), "Number of songs with each finding")
    return bars + "".join(_group(record, severity, check, found) for (severity, check), found in groups.items())


def _group(record: DatasetCheck, severity: str, check: str, found: tp.Sequence[Finding]) -> str:
    title, _, threshold = record.checks.get(check, [check, severity, ""])
    rows = [[finding.path or finding.track or ".", finding.what, finding.fix] for finding in found[:ROWS]]
    more = paragraph(f"{len(found) - ROWS} more are in the fix list.", "quiet") if len(found) > ROWS else ""
    return table(["file or folder", "what", "fix"], rows,
                 caption=f"{severity.capitalize()}: {title} ({len(found)}). Threshold: {threshold}.") + more


def pictures(record: DatasetCheck) -> str:
    """Pictures of all songs and of those with findings."""
    return "".join(picture(lambda theme, draw=draw: draw(record, theme), alt) for draw, alt in (
        (datasets.residuals, "Residual of every song"),
        (datasets.levels, "Levels over time of songs with silent files or a residual"),
        (datasets.spectra, "Spectra of songs with a cut-off frequency")))


def songs(record: DatasetCheck) -> str:
    """Table of all songs that were read, with their measurements."""
    rows: tp.List[tp.List[Cell]] = []
    faults = collections.Counter((finding.split, finding.track) for finding in record.findings)
    for track in record.tracks[:10 * ROWS]:
        files = track.files
        rows.append([f"{track.split}/{track.name}", duration(track.seconds, fine=True), track.residual,
                     max((file.peak for file in files), default=None), float(sum(file.clipped for file in files)),
                     max((abs(file.offset) for file in files), default=None),
                     min((file.cutoff / 1000 for file in files if file.cutoff), default=None),
                     float(faults[track.split, track.name])])
    return folded(f"All {len(record.tracks)} songs", table(
        ["song", "length", "residual, dB", "peak, dBFS", "clipped runs", "DC offset", "cut-off, kHz", "findings"], rows,
        caption="Measurements: the largest of all files of a song, the lowest cut-off", sortable=True))


def thresholds(record: DatasetCheck) -> str:
    """Table of all checks."""
    return folded("All checks", table(["check", "severity", "threshold"], [list(row) for row in record.checks.values()],
                                      caption="From which value on there is a finding"))


def content(record: DatasetCheck) -> str:
    """All sections after the title."""
    return "".join([
        section("Songs", overview(record), songs(record)),
        section("Findings", findings(record) or paragraph("No faults found.")),
        section("Pictures", pictures(record)),
        section("How it was made", thresholds(record), facts([
            ("folder", record.path), ("kind", record.kind), ("sources", ", ".join(record.sources)),
            ("settings", ", ".join(f"{name} {value}" for name, value in record.settings.items())),
            ("date", record.created), ("code", record.commit)]))])


def head(record: DatasetCheck) -> str:
    """Summary and the most important remark."""
    errors = [finding for finding in record.findings if finding.severity == "error"]
    told = notes(["Training fails on songs with errors, or learns or scores something wrong."] if errors else [])
    return paragraph(verdict(record), "summary") + told
