"""Error handling of all command lines: errors in one line, and output streams that never stop the program."""

import errno
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demucs import console
from demucs.console import OutputLost, TolerantStream, command, tolerant_streams
from demucs.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py") if '__name__ == "__main__"' in path.read_text())
SCRIPTS = sorted(path.name for path in (ROOT / "graphing_scripts").glob("*.py") if '__name__ == "__main__"' in path.read_text())


class WriteOnly:
    """As a program with a window may put it in the place of sys.stderr."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Failing(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error
        self.calls = 0

    def write(self, text):
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("encoding, expected", [("ascii", "caf\\xe9 \\u2013 \\udcff"), ("cp1252", "café – \\udcff"),
                                                ("utf-8", "café – \\udcff")])
def test_letters_that_a_console_does_not_have(encoding, expected):
    raw = io.BytesIO()
    stream = TolerantStream(io.TextIOWrapper(raw, encoding=encoding, newline=""))
    assert stream.write("café – \udcff\n") == 9
    stream.flush()
    assert raw.getvalue().decode(encoding) == expected + "\n"


@pytest.mark.parametrize("stream", [None, WriteOnly(), Failing(OSError(errno.ENOSPC, "No space left on device")),
                                    Failing(ValueError("I/O operation on closed file")), Failing(RuntimeError("window is gone"))])
def test_no_stream_raises(stream):
    tolerant = TolerantStream(stream)
    for _ in range(2):
        tolerant.write("some words\n")
        tolerant.flush()
    assert not tolerant.isatty() and tolerant.encoding
    assert getattr(stream, "calls", 1) == 1, "it is left alone after it has failed"
    if isinstance(stream, WriteOnly):
        assert stream.text == "some words\n" * 2


def test_a_reader_that_goes_away():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        tolerant = TolerantStream(stream)
        tolerant.write("x" * 100_000)
        tolerant.flush()
        assert tolerant.failure.errno == errno.EPIPE
        with pytest.raises(OutputLost):
            strict = TolerantStream(Failing(BrokenPipeError(errno.EPIPE, "Broken pipe")), raising=True)
            strict.write("x")


def run_with(error, **options):
    @command(**options)
    def main():
        if error is not None:
            raise error
    return main()


@pytest.mark.parametrize("error, line, status", [
    (ConfigError("a value,\n  over two lines"), "error: a value, over two lines", 1),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.json"), "error: a.json: No such file or directory", 1),
    (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device", 1),
    (MemoryError(), "error: out of memory", 1),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "error: out of memory", 1),
    (KeyboardInterrupt(), "interrupted", 130)])
def test_what_is_foreseen_is_its_own_line(error, line, status, capsys):
    assert run_with(error) == status
    assert capsys.readouterr().err.strip() == line
    assert run_with(None) == 0


def test_the_unforeseen_names_a_log_with_the_traceback(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(console.tempfile, "tempdir", str(tmp_path))
    assert run_with(TypeError("a defect\nof ours")) == 1
    line = capsys.readouterr().err.strip()
    log, = tmp_path.iterdir()
    assert line.startswith("error: unexpected TypeError: a defect of ours") and str(log) in line and "\n" not in line
    assert "Traceback" in log.read_text() and "TypeError" in log.read_text() and "command:" in log.read_text()
    monkeypatch.setenv("DEMUCS_DEBUG", "1")
    assert run_with(ConfigError("known")) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setattr(console.tempfile, "tempdir", str(tmp_path / "absent"))
    monkeypatch.setenv("DEMUCS_DEBUG", "0")
    assert run_with(TypeError("a defect")) == 1
    assert "DEMUCS_DEBUG=1 shows the traceback" in capsys.readouterr().err


def test_output_that_is_lost(capsys, monkeypatch):
    """Printing is what some commands are for; for the others it is not."""
    def main():
        print("a table")
    for error, prints, status in ((OSError(errno.ENOSPC, "No space left on device"), True, 1),
                                  (OSError(errno.ENOSPC, "No space left on device"), False, 0),
                                  (BrokenPipeError(errno.EPIPE, "Broken pipe"), True, 0)):
        monkeypatch.setattr(sys, "stdout", Failing(error))
        assert command(prints=prints)(main)() == status
    assert capsys.readouterr().err == "error: cannot write to standard output: No space left on device\n"


def test_streams_come_back():
    before = sys.stdout, sys.stderr
    with tolerant_streams():
        assert isinstance(sys.stdout, TolerantStream) and isinstance(sys.stderr, TolerantStream)
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_the_guard(name):
    text = (ROOT / "tools" / f"{name}.py").read_text()
    assert "@command(" in text and "sys.exit(main())" in text


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_graphing_script_has_the_guard(name):
    assert "command_line.run(main" in (ROOT / "graphing_scripts" / name).read_text()


@pytest.mark.runs
def test_a_list_that_cannot_be_written_is_an_error(tmp_path):
    """A separation goes on without a console; a list is all that this command has to give."""
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m demucs --list-models --repo {tmp_path} > /dev/full"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


@pytest.mark.runs
@pytest.mark.parametrize("redirection, status", [("2>&-", 0), (">&-", 0), (">/dev/full", 0), ("<&- >&- 2>&-", 0), ("| head -0", 0)])
def test_closed_and_full_streams_of_a_real_process(redirection, status):
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {sys.executable} -m demucs --version {redirection}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.returncode == status, done.stderr


@pytest.mark.runs
def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path):
    (tmp_path / "slow.py").write_text("import tools\nraise KeyboardInterrupt")
    done = subprocess.run([sys.executable, tmp_path / "slow.py"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr.strip() == "interrupted"


def test_logs_hold_names_that_are_no_text(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root = logging.getLogger()
    handlers = [logging.FileHandler(tmp_path / "a.log", encoding="utf-8"), logging.StreamHandler(Failing(OSError(28, "full")))]
    for handler in handlers:
        root.addHandler(handler)
    try:
        console.tolerant_logs()
        root.error("song %s", "\udcff")
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
    assert (tmp_path / "a.log").read_text() == "song \\udcff\n" and "Logging error" not in capsys.readouterr().err
