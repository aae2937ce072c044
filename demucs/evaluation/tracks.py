"""Test songs with reference sources: folders of audio files, or the stem files of MUSDB18.

A track has a name and a function that reads it, so a list of tracks needs no memory, and any kind of dataset can be
represented.

A source that a dataset lacks may be the sum of stems that it has: "no_drums" is the sum of all stems but the drums,
"instrumental" (or "accompaniment", "no_vocals") that of all but the vocals. If a model separates more sources than a
dataset has, such as guitar and piano on MUSDB18, its estimates are added up before they are scored.
"""

import functools
import hashlib
import os
import typing as tp
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import schema
from ..audio import reading
from ..data import kinds
from ..data.download import PREVIEW, RECORD
from ..data.faults import FaultyTracks, broken_link, unreadable
from ..data.kinds import file_names
from ..data.kinds.folders import left_out, stem_files, whole_song
from ..data.kinds.track_folders import tested_split
from ..data.synthetic.dataset import MANIFEST
from ..data.tracks import MIXTURE, Track, lengthened, part_path
from ..dsp.convert import convert_channels
from ..errors import AudioError, DatasetError
from ..runs.layout import ORIGIN
from ..schema import SOURCES, DatasetDownload, SchemaError, read_json

MUSDB_TEST_TRACKS = 50
MUSDB_TEST_TRACK = "Al James - Schoolboy Facination"      # [sic]
REST = "other"                                            # in MUSDB18, all instruments without a stem of their own
PROBES, PROBE = 8, 2 ** 13                                # number of blocks of a file in its fingerprint, bytes of each

Sums = tp.Mapping[str, tp.Sequence[str]]                  # source -> the stems that add up to it


class Song(tp.NamedTuple):
    """Song with mixture `mix` [A, L] and `references` [S, A, L], float32 at `samplerate` Hz."""
    mix: torch.Tensor
    references: torch.Tensor
    samplerate: int


@dataclass(frozen=True)
class ReferenceTrack:
    """Test song with reference sources, which are read when needed.

    `read()` raises AudioError or DatasetError with the name of the faulty file. `files` are all files of the song,
    including those that are not read. `check()` raises the errors of `read()`, but needs memory for one file only; None
    if there is no such function. `origin` is a text file about author and licence, which need not exist.
    """
    name: str
    read: tp.Callable[[], Song]
    files: tp.Tuple[Path, ...] = ()
    check: tp.Optional[tp.Callable[[], None]] = None
    origin: tp.Optional[Path] = None


@dataclass(frozen=True)
class SongSet:
    """Test set for a model: its `name` in records, its tracks, and the names of their references, `sources`. `folded`
    holds the model's sources without references, which are added to another source before scoring, {source: other
    source}."""
    name: str
    tracks: tp.List[ReferenceTrack]
    sources: tp.List[str]
    folded: tp.Dict[str, str] = field(default_factory=dict)


def song_set(root: tp.Union[str, Path], *, sources: tp.Sequence[str], split: str = "test", compressed: bool = False,
             name: tp.Optional[str] = None, targets: tp.Optional[Sums] = None,
             stems: tp.Optional[tp.Sequence[str]] = None, kind: str = "", layout: tp.Mapping[str, str] = {}) -> SongSet:
    """Test set in `root` for a model of `sources`: compressed MUSDB18 (.stem.mp4) if `compressed`, the dataset of a `kind`
    and its `layout` as in `kind_tracks` if one of these is given, otherwise folders as in `track_folders`, with `split`,
    `targets` and `stems` as there. In folders, sources that the dataset has no stems for are added to "other", if model and
    dataset have that source. `name` is used in records; default: see `dataset_name`.

    Raises:
        DatasetError: as `track_folders`, `musdb_stem_tracks` and `kind_tracks`.
    """
    if kind or layout:
        tracks = kind_tracks(root, kind=kind or "wav", layout=layout, sources=sources, split=split, targets=targets,
                             stems=stems)
        scored = split if kind not in file_names.NEEDED or split != "test" else tested_split(Path(root))
        return SongSet(name or dataset_name(root, scored), tracks, list(sources))
    found = list(SOURCES) if compressed else sorted(stem_files(_song_folders(root, split)[0]))
    folded = {source: REST for source in sources
              if source not in (targets or {}) and not _parts(source, found) and REST in found and REST in sources}
    scored = [source for source in sources if source not in folded]
    if compressed:
        tracks = musdb_stem_tracks(root, sources=scored, split=split, targets=targets)
    else:
        tracks = track_folders(root, sources=scored, split=split, targets=targets, stems=stems)
    return SongSet(name or (compressed_name if compressed else dataset_name)(root, split), tracks, scored, folded)


