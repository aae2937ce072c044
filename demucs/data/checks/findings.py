"""Findings about a song: its measurements compared with the thresholds."""

import math
import typing as tp

from ...schema import FileCheck, Finding, TrackCheck
from ...tables import counted
from ..tracks import MIXTURE
from . import thresholds as limits
from .scan import Scan
from .thresholds import CHECKS, ERROR, NOTE, WARNING


REPLACE = "replace the file, or move the song out of the dataset"
LOWEST = -120.       # dB, smallest number in a message
LOSSY = ("MP3", "MPEG", "OGG", "ffmpeg")       # in `FileCheck.form` of files that say so themselves


def finding(check: str, track: TrackCheck, what: str, fix: str, *, file: tp.Optional[FileCheck] = None, path: str = "",
            source: str = "", severity: str = "", value: tp.Optional[float] = None) -> Finding:
    """A `Finding` about a song or one of its files, with the severity of the table unless another is given."""
    if file is not None:
        source, path = source or file.source, path or file.path
    return Finding(severity or CHECKS[check].severity, check, track.split, track.name, source, path or track.folder,
                   what, fix, value)


def of_track(scan: Scan) -> tp.List[Finding]:
    """All findings about one song but those that need other songs (copies, lossy sources)."""
    track = scan.check
    found = []
    for path, message in scan.faults:
        what, _, fix = message.rpartition("; ")
        found.append(finding("unreadable", track, what or message, fix if what else REPLACE, path=path))
    for file in track.files:
        found += _of_file(track, file)
    return found + _of_files(track, scan.ragged) + _of_stems(track, scan.same)


def _of_file(track: TrackCheck, file: FileCheck) -> tp.List[Finding]:
    def add(check: str, what: str, fix: str, value: tp.Optional[float] = None, severity: str = "") -> None:
        found.append(finding(check, track, what, fix, file=file, value=value, severity=severity))
    found: tp.List[Finding] = []
    if file.nonfinite:
        add("nonfinite", f"NaN or infinite: {counted(file.nonfinite, 'sample')}", "render the file again",
            file.nonfinite)
    if file.peak < limits.SILENT_PEAK and not file.nonfinite:
        severity = ERROR if file.source == MIXTURE else WARNING
        add("silent", f"silent throughout: the peak is {_dbfs(file.peak)}",
            "export it again; if the song has no such source, keep it", file.peak, severity)
        return found
    if file.clipped >= limits.CLIPPED_RUNS:
        add("clipping", f"clipped at {_dbfs(file.peak)}: {file.clipped} runs of equal samples at one peak",
            "export it again at a lower level, before the limiter or converter that clips", file.clipped)
    steady = abs(file.offset) >= max(limits.DC_OFFSET, limits.DC_STEADY * file.drift)
    if steady and file.frames >= limits.DC_SECONDS * file.samplerate:
        add("dc", f"the mean of a channel is {file.offset:+.4f} of full scale",
            "subtract the mean, or high-pass at 10 Hz", file.offset)
    if file.source == MIXTURE and file.silent > limits.SILENT_SHARE:
        add("silence", f"silent in {file.silent:.0%} of its length", "cut the song to what is played", file.silent)
    if file.balance is not None and abs(file.balance) >= limits.ONE_SIDED:
        silent = "right" if file.balance > 0 else "left"
        add("one-sided", f"the {silent} channel is silent", "export it again in stereo, or as a mono file",
            file.balance)
    elif file.side is not None and file.side >= limits.ANTIPHASE:
        add("antiphase", f"the channels are in opposite phase: their sum is at least {min(file.side, -LOWEST):.0f} dB "
            "below their difference", "invert one channel", file.side)
    elif file.source == MIXTURE and file.side is not None and file.side <= limits.MONO:
        add("mono", "both channels are equal", "export the song in stereo; if it is a mono recording, keep it",
            file.side)
    return found


def _of_files(track: TrackCheck, ragged: bool) -> tp.List[Finding]:
    """Differences between the files of a song. Those in length follow from those in rate, and are not named then."""
    for check, key, unit, fix in (
            ("rate", "samplerate", "Hz", "resample all files of the song to the same rate"),
            ("length", "frames", "samples", "export all files of the song with the same start and end")):
        sources: tp.Dict[int, tp.List[str]] = {}
        for file in track.files:
            sources.setdefault(getattr(file, key), []).append(file.source)
        if len(sources) > 1 and not (ragged and check == "length"):
            what = "; ".join(f"{value} {unit}: {', '.join(dict.fromkeys(sources[value]))}" for value in sorted(sources))
            return [finding(check, track, what, fix)]
    return []


