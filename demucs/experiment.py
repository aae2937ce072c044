"""Experiments of Dora: composition of their configuration from overrides, and their folders.

`ExperimentMain` is Dora's Hydra entry point with errors in one line that name the key or signature at fault.
"""

import atexit
import contextlib
import copy
import errno
import functools
import json
import os
import sys
import typing as tp
from pathlib import Path

import hydra
from dora import get_xp, is_xp
from dora.conf import update_from_hydra
from dora.hydra import HydraMain, _compare_config
from dora.log import simple_log
from omegaconf import OmegaConf

from . import overrides, scheduling
from .config import check_numbers, nearest_key
from .errors import ConfigError
from .files import atomic
from .grids import _published as published
from .ranges import RANK, from_environment
from .runs import overview
from .runs.layout import ARGV, RESULTS, RUN_CARD
from .training.distributed import check_launch
from .training.interruption import LAUNCHER

REPOSITORY = Path(__file__).resolve().parents[1]

# Choices of groups in conf/ that set keys under `misc` only, as its comments say.
UNSIGNED_PRESETS = (("variant", "small_gpu_8gb"), ("variant", "small_gpu_6gb"))

# RANK at the start of this process: if WORLD_SIZE is missing, Dora silently sets it to 1 before it calls this program.
RANK_ALONE = None if "WORLD_SIZE" in os.environ else os.environ.get("RANK")


