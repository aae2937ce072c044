"""Dataset of labelled songs: OUT/{train,valid}/TRACK/{mixture,SOURCE}.wav, for `dset.wav` and `dset.wav2`.

Its files are hard links to the labels where the file system allows it, otherwise copies. So several datasets can be
made from the same labels, and another rule needs neither time nor space.
"""

import os
import shutil
import typing as tp
from pathlib import Path

from .. import schema
from ..data.tracks import MIXTURE
from ..errors import DatasetError
from ..evaluation.passes import members
from ..metrics.quality.measures import EVERY_MEASURE
from ..packages.package import model_hash
from ..runs.provenance import commit, now, versions
from ..schema import JudgedSong, PseudoLabels, SchemaError
from ..tables import aligned, number
from .labelling import Labeller
from .rule import Rule

RECORD = "pseudo_labels.json"      # in the root of the dataset, written last
SPLITS = ("train", "valid")


def claim(out: Path, labels: Path, songs: Path) -> None:
    """Check that a dataset can be written to `out`, which does not exist or was written by this module, and its labels
    to `labels`.

    Raises:
        DatasetError: if `out` holds something else, or one of the two is in the folder of the songs (or the reverse).
    """
    for option, path in (("--out", out), ("--labels", labels)):
        one, other = (Path(os.path.realpath(place)) for place in (path, songs))
        if one == other or other in one.parents or one in other.parents:
            raise DatasetError(f"{path}: what is made cannot be in the folder of the songs, {songs}, nor contain it; "
                               f"choose another {option}")
    if (out / RECORD).exists():
        try:
            schema.load(PseudoLabels, out / RECORD)
        except SchemaError as error:
            raise DatasetError(f"{error}; remove {out}, or choose another --out") from error
    elif any((out / split).exists() for split in SPLITS):
        raise DatasetError(f"{out} holds a dataset that is not pseudo-labelled (no {RECORD}); choose another --out")


def write(out: Path, labels: Path, record: PseudoLabels) -> None:
    """Write the dataset of `record` to `out`, in place of an earlier one, from the labels in the folder `labels`.

    Raises:
        DatasetError: if fewer songs are kept than a training needs: one in train/ and one in valid/.
        OSError: if files cannot be written; then there is no record, and the same call completes it.
    """
    split = {name: [song for song in record.songs if song.split == name] for name in SPLITS}
    if not all(split.values()):
        kept = sum(map(len, split.values()))
        raise DatasetError(f"{out}: {kept} of {len(record.songs)} labelled songs are kept, and a dataset needs at "
                           f"least one in each of train/ and valid/; raise --keep, relax --threshold, give more songs, "
                           f"or change --valid")
    (out / RECORD).unlink(missing_ok=True)
    for name, songs in split.items():
        partial = out / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for song in songs:
            _link_song(labels / song.name, partial / song.name, record.stems)
        shutil.rmtree(out / name, ignore_errors=True)
        partial.rename(out / name)
    schema.save(record, out / RECORD)


def _link_song(source: Path, target: Path, stems: tp.Sequence[str]) -> None:
    target.mkdir(parents=True)
    for stem in (*stems, MIXTURE):
        one, other = source / f"{stem}.wav", target / f"{stem}.wav"
        try:
            os.link(one, other)
        except OSError:       # another file system, or one without hard links
            shutil.copy2(one, other)


def new_record(labeller: Labeller, model: str, songs: Path, rule: Rule, decisions: tp.Sequence[JudgedSong],
               unreadable: tp.Mapping[str, str]) -> PseudoLabels:
    """Record of a dataset, with the current time. `model` is the name of the model, `unreadable` maps files that could
    not be labelled to the reason."""
    models = members(labeller.model)
    return PseudoLabels(
        model=model, model_hash=labeller.hash, members=[model_hash(one) for one in models] if len(models) > 1 else [],
        songs_folder=str(songs), sources=labeller.sources, stems=labeller.stems, samplerate=labeller.model.samplerate,
        audio_channels=labeller.model.audio_channels, measures=list(rule.measures), rule=str(rule),
        rule_settings={"keep": rule.keep, "thresholds": dict(rule.thresholds), "random": rule.random,
                       "valid": rule.valid, "seed": rule.seed},
        settings=labeller.settings, songs=list(decisions), unreadable=dict(unreadable), commit=commit(),
        versions=versions(), created=now())


def summary(record: PseudoLabels, out: Path) -> str:
    """Description of a dataset for a terminal: the rule, the number of songs, and the mean of every measure over kept
    and refused songs."""
    groups = {name: [song for song in record.songs if bool(song.split) == kept]
              for name, kept in (("kept", True), ("refused", False))}
    stems = [stem for stem in record.stems if stem in record.sources]
    rows = [[EVERY_MEASURE[key].label, *(number(_mean(songs, key, stems), 1) for songs in groups.values())]
            for key in record.measures]
    residuals = (_mean_of([song.residual for song in songs]) for songs in groups.values())
    rows.append(["residual (dB)", *(number(mean, 1) for mean in residuals)])
    counted = {name: sum(song.split == name for song in record.songs) for name in SPLITS}
    return "\n".join([
        f"rule: {record.rule}", "",
        *aligned(["mean over songs and stems", *(f"{name}, {len(songs)}" for name, songs in groups.items())], rows), "",
        f"{out}: {counted['train']} songs to train on, {counted['valid']} in valid/, of {len(record.songs)} labelled "
        f"ones" + (f"; {len(record.unreadable)} could not be labelled" if record.unreadable else ""),
        f"record in {out / RECORD}"])


def _mean(songs: tp.Sequence[JudgedSong], measure: str, stems: tp.Sequence[str]) -> tp.Optional[float]:
    return _mean_of([song.values.get(stem, {}).get(measure) for song in songs for stem in stems])


def _mean_of(values: tp.Sequence[tp.Optional[float]]) -> tp.Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
