"""A study: preparation, trainings of all arms and seeds in turn, scores, and verdicts.

Every training has the same seconds on the same machine. Seeds are the outer loop, and the order of the arms is rotated
from seed to seed, so that a machine that becomes slower or faster affects all arms alike. What is done is not done
again: a study that was stopped goes on with the same command.
"""

import dataclasses
import datetime
import logging
import os
import time
import typing as tp
from pathlib import Path

from .. import schema
from ..building import test_set, test_tracks
from ..config import Config
from ..errors import ConfigError, DatasetError, ToolError
from ..evaluation.collect import evaluation_record
from ..evaluation.evaluate import evaluate_tracks
from ..evaluation.reference_separators import reference_separators
from ..evaluation.tracks import ReferenceTrack, dataset_name, song_set
from ..metrics import verdicts
from ..metrics.aggregates import NSDR_MEAN
from ..metrics.statistics import FEWEST
from ..packages import package
from ..runs.provenance import commit, now, versions
from ..schema import Evaluation, RunCard, StudyResult, StudyTraining
from ..tables import duration
from . import timed
from .description import Description, ToolStep, TrainStep

logger = logging.getLogger(__name__)

RECORD = "study.json"
TRAINING = "training.json"
FILTER = "fixed_filter"

Tool = tp.Callable[[tp.Sequence[str]], int]