def track_folders(root: tp.Union[str, Path], *, sources: tp.Sequence[str], split: str = "test",
                  targets: tp.Optional[Sums] = None, stems: tp.Optional[tp.Sequence[str]] = None
                  ) -> tp.List[ReferenceTrack]:
    """Tracks ROOT/SPLIT/TRACK/{mixture,SOURCE...}.wav (MUSDB18-HQ), sorted by name, or ROOT/TRACK/... if there is no
    folder ROOT/SPLIT. Files may also be flac or mp3. Only the names of files are examined here.

    `targets` maps a source to the stems that add up to it, as `dset.targets` does; `stems` are then all stems of the
    song.

    Without a mixture file the mixture is the sum of `sources`, as in training. If there is a single source, or sources
    are sums of stems, it is the sum of all stems in the folder.

    Raises:
        DatasetError: if there is no such folder, or no track in it.
        FaultyTracks: if tracks lack a stem or their folders cannot be read; the message names all of them.
    """
    tracks, faults = [], []
    for path in _song_folders(root, split):
        try:
            tracks.append(_track(path, sources, targets or {}, stems))
        except DatasetError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(unreadable(path, error))
    if faults:
        raise FaultyTracks(faults)
    return tracks


def kind_tracks(root: tp.Union[str, Path], *, kind: str, layout: tp.Mapping[str, str], sources: tp.Sequence[str],
                split: str = "test", targets: tp.Optional[Sums] = None, stems: tp.Optional[tp.Sequence[str]] = None
                ) -> tp.List[ReferenceTrack]:
    """Tracks of a split of a dataset of a kind (see `data.kinds`), sorted by name. `layout` has further arguments of
    `KindSettings`, `targets` and `stems` are as in `track_folders`.

    Raises:
        ConfigError: for an unknown kind, or invalid settings.
        DatasetError: if there are none.
        FaultyTracks: if tracks lack a stem or cannot be listed; the message names all of them.
    """
    found = kinds.tracks(kind, kinds.KindSettings(Path(root), tuple(stems or sources), **layout), split)
    if found.faults:
        raise FaultyTracks(found.faults)
    recipe = [tuple((targets or {}).get(source, (source,))) for source in sources]
    return [ReferenceTrack(track.name.replace(os.sep, "_"), functools.partial(_read_track, track, recipe), _part_files(track),
                           functools.partial(_check_track, track), track.folder / ORIGIN)
            for track in sorted(found.tracks, key=lambda track: track.name)]


def _part_files(track: Track) -> tp.Tuple[Path, ...]:
    parts = [part for source in (MIXTURE, *track.stems) for part in track.files(source)]
    return tuple(dict.fromkeys(map(part_path, parts)))


def _read_track(track: Track, recipe: tp.Sequence[tp.Sequence[str]]) -> Song:
    """A song of a kind with its mixture, and each reference as the sum of the stems in one row of `recipe`. Stems without
    files are silent, shorter ones end in silence."""
    mix, rate = track.load(MIXTURE)
    wavs = {stem: track.load(stem) for stem in dict.fromkeys(stem for parts in recipe for stem in parts)}
    length = _common_length(track, {stem: (wav.shape[-1], found) for stem, (wav, found) in
                                    {**wavs, MIXTURE: (mix, rate)}.items()})
    channels = max(len(wav) for wav, _ in (*wavs.values(), (mix, rate)))
    form = {stem: lengthened(convert_channels(wav, channels), length) for stem, (wav, _) in wavs.items()}
    for stem, wav in form.items():
        reading.require_finite(wav, track.folder / stem, rate)
    mix = lengthened(convert_channels(mix, channels), length)
    reading.require_finite(mix, track.folder / MIXTURE, rate)
    return Song(mix, torch.stack([_sum(form, parts) for parts in recipe]), rate)


