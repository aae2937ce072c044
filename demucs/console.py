"""Common parts of all command lines: error handling around `main`, and output streams that never raise.

`command` decorates the `main` of a command line. Every error inside becomes one line on stderr and a non-zero exit
status. For an expected error (`DemucsError`, `OSError`, exhausted memory, Ctrl-C) the line names the cause; for any
other it names a log file with the traceback. `DEMUCS_DEBUG=1` shows the traceback of every error.

This module does not import torch, so that `--help` answers without delay.
"""

import contextlib
import datetime
import errno
import functools
import io
import logging
import os
import platform
import sys
import tempfile
import traceback
import types
import typing as tp

from .errors import DemucsError, describe_os_error, exhausted_memory
from .notes import audible

DEBUG = "DEMUCS_DEBUG"            # environment variable: 1 shows tracebacks
INTERRUPTED = 130                 # exit status after Ctrl-C, as in a shell

Main = tp.Callable[..., tp.Optional[int]]


class OutputLost(OSError):
    """Error for standard output that cannot be written any more: its reader has ended, or the disk is full."""


class TolerantStream:
    """Text stream that passes its output on to `stream` and never raises, even if that is closed, None, or an object
    with only `write`.

    Characters that the encoding lacks are written as escapes, as are undecodable bytes of file names. After the first
    failure, all output is dropped.

    Args:
        stream: the stream; None drops all output.
        raising: raise `OutputLost` at the first failure and at every later call.
    """

    def __init__(self, stream: tp.Any, *, raising: bool = False):
        self._stream = stream
        self._raising = raising
        self.failure: tp.Optional[OSError] = None

    def __getattr__(self, name: str) -> tp.Any:
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """Encoding of the stream; "utf-8" if it has none."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(self._stream.isatty())
        return False

    def fileno(self) -> int:
        try:
            return self._stream.fileno()
        except AttributeError as error:
            raise OSError("this stream has no file descriptor") from error

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._stream is not None and self.failure is None:
            with audible():             # another thread may be decoding, while stderr is suppressed
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    self._try(self._stream.write, self._escaped(text))
                except Exception as error:      # the stream may be an object of another program: any error
                    self._fail(error)
        self._raise_failure()
        return len(text)

    def writelines(self, lines: tp.Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._stream is not None and self.failure is None and hasattr(self._stream, "flush"):
            with audible():
                self._try(self._stream.flush)
        self._raise_failure()

    def _escaped(self, text: str) -> str:
        try:
            return text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        except (LookupError, UnicodeError):
            return ascii(text)[1:-1]

    def _try(self, call: tp.Callable[..., tp.Any], *arguments: tp.Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = error if isinstance(error, OSError) else OSError(errno.EIO, str(error))
        # Otherwise flushing the rest of the buffer would fail again at the exit of Python.
        with contextlib.suppress(Exception):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def _raise_failure(self) -> None:
        if self._raising and self.failure is not None:
            raise OutputLost(self.failure.errno, self.failure.strerror)


@contextlib.contextmanager
def tolerant_streams(*, raising: bool = False) -> tp.Iterator[TolerantStream]:
    """Context in which `sys.stdout` and `sys.stderr` are `TolerantStream`s; yields that of stdout. With `raising`,
    stdout raises `OutputLost`.

    Closed descriptors among 0 to 2 are opened on /dev/null. Otherwise the next file to be opened would get that number,
    and output of libraries would be written to it.
    """
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    out, err = TolerantStream(sys.stdout, raising=raising), TolerantStream(sys.stderr)
    sys.stdout, sys.stderr = tp.cast(tp.TextIO, out), tp.cast(tp.TextIO, err)
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    with contextlib.suppress(OSError):
        while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(handle, True)
        os.close(handle)


def fill_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` by /dev/null if they are None, because they were closed at the start. For
    Dora and Hydra, which call this program without `command`."""
    _fill_descriptors()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w", encoding="utf-8")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def tolerant_logs() -> None:
    """Change the handlers of the root logger: they print no traceback if a message cannot be written, and write
    characters that their encoding lacks as escapes, such as undecodable bytes of file names."""
    logging.raiseExceptions = False
    for handler in logging.getLogger().handlers:
        stream = getattr(handler, "stream", None)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def quiet_logs() -> None:
    """Change the handlers of the root logger that write to a terminal: they show warnings and errors only. Log files keep
    all messages."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:      # a handler of a file is a subclass
            handler.setLevel(logging.WARNING)


def log_messages() -> None:
    """Configure logging for a command line: messages go to stderr, without level and time."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def command(*, prints: bool = False) -> tp.Callable[[Main], tp.Callable[..., int]]:
    """Decorator of the `main` of a command line. The decorated function prints errors as one line, and returns an exit
    status: that of `main` (None: 0), 130 after Ctrl-C, or 1 after another error. It raises SystemExit only if `main`
    does.

    Args:
        prints: the output is the purpose of the command, such as a table. Then the command ends when the output cannot
            be written any more (with status 0 if its reader has ended). Otherwise it continues without that output.
    """
    def decorate(main: Main) -> tp.Callable[..., int]:
        @functools.wraps(main)
        def guarded(*arguments: tp.Any, **named: tp.Any) -> int:
            with tolerant_streams(raising=prints) as out:
                try:
                    status = main(*arguments, **named) or 0
                    out.flush()
                except Exception as error:
                    status = report(error)
                except KeyboardInterrupt as error:
                    status = report(error)
            return status
        return guarded
    return decorate


