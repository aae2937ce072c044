"""Studies of reference-free quality measures: search of a study, and choice of its measures."""

import typing as tp
from pathlib import Path

from demucs import schema
from demucs.errors import ConfigError, SignatureError
from demucs.runs.layout import STUDY
from demucs.schema import QualityStudy


def find_study(argument: tp.Optional[str], results: Path) -> tp.Tuple[QualityStudy, Path]:
    """(record, its folder) of the study named by `argument`: a file, a folder, or a name in `results`/quality; None:
    the newest file there.

    Raises:
        SignatureError: if there is no such study.
        SchemaError: if the file is not the record of a study.
    """
    there = sorted((results / "quality").glob(f"*/{STUDY}"), key=lambda path: path.stat().st_mtime)
    places = [there[-1]] if argument is None and there else []
    if argument is not None:
        places = [Path(argument), Path(argument) / STUDY, results / "quality" / argument / STUDY]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise SignatureError(f"no study {argument or ''} in {results / 'quality'}; there are: "
                             f"{', '.join(path.parent.name for path in there) or 'none'}. `python -m "
                             f"tools.study_quality` makes one")
    return schema.load(QualityStudy, found), found.parent


def measures_of(study: QualityStudy, chosen: tp.Optional[tp.Sequence[str]]) -> tp.List[str]:
    """Measures to draw: `chosen`, or if that is None or empty, all of the study. Raises ConfigError for a measure that
    the study does not have."""
    for measure in chosen or []:
        if measure not in study.measures:
            raise ConfigError(f"{measure!r} was not studied; there are: {', '.join(study.measures)}")
    return list(chosen or study.measures)