def _check_track(track: Track) -> None:
    """Raise the errors of `_read_track`, with one stem in memory at a time."""
    forms = {}
    for stem in (*track.stems, *([MIXTURE] if track.mixture else [])):
        wav, rate = track.load(stem)
        reading.require_finite(wav, track.folder / stem, rate)
        forms[stem] = (wav.shape[-1], rate)
    _common_length(track, forms)


def _common_length(track: Track, forms: tp.Mapping[str, tp.Tuple[int, int]]) -> int:
    """Length in samples of a track with (length, sample rate) of each stem; silent stems have the rate 0. Raises
    DatasetError if rates differ, or lengths of a track that is not `ragged`."""
    rates = {rate for _, rate in forms.values() if rate}
    length = max(length for length, _ in forms.values())
    short = [stem for stem, (samples, rate) in forms.items() if rate and samples != length]
    if len(rates) > 1 or short and not track.ragged:
        raise DatasetError(f"{track.folder}: files differ in samples or rate ({', '.join(short) or sorted(rates)}); render the "
                           f"track again")
    return length


def _track(path: Path, sources: tp.Sequence[str], targets: Sums, song_stems: tp.Optional[tp.Sequence[str]]
           ) -> ReferenceTrack:
    """The track in the folder `path`. Raises DatasetError if a stem is missing."""
    broken = broken_link(path)
    if broken:
        raise DatasetError(broken)
    files = stem_files(path)
    stems = sorted(name for name in files if name != MIXTURE)
    recipe = []
    for source in sources:
        parts = tuple(targets[source]) if source in targets else _parts(source, stems)
        if not parts or not set(parts) <= set(stems):
            lacking = next((part for part in parts if part not in stems), source)
            raise DatasetError(f"{path}: lacks the stem {lacking}.wav (there are: {', '.join(stems) or 'none'}); "
                               f"complete the track or remove its folder")
        recipe.append(parts)
    mixed = [MIXTURE] if MIXTURE in files else _mixed((song_stems or []) if targets else sources, stems)
    needed = dict.fromkeys([*mixed, *(stem for parts in recipe for stem in parts)])
    if not mixed:
        raise DatasetError(f"{path}: has no mixture.wav, and one stem makes no song; complete the track or remove "
                           f"its folder")
    for stem in needed:
        broken = broken_link(files[stem])
        if broken:
            raise DatasetError(broken)
    song = Track(path.name, {stem: (files[stem],) for stem in needed if stem != MIXTURE},
                 (files[MIXTURE],) if MIXTURE in needed else (), folder=path)
    return ReferenceTrack(path.name, functools.partial(_read_folder, song, mixed, recipe), _in_order(files),
                          functools.partial(_check_folder, song), path / ORIGIN)


def _in_order(files: tp.Mapping[str, Path]) -> tp.Tuple[Path, ...]:
    """Files of a song in an order that does not depend on a model's sources: those of MUSDB18 first, then others by
    name."""
    first = [MIXTURE, *SOURCES]
    names = sorted(files, key=lambda name: (first.index(name) if name in first else len(first), name))
    return tuple(files[name] for name in names if files[name].is_file())


def _song_folders(root: tp.Union[str, Path], split: str) -> tp.List[Path]:
    """Folders of the songs in ROOT/SPLIT, or in ROOT; sorted, at least one."""
    root = Path(root)
    parent = root / split
    if os.path.isdir(parent):
        folders = _subfolders(parent)
        if not folders:
            raise DatasetError(f"{parent}: contains no track; it should hold a folder per song")
        return folders
    folders = [folder for folder in _subfolders(root) if stem_files(folder)] if os.path.isdir(root) else []
    if not folders:
        raise DatasetError(f"{parent}: no such folder; set DEMUCS_MUSDB (or --musdb) to a folder that contains "
                           f"{split}/TRACK/mixture.wav")
    return folders