def _of_stems(track: TrackCheck, same: tp.Sequence[tp.Tuple[str, str]]) -> tp.List[Finding]:
    found = []
    for first, second in same:
        file = next(file for file in track.files if file.source == first)
        found.append(finding("same", track, f"{first} and {second} are the same signal",
                             f"export {first if second == MIXTURE else 'one of them'} again", file=file))
    for source, lag in track.lags.items():
        file = next(file for file in track.files if file.source == source)
        late = "late" if lag > 0 else "early"
        after = max(track.aligned or 0., LOWEST)
        what = (f"{source} is {counted(abs(lag), 'sample')} ({abs(lag) / file.samplerate * 1000:.2f} ms) {late}: "
                f"moved, it lowers the residual of the song from {track.residual:.1f} to {after:.1f} dB")
        fix = f"{'cut' if lag > 0 else 'insert'} {counted(abs(lag), 'sample')} at its beginning"
        found.append(finding("misaligned", track, what, fix, file=file, value=lag))
    return found if same else found + _of_sum(track)


def _of_sum(track: TrackCheck) -> tp.List[Finding]:
    residual = track.aligned if track.lags else track.residual
    lossy = any(file.cutoff or any(name in file.form for name in LOSSY) for file in track.files)
    least = limits.RESIDUAL_LOSSY if lossy else limits.RESIDUAL_WARNING
    if residual is None or residual < least or any(file.nonfinite for file in track.files):
        return []
    severity = ERROR if residual >= limits.RESIDUAL_ERROR else WARNING
    odd = [f"{source} {_gain(gain)}" for source, gain in track.gains.items()
           if gain <= 0 or abs(20 * math.log10(gain)) >= limits.GAIN]
    why = f"; with {', '.join(odd)} they would" if odd else ""
    fix = "change these levels, or mix the stems again" if odd else \
        "mix the stems again, or remove the mixture, so that the sum is used; effects on the mixture are residuals, too"
    return [finding("residual", track, f"the mixture minus the stems is {residual:.1f} dB of the mixture{why}", fix,
                    source=MIXTURE, path=next(file.path for file in track.files if file.source == MIXTURE),
                    severity=severity, value=residual)]


def _gain(gain: float) -> str:
    """A gain in words: "at +3.0 dB", "inverted", "left out"."""
    if abs(gain) < 0.03:
        return "left out"
    level = 20 * math.log10(abs(gain))
    turned = " inverted" if gain < 0 else ""
    return f"{turned} at {level:+.1f} dB".strip()


def _dbfs(level: float) -> str:
    return "-inf dBFS" if level <= -200 else f"{level + 0.:.1f} dBFS"


def of_lossy(tracks: tp.Sequence[TrackCheck]) -> tp.List[Finding]:
    """Findings about cut-off frequencies. If all songs have one, the dataset comes from a lossy source as a whole, and
    the findings are notes."""
    audible = [track for track in tracks if any(map(_audible, track.files))]
    lossy = [track for track in audible if _disguised(track)]
    severity = NOTE if len(lossy) == len(audible) else WARNING
    found = []
    for track in lossy:
        files = _disguised(track)
        fix = "replace it by a lossless export; without one, evaluate and train with such songs apart"
        if len(files) == len([file for file in track.files if _audible(file)]) > 1:
            low, high = min(file.cutoff or 0 for file in files), max(file.cutoff or 0 for file in files)
            what = f"all files: nothing above {low / 1000:.1f}{f' to {high / 1000:.1f}' if high > low else ''} kHz"
            found.append(finding("lossy", track, what, fix, severity=severity, value=high))
            continue
        for file in files:
            what = f"nothing above {(file.cutoff or 0) / 1000:.1f} kHz, where the spectrum falls by {file.drop:.0f} dB"
            found.append(finding("lossy", track, what, fix, file=file, severity=severity, value=file.cutoff))
    return found


def _audible(file: FileCheck) -> bool:
    return file.peak >= limits.SILENT_PEAK


def _disguised(track: TrackCheck) -> tp.List[FileCheck]:
    """Lossless files of a song with a cut-off: that of an mp3 or ogg file is no surprise. Some synthesisers have a
    cut-off as well, so that of a stem has to be deep, or that of another file, too."""
    found = [file for file in track.files if file.cutoff and not any(name in file.form for name in LOSSY)]

    def agrees(file: FileCheck) -> bool:
        own = file.cutoff or 0.
        return any(other is not file and abs((other.cutoff or 0.) - own) <= limits.CUTOFFS_AGREE * own
                   for other in found)
    return [file for file in found if file.source == MIXTURE or (file.drop or 0) >= limits.DROP_ALONE or agrees(file)]
