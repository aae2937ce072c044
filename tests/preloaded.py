"""Python processes that begin with torch and the packages of this project imported.

A process of `python -m dora` spends seconds on imports. Here a server has them behind it and forks for each call. All
else is as for a process of its own: arguments, working directory, environment, streams, signals and exit status. What is
to be shown of imports, or of the interpreter's options, needs a real process.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing as tp
from pathlib import Path

from conftest import REPOSITORY

SERVER = multiprocessing.get_context("forkserver")
# Without demucs.experiment and demucs.train, which read the environment when they are imported. torch._dynamo and what it
# needs take 1.5 s, and torch imports them with the first optimiser.
SERVER.set_forkserver_preload(["torch", "torch._dynamo", "torch.distributed", "torch.utils.data", "hydra", "submitit",
                               "dora.run", "dora.info", "dora.grid", "demucs.building", "demucs.config", "demucs.precheck",
                               "demucs.training.solver", "demucs.evaluation.evaluate", "demucs.packages.export"])


class Popen:
    """As `subprocess.Popen([sys.executable, *arguments], ...)`, with its streams in files.

    Args:
        arguments: `-m MODULE`, `-c CODE` or a script, and what it is called with.
        merge: stderr goes where stdout goes.
    """

    def __init__(self, *arguments: tp.Any, cwd: Path = REPOSITORY, env: tp.Optional[tp.Mapping[str, str]] = None,
                 merge: bool = False, start_new_session: bool = False):
        self.args = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory(prefix="preloaded-")
        self._files = [Path(self._folder.name) / name for name in ("out", "out" if merge else "err")]
        for file in self._files:
            file.touch()
        self._process = SERVER.Process(target=_become, args=(
            self.args, str(cwd), dict(os.environ if env is None else env), [str(file) for file in self._files],
            start_new_session))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> tp.Optional[int]:
        """Exit status; None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: tp.Optional[float] = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def read(self) -> tp.Tuple[str, str]:
        """What it has written so far, on stdout and on stderr."""
        out, err = (file.read_text(errors="replace") for file in self._files)
        return out, "" if self._files[0] == self._files[1] else err

    def communicate(self, timeout: tp.Optional[float] = None) -> tp.Tuple[str, str]:
        self.wait(timeout)
        return self.read()


def run(*arguments: tp.Any, timeout: tp.Optional[float] = 600, **options: tp.Any) -> subprocess.CompletedProcess:
    """As `subprocess.run([sys.executable, *arguments], capture_output=True, text=True)`."""
    process = Popen(*arguments, **options)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _become(arguments: tp.List[str], cwd: str, environment: tp.Dict[str, str], streams: tp.Sequence[str],
            start_new_session: bool) -> tp.NoReturn:
    """In the forked process: run `arguments` as a new interpreter would."""
    if start_new_session:
        os.setsid()
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "OMP_NUM_THREADS" in environment:
        import torch
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.path[:0] = [path for path in (cwd, *environment.get("PYTHONPATH", "").split(os.pathsep)) if path]
    status: tp.Any = 1
    try:
        status = _run(arguments)
    except SystemExit as end:
        status = end.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except KeyboardInterrupt:
        traceback.print_exc()
        _leave()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    except BaseException:
        traceback.print_exc()
    _leave()
    os._exit((status or 0) & 0xff)


def _run(arguments: tp.List[str]) -> int:
    kind, *rest = arguments
    if kind == "-m":
        sys.argv = [kind, *rest[1:]]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = [kind, *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(kind).parent))
        runpy.run_path(kind, run_name="__main__")
    return 0


def _leave() -> None:
    """What an interpreter does at its end."""
    for step in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):
        try:
            step()
        except BaseException:
            traceback.print_exc()
