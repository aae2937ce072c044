"""Labels of songs: a model's estimates, measured without references, and stored with the mixture.

Estimates of a model do not add up to the mixture, while a training mixes what it is given. So by default the residual
(mixture minus estimates) is divided equally over all estimates. That is the mixture consistency projection of S. Wisdom
et al., "Differentiable consistency constraints for improved deep speech enhancement" (ICASSP 2019) with equal weights.
The true sources do add up to the mixture, and a projection onto the signals that do is never farther from them: the
total squared error of the labels cannot grow, whatever the true sources are.

Measures are those of the estimates before the projection, as in the study of docs/quality.md.
"""

import contextlib
import datetime
import fcntl
import logging
import os
import shutil
import time
import typing as tp
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import schema
from ..audio import reading
from ..data.tracks import MIXTURE
from ..dsp.randomness import generator
from ..errors import (AudioError, ConfigError, DatasetError, DemucsError, describe_os_error, did_you_mean,
                      exhausted_memory)
from ..evaluation.passes import members
from ..evaluation.quality import SeparatedSong, score_song
from ..evaluation.tracks import fingerprint
from ..metrics.quality.measures import EVERY_MEASURE
from ..metrics.quality.ranking import require_measures
from ..packages.package import model_hash
from ..runs.lock import NO_LOCKS
from ..schema import SchemaError, SongLabels
from ..separation.outputs import bytes_per_second, require_space
from ..separation.song import load_song, separate_song
from ..tables import number
from .songs import UnlabelledSong

logger = logging.getLogger(__name__)

LABEL = "label.json"               # beside the stems of a song, written last
SHARED, NONE = "shared", "none"    # uses of the residual, besides the name of a source
WITHOUT = "no_"                    # prefix of the rest of a song, if one stem is labelled
REST = "rest"                      # its name, if several are
PREFERRED = ("remix_agreement", "leakage", "decisiveness")     # distinguished songs of every source in docs/quality.md