def debugging() -> bool:
    """Whether tracebacks are to be shown: the environment variable DEMUCS_DEBUG is set, and neither empty nor 0."""
    return os.environ.get(DEBUG, "0") not in ("", "0")


def report(error: BaseException) -> int:
    """Print one line about `error` on stderr, after its traceback if `debugging()`. Returns the exit status of the
    command: 130 for KeyboardInterrupt, 0, without a line, if the reader of the output has ended, otherwise 1."""
    if debugging():
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, OutputLost) and error.errno == errno.EPIPE:
        return 0
    if isinstance(error, KeyboardInterrupt):
        print("\ninterrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    return 1


def one_line(error: BaseException) -> str:
    """Text of `error` for users, in one line: its message if it is an expected error. Otherwise its type, and the name
    of a log file that is written here with its traceback."""
    memory = exhausted_memory(error)
    if isinstance(error, DemucsError):
        text = str(error)
    elif isinstance(error, OutputLost):
        text = f"cannot write to standard output: {describe_os_error(error)}"
    elif memory:
        text = f"out of {memory}"
    elif isinstance(error, OSError) and error.strerror:
        text = describe_os_error(error)
    else:
        text = f"unexpected {type(error).__name__}: {shortened(str(error))} ({_where_logged(error)})"
    return " ".join(line.strip() for line in text.splitlines())


def shortened(text: str, most: int = 300) -> str:
    """`text`, cut to `most` characters with "..." at the end if it is longer."""
    return text if len(text) <= most else f"{text[:most - 3]}..."


def _where_logged(error: BaseException) -> str:
    """Write the traceback of `error` to a file. Returns text that names the file."""
    head = [f"{datetime.datetime.now().isoformat(timespec='seconds')}",
            f"command: {' '.join(map(ascii, sys.argv))}",
            f"Python {platform.python_version()}, {platform.platform()}",
            *(f"{name} {module.__version__}" for name in ("demucs", "torch", "torchaudio", "soundfile", "numpy")
              if hasattr(module := sys.modules.get(name), "__version__")), ""]
    text = "\n".join(head) + "\n" + "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="demucs-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return f"{DEBUG}=1 shows the traceback; please report it"
    return f"the traceback is in {path}; please report it"


def hook(kind: tp.Type[BaseException], error: BaseException, trace: tp.Optional[types.TracebackType]) -> None:
    """Function for `sys.excepthook`, with its three arguments: prints an error outside of `main`, such as during
    imports, as one line, too."""
    with tolerant_streams():
        report(error)
