"""Quality measures without references for a folder of separated songs, FOLDER/TRACK/SOURCE.wav, of any separator."""

import logging
import typing as tp
from pathlib import Path

import torch
from torch import nn

from ..audio import reading
from ..data.kinds.folders import stem_files
from ..data.tracks import MIXTURE, SUFFIXES
from ..dsp.convert import convert_audio
from ..errors import AudioError, ConfigError, DatasetError, exhausted_memory
from ..metrics.quality.measures import MEASURES, measure_song
from ..packages import package
from ..runs.provenance import commit, now, versions
from ..schema import QualityScores, QualityTrack
from . import passes
from .separated import estimate_files, separated_folders, without_delay

logger = logging.getLogger(__name__)


class SeparatedSong(tp.NamedTuple):
    """Separated song: `estimates` [S, A, L] and `mixture` [A, L] (None if there is none), at `samplerate` Hz."""
    estimates: torch.Tensor
    mixture: tp.Optional[torch.Tensor]
    samplerate: int


def mixture_file(folder: Path, mixtures: tp.Optional[Path] = None) -> tp.Optional[Path]:
    """Mixture file of the separated song in `folder` (FOLDER/mixture.wav, flac or mp3). If it has none, the file below
    `mixtures` that belongs to the song by name: TRACK/mixture.wav, test/TRACK/mixture.wav or TRACK.wav. None if there
    is none."""
    places = [folder, *([mixtures / folder.name, mixtures / "test" / folder.name] if mixtures else [])]
    files = [stem_files(place).get(MIXTURE) for place in places if place.is_dir()]
    if mixtures:
        files += [path for path in (mixtures / f"{folder.name}{suffix}" for suffix in SUFFIXES) if path.is_file()]
    return next((path for path in files if path is not None), None)


def read_song(folder: Path, sources: tp.Sequence[str], mixture: tp.Optional[Path] = None) -> SeparatedSong:
    """The song in `folder`, with the estimates of `sources` (at least one) in that order, and the audio of the file
    `mixture`. The delay of mp3 files is removed if the first file read (the mixture, if given) is shorter by it.

    Raises:
        DatasetError: if a source is missing, or files differ in sample rate, channels or length.
        AudioError: if a file cannot be read, or has samples that are not finite.
    """
    stems = stem_files(folder)
    missing = [source for source in sources if source not in stems]
    if missing:
        raise DatasetError(f"{folder}: lacks {', '.join(missing)} (there are: "
                           f"{', '.join(name for name in stems if name != MIXTURE)}); complete the song, remove its "
                           f"folder, or name the sources that all songs have")
    files = [*([mixture] if mixture else []), *(stems[source] for source in sources)]
    wavs, rates = [], []
    for path in files:
        wav, rate = reading.read(path)
        reading.require_finite(wav, path, rate)
        wavs.append(without_delay(wav, path, wavs[0].shape[-1]) if wavs else wav)
        rates.append(rate)
    if len({(rate, *wav.shape) for rate, wav in zip(rates, wavs)}) > 1:
        found = ", ".join(f"{path.name} {tuple(wav.shape)} at {rate} Hz" for path, wav, rate in zip(files, wavs, rates))
        raise DatasetError(f"{folder}: files differ in channels, samples or rate: {found}; separate the song again, "
                           f"without converting it")
    return SeparatedSong(torch.stack(wavs[1:] if mixture else wavs), wavs[0] if mixture else None, rates[0])


def score_song(song: SeparatedSong, model: tp.Optional[nn.Module] = None, *,
               wanted: tp.Optional[tp.Collection[str]] = None, **settings: tp.Any) -> tp.Dict[str, tp.Any]:
    """Values of the measures `wanted` (None: all) that can be computed, {measure: one value per source}; None where
    undefined, see `measure_song`. With a model and the mixture, they include the agreement of repeated separations,
    whose `settings` are `seed` and those of `separate_song`, and for a bag the agreement of its models.

    Raises:
        AudioError, ConfigError: as `measure_song` and `separate_song`.
    """
    several = {}
    if model is not None and song.mixture is not None:
        def converted(wav: torch.Tensor) -> torch.Tensor:
            return convert_audio(wav, song.samplerate, model.samplerate, model.audio_channels)
        repeated: tp.Dict[str, tp.Tuple[tp.Callable[..., tp.Any], torch.Tensor]] = {
            "shift_agreement": (passes.shifted, song.mixture), "remix_agreement": (passes.remixed, song.estimates)}
        if len(passes.members(model)) > 1:
            repeated["model_agreement"] = (passes.by_members, song.mixture)
        several = {key: separate(model, converted(wav), **settings) for key, (separate, wav) in repeated.items()
                   if wanted is None or key in wanted}
    return measure_song(song.estimates.numpy(), song.samplerate, passes=several, wanted=wanted,
                        mixture=None if song.mixture is None else song.mixture.numpy())


def score_folder(root: tp.Union[str, Path], *, mixtures: tp.Optional[Path] = None,
                 sources: tp.Optional[tp.Sequence[str]] = None, model: tp.Optional[nn.Module] = None,
                 **settings: tp.Any) -> QualityScores:
    """Record of the quality measures of every song in a folder of separations. Nothing is written.

    Args:
        root: folder of TRACK/SOURCE.wav (or flac, mp3).
        mixtures: folder of mixtures that are not among the estimates; see `mixture_file`. Measures that need the
            mixture are omitted for a song without one.
        sources: default: those of the model, otherwise all stems of the first song.
        model: the model that computed the separations, for the measures from repeated separations; without it they are
            omitted.
        settings: of the repeated separations: `seed`, `overlap`, `segment`, `device`, ...

    Raises:
        DatasetError: if there is no song, or a song lacks a source or has files that do not fit together.
        AudioError: if a song cannot be read or measured, or needs too much memory.
        ConfigError: if a model's sources differ from those of the separations, or `settings` are invalid.
    """
    root = Path(root)
    folders = separated_folders(root)
    if sources is None:
        sources = model.sources if model else list(estimate_files(folders[0]))
    if model is not None and list(sources) != list(model.sources):
        raise ConfigError(f"the model separates {', '.join(model.sources)}, so it cannot repeat {', '.join(sources)}; "
                          f"leave either the sources or the model out")
    tracks = []
    for number, folder in enumerate(folders, start=1):
        try:
            song = read_song(folder, sources, mixture_file(folder, mixtures))
            found = score_song(song, model, wanted=MEASURES, **settings)
        except AudioError as error:
            raise error if str(folder) in str(error) else AudioError(f"{folder}: {error}") from error
        except Exception as error:
            if not exhausted_memory(error):
                raise
            raise AudioError(f"{folder}: out of {exhausted_memory(error)}; move this song elsewhere, or leave the "
                             "model out"
                             ) from error
        values = {source: {key: column[index] for key, column in found.items()} for index, source in enumerate(sources)}
        tracks.append(QualityTrack(folder.name, song.estimates.shape[-1] / song.samplerate, values))
        logger.info("Quality | song %d/%d | %s%s", number, len(folders), folder.name,
                    "" if song.mixture is not None else " | no mixture found")
    taken = {key for track in tracks for values in track.values.values() for key in values}
    return QualityScores(
        name=root.resolve().name, sources=list(sources), tracks=tracks, commit=commit(), versions=versions(),
        created=now(), measures={key: measure.label for key, measure in MEASURES.items() if key in taken},
        settings={**{key: str(value) if key == "device" else value for key, value in settings.items()},
                  "model_hash": package.model_hash(model) if model is not None and model.state_dict() else ""})
