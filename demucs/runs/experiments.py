"""Experiment folders `outputs/xps/SIG`: lookup, and collection of their records, without Dora."""

import json
import re
import shutil
import typing as tp
from pathlib import Path

from .. import schema
from ..errors import SignatureError, did_you_mean
from ..files import atomic
from .layout import ARGV, EXPERIMENTS, HISTORY, LOG, RESULTS, RUN_CARD

_SIGNATURE = re.compile(r"[0-9a-f]{8}")      # as Dora makes them


def names_experiment(text: str) -> bool:
    """Whether `text` can be the name of an experiment's folder: a plain name, not a path."""
    return text not in ("", ".", "..") and text == Path(text).name


def experiment_folder(signature: str, experiments: Path = EXPERIMENTS) -> Path:
    """Folder of the experiment `signature` in `experiments`. Raises SignatureError, naming the nearest signature and
    all existing ones, if there is none."""
    if not names_experiment(signature):
        raise SignatureError(f"{signature!r} is not a signature; give the name of a folder in {experiments}")
    folder = experiments / signature
    if not folder.is_dir():
        known = sorted(item.name for item in experiments.iterdir() if item.is_dir()) if experiments.is_dir() else []
        raise SignatureError(f"no experiment {signature!r} in {experiments}.{did_you_mean(signature, known)} There "
                             f"are: {', '.join(known) or 'none yet'}.")
    return folder


def _simplified(argv: tp.Sequence[str]) -> tp.List[str]:
    """Overrides as Dora keeps them in .argv.json: only the last one of each key."""
    last: tp.Dict[str, str] = {}
    for argument in reversed(argv):
        last.setdefault(argument.split("=", 1)[0].strip(), argument)
    return list(reversed(last.values()))


def started_with(argv: tp.Sequence[str], experiments: Path = EXPERIMENTS) -> tp.Optional[str]:
    """Signature of the experiment that was started with the overrides `argv` before; None unless there is exactly one.
    Of repeated overrides of one key, the last counts. The configuration that they override may have changed since."""
    wanted = _simplified(argv)
    found = []
    for path in experiments.glob(f"*/{ARGV}"):
        try:
            if _SIGNATURE.fullmatch(path.parent.name) and json.loads(path.read_text()) == wanted:
                found.append(path.parent.name)
        except (OSError, ValueError):
            continue
    return found[0] if len(found) == 1 else None


def collect_run(signature: str, *, experiments: Path = EXPERIMENTS, results: Path = RESULTS) -> tp.List[Path]:
    """Copy run card and history of an experiment to RESULTS/runs/SIGNATURE, and its log to RESULTS/logs/SIGNATURE,
    replacing earlier copies. Missing files are skipped.

    Returns the paths of the copies; an empty list for a model that was not trained here.
    """
    copies = []
    for name in (RUN_CARD, HISTORY):
        source = experiments / signature / name
        if source.exists():
            copies.append(results / "runs" / signature / name)
            schema.write_json(schema.read_json(source), copies[-1])
    log = experiments / signature / LOG
    if log.exists():
        copies.append(results / "logs" / signature / LOG)
        with open(log, "rb") as source, atomic(copies[-1]) as copy:
            shutil.copyfileobj(source, copy)
    return copies
