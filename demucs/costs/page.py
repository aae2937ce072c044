"""Costs of models as text: a table for a terminal, and the tables of docs/models.md."""

import re
import typing as tp
from pathlib import Path

from ..errors import DemucsError
from ..files import write_text
from ..schema import ModelCost
from ..tables import DASH, aligned, markdown
from .operations import ALL, KINDS
from .published import FIGURES

MIB = 2 ** 20
MARKS = r"(<!-- costs: (\w+) -->\n).*?(<!-- end -->)"


def name_of(found: ModelCost) -> str:
    """Name of a row: the model, and the run that it is from, or that its settings are not the defaults."""
    changed = {key: value for key, value in found.settings.items() if key != "segment"}
    behind = found.run or ", ".join(f"{key}={value}" for key, value in changed.items())
    return f"{found.model} ({behind})" if behind else found.model


def giga(count: float, digits: int = 2) -> str:
    """Multiply-adds in units of 10^9."""
    return f"{count / 1e9:.{digits}f}"


def table(costs: tp.Sequence[ModelCost]) -> str:
    """Text table of costs, one row per model. Kinds of operations that no model has, and what was not measured, have no
    column."""
    kinds = [kind for kind in KINDS if any(each.macs_per_second[kind] for each in costs)]
    head = ["model", "segment", "parameters", "GMAC/s", *kinds, "inference", "training"]
    rows = [[name_of(each), f"{each.segment:g} s", f"{each.parameters:,}", giga(each.macs_per_second[ALL]),
             *(giga(each.macs_per_second[kind]) for kind in kinds),
             f"{each.inference_memory / MIB:,.0f} MiB", f"{each.training_memory / MIB:,.0f} MiB"] for each in costs]
    if any(each.context is not None for each in costs):
        head += ["context", "look-ahead", "receptive field", "latency"]
        for row, each in zip(rows, costs):
            row += [_seconds(value) for value in (each.context, each.look_ahead, each.receptive_field, each.latency)]
    if any(each.seconds is not None for each in costs):
        head += ["180 s of audio", "of peak"]
        for row, each in zip(rows, costs):
            row += [_seconds(each.seconds, 1), _share(each.share)]
    lines = aligned(head, rows)
    devices = dict.fromkeys(each.device for each in costs if each.device)
    return "\n".join([*lines, *(["", f"Times on {'; '.join(devices)}"] if devices else [])])


def _seconds(value: tp.Optional[float], digits: int = 2) -> str:
    return DASH if value is None else f"{value:.{digits}f} s"


def _share(value: tp.Optional[float]) -> str:
    return DASH if value is None else f"{100 * value:.0f} %"


def _costs_table(costs: tp.Sequence[ModelCost]) -> str:
    timed = any(each.seconds is not None for each in costs)
    rows = [[f"`{name_of(each)}`", f"{each.segment:g} s", f"{each.parameters / 1e6:.2f} million",
             giga(each.macs_per_second[ALL]), _of_kinds(each), f"{each.inference_memory / MIB:,.0f}",
             f"{each.training_memory / MIB:,.0f}", _seconds(each.context), _seconds(each.look_ahead),
             ", ".join(each.spans_segment or []) or DASH,
             *([_seconds(each.seconds, 1), _share(each.share)] if timed else [])] for each in costs]
    head = ["model", "segment", "parameters", "GMAC/s", "by kind", "inference, MiB", "training, MiB", "context",
            "look-ahead", "over the whole segment", *(["180 s of audio", "of peak"] if timed else [])]
    text = markdown(head, rows, "lrrrlrrrrl" + ("rr" if timed else ""))
    devices = "; ".join(dict.fromkeys(each.device for each in costs if each.device))
    return f"{text}\n\nTimes on {devices}." if timed else text


def _of_kinds(found: ModelCost) -> str:
    """Percentages of the kinds of operations, the largest first; those below one percent are left out."""
    shares = {kind: 100 * found.macs_per_second[kind] / found.macs_per_second[ALL] for kind in KINDS}
    return ", ".join(f"{kind} {share:.0f} %" for kind, share in sorted(shares.items(), key=lambda item: -item[1])
                     if share >= 1)


def _notes_table(costs: tp.Sequence[ModelCost]) -> str:
    """Costs as published beside the notes' figures."""
    rows = []
    for found in costs:
        if found.model not in FIGURES or (found.model != "htdemucs" and not found.settings.get("as_published")):
            continue
        notes, segment = FIGURES[found.model], found.segment
        rows.append([f"`{found.model}`", f"{segment:g} s", f"{notes.parameters:.2f}" + ("" if notes.in_notes else " *"),
                     f"{found.parameters / 1e6:.2f}", f"{notes.macs:.2f}" + ("" if notes.in_notes else " *"),
                     giga(found.macs_as_thop * segment), giga(found.macs_per_second[ALL] * segment),
                     giga(found.macs_per_second[ALL])])
    return markdown(["model", "segment", "parameters, notes (M)", "parameters (M)", "GMAC, notes",
                     "GMAC, as thop counts", "GMAC", "GMAC per second"], rows, "lrrrrrrr")


TABLES: tp.Dict[str, tp.Callable[[tp.Sequence[ModelCost]], str]] = {"zoo": _costs_table, "notes": _notes_table}
# The models of a record that each table has: those with default settings, and those as published.
OF_TABLE: tp.Dict[str, tp.Callable[[ModelCost], bool]] = {
    "zoo": lambda found: not found.run and not found.settings,
    "notes": lambda found: not found.run and found.settings in ({}, {"as_published": True})}


def filled(page: str, costs: tp.Sequence[ModelCost]) -> str:
    """Text of a Markdown page in which each table between the lines `<!-- costs: NAME -->` and `<!-- end -->` is made
    anew. `page` is its text. Raises DemucsError for an unknown table, or if `costs` has no row for one."""
    def table_of(match: tp.Match[str]) -> str:
        if match[2] not in TABLES:
            raise DemucsError(f"<!-- costs: {match[2]} -->: there is no such table; there are: {', '.join(TABLES)}")
        chosen = [found for found in costs if OF_TABLE[match[2]](found)]
        if not chosen:
            raise DemucsError(f"<!-- costs: {match[2]} -->: there are no costs for this table; count those of all "
                              f"models")
        return f"{match[1]}{TABLES[match[2]](chosen)}\n{match[3]}"
    return re.sub(MARKS, table_of, page, flags=re.DOTALL)


def write(page: Path, costs: tp.Sequence[ModelCost]) -> None:
    """Write the tables of a page anew. Raises DemucsError, see `filled`, and for a page that is not UTF-8."""
    try:
        text = page.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DemucsError(f"{page}: is no text in UTF-8 ({error}); save it as such") from error
    write_text(page, filled(text, costs))