class Study:
    """A study in the folder `out` (datasets, trainings, models), with its records in `results`.

    Args:
        tools: functions of the tools that steps may use, by name.

    Raises:
        ConfigError: if the settings of an arm are invalid, or arms have different test songs or sources.
        SystemExit: for an unknown key in them.
    """

    def __init__(self, description: Description, out: Path, results: Path, tools: tp.Mapping[str, Tool]):
        self.description, self.out, self.results, self.tools = description, out.absolute(), results, tools
        self.arms = {arm: description.overrides(own, self.out) for arm, own in description.arms.items()}
        configs = {arm: timed.compose(overrides, description.seeds[0]) for arm, overrides in self.arms.items()}
        self.config = next(iter(configs.values()))
        self.songs = test_set(self.config)
        for step in description.steps:
            if isinstance(step, TrainStep):
                timed.compose(description.overrides(step.overrides, self.out), step.seed)
        for arm, config in configs.items():
            own = test_set(config)
            if (own, config.target_names) != (self.songs, self.config.target_names):
                raise ConfigError(f"the arm {arm} has other test songs or sources ({own.key}={own.folder}, "
                                  f"{', '.join(config.target_names)}) than {next(iter(configs))}; they cannot be "
                                  f"compared")
        if self.songs.key == "test.nonhq" or self.songs.kind or self.songs.layout:
            raise ConfigError("the fixed filter needs songs as folders of wav files with the sources of the model: "
                              "leave out test.nonhq, and use dset.kind=musdb or wav")

    def run(self) -> StudyResult:
        """Do what is left of the study, and write its record.

        Raises:
            Interrupted: if a signal stopped it.
            DemucsError: if songs, settings or tools fail.
        """
        description = self.description
        order = self.order()
        logger.info("Study %s | %d arms, %d seeds: %d trainings of %s each, %s of training in all", description.name,
                    len(self.arms), len(description.seeds), len(order), duration(description.seconds, fine=True),
                    duration(description.training_seconds, fine=True))
        for number, step in enumerate(description.steps, start=1):
            self._step(number, step)
        tracks = self.tracks()
        self.further()
        self._filter(tracks)
        begin, left = time.monotonic(), [pair for pair in order if self._trained(*pair) is None]
        for number, (arm, seed) in enumerate(order, start=1):
            if self._trained(arm, seed) is not None:
                self._score_again(arm, seed, tracks)
                continue
            logger.info("Study %s | training %d of %d | arm %s, seed %d", description.name, number, len(order), arm,
                        seed)
            self._train(arm, seed, tracks)
            done = 1 + left.index((arm, seed))
            rest = (time.monotonic() - begin) / done * (len(left) - done)
            if done < len(left):
                logger.info("Study %s | %d of %d trainings done | %s left", description.name, number, len(order),
                            datetime.timedelta(seconds=round(rest)))
        return self.conclude()

    def order(self) -> tp.List[tp.Tuple[str, int]]:
        """All (arm, seed) in the order of their training."""
        arms = list(self.arms)
        return [(arm, seed) for turn, seed in enumerate(self.description.seeds)
                for arm in (*arms[turn % len(arms):], *arms[:turn % len(arms)])]

    def tracks(self) -> tp.Sequence[ReferenceTrack]:
        """Test songs, of which an interval needs five. Raises DatasetError."""
        tracks = test_tracks(self.config)
        if len(tracks) < FEWEST:
            raise DatasetError(f"{self.songs.key}={self.songs.folder}: has {len(tracks)} test songs; a study needs "
                               f"{FEWEST}")
        return tracks

    def further(self) -> tp.Dict[str, tp.List[ReferenceTrack]]:
        """Songs of the further test sets, by the name of the set. Raises DatasetError."""
        d = self.config.dset
        return {name: song_set(folder.replace("{out}", str(self.out)), sources=self.config.target_names,
                               targets=d.targets, stems=d.sources).tracks
                for name, folder in self.description.also_scored.items()}

    def conclude(self) -> StudyResult:
        """Verdicts on the trainings that are done, and the record of the study.

        Raises:
            DatasetError: if a training or the filter is missing, or scores cannot be compared.
        """
        description = self.description
        found = {(arm, seed): self._trained(arm, seed) for arm in self.arms for seed in description.seeds}
        trainings = [training for training in found.values() if training is not None]
        missing = [f"{arm}, seed {seed}" for (arm, seed), training in found.items()
                   if training is None or not self._has_scores(training)]
        of_filter = [self.scores(FILTER).name, *self._further_files(FILTER).values()]
        if missing or not all((self.results / file).exists() for file in of_filter):
            raise DatasetError(f"{self.out}: not finished: {'; '.join(missing) or 'the fixed filter'}; run the study "
                               f"again without --report, and it goes on")
        scored = {arm: [schema.load(Evaluation, self.results / training.evaluation) for training in trainings
                        if training.arm == arm] for arm in self.arms}
        reference = schema.load(Evaluation, self.scores(FILTER))
        filtered = verdicts.above_filter(scored, reference, NSDR_MEAN)
        result = StudyResult(
            name=description.name, question=description.question, dataset=reference.dataset, sources=reference.sources,
            family=NSDR_MEAN.key, arms={arm: list(own) for arm, own in description.arms.items()},
            reference=self.scores(FILTER).name, seeds=list(description.seeds), seconds=description.seconds,
            trainings=trainings, above_filter=filtered,
            comparisons=verdicts.comparisons(scored, description.comparisons, filtered, NSDR_MEAN),
            common=list(description.common), commit=commit(), versions=versions(), created=now(),
            also_scored=self._further_files(FILTER))
        schema.save(result, self.results / RECORD)
        return result

    def scores(self, name: str) -> Path:
        """File of an evaluation."""
        return self.results / f"{name}.json"

    def _further_files(self, name: str) -> tp.Dict[str, str]:
        """Files of the evaluations on the further test sets, by the name of the set."""
        return {test_set: self.scores(f"{name}_on_{test_set}").name for test_set in self.description.also_scored}

    def folder(self, name: str) -> Path:
        """Folder of a training."""
        return self.out / "runs" / name

    def model(self, name: str) -> Path:
        """File of the exported model of a training."""
        return self.out / "models" / f"{name}.th"

    def _step(self, number: int, step: tp.Union[ToolStep, TrainStep]) -> None:
        where = f"step {number} of {len(self.description.steps)}"
        if isinstance(step, ToolStep):
            arguments = [argument.replace("{out}", str(self.out)) for argument in step.arguments]
            logger.info("Study %s | %s | %s", self.description.name, where, step.tool)
            if self.tools[step.tool](arguments):
                raise ToolError(f"{where} has failed: python -m tools.{step.tool} {' '.join(arguments)}; its error is "
                                f"above")
            return
        done = self._same(step.name, step.overrides, step.seed, step.seconds)
        if done is not None and self.model(step.name).exists():
            return
        logger.info("Study %s | %s | training of %s, %s", self.description.name, where, step.name,
                    duration(step.seconds, fine=True))
        self._train_one(step.name, step.overrides, step.seed, step.seconds)

    def _train(self, arm: str, seed: int, tracks: tp.Sequence[ReferenceTrack]) -> None:
        name = f"{arm}-{seed}"
        self._train_one(name, self.description.arms[arm], seed, self.description.seconds, arm=arm, tracks=tracks)

    def _train_one(self, name: str, own: tp.Sequence[str], seed: int, seconds: float, *, arm: str = "",
                   tracks: tp.Sequence[ReferenceTrack] = ()) -> None:
        """Train, export, and score on `tracks`; the record of the training is written last."""
        started, overrides = now(), self.description.overrides(own, self.out)
        config = timed.compose(overrides, seed)
        folder = self.folder(name)
        trained = timed.train(config, folder, seconds=seconds, name=name, argv=[*overrides, f"seed={seed}"])
        load = os.getloadavg()[0]
        timed.save_model(trained, self.model(name), name=name, argv=[*overrides, f"seed={seed}"])
        logger.info("Study %s | %s | %d steps in %.1f s, loss %.4f", self.description.name, name, trained.steps,
                    trained.seconds, trained.loss)
        if tracks:
            self._score(trained.model, name, config, tracks)
        sessions = len(schema.load(RunCard, folder / "run_card.json").sessions)
        record = StudyTraining(
            arm=arm or name, seed=seed, overrides=[*self.description.common, *own], limit=seconds,
            seconds=trained.seconds, steps=trained.steps, epochs=trained.epochs, batch_size=config.batch_size,
            examples=trained.examples, weights=trained.weights, loss=trained.loss, sessions=sessions,
            machine=trained.machine, load=load, evaluation=self.scores(name).name if tracks else "",
            model_hash=package.model_hash(trained.model), started=started,
            also_scored=self._further_files(name) if tracks else {})
        schema.save(record, folder / TRAINING)
        timed.remove_checkpoints(folder)

    def _score(self, model: tp.Any, name: str, config: Config, tracks: tp.Sequence[ReferenceTrack]) -> None:
        settings = dict(shifts=config.test.shifts, overlap=config.test.overlap, split=config.test.split)
        sets = {self.scores(name): (dataset_name(self.songs.folder), tracks)}
        for test_set, songs in self.further().items():
            sets[self.scores(f"{name}_on_{test_set}")] = (test_set, songs)
        for path, (dataset, songs) in sets.items():
            scores = evaluate_tracks(model, songs, metrics=("nsdr",), seed=0, **settings)
            schema.save(evaluation_record(
                model, scores, name=name, dataset=dataset, sources=config.target_names,
                settings={"metrics": ["nsdr"], "seed": 0, **settings}), path)

    def _score_again(self, arm: str, seed: int, tracks: tp.Sequence[ReferenceTrack]) -> None:
        """Score the exported model of a training, unless the records have its scores."""
        training = self._trained(arm, seed)
        if training is not None and not self._has_scores(training):
            name = f"{arm}-{seed}"
            self._score(package.load(self.model(name)), name, timed.compose(self.arms[arm], seed), tracks)

    def _has_scores(self, training: StudyTraining) -> bool:
        """Whether the records have scores of the model of a training, and not those of another study of this name."""
        return self._scored(training.evaluation.removesuffix(".json"), training.model_hash)

    def _scored(self, name: str, model_hash: str) -> bool:
        """Whether the records have scores of the model `model_hash`, called `name`, on all test sets."""
        paths = [self.results / file for file in (f"{name}.json", *self._further_files(name).values())]
        return all(path.exists() and schema.load(Evaluation, path).model_hash == model_hash for path in paths)

    def _filter(self, tracks: tp.Sequence[ReferenceTrack]) -> None:
        """Score the fixed filter, fitted on the training songs of the labelled data, unless its scores are there."""
        d = self.config.dset
        form = _Form(d.samplerate, d.channels, self.config.segment)
        separators = reference_separators(form, self.config.target_names, Path(self.songs.folder), targets=d.targets,
                                          stems=d.sources)
        fitted = separators["average_filter"]
        if self._scored(FILTER, package.model_hash(fitted)):
            return
        logger.info("Study %s | fixed filter", self.description.name)
        self._score(fitted, FILTER, self.config, tracks)

    def _trained(self, arm: str, seed: int) -> tp.Optional[StudyTraining]:
        """Record of a training that is done. Raises ConfigError if it was done with other settings."""
        return self._same(f"{arm}-{seed}", self.description.arms[arm], seed, self.description.seconds)

    def _same(self, name: str, own: tp.Sequence[str], seed: int, seconds: float) -> tp.Optional[StudyTraining]:
        folder, overrides = self.folder(name), [*self.description.common, *own]
        if not (folder / TRAINING).exists():
            return None
        found = schema.load(StudyTraining, folder / TRAINING)
        if (found.overrides, found.seed, found.limit) != (overrides, seed, seconds):
            changed = " ".join(sorted({*found.overrides} ^ {*overrides})) or "none of the overrides"
            raise ConfigError(f"{folder}: was trained with other settings (seed {found.seed}, {found.limit:g} s) than "
                              f"these (seed {seed}, {seconds:g} s; different: {changed}); remove it, or choose another "
                              f"--out")
        return found


@dataclasses.dataclass(frozen=True)
class _Form:
    """Audio format of a model, as `reference_separators` needs it."""
    samplerate: int
    audio_channels: int
    segment: tp.Any
