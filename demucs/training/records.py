"""Records of a run that are written during training: history, run card, and the best weights as a package."""

import contextlib
import hashlib
import logging
import os
import sys
import time
import typing as tp
from fractions import Fraction
from pathlib import Path

from torch import nn

from ..errors import PackageError
from ..files import atomic
from ..packages import package, quantised
from ..ranges import COUNT, from_environment
from ..runs.layout import BEST, HISTORY, RUN_CARD
from ..runs.provenance import commit, now, packages, uncommitted, versions
from ..schema import EpochRecord, RunCard, SchemaError, Session, TestSet, load, save, save_history
from .distributed import Group
from .ema import State, swapped
from .quantisation import Quantisation

logger = logging.getLogger(__name__)

def command_line() -> tp.List[str]:
    """Command line of this process, word by word. The Python interpreter is without its folder."""
    interpreter, *arguments = sys.orig_argv
    return [os.path.basename(interpreter), *arguments]


class RunRecorder:
    """Writer of `history.json`, `run_card.json` and `best.th` in the folder of a run. Only rank 0 calls `publish`. The
    constructor is a collective call.

    Args:
        model: as built by the zoo.
        folder: of the run.
        group: the ranks, whose nodes and GPUs are recorded.
        signature, name, argv: of the experiment in Dora; `argv` are its overrides.
        epochs, batch_size, seed: of the configuration.
        train_tracks, valid_tracks: numbers of tracks.
        continued_from: signature of the experiment whose weights the training started from, if any.
        delta: difference from the base configuration, by key, if known.
        quantisation: of the model, if any. Then `best.th` holds its packed quantised weights.
        test_set: location of the test songs, if known.
        tf32: the operations that use TF32 on a GPU during training, as `precision.use_tf32` takes them.
    """

    def __init__(self, model: nn.Module, *, folder: Path, group: Group, signature: str, name: str,
                 argv: tp.Sequence[str], epochs: int, batch_size: int, seed: int, train_tracks: int,
                 valid_tracks: int, continued_from: tp.Optional[str],
                 delta: tp.Optional[tp.Mapping[str, tp.Any]] = None, quantisation: tp.Optional[Quantisation] = None,
                 test_set: tp.Optional[TestSet] = None, tf32: str = ""):
        self.model = model
        self.quantisation = quantisation
        self.folder = folder
        self.is_first = group.is_first
        self.first_epoch = 1
        self.begin = time.monotonic()
        self.started = now()
        self.earlier: tp.List[Session] = []
        nodes, gpus = group.machines()
        self.session: tp.Dict[str, tp.Any] = dict(
            world_size=group.world_size, device=group.device_name, job=os.environ.get("SLURM_JOB_ID"),
            restarts=from_environment("SLURM_RESTART_COUNT", 0, COUNT), gpus=gpus, nodes=nodes, command=command_line(),
            commit=commit(), tf32=tf32 if group.device.type == "cuda" else "")
        self.diff = uncommitted() if group.is_first else None     # read now, since files may change during the run
        learnt_bits = quantisation.bits.values() if quantisation else ()     # the exported model does not have them
        self.constant: tp.Dict[str, tp.Any] = dict(
            signature=signature, name=name, argv=list(argv), model=model.zoo_name,
            model_settings={key: float(value) if isinstance(value, Fraction) else value
                            for key, value in model.zoo_kwargs.items()
                            if key not in ("sources", "audio_channels", "samplerate")},
            sources=list(model.sources), samplerate=model.samplerate, audio_channels=model.audio_channels,
            parameters=sum(parameter.numel() for parameter in model.parameters())
            - sum(bits.numel() for bits in learnt_bits), seed=seed, epochs=epochs, batch_size=batch_size,
            train_tracks=train_tracks, valid_tracks=valid_tracks, continued_from=continued_from, commit=commit(),
            versions=versions(), delta=None if delta is None else dict(delta), packages=packages(), test_set=test_set)

    def continues(self, epochs: tp.Optional[int]) -> None:
        """Set, for the run card, that this run starts from the weights of another one, which had `epochs` epochs
        including those of the runs that it continued itself (None: unknown)."""
        self.constant["continued_after"] = epochs

    def resume(self, history: tp.Sequence[EpochRecord], best_epoch: int, best_state: tp.Optional[State]) -> None:
        """Begin a further session of a run with the epochs of `history`, of which number `best_epoch` (counted from 1)
        had the best weights. If `best.th` holds other weights, it is written again: a process that ended between
        writing that file and its checkpoint repeats the epoch, possibly with another result."""
        self.first_epoch = len(history) + 1
        if not self.is_first:
            return
        if (self.folder / RUN_CARD).exists():
            try:
                card = load(RunCard, self.folder / RUN_CARD)
                self.earlier, self.constant["continued_after"] = card.sessions, card.continued_after
            except SchemaError as error:
                logger.warning("%s. It is renamed to %s.damaged, and a new one starts with this session.", error,
                               RUN_CARD)
                with contextlib.suppress(OSError):
                    os.replace(self.folder / RUN_CARD, self.folder / f"{RUN_CARD}.damaged")
        if best_state is not None and best_epoch and not self._has_weights_of(history[:best_epoch]):
            self._save_best(history[:best_epoch], best_state)

    def _has_weights_of(self, history: tp.Sequence[EpochRecord]) -> bool:
        """Whether `best.th` holds the weights of the last epoch of `history`."""
        try:
            card = package.load(self.folder / BEST).card
        except PackageError:
            return False
        return (card.signature, card.epochs_done, card.valid) == (
            self.constant["signature"], len(history), history[-1].valid)

    def publish(self, history: tp.Sequence[EpochRecord], best_state: tp.Optional[State]) -> None:
        """Write history and run card, after an epoch or an interruption. `best_state` are the best weights, for
        `best.th`, if they have changed since the last call; None if not.

        Raises OSError if a file cannot be written.
        """
        if history:
            save_history(history, self.folder / HISTORY)
        session = Session(started=self.started, ended=now(), seconds=time.monotonic() - self.begin,
                          first_epoch=self.first_epoch, last_epoch=len(history), diff=self._save_diff(),
                          **self.session)
        card = RunCard(**self.constant, epochs_done=len(history), sessions=[*self.earlier, session])
        save(card, self.folder / RUN_CARD)
        if best_state is not None:
            self._save_best(history, best_state)

    def _save_best(self, history: tp.Sequence[EpochRecord], state: State) -> None:
        with swapped(self.model, state):
            card = package.new_card(self.model, signature=self.constant["signature"], epochs_done=len(history),
                                    epochs=self.constant["epochs"], valid=history[-1].valid,
                                    argv=self.constant["argv"])
            packed = quantised.packed(self.quantisation.quantizer) if self.quantisation else None
            package.save(self.model, self.folder / BEST, card=card, quantizer_state=packed)

    def _save_diff(self) -> str:
        """Name of the file with the uncommitted changes of the code, "" without any. Sessions with the same changes
        share it."""
        if not self.diff:
            return ""
        path = self.folder / f"uncommitted-{hashlib.sha256(self.diff).hexdigest()[:8]}.diff"
        if not path.exists():
            with atomic(path) as file:
                file.write(self.diff)
        return path.name
