"""In what else than the model two results differ, and what their gap therefore does and does not show.

The gap of 1.2 dB that a student project once reported between its HDemucs and the published one was mostly a mean
over tracks against a median, and one model against a bag of four. `statement` says such things of any two results, from
facts that records and the table of published numbers hold.
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
    """What a result is, as far as a comparison depends on it.

    `value` is the mean over sources in dB, None where there is none; `family` a key of `EVERY_FAMILY` or "unstated";
    `models` says "single", "bag of 4", "one model per source", ...; `tracks` is None where the number is not known.
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
    """In what else than the model two results differ: kind ("test songs", "family", "test set", "training data",
    "models") and a clause about it, the gravest first. What is not known counts as different."""
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
        found.append(("models", f"{models_in_words(mine.models)} stands against {models_in_words(theirs.models)}"))
    return found


def statement(mine: Subject, theirs: Subject, *, in_their_family: tp.Optional[float] = None) -> str:
    """One sentence on what the gap between two results shows, and what it does not.

    `in_their_family` is the first's number in the second's family, where it is known: then the sentence tells how much
    of the gap is aggregation alone. Raises ValueError where one of them has no value.
    """
    if mine.value is None or theirs.value is None:
        raise ValueError(f"no number to compare: {mine if mine.value is None else theirs}")
    gap = theirs.value - mine.value
    numbers = f"{mine.name} has {number(mine.value)} dB and {theirs.name} {number(theirs.value)} dB"
    reasons = [reason for _, reason in differences(mine, theirs)]
    if not reasons:
        return (f"{numbers}, {number(gap, plus=True)} dB, like for like: {family_in_words(mine.family)}, "
                f"{models_in_words(mine.models)} trained on {mine.training_data}, scored on {songs(mine)}; but two "
                f"averages do not tell whether other songs or another seed would turn that round.")
    known = ""
    if in_their_family is not None and mine.family != theirs.family:
        aggregation = number(in_their_family - mine.value, plus=True)
        known = (f"; in the family of the second the first has {number(in_their_family)} dB, so that {aggregation} of "
                 f"the {number(gap, plus=True)} dB are the aggregation")
    return (f"{numbers}, but the {number(abs(gap))} dB between them are not the models' alone: {'; '.join(reasons)}"
            f"{known}.")


def family_in_words(family: str) -> str:
    """A family within a sentence, e.g. "SDR (median over 1 s frames, mean over tracks)"."""
    found = EVERY_FAMILY[family]
    return f"{found.name} ({found.label.split(': ')[1]})"


def models_in_words(models: str) -> str:
    """`Subject.models` within a sentence, e.g. "one model", "a bag of 4"."""
    return {SINGLE: "one model", NOT_STATED: "one or several models, which is not stated", "oracle": "an oracle"}.get(
        models, f"a {models}" if models.startswith("bag") else models)


def songs(subject: Subject) -> str:
    """What was scored, e.g. "MUSDB18-HQ test (50 tracks)"."""
    return f"{subject.test_set} ({'unknown number of' if subject.tracks is None else subject.tracks} tracks)"
