"""Calls of external programs without a shell."""

import subprocess
import typing as tp

TRIES = 4       # attempts for a program that is terminated by a signal


def call(command: tp.Sequence[str], given: bytes = b"", *, timeout: tp.Optional[float] = None
         ) -> "subprocess.CompletedProcess[bytes]":
    """Run a command with the standard input `given` to its end.

    A scheduler that stops a job also sends its signal to this program, which is terminated. It is then started again,
    since the current work of the job must finish before its state can be saved.

    Raises:
        OSError: if it cannot be started.
        subprocess.TimeoutExpired: after `timeout` seconds.
    """
    for _ in range(TRIES):
        done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
        # ffmpeg handles the signal itself: it exits with a message.
        if done.returncode >= 0 and b"received signal" not in done.stderr:
            break
    return done
