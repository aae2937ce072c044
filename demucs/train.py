"""Training of one experiment: the entry point of `dora run [-d] [overrides]`."""

import contextlib
import dataclasses
import logging
import os
import sys
import typing as tp
from pathlib import Path

import torch
from dora import get_xp
from omegaconf import OmegaConf

from . import scheduling
from .building import build_model, build_solver, draw_finished, finished, test_set
from .config import Config, read
from .console import INTERRUPTED, debugging, fill_streams, hook, one_line, quiet_logs, tolerant_logs
from .errors import ConfigError, DatasetError, TrainingError, exhausted_memory
from .experiment import ExperimentMain, in_one_line, rank_of_process
from .runs.lock import locked
from .runs.status import refused
from .schema import TestSet
from .training.distributed import PATIENCE, join_group, leave_group, lost_peer
from .training.interruption import Stopped, Watchdog, end_with_launcher, prepare_signals
from .training.workers import ending_workers

logger = logging.getLogger(__name__)

sys.excepthook = hook      # Dora does not handle errors itself
fill_streams()


def recorded_test_set(cfg: tp.Any, config: Config) -> TestSet:
    """Location of the test songs, unresolved: a path from an environment variable is recorded by the name of the
    variable."""
    found = test_set(config)
    section, name = found.key.split(".")
    return dataclasses.replace(found, folder=str(OmegaConf.to_container(cfg, resolve=False)[section][name] or found.folder))


def be_deterministic() -> None:
    """Set torch and cuBLAS such that runs on GPUs of the same kind are bit-identical, at the cost of some speed, where
    they have deterministic implementations. On CPUs runs always are."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")      # for cuBLAS and the LSTM of cuDNN
    torch.backends.cudnn.benchmark = False
    # Some backward passes have no deterministic implementation on GPUs; torch names them in a warning.
    torch.use_deterministic_algorithms(True, warn_only=True)


def _more_memory(error: Exception, cfg: tp.Any) -> str:
    """Suffix of a message about exhausted memory: the settings by which the same training needs less; "" otherwise."""
    kind = exhausted_memory(error)
    if not kind:
        return ""
    now = "empty: all" if cfg.misc.examples_at_once is None else cfg.misc.examples_at_once
    advice = f"; the training is the same one with a smaller misc.examples_at_once (now {now}, " \
             f"for a batch_size of {cfg.batch_size} over all processes)"
    return advice if kind == "GPU memory" else f"{advice}, or fewer misc.num_workers (now {cfg.misc.num_workers})"


def _require_nothing(config: Config, folder: Path, missing: DatasetError, *, curves: bool) -> None:
    """Raise `missing`, the error about songs that are not there, unless the run is finished and needs none. With
    `curves`, write the TensorBoard curves of the finished run."""
    history = finished(config, folder)
    if history is None:
        raise missing
    logger.info("All %d epochs are done, so missing songs have no effect: %s", len(history), missing)
    if curves:
        draw_finished(history, folder)


def main(cfg: tp.Any) -> None:
    """Train one experiment with its Hydra configuration `cfg`, inside Dora. Ends the process with a non-zero status
    after an error, which is logged in one line."""
    tolerant_logs()
    xp = get_xp()
    with in_one_line():
        scheduling.prepare_processes()
    prepare_signals()
    end_with_launcher()
    rank = rank_of_process()
    logging.getLogger().setLevel(logging.WARNING if rank else logging.DEBUG if cfg.misc.verbose else logging.INFO)
    if cfg.misc.quiet:
        quiet_logs()
    expected = os.environ.get("DEMUCS_EXPECTED_SIGNATURE", xp.sig)
    if xp.sig != expected:
        logger.error("these settings are experiment %s, but they were submitted as %s, which other jobs may rely on: the "
                     "configuration that they override has changed since. Submit them again.", xp.sig, expected)
        sys.exit(2)
    try:
        config = read(OmegaConf.to_container(cfg, resolve=True))
        if config.misc.show:
            model = build_model(config)
            logger.info("%s\n%.1f MB", model, sum(p.numel() for p in model.parameters()) * 4 / 1e6)
            return
        if config.misc.deterministic:
            be_deterministic()
        reason = ""
        with contextlib.ExitStack() as stack:
            with Watchdog(PATIENCE.total_seconds()).watching():
                group = join_group()
                logger.info("Experiment %s, in %s", xp.sig, os.path.relpath(xp.folder))
                group.first_then_all(lambda: stack.enter_context(locked(xp.folder)) if group.is_first else None)
                try:
                    solver = build_solver(config, xp.folder, group, signature=xp.sig, name=main.get_name(xp),
                                          argv=xp.argv, delta=dict(xp.delta or ()), test_set=recorded_test_set(cfg, config))
                except DatasetError as error:
                    _require_nothing(config, xp.folder, error, curves=group.is_first and config.misc.tensorboard)
                    solver = None
            try:
                if solver is not None:
                    with ending_workers():
                        solver.run()
            except Stopped as stopped:
                logger.info("Stopped by %s: the state is saved, and the run continues when it is started again.",
                            stopped.reason)
                reason = stopped.reason
        leave_group()
        if reason:
            scheduling.put_back(reason)
        if reason == "SIGINT" and group.world_size == 1:     # of several, Dora takes the first as a failure
            sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        logger.error("interrupted before the training began: nothing is lost")
        sys.exit(INTERRUPTED)
    except Exception as error:
        reason = lost_peer(error) or one_line(error) + _more_memory(error, cfg)
        logger.error("%s", reason, exc_info=error if debugging() else None)
        if rank == 0:
            # The status is not written if another process holds the lock, or if environment variables are invalid.
            with contextlib.suppress(TrainingError, ConfigError), locked(xp.folder, patience=0):
                refused(xp.folder, xp.sig, reason)
        sys.exit(1)


# Under the same name, by which Dora's child processes import it.
main = ExperimentMain(main, config_name="config", config_path="../conf", version_base="1.3")

if "_DORA_TEST_PATH" in os.environ:
    main.dora.dir = Path(os.environ["_DORA_TEST_PATH"])

if __name__ == "__main__":
    main()