class Labeller:
    """Labels of songs by a model or a bag, in `folder`/TRACK.

    Args:
        model: in evaluation mode.
        folder: each song has a folder in it with the stems, the mixture (32-bit float wav) and a record.
        measures: the measures to be computed, see `default_measures`.
        stems: label these sources only, and write the rest of the mixture as one further stem ("no_vocals", or "rest"
            for several); None for all sources.
        residual: "shared" divides the residual over all estimates, the name of a source adds it to that one, "none"
            leaves it out: then the stored mixture is the sum of the estimates. No effect with `stems`.
        seed: random seed of the shift trick. The shifts of a song depend on it and on the song's name only.
        device: of the computation.
        settings: shifts, overlap and segment, as for `separate_song`.

    Raises:
        ConfigError: for an unknown source, residual or measure, or a measure that this model does not allow.
    """

    def __init__(self, model: nn.Module, folder: Path, *, measures: tp.Sequence[str],
                 stems: tp.Optional[tp.Sequence[str]] = None, residual: str = SHARED, seed: int = 0,
                 device: str = "cpu", **settings: tp.Any):
        self.model, self.folder, self.measures, self.device = model, folder, list(measures), device
        self.sources = list(model.sources)
        self.chosen = list(self.sources if stems is None else stems)
        for option, names in (("--stems", self.chosen), ("--residual", [residual])):
            for name in names:
                known = [*self.sources, *([SHARED, NONE] if option == "--residual" else [])]
                if name not in known:
                    raise ConfigError(f"{option} {name}: must be one of {', '.join(known)}.{did_you_mean(name, known)}")
        if len(set(self.chosen)) < len(self.chosen) or not self.chosen:
            raise ConfigError(f"--stems {','.join(self.chosen)}: name at least one source, and each once")
        require_measures(self.measures, available_measures(model))
        if not self.measures:
            raise ConfigError("songs are chosen by at least one measure")
        self.partial = stems is not None and set(self.chosen) != set(self.sources)
        self.residual, self.seed, self.separation = residual, seed, settings
        self.hash = model_hash(model)

    @property
    def stems(self) -> tp.List[str]:
        """Stems of a labelled song, which add up to its mixture."""
        if not self.partial:
            return self.sources
        return [*self.chosen, WITHOUT + self.chosen[0] if len(self.chosen) == 1 else REST]

    @property
    def settings(self) -> tp.Dict[str, tp.Any]:
        """Settings for records; labels with other ones are made anew."""
        return {"seed": self.seed, **self.separation, "residual": "rest" if self.partial else self.residual,
                "weights": getattr(self.model, "weights", None)}

    def label_all(self, songs: tp.Sequence[UnlabelledSong]) -> tp.Tuple[tp.List[SongLabels], tp.Dict[str, str]]:
        """(labels of `songs`, reasons why others cannot be labelled by file). Labels that exist are not made again.

        Raises:
            DatasetError: if another process labels songs in the same folder, or labels cannot be written.
        """
        with self._locked():
            return self._label_all(songs)

    @contextlib.contextmanager
    def _locked(self) -> tp.Iterator[None]:
        """Context with the lock of the folder, which is released when the process ends."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / ".lock", "w") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in NO_LOCKS:
                        raise DatasetError(f"{self.folder}: another process labels songs there; wait for its end, or "
                                           f"choose another --labels") from error
                yield
        except OSError as error:
            raise DatasetError(f"{describe_os_error(error)}; the labels so far are in {self.folder}, and the same "
                               f"command goes on from there") from error

    def _label_all(self, songs: tp.Sequence[UnlabelledSong]) -> tp.Tuple[tp.List[SongLabels], tp.Dict[str, str]]:
        found: tp.Dict[str, SongLabels] = {}
        faults: tp.Dict[str, str] = {}
        marks: tp.Dict[str, str] = {}
        for song in songs:
            try:
                marks[song.name] = fingerprint([song.path])
            except AudioError as error:
                faults[song.relative] = str(error)
                continue
            labels, reason = self.existing(song, marks[song.name])
            if labels is not None:
                found[song.name] = labels
            elif reason:
                logger.info("Labels | %s is labelled anew: %s", song.name, reason)
        if found:
            logger.info("Labels | %d of %d songs have labels of this model and these settings already", len(found),
                        len(songs))
        todo = [song for song in songs if song.name in marks and song.name not in found]
        begin = time.monotonic()
        for done, song in enumerate(todo, start=1):
            start = time.monotonic()
            try:
                labels = found[song.name] = self.label(song, marks[song.name])
                told = " | ".join(f"{key} {number(mean_over(labels, key, self.chosen), 1)} dB" for key in self.measures)
            except (ConfigError, SchemaError):
                raise
            except DemucsError as error:
                told = faults[song.relative] = str(error)
            except OSError:
                raise
            except Exception as error:
                if not exhausted_memory(error):
                    raise
                told = f"{song.path}: out of {exhausted_memory(error)}; smaller segments take less (--segment)"
                faults[song.relative] = told
            spent = time.monotonic() - begin
            left = round((len(todo) - done) * spent / done)
            logger.info("Labels | song %d/%d | %s | %s | %.1f s%s", done, len(todo), song.name, told,
                        time.monotonic() - start,
                        f" | {datetime.timedelta(seconds=left)} left" if done < len(todo) else "")
        return [found[song.name] for song in songs if song.name in found], faults

    def existing(self, song: UnlabelledSong, mark: str) -> tp.Tuple[tp.Optional[SongLabels], str]:
        """(labels of a song that can be used, "") or (None, why existing ones cannot; "" if there are none)."""
        folder = self.folder / song.name
        if not (folder / LABEL).exists():
            return None, ""
        try:
            labels = schema.load(SongLabels, folder / LABEL)
        except SchemaError as error:
            return None, str(error)
        if labels.model_hash != self.hash:
            return None, "another model made its labels"
        if labels.fingerprint != mark:
            return None, "its file has changed"
        if labels.stems != self.stems or labels.settings != schema.finite(self.settings):
            return None, "they were made with other settings"
        if not all((folder / f"{stem}.wav").is_file() for stem in (*labels.stems, MIXTURE)):
            return None, "some of its files are missing"
        if not set(self.measures) <= {key for values in labels.values.values() for key in values}:
            return None, "not all measures were computed"
        return labels, ""

    def label(self, song: UnlabelledSong, mark: str) -> SongLabels:
        """Labels of one song, written to its folder at once, which replaces an existing one.

        Raises:
            AudioError: if the song cannot be read, separated or measured, or its labels cannot be written.
        """
        model = self.model
        mix = load_song(song.path, samplerate=model.samplerate, channels=model.audio_channels)
        own = int(generator(self.seed, "pseudo-labelled song", zlib.crc32(os.fsencode(song.name))).integers(2 ** 31))
        estimates = separate_song(model, mix, seed=own, device=self.device, **self.separation)
        again = {key: value for key, value in self.separation.items() if key != "shifts"}
        try:
            values = score_song(SeparatedSong(estimates, mix, model.samplerate), model, wanted=self.measures, seed=own,
                                device=self.device, **again)
        except AudioError as error:
            raise error if str(song.path) in str(error) else AudioError(f"{song.path}: {error}") from error
        stems = self.stored(estimates, mix)
        labels = SongLabels(
            name=song.name, file=song.relative, fingerprint=mark, seconds=mix.shape[-1] / model.samplerate,
            sources=self.sources, stems=self.stems, residual=level(mix - estimates.sum(dim=0), mix),
            values={source: {key: column[index] for key, column in values.items()}
                    for index, source in enumerate(self.sources)}, model_hash=self.hash, settings=self.settings)
        self._write(labels, stems)
        return labels

    def stored(self, estimates: torch.Tensor, mix: torch.Tensor) -> tp.Dict[str, torch.Tensor]:
        """Stems and mixture [A, L] of a labelled song by name, for `estimates` [S, A, L] of a mixture [A, L]."""
        named = dict(zip(self.sources, estimates))
        if self.partial:
            stems = {name: named[name] for name in self.chosen}
            return {**stems, self.stems[-1]: mix - sum(stems.values()), MIXTURE: mix}
        residual = mix - estimates.sum(dim=0)
        if self.residual == SHARED:
            named = {name: estimate + residual / len(named) for name, estimate in named.items()}
        elif self.residual != NONE:
            named[self.residual] = named[self.residual] + residual
        return {**named, MIXTURE: estimates.sum(dim=0) if self.residual == NONE else mix}

    def _write(self, labels: SongLabels, stems: tp.Mapping[str, torch.Tensor]) -> None:
        folder = self.folder / labels.name
        partial = folder.with_name(f".{labels.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        rate, channels = self.model.samplerate, self.model.audio_channels
        files = {name: partial / f"{name}.wav" for name in stems}
        require_space(list(files.values()), labels.seconds, bytes_per_second(
            "wav", samplerate=rate, channels=channels, bits=32, bitrate=0))
        partial.mkdir(parents=True)
        try:
            for name, path in files.items():
                reading.write(path, stems[name], rate, clip="none", as_float=True)
            schema.save(labels, partial / LABEL)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def available_measures(model: nn.Module) -> tp.List[str]:
    """Measures that the estimates of a model allow."""
    single = ("leakage", "decisiveness") if len(model.sources) < 2 else ()
    return [key for key, measure in EVERY_MEASURE.items()
            if key not in single and (measure.needs != "bag" or len(members(model)) > 1)]


def default_measures(model: nn.Module) -> tp.List[str]:
    """The measures of `PREFERRED` that the model allows."""
    return [key for key in PREFERRED if key in available_measures(model)]


def mean_over(labels: SongLabels, measure: str, stems: tp.Iterable[str]) -> tp.Optional[float]:
    """Mean of a measure over those stems for which it is defined; None if there is none."""
    values = [value for stem in stems if (value := labels.values.get(stem, {}).get(measure)) is not None]
    return float(np.mean(values)) if values else None


def level(signal: torch.Tensor, relative_to: torch.Tensor) -> tp.Optional[float]:
    """Energy of a signal by that of another one in dB; None if one of them is silent."""
    one, other = (float(wav.double().square().sum()) for wav in (signal, relative_to))
    return 10 * float(np.log10(one / other)) if one > 0 and other > 0 else None