def _subfolders(folder: Path) -> tp.List[Path]:
    """Folders in `folder`, and broken symbolic links."""
    try:
        return sorted(item for item in folder.iterdir()
                      if not item.name.startswith(".") and (os.path.isdir(item) or broken_link(item)))
    except OSError as error:
        raise DatasetError(unreadable(folder, error)) from error


def _parts(source: str, stems: tp.Sequence[str]) -> tp.Tuple[str, ...]:
    """Those of `stems` that add up to `source`; empty if there are none."""
    if source in stems:
        return (source,)
    plain = [stem for stem in stems if stem != MIXTURE and left_out(stem) is None]
    missing = left_out(source)
    return tuple(stem for stem in plain if stem != missing) if missing in plain else ()


def _mixed(sources: tp.Sequence[str], stems: tp.Sequence[str]) -> tp.List[str]:
    """Those of `stems` that add up to the mixture; empty if unknown."""
    plain = [stem for stem in stems if left_out(stem) is None]
    if len(sources) > 1 and set(sources) <= set(plain):
        return list(sources)
    return list(whole_song(stems))


def _read_folder(song: Track, mixed: tp.Sequence[str], recipe: tp.Sequence[tp.Sequence[str]]) -> Song:
    """The song with the mixture as the sum of the stems `mixed`, and each reference as the sum of the stems in one row
    of `recipe`. Mono stems are copied to the number of channels of the song, as in training."""
    wavs, forms = {}, {}
    for stem in _stems(song):
        wavs[stem], forms[song.files(stem)[0].name] = _read_stem(song, stem)
    _require_alike(song.folder, forms)
    channels = max(len(wav) for wav in wavs.values())
    wavs = {stem: convert_channels(wav, channels) for stem, wav in wavs.items()}
    rate = next(iter(forms.values())).samplerate
    return Song(_sum(wavs, mixed), torch.stack([_sum(wavs, parts) for parts in recipe]), rate)


def _check_folder(song: Track) -> None:
    _require_alike(song.folder, {song.files(stem)[0].name: _read_stem(song, stem)[1] for stem in _stems(song)})


def _stems(song: Track) -> tp.List[str]:
    return [*([MIXTURE] if song.mixture else []), *song.stems]


def _read_stem(song: Track, stem: str) -> tp.Tuple[torch.Tensor, reading.AudioInfo]:
    path = song.files(stem)[0]
    try:
        wav, rate = song.load(stem)
    except OSError as error:
        raise AudioError(unreadable(path, error)) from error
    reading.require_finite(wav, path, rate)
    return wav, reading.AudioInfo(wav.shape[-1], rate, len(wav))


def _require_alike(folder: Path, forms: tp.Mapping[str, reading.AudioInfo]) -> None:
    """Raise DatasetError if the files of a track, by name, differ in length, sample rate or channels (mono
    excepted)."""
    lengths, rates = {form.frames for form in forms.values()}, {form.samplerate for form in forms.values()}
    channels = {form.channels for form in forms.values()} - {1}
    if len(lengths) > 1 or len(rates) > 1 or len(channels) > 1:
        listed = ", ".join(f"{name} has {form.channels} x {form.frames} at {form.samplerate} Hz"
                           for name, form in forms.items())
        raise DatasetError(f"{folder}: files differ in channels, samples or rate: {listed}; render the track again")


def _sum(wavs: tp.Mapping[str, torch.Tensor], names: tp.Sequence[str]) -> torch.Tensor:
    total = wavs[names[0]].clone()
    for name in names[1:]:
        total += wavs[name]
    return total


