"""Readers of results of other programs.

    a solver's log               "Train Summary | Epoch 3 | Loss=0.1539 | ...", of published Demucs or of this
                                 repository, with or without colour codes. An epoch that is logged again replaces its
                                 first entry and all later epochs.
    a printed result             a dict of aggregates under Demucs's names: {'nsdr_drums': 7.7, ..., 'sdr_med': 6.5}
    an instrumental evaluation   as stored by the notes on variants of HTDemucs: scores of each track and of all frames

Histories are read by `demucs.schema`, museval's files by `demucs.metrics.museval_json`.
"""

import ast
import re
import typing as tp

from demucs.metrics import instrumental_json
from demucs.schema import EpochRecord, Evaluation, Metrics, SchemaError

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SUMMARY = re.compile(r"(Train|Valid|Test) Summary \| Epoch (\d+) \| (.*\S)")
_ITEM = re.compile(r"(\w+)[= ](\S+)")
_NUMBERS = re.compile(r"\{[^{}]*\}")
_METRIC = re.compile(r"(nsdr|sdr|isr|sir|sar)(_med)?(_\w+)?$")
DECIMALS = 4    # of losses in a log
ENDLESS = 1e300    # larger integers cannot be converted to a float


def is_log(text: str) -> bool:
    """Whether a text is the log of a solver: it contains the summary of an epoch."""
    return _SUMMARY.search(COLOUR.sub("", text)) is not None


def read_log(text: str, where: str) -> tp.Tuple[int, tp.List[EpochRecord]]:
    """(number of the first epoch, records of all epochs) from `text`, a solver's log. Epochs without validation are
    incomplete and left out. Each record has the best validated weights only, since a log contains no others.

    Raises:
        SchemaError: with `where` in the message, if there is no complete epoch, or one is missing between others.
    """
    epochs: tp.Dict[int, tp.Dict[str, tp.Dict[str, str]]] = {}
    for kind, number, items in _SUMMARY.findall(COLOUR.sub("", text).replace("\r", "\n")):
        epoch = int(number)
        if kind == "Train":
            epochs = {known: parts for known, parts in epochs.items() if known < epoch}
        epochs.setdefault(epoch, {})[kind] = {key.lower(): value for key, value in _ITEM.findall(items)}
    complete = sorted(epoch for epoch, parts in epochs.items() if "Valid" in parts)
    if not complete:
        raise SchemaError(f"{where}: a log without a complete epoch ('Valid Summary | Epoch ...')")
    missing = sorted(set(range(complete[0], complete[-1])) - set(complete))
    if missing:
        raise SchemaError(f"{where}: the log lacks epoch {missing[0]} of {complete[0]} to {complete[-1]}; give the "
                          f"logs of one run one by one, or its history.json")
    return complete[0], [_logged_epoch(epochs[epoch], f"{where}, epoch {epoch}") for epoch in complete]


def _logged_epoch(parts: tp.Dict[str, tp.Dict[str, str]], where: str) -> EpochRecord:
    valid = dict(parts["Valid"])
    chosen = valid.pop("bname", None) or valid.pop("by", "main")
    try:
        numbers = {key: float(value) for key, value in valid.items()}
        best, penalty = numbers.pop("best"), numbers.pop("penalty", None)
        return EpochRecord(train=_floats(parts.get("Train", {})), candidates={chosen: numbers}, chosen=chosen,
                           best=best, penalty=penalty, test=_floats(parts["Test"]) if "Test" in parts else None)
    except (KeyError, ValueError) as error:
        raise SchemaError(f"{where}: not the summary of an epoch ({error!r})") from error


def _floats(items: tp.Mapping[str, str]) -> Metrics:
    return {key: float(value) for key, value in items.items()}


def agree(logged: EpochRecord, record: EpochRecord) -> bool:
    """Whether the training and validation losses of an epoch in a log and in a history agree, to the decimals of the
    log. A loss that one of them lacks is not compared."""
    def same(mine: tp.Optional[float], other: tp.Optional[float]) -> bool:
        return mine is None or other is None or abs(mine - other) <= 0.51 * 10 ** -DECIMALS
    return same(logged.valid.get("loss"), record.valid.get("loss")) and \
        same(logged.train.get("loss"), record.train.get("loss"))


def read_printed(text: str, where: str) -> Metrics:
    """Aggregates under Demucs's names from the last printed dict of them in `text`; undefined ones are left out. Raises
    SchemaError, with `where` in the message, if there is none."""
    text = re.sub(r"\bnp\.float\d*\(([^()]*)\)", r"\1", COLOUR.sub("", text))
    text = re.sub(r"\bnan\b", "None", text, flags=re.IGNORECASE)
    for found in reversed(_NUMBERS.findall(text)):
        try:
            plain = ast.literal_eval(found)
        except (SyntaxError, ValueError, MemoryError, RecursionError):      # the last two: too deeply nested brackets
            continue
        numbers = {key: float(value) for key, value in plain.items()
                   if isinstance(value, (int, float)) and abs(value) < ENDLESS and isinstance(key, str)
                   and _METRIC.match(key)} if isinstance(plain, dict) else {}
        if numbers:
            return numbers
    raise SchemaError(f"{where}: neither the log of a solver nor a printed result of Demucs ({{'nsdr_drums': ...}})")


def read_instrumental(plain: tp.Mapping[str, tp.Any], name: str, where: str) -> Evaluation:
    """Evaluation called `name` from `plain`, parsed JSON in the format of the notes on variants of HTDemucs; see
    `demucs.metrics.instrumental_json`. Raises SchemaError, with `where` in the message, for any other content."""
    return instrumental_json.read_plain(plain, name, where)
