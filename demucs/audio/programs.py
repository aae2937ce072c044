"""Calls of external programs without a shell."""

import subprocess
import typing as tp

TRIES = 4       # attempts for a program that is terminated by a signal


def call(command: tp.Sequence[str], given: bytes = b"", *, timeout: tp.Optional[float] = None
         ) -> "subprocess.CompletedProcess[bytes]":
    """Result of a command, run to its end with the standard input `given`: exit status, standard output and error
    output. An exit status other than 0 is not an error here.

    A scheduler that stops a job also sends its signal to this program, which is terminated. It is then started again,
    up to three times, since the current work of the job must finish before its state can be saved.

    Raises:
        OSError: if it cannot be started.
        subprocess.TimeoutExpired: after `timeout` seconds (None: no limit).
    """
    for _ in range(TRIES):
        done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
        # ffmpeg handles the signal itself: it exits with a message.
        if done.returncode >= 0 and b"received signal" not in done.stderr:
            break
    return done
