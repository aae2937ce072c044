"""Comparability of two results: in what they differ besides the model, and what the gap between them shows.

A student project once reported a gap of 1.2 dB between its HDemucs and the published one. Most of it was a mean over
tracks compared with a median, and one model compared with a bag of four. `statement` names such differences for any two
results, from their records and from the table of published numbers.
"""

import typing as tp
from dataclasses import dataclass

from demucs.metrics.aggregates import EVERY_FAMILY
from demucs.tables import number

UNSTATED = "unstated"            # family of a number whose publication does not say how it was aggregated
NOT_STATED = "not stated"        # single or bag, test set
NOT_RECORDED = "not recorded"    # training data of a run without its card
SINGLE = "single"


@dataclass(frozen=True)
class Subject:
    """Properties of a result that decide with which other results it can be compared.

    `value` is the mean over sources in dB, or None; `family` a key of `EVERY_FAMILY`, or "unstated"; `models` is
    "single", "bag of 4", "one model per source", ...; `tracks` is the number of test tracks, None if unknown.
    """
    name: str
    value: tp.Optional[float]
    family: str
    models: str
    training_data: str
    test_set: str
    tracks: tp.Optional[int]
    trained_on_test: bool = False


def differences(mine: Subject, theirs: Subject) -> tp.List[tp.Tuple[str, str]]:
    """Differences of two results besides the model, the most serious first, as (kind, clause for the reader). Kinds are
    "test songs" (one was trained on them), "family", "test set", "training data" and "models". Unknown properties count
    as different."""
    found = []
    for subject in (mine, theirs):
        if subject.trained_on_test:
            found.append(("test songs", f"{subject.name} was trained on the songs it is scored on"))
    if UNSTATED in (mine.family, theirs.family):
        found.append(("family", "it is not stated how one of them was aggregated"))
    elif mine.family != theirs.family:
        found.append(("family", f"the first is {family_in_words(mine.family)}, the second "
                                f"{family_in_words(theirs.family)}"))
    if NOT_STATED in (mine.test_set, theirs.test_set):
        found.append(("test set", "it is not stated what one of them was scored on"))
    elif (mine.test_set, mine.tracks) != (theirs.test_set, theirs.tracks):
        found.append(("test set", f"the first was scored on {songs(mine)}, the second on {songs(theirs)}"))
    if NOT_RECORDED in (mine.training_data, theirs.training_data):
        found.append(("training data", "what one of them was trained on is not recorded"))
    elif mine.training_data != theirs.training_data:
        found.append(("training data", f"the first was trained on {mine.training_data}, the second on "
                                       f"{theirs.training_data}"))
    if NOT_STATED in (mine.models, theirs.models):
        found.append(("models", "it is not stated whether one of them averages several models"))
    elif mine.models != theirs.models:
        found.append(("models", f"{models_in_words(mine.models)} is compared with {models_in_words(theirs.models)}"))
    return found


def statement(mine: Subject, theirs: Subject, *, in_their_family: tp.Optional[float] = None) -> str:
    """Sentence on what the gap between two results shows, and what it does not.

    `in_their_family` is the value of `mine` in the family of `theirs`, in dB, if known. The sentence then states how
    much of the gap is due to aggregation alone. Raises ValueError if one of them has no value.
    """
    if mine.value is None or theirs.value is None:
        raise ValueError(f"no number to compare: {mine if mine.value is None else theirs}")
    gap = theirs.value - mine.value
    numbers = f"{mine.name} has {number(mine.value)} dB and {theirs.name} {number(theirs.value)} dB"
    reasons = [reason for _, reason in differences(mine, theirs)]
    if not reasons:
        return (f"{numbers}, {number(gap, plus=True)} dB, like for like: {family_in_words(mine.family)}, "
                f"{models_in_words(mine.models)} trained on {mine.training_data}, scored on {songs(mine)}; but two "
                f"averages do not tell whether other songs or another seed would reverse the order.")
    known = ""
    if in_their_family is not None and mine.family != theirs.family:
        aggregation = number(in_their_family - mine.value, plus=True)
        known = (f"; in the family of the second the first has {number(in_their_family)} dB, so that {aggregation} of "
                 f"the {number(gap, plus=True)} dB are the aggregation")
    return (f"{numbers}, but the {number(abs(gap))} dB between them are not the models' alone: {'; '.join(reasons)}"
            f"{known}.")


def family_in_words(family: str) -> str:
    """Phrase for a metric family, given by its key, such as "SDR (median over 1 s frames, mean over tracks)". Raises
    KeyError for an unknown one."""
    found = EVERY_FAMILY[family]
    return f"{found.name} ({found.label.split(': ')[1]})"


def models_in_words(models: str) -> str:
    """Phrase for `Subject.models`, e.g. "one model", "a bag of 4"."""
    return {SINGLE: "one model", NOT_STATED: "one or several models, which is not stated", "oracle": "an oracle"}.get(
        models, f"a {models}" if models.startswith("bag") else models)


def songs(subject: Subject) -> str:
    """Test set of a result and its number of tracks as text, such as "MUSDB18-HQ test (50 tracks)"."""
    return f"{subject.test_set} ({'unknown number of' if subject.tracks is None else subject.tracks} tracks)"
