"""Progress of a separation: a bar on a terminal, lines elsewhere."""

import io
import logging

from demucs.separation.plan import ChunkEvent
from demucs.separation.progress import reporter

RATE = 100


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(report, pieces=50):
    for index in range(pieces):
        report(ChunkEvent("start", 0, index * RATE, index * RATE, pieces * RATE, RATE))
        report(ChunkEvent("end", 0, index * RATE, (index + 1) * RATE, pieces * RATE, RATE))


def test_terminal():
    stream = Terminal()
    run(reporter(logging.getLogger("progress"), "song.mp3", stream))
    frames = [frame for frame in stream.getvalue().split("\r") if frame.strip()]
    assert " 50% " in frames[50] and "25/50 s" in frames[50]
    assert "song.mp3 100% " in frames[-1] and "50/50 s" in frames[-1] and frames[-1].endswith("\n")


def test_log_file(caplog):
    with caplog.at_level(logging.INFO):
        run(reporter(logging.getLogger("progress"), "song.mp3", io.StringIO()))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("|")[1].strip() for line in lines] == [f"{percent} %" for percent in range(10, 101, 10)]
    assert all(line.startswith("song.mp3 | ") for line in lines)
