"""Programs beside ours, run to their end without a shell."""

import subprocess
import typing as tp

TRIES = 4       # of a program that is ended by a signal


def call(command: tp.Sequence[str], given: bytes = b"", *, timeout: tp.Optional[float] = None
         ) -> "subprocess.CompletedProcess[bytes]":
    """A finished command whose input was `given`.

    A scheduler that asks a job to stop sends its signal to this program as well, which ends by it; then it is started
    again, since what is at work has to finish before it can be saved.

    Raises:
        OSError: where it cannot be started.
        subprocess.TimeoutExpired: after `timeout` seconds.
    """
    for _ in range(TRIES):
        done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
        # ffmpeg ends by itself when it gets one, and says so.
        if done.returncode >= 0 and b"received signal" not in done.stderr:
            break
    return done