def musdb_stem_tracks(root: tp.Union[str, Path], *, sources: tp.Sequence[str], split: str = "test",
                      targets: tp.Optional[Sums] = None) -> tp.List[ReferenceTrack]:
    """Tracks of compressed MUSDB18 (ROOT/SPLIT/TRACK.stem.mp4), sorted by name, with references of `sources`. `targets`
    maps a source to the stems that add up to it. Files are read by the musdb package, which needs ffmpeg.

    Raises:
        DatasetError: if there are no tracks, or for a source that MUSDB18 does not have.
    """
    root = Path(root)
    if not (root / split).is_dir() or not any((root / split).glob("*.stem.mp4")):
        raise DatasetError(f"{root / split}: contains no .stem.mp4 file; give the folder of MUSDB18 (not HQ)")
    recipe = [tuple((targets or {}).get(source, ())) or _parts(source, SOURCES) for source in sources]
    unknown = [source for source, parts in zip(sources, recipe) if not parts or not set(parts) <= set(SOURCES)]
    if unknown:
        raise DatasetError(f"{root}: MUSDB18 has no source {', '.join(unknown)}; it has {', '.join(SOURCES)}")
    import musdb  # here, because the import takes a second and only this kind of dataset needs it

    tracks = musdb.DB(str(root), subsets=[split], is_wav=False).tracks
    return [ReferenceTrack(track.name, functools.partial(_read_musdb, track, recipe), (Path(track.path),))
            for track in sorted(tracks, key=lambda track: track.name)]


def _read_musdb(track: tp.Any, recipe: tp.Sequence[tp.Sequence[str]]) -> Song:
    def tensor(samples: tp.Any) -> torch.Tensor:
        return torch.from_numpy(samples).t().float()

    try:
        stems = {name: tensor(track.targets[name].audio) for name in dict.fromkeys(sum(map(tuple, recipe), ()))}
        return Song(tensor(track.audio), torch.stack([_sum(stems, parts) for parts in recipe]), int(track.rate))
    except (RuntimeError, ValueError, OSError) as error:
        raise AudioError(f"{track.path}: cannot be read ({error}); download it again") from error


def dataset_name(root: tp.Union[str, Path], split: str = "test") -> str:
    """Name of the tracks of ROOT/SPLIT in a record. It is "MUSDB18-HQ test" only if the folder looks like that: 50
    tracks, one of which has a certain name. Synthetic songs are called so, with their seed. Otherwise it is the name of
    the folder ROOT and, if ROOT/SPLIT exists, the split.

    Raises DatasetError if the recipe of synthetic songs cannot be read.
    """
    root = Path(root)
    if (root / MANIFEST).exists():
        try:
            recipe = read_json(root / MANIFEST)
            return f"synthetic (seed {recipe['seed']}, {recipe['seconds']:g} s) {split}"
        except (SchemaError, KeyError, TypeError) as error:
            raise DatasetError(f"{root / MANIFEST}: not the recipe of a synthetic dataset; generate it anew") from error
    folder = root / split
    names = [item.name for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
    if split == "test" and len(names) == MUSDB_TEST_TRACKS and MUSDB_TEST_TRACK in names:
        return f"MUSDB18-HQ {split}"
    return f"{root.resolve().name} {split}" if folder.is_dir() else root.resolve().name


def compressed_name(root: tp.Union[str, Path], split: str = "test") -> str:
    """Name of the tracks of compressed MUSDB18, or of its preview, in a record."""
    try:
        preview = schema.load(DatasetDownload, Path(root) / RECORD).dataset == PREVIEW
    except SchemaError:
        preview = False
    return f"{'7-second preview of ' if preview else ''}MUSDB18 {split}"


def fingerprint(files: tp.Iterable[Path]) -> str:
    """Fingerprint of files, 16 hexadecimal digits: a hash of their names, sizes, and some blocks of each.

    It does not depend on folder or modification time, so copies of the files have the same fingerprint.

    Raises:
        AudioError: if a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            size = path.stat().st_size
            digest.update(os.fsencode(path.name) + f"\0{size}\0".encode())
            with open(path, "rb") as file:
                for index in range(PROBES):
                    file.seek(index * max(0, size - PROBE) // (PROBES - 1))
                    digest.update(file.read(PROBE))
        except OSError as error:
            raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]
