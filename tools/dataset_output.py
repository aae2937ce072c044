"""Output of `tools.dataset`: the table on screen, the list of findings to work through, and the page."""

import collections
import subprocess
import sys
import tempfile
import typing as tp
from pathlib import Path

from demucs import schema
from demucs.data.checks.thresholds import CHECKS, SEVERITIES
from demucs.errors import ToolError, quoted
from demucs.schema import DatasetCheck, Finding
from demucs.tables import aligned, counted, duration, tally

SCRIPT = Path(__file__).resolve().parents[1] / "graphing_scripts" / "dataset_page.py"
COLUMNS = ("path", "what", "fix", "severity", "check", "split", "track", "source", "value")     # of the fix list
ALIKE = 3          # songs of the same rate or format that are named in the overview


def text(record: DatasetCheck, most: tp.Optional[int]) -> str:
    """Overview and findings as text, at most `most` findings of each check."""
    lines = overview(record)
    for severity in SEVERITIES:
        by_check: tp.Dict[str, tp.List[Finding]] = {}
        for finding in record.findings:
            if finding.severity == severity:
                by_check.setdefault(finding.check, []).append(finding)
        for check, found in by_check.items():
            lines += ["", f"{severity}: {CHECKS[check].title} ({len(found)})"]
            for finding in found[:most]:
                lines.append(f"  {quoted(place(finding), 500)}: {quoted(finding.what, 1000)}")
            if most is not None and len(found) > most:
                lines.append(f"  and {len(found) - most} more (--all prints them)")
    return "\n".join([*lines, "", verdict(record)])


def overview(record: DatasetCheck) -> tp.List[str]:
    """Lines about kind, tracks, hours, rates and formats."""
    rows = []
    for split, count in record.splits.items():
        tracks = [track for track in record.tracks if track.split == split]
        files = [file for track in tracks for file in track.files]
        rows.append([split, str(count), duration(sum(track.seconds for track in tracks), fine=True),
                     *(tally(values, most=ALIKE) for values in ([str(file.samplerate) for file in files],
                                                                [str(file.channels) for file in files],
                                                                [file.form for file in files]))])
    table = aligned(["split", "tracks", "length", "Hz", "channels", "format"], rows, left=(0, 3, 4, 5))
    return [f"{record.path}: kind {record.kind}, {sum(record.splits.values())} tracks, {record.seconds / 3600:.2f} h; "
            f"sources {', '.join(record.sources)}", "", *table]


def place(finding: Finding) -> str:
    """Path of a finding, with the song where the path does not name it."""
    return finding.path or finding.track or "."


def verdict(record: DatasetCheck) -> str:
    """Number of findings by severity in one line."""
    counts = collections.Counter(finding.severity for finding in record.findings)
    if not counts:
        return "no faults found"
    return ", ".join(counted(counts[severity], severity) for severity in SEVERITIES if counts[severity])


def fix_list(record: DatasetCheck) -> str:
    """Findings separated by tabs, after a line with the names of the columns."""
    rows = [[place(finding), finding.what, finding.fix, finding.severity, finding.check, finding.split, finding.track,
             finding.source, "" if finding.value is None else f"{finding.value:.6g}"] for finding in record.findings]
    return "".join("\t".join(" ".join(cell.split()) if not cell.isprintable() else cell for cell in row) + "\n"
                   for row in (list(COLUMNS), *rows))


def write_page(record: DatasetCheck, path: Path) -> None:
    """Write the HTML page, by a process of its own, since the graphing scripts are no package. Raises ToolError if it
    fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dataset.json"
        schema.save(record, file)
        done = subprocess.run([sys.executable, str(SCRIPT), str(file), "--out", str(path.absolute())],
                              capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{path}: the page could not be drawn: {quoted(done.stderr, 500)}")
