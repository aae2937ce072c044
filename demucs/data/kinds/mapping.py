"""Maps from the instruments of a dataset to the sources of a model, read from small YAML files.

A file maps each source to a list of instruments, or to "*": all instruments that no other trained source takes. Numbers
may be given as ranges ("32-39"). One file can have more sources than are trained; only the trained ones count.
"""

import re
import typing as tp
from pathlib import Path

import yaml

from ...errors import ConfigError, did_you_mean
from ..tracks import Files

ALL_OTHERS = "*"
SHIPPED = Path(__file__).parent / "instruments"
_RANGE = re.compile(r"(\d+)-(\d+)")
_LARGEST = 10_000        # numbers of a range


def read(path: tp.Union[str, Path]) -> tp.Dict[str, tp.Tuple[str, ...]]:
    """Instruments by source from a YAML file; `ALL_OTHERS` stays an entry of its own.

    Raises:
        ConfigError: if the file is missing, not YAML, or not such a map.
    """
    try:
        plain = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ConfigError(f"dset.instruments={path}: cannot be read ({reason}); give a YAML file that maps each source to a "
                          f"list of instruments") from error
    if not isinstance(plain, dict) or not plain:
        raise ConfigError(f"dset.instruments={path}: must map each source to a list of instruments")
    return {str(source): _parts(source, value, path) for source, value in plain.items()}


def _parts(source: tp.Any, value: tp.Any, path: tp.Union[str, Path]) -> tp.Tuple[str, ...]:
    entries = [value] if value == ALL_OTHERS else value
    if not isinstance(entries, list) or any(isinstance(entry, (list, dict)) for entry in entries):
        raise ConfigError(f"dset.instruments={path}: {source} must be a list of instruments, or \"{ALL_OTHERS}\" for all that no "
                          f"other source takes; got {value!r}")
    parts: tp.List[str] = []
    for entry in map(str, entries):
        match = _RANGE.fullmatch(entry)
        if match is None:
            parts.append(entry)
            continue
        first, last = map(int, match.groups())
        if not first <= last < first + _LARGEST:
            raise ConfigError(f"dset.instruments={path}: {source}: {entry} is no range from a smaller to a larger number")
        parts += map(str, range(first, last + 1))
    return tuple(parts)


class Instruments:
    """Assignment of the instruments of songs to `sources`.

    Args:
        path: YAML file.
        sources: the trained ones.

    Raises:
        ConfigError: as `read`; if the file lacks a source, or gives an instrument to two of them.
    """

    def __init__(self, path: tp.Union[str, Path], sources: tp.Sequence[str]):
        found = read(path)
        self.others: tp.Optional[str] = None
        self._source_of: tp.Dict[str, str] = {}
        self.sources = tuple(sources)
        for source in sources:
            if source not in found:
                raise ConfigError(f"dset.instruments={path}: has no source {source!r}, only {', '.join(found)}."
                                  f"{did_you_mean(source, found)}")
            for part in found[source]:
                taken = self.others if part == ALL_OTHERS else self._source_of.get(part)
                if taken is not None:
                    raise ConfigError(f"dset.instruments={path}: {part!r} belongs to {taken} and to {source}, and both are "
                                      f"trained; give it to one of them")
                if part == ALL_OTHERS:
                    self.others = source
                else:
                    self._source_of[part] = source

    def assign(self, files: tp.Mapping[str, Files]) -> tp.Dict[str, Files]:
        """Files of each source from those of each instrument. A source may have none. Instruments of no source are left
        out."""
        found: tp.Dict[str, Files] = {source: () for source in self.sources}
        for instrument, paths in files.items():
            source = self._source_of.get(instrument, self.others)
            if source is not None:
                found[source] += paths
        return found