class ExperimentMain(HydraMain):
    """Dora's Hydra entry point, which ends the program with an error of one line for a faulty key, value or signature,
    and caches the composed configuration."""

    def __call__(self) -> tp.Any:
        try:
            if "SLURM_PROCID" not in os.environ:       # in a Slurm step, WORLD_SIZE is derived from the step later
                check_launch(os.environ if RANK_ALONE is None else {"RANK": RANK_ALONE})
        except ConfigError as error:
            raise SystemExit(f"error: {error}") from error
        return super().__call__()

    def get_xp(self, argv: tp.Sequence[str]) -> tp.Any:
        """Dora's experiment for the overrides `argv`, with its signature, folder and configuration. Its folder is not
        created. Raises SystemExit, with the message, for an invalid override."""
        if "RANK" not in os.environ:
            _launch_ranks()
        for argument in argv:
            if "=" not in argument:
                raise SystemExit(f"error: {argument!r} is not an override; write key=value")
        keys = [argument.split("=", 1)[0].strip() for argument in argv]
        groups = tuple(argument for key, argument in zip(keys, argv) if key in self._config_groups)
        with _hydra_errors_in_one_line(groups):
            valid = self._valid_keys(groups)
        for key in keys:
            if key not in valid and not key.startswith(("+", "~")):
                raise SystemExit(f"error: unknown key {key!r}.{nearest_key(key, valid)} "
                                 f"All keys and their values are in conf/.")
            inside = sorted(other for other in valid if other.startswith(f"{key}."))
            if inside and key not in self._config_groups:
                raise SystemExit(f"error: {key} is a section: set one of its values, such as {inside[0]}=...")
        with _hydra_errors_in_one_line(argv):
            xp = super().get_xp(argv)
        if _called_as_dora() and "info" in sys.argv[1:]:
            simple_log("Info:", "Progress:", progress(xp.folder))
        return xp

    def _get_delta(self, init: tp.Any, other: tp.Any) -> tp.Any:
        """As Dora's, with a reset of its mutable default argument: after an error, Dora's comparison would keep the
        path of the unreadable value as a prefix of later ones. Caches without loss do not distinguish experiments.
        Targets that replace those of a variant are compared as a whole."""
        _compare_config.__defaults__[0].clear()
        default, targets = init.dset.targets, other.dset.targets
        replaced = []
        if default is not None:
            init, other = map(_without_targets, (init, other))
            replaced = [("dset.targets", targets)] if targets != default else []
        delta = [(key, value) for key, value in super()._get_delta(init, other)
                 if key != "dset.cache" or value == "int16"]
        return delta + replaced

    def init_xp(self, xp: tp.Any) -> tp.Any:
        """As Dora's: create the folder of `xp` and write its arguments there, but atomically, so that the file survives
        a kill or a full disk. All processes of a run call this at the same time. Raises SystemExit if the folder is not
        writable."""
        path = xp.folder / ARGV
        try:
            if not path.exists() or path.read_text() != json.dumps(xp.argv):
                with atomic(path) as file:
                    file.write(json.dumps(xp.argv).encode())
            elif not os.access(xp.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise SystemExit(f"error: cannot write in {xp.folder}: {error.strerror}. A run keeps its files there: make the "
                             f"folder writable, or free some space, and start again.") from error
        return xp

    def find_argv(self, sig: str) -> tp.Optional[tp.Sequence[str]]:
        """Overrides of the experiment `sig`: from its folder, or else from the list of published or documented ones;
        None if it is in neither. Raises SystemExit if the file in its folder is damaged."""
        try:
            return super().get_argv_from_sig(sig)
        except RuntimeError:
            return published.experiments().get(sig) or published.documented().get(sig)
        except ValueError as error:
            raise SystemExit(f"error: {self.dora.dir / self.dora.xps / sig / ARGV} is damaged ({error}); "
                             f"delete it, and start the run by its overrides once, which writes it again.") from error

    def get_argv_from_sig(self, sig: str) -> tp.Sequence[str]:
        """Overrides of the experiment `sig`, as `find_argv` finds them. Raises SystemExit, naming the nearest and all
        known ones, if there are none."""
        argv = self.find_argv(sig)
        if argv is None:
            folder = self.dora.dir / self.dora.xps
            own = sorted(path.parent.name for path in folder.glob(f"*/{ARGV}"))
            raise SystemExit(f"error: no experiment {sig!r} in {folder}, and it is no published one."
                             f"{nearest_key(sig, [*own, *published.experiments(), *published.documented()])} There are: "
                             f"{', '.join(own) or 'none yet'}; the published ones are in {published.TABLE}.")
        return list(argv)

    def get_slurm_config(self) -> scheduling.SlurmSettings:
        """Settings of jobs that Dora submits, from section `slurm` of the configuration. Raises SystemExit for an
        invalid number."""
        settings = scheduling.SlurmSettings()
        update_from_hydra(settings, self._base_cfg.slurm)
        with in_one_line("conf/config.yaml: "):
            check_numbers(vars(settings), "slurm.")
        return settings

    def _main(self) -> tp.Any:
        """As Dora's, with the folder of the run quoted, since its path may contain spaces or quotes."""
        arguments = []
        if is_xp():
            folder = str(get_xp().folder).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
            arguments.append(f"hydra.run.dir='{folder}'")
            if rank_of_process():
                arguments.append("hydra.output_subdir=null")
        sys.argv += arguments
        try:
            return hydra.main(config_name=self.config_name, config_path=self.config_path, **self.hydra_kwargs)(
                self.main)()
        finally:
            del sys.argv[len(sys.argv) - len(arguments):]

    def _get_config(self, overrides: tp.Sequence[str] = ()) -> tp.Any:
        """As Dora's, cached: one command requests the same experiment up to three times."""
        return copy.deepcopy(self._with_overrides(tuple(overrides)))

    @functools.lru_cache(maxsize=16)
    def _with_overrides(self, overrides: tp.Tuple[str, ...]) -> tp.Any:
        return super()._get_config(list(overrides))

    def _get_base_config(self, overrides: tp.Sequence[str] = ()) -> tp.Any:
        """As Dora's, cached: composition takes a second, and depends on the choice of groups only. Presets that set
        unsigned keys only are no part of the signature."""
        config, delta = self._composed(tuple(a for a in overrides if a.split("=", 1)[0] in self._config_groups))
        return config, [choice for choice in delta if choice not in UNSIGNED_PRESETS]

    @functools.lru_cache(maxsize=None)
    def _composed(self, groups: tp.Tuple[str, ...]) -> tp.Any:
        return super()._get_base_config(list(groups))

    @functools.lru_cache(maxsize=None)
    def _valid_keys(self, groups: tp.Tuple[str, ...]) -> tp.FrozenSet[str]:
        """Dotted names of all keys and groups that can be overridden with this choice of groups."""
        config = OmegaConf.to_container(self._composed(groups)[0], resolve=False)

        def flatten(section: tp.Mapping[str, tp.Any], prefix: str) -> tp.Iterator[str]:
            for key, value in section.items():
                yield prefix + key
                if isinstance(value, dict):
                    yield from flatten(value, f"{prefix}{key}.")
        return frozenset(self._config_groups) | frozenset(flatten(config, ""))


def _without_targets(config: tp.Any) -> tp.Any:
    """Copy of a configuration without `dset.targets`."""
    config = copy.deepcopy(config)
    OmegaConf.set_readonly(config, False)
    config.dset.targets = None
    return config


def _launch_ranks() -> None:
    """Prepare for ranks that Dora starts as child processes, which end with this process. If one of them dies, or at
    Ctrl-C, Dora asks the others to end without waiting; this process then waits until they have saved and exited."""
    os.environ[LAUNCHER] = str(os.getpid())
    if _called_as_dora() and {"-d", "--ddp"} & set(sys.argv):
        atexit.unregister(_stay_for_ranks)
        atexit.register(_stay_for_ranks)


def _called_as_dora() -> bool:
    return Path(sys.argv[0]).parts[-2:] == ("dora", "__main__.py") or Path(sys.argv[0]).name == "dora"


def progress(folder: Path) -> str:
    """Progress of the run in `folder` as text, such as "running, 3.5 of 24 epochs". If it has not started there, also
    that of its records in demucs_results/."""
    found = overview.sentence(overview.row(folder))
    kept = REPOSITORY / RESULTS / "runs" / folder.name
    if not (folder / ARGV).exists() and (kept / RUN_CARD).exists():
        found += f"; {os.path.relpath(kept)} has records of it: {overview.sentence(overview.row(kept))}"
    return found


def _stay_for_ranks() -> None:
    with contextlib.suppress(ChildProcessError, KeyboardInterrupt):
        while True:
            os.wait()


@contextlib.contextmanager
def in_one_line(where: str = "") -> tp.Iterator[None]:
    """Context in which a ConfigError ends the program with one line, `where` and its message. For errors before the run
    has a status."""
    try:
        yield
    except ConfigError as error:
        raise SystemExit(f"error: {where}{error}") from error


def rank_of_process() -> int:
    """Rank of this process: its environment variable RANK; 0 if it is not set. Ends the program for an invalid
    value."""
    with in_one_line():
        return from_environment("RANK", 0, RANK)


@contextlib.contextmanager
def _hydra_errors_in_one_line(argv: tp.Sequence[str]) -> tp.Iterator[None]:
    """Context in which errors of Hydra and OmegaConf about `argv`, of any type, end the program with one line."""
    try:
        yield
    except Exception as error:
        advice = overrides.explanation(argv)
        if not advice and type(error).__module__.partition(".")[0] not in ("hydra", "omegaconf") \
                and not isinstance(error, (AssertionError, ValueError)):
            raise
        if not advice and any("${" in argument for argument in argv):
            advice = f"{' '.join(str(error).split())}; ${{...}} names another value, or a variable as ${{oc.env:NAME}}: " \
                     f"a plain ${{ is written \\${{"
        text = " ".join(str(error).split())
        if text.startswith("Error merging override"):
            text += ": conf/ has another kind of value there"
        elif text.startswith("Config group override must be"):
            text = f"{' '.join(argv)}: what is chosen is the name of a file in conf/, such as dset=musdb44"
        raise SystemExit(f"error: {advice or text}") from error
