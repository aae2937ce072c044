"""Names of files in the layouts of Open-Unmix: which file of a song, or which folder of files, is which source.

The layouts are those of the datasets of openunmix 1.3.0 (https://github.com/sigsep/open-unmix-pytorch, docs/training.md).
"""

import dataclasses
import json
import typing as tp
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ...errors import ConfigError, did_you_mean
from ..targets import REST
from ..tracks import MIXTURE

ALIGNED, SOURCES, FIXED, VARIABLE = "aligned", "sourcefolder", "trackfolder_fix", "trackfolder_var"
# Names that a layout needs, and those that it may have.
NEEDED = {ALIGNED: ("input", "output"), SOURCES: ("target", "interferers"), FIXED: ("target", "interferers"),
          VARIABLE: ("target",)}
OPTIONAL: tp.Dict[str, tp.Tuple[str, ...]] = {ALIGNED: ("target",), SOURCES: ("ext",), FIXED: (), VARIABLE: ("ext", "input")}
PATTERN = frozenset("*?[")
EXAMPLES = {"input": "mixture.wav", "output": "vocals.wav", "target": "vocals.wav", "interferers": "[drums.wav,bass.wav]"}
FOLDERS = {"target": "vocals", "interferers": "[drums,bass]"}        # the same for `SOURCES`


@dataclass(frozen=True)
class FileNames:
    """Names of files, the section `dset.files` of the configuration.

    Attributes:
        ext: suffix of the files in the folder of a source (sourcefolder), and of the interferers (trackfolder_var).
        input: file of the mixture (aligned), or that of a mixture which is no source (trackfolder_var).
        output: file of the target (aligned).
        target: file of the target, or folder of its files (sourcefolder), or its name (aligned; by default that of its
            file).
        interferers: files of the other sources, or the folders of their files (sourcefolder).
    """
    ext: str = ".wav"
    input: tp.Optional[str] = None
    output: tp.Optional[str] = None
    target: tp.Optional[str] = None
    interferers: tp.List[str] = field(default_factory=list)

    def text(self) -> str:
        """Names that differ from the defaults as JSON, "" if none does; for records."""
        default = FileNames()
        found = {name: value for name, value in sorted(dataclasses.asdict(self).items()) if value != getattr(default, name)}
        return json.dumps(found, ensure_ascii=False) if found else ""

    @classmethod
    def parse(cls, text: str) -> "FileNames":
        """Names from `text`, as `FileNames.text` writes them. Raises ConfigError for another text."""
        try:
            plain = json.loads(text or "{}")
            names = cls(**plain)
            if not isinstance(names.ext, str) or not isinstance(names.interferers, list) or \
                    not all(isinstance(name, str) for name in names.interferers) or \
                    not all(isinstance(value, (str, type(None))) for value in (names.input, names.output, names.target)):
                raise TypeError
        except (ValueError, TypeError, RecursionError):
            raise ConfigError(f"dset.files={text!r:.200} are no names of files; give dset.files.target and its siblings as "
                              f"texts") from None
        return names

    @property
    def suffix(self) -> str:
        """`ext` in lower case with its dot."""
        return "." + self.ext.lower().lstrip(".")


def check(kind: str, names: FileNames) -> None:
    """Check that `names` are those that the layout `kind` needs, that no other is given, and that all stay within the
    folder of the dataset.

    Raises:
        ConfigError: if not.
    """
    given = dataclasses.asdict(names)
    default = dataclasses.asdict(FileNames())
    allowed = NEEDED.get(kind, ()) + OPTIONAL.get(kind, ())
    for key, value in given.items():
        if value == default[key] or key in allowed:
            continue
        users = [other for other in NEEDED if key in NEEDED[other] + OPTIONAL[other]]
        raise ConfigError(f"dset.files.{key}={_shown(value)} has no effect with dset.kind={kind}; leave it out, or choose "
                          f"dset.kind={' or '.join(users)}")
    for key in NEEDED.get(kind, ()):
        if not given[key]:
            example = (FOLDERS if kind == SOURCES else EXAMPLES)[key]
            raise ConfigError(f"dset.kind={kind} needs dset.files.{key}: give "
                              f"{'the folder' if kind == SOURCES else 'the name of the file'}"
                              f"{'s of the other sources' if key == 'interferers' else ''}, such as dset.files.{key}={example}")
    if kind not in NEEDED:
        return
    for key in ("input", "output", "target"):
        _check_name(kind, key, given[key])
    for name in names.interferers:
        _check_name(kind, "interferers", name)
    if not names.suffix.strip(".") or set(names.ext) & set("/\\\0"):
        raise ConfigError(f"dset.files.ext={names.ext!r} is no suffix of files; give one such as .wav or .flac")
    _check_sources(kind, names)


def _shown(value: tp.Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)


def _check_name(kind: str, key: str, name: tp.Optional[str]) -> None:
    if name is None:
        return
    path = PurePosixPath(name)
    if not path.name or "\0" in name or path.is_absolute() or ".." in path.parts or kind == SOURCES and len(path.parts) > 1:
        what = "folder in the folder of a split" if kind == SOURCES else "file in the folder of a track"
        raise ConfigError(f"dset.files.{key}={name!r} must be the name of a {what}, such as "
                          f"{(FOLDERS if kind == SOURCES else EXAMPLES)[key]}")


def _check_sources(kind: str, names: FileNames) -> None:
    found = sources(kind, names)
    for source in found:
        if source in (MIXTURE, REST):
            raise ConfigError(f"dset.files: {source!r} cannot be the name of a source, since it has a meaning of its own; rename "
                              f"that file or folder")
        if kind == ALIGNED and set(source) & PATTERN:
            raise ConfigError(f"dset.files.output={names.output} is a pattern; name the target by dset.files.target, such as "
                              f"dset.files.target=vocals")
        if found.count(source) > 1:
            raise ConfigError(f"dset.files.target={names.target} dset.files.interferers={_shown(names.interferers)}: {source!r} is "
                              f"named twice; name each source once")


def sources(kind: str, names: FileNames) -> tp.List[str]:
    """Names of the sources of the layout `kind`, the target first: those of the files without their suffix, or of the
    folders. `names` are complete. An empty list for other layouts."""
    if kind not in NEEDED:
        return []
    if kind == ALIGNED:
        return [names.target or _stem(names.output or "")]
    if kind == SOURCES:
        return [names.target or "", *names.interferers]
    return [_stem(name) for name in (names.target or "", *(names.interferers if kind == FIXED else ()))]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def chosen_sources(kind: str, names: FileNames, given: tp.Sequence[str], default: tp.Sequence[str]) -> tp.List[str]:
    """Sources of a training on the layout `kind`: `given`, which is `dset.sources`, for layouts without names of files.
    Otherwise those that the files name, in the order of `given` if these are the same names.

    Raises:
        ConfigError: if `given` has other names, and is not the `default`.
    """
    found = sources(kind, names)
    if not found or sorted(given) == sorted(found):
        return list(given)
    if list(given) == list(default):
        return found
    unknown = next((name for name in given if name not in found), None)
    hint = "" if unknown is None else did_you_mean(unknown, found)
    raise ConfigError(f"dset.sources={_shown(list(given))}, and dset.files names the sources {', '.join(found)} of "
                      f"dset.kind={kind}; leave dset.sources out, or name these.{hint}")
