"""Slakh2100: ROOT/SPLIT/TRACK/metadata.yaml names the MIDI program of each stem, TRACK/stems/ID.flac are the stems, and
TRACK/mix.flac is the mixture. Splits are train, validation and test. Layout: https://github.com/ethman/slakh-utils"""

import typing as tp
from pathlib import Path

import yaml

from ...errors import DatasetError
from ..faults import unreadable
from ..tracks import Files, Track, Tracks
from .folders import dataset_folder
from .moises import from_instruments
from .settings import KindSettings, in_splits

DESCRIPTION = "metadata.yaml"
FORMATS = (".flac", ".wav")
DRUMS = "drums"


@in_splits
def tracks(settings: KindSettings, folder: Path) -> Tracks:
    root = dataset_folder(folder)
    mapping = settings.mapping("slakh")
    found, faults = [], []
    for song in sorted(path.parent for path in root.glob(f"*/{DESCRIPTION}")):
        try:
            found.append(_track(song, mapping, settings.missing))
        except DatasetError as error:
            faults.append(str(error))
    if not found and not faults:
        raise DatasetError(f"dataset folder {root} has no songs of Slakh2100 in it; expected TRACK/{DESCRIPTION} and "
                           f"TRACK/stems/S00.flac")
    return Tracks(root, found, faults)


def _track(song: Path, mapping: tp.Any, missing: str) -> Track:
    stems = _stems(song)
    mixture = _file(song / "mix")
    return from_instruments(song, song.name, stems, mapping, missing, (mixture,) if mixture else ())


def _stems(song: Path) -> tp.Dict[str, Files]:
    """Files of a song by instrument: "drums", or the number of a MIDI program. Stems that were not rendered have none."""
    path = song / DESCRIPTION
    try:
        plain = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        entries = [(str(key), DRUMS if stem["is_drum"] else str(int(stem["program_num"])), bool(stem.get("audio_rendered", True)))
                   for key, stem in plain["stems"].items()]
    except OSError as error:
        raise DatasetError(f"track {song.name}: {unreadable(path, error)}") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"track {song.name}: {path} is no description of a song of Slakh2100 "
                           f"({' '.join(str(error).split())}); download it again") from error
    found: tp.Dict[str, Files] = {}
    for key, instrument, rendered in entries:
        if not key.isalnum():
            raise DatasetError(f"track {song.name}: {path} names a stem {key!r}, which is no name of a file; download it again")
        file = _file(song / "stems" / key)
        if file is not None:
            found[instrument] = (*found.get(instrument, ()), file)
        elif rendered:
            raise DatasetError(f"track {song.name}: stems/{key}.flac is missing from {song}, and {DESCRIPTION} names it; "
                               f"download the song again")
    return found


def _file(path: Path) -> tp.Optional[Path]:
    return next((path.with_suffix(suffix) for suffix in FORMATS if path.with_suffix(suffix).is_file()), None)
