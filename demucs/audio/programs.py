"""Calls of external programs without a shell."""

import os
import subprocess
import typing as tp

TRIES = 4       # attempts for a program that is terminated by a signal


def call(command: tp.Sequence[str], given: bytes = b"", *, timeout: tp.Optional[float] = None, in_memory: bool = False
         ) -> "subprocess.CompletedProcess[bytes]":
    """Result of a command, run to its end with the standard input `given`: exit status, standard output and error
    output. An exit status other than 0 is not an error here.

    A scheduler that stops a job also sends its signal to this program, which is terminated. It is then started again,
    up to three times, since the current work of the job must finish before its state can be saved.

    With `in_memory`, standard input and output are files in memory instead of pipes, where the system has these: a
    program can seek in them, and neither side waits for the other at every 64 KiB.

    Raises:
        OSError: if it cannot be started.
        subprocess.TimeoutExpired: after `timeout` seconds (None: no limit).
    """
    for _ in range(TRIES):
        if in_memory and hasattr(os, "memfd_create"):
            done = _with_files(command, given, timeout)
        else:
            done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
        # ffmpeg handles the signal itself: it exits with a message.
        if done.returncode >= 0 and b"received signal" not in done.stderr:
            break
    return done


def _with_files(command: tp.Sequence[str], given: bytes, timeout: tp.Optional[float]) -> "subprocess.CompletedProcess[bytes]":
    with os.fdopen(os.memfd_create("input"), "rb+", buffering=0) as source, \
            os.fdopen(os.memfd_create("output"), "rb+", buffering=0) as result:
        written = 0
        while written < len(given):        # a single call writes at most 2 GiB
            written += source.write(memoryview(given)[written:])
        source.seek(0)
        done = subprocess.run(command, stdin=source, stdout=result, stderr=subprocess.PIPE, timeout=timeout)
        result.seek(0)
        done.stdout = result.readall()
        return done
