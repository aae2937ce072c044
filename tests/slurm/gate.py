"""A gate in trainings that Slurm runs: from its first checkpoint on, a training waits there, and computes nothing.

Without it a training has to be so long that it is still at work when a test disturbs it, and most of that work is for
nothing.
"""

import typing as tp
from pathlib import Path

# What Python runs when it starts. Rank 0 waits where it reads audio, and with it the other ranks, which need its
# gradients. A signal that the training handles lets it pass for good, since a stop is between two steps.
GATE = """
import os, signal, time
if os.environ.get("SLURM_PROCID") == "0" and "TEST_GATE" in os.environ:
    import soundfile
    began, heard = time.time(), []
    set_handler, read = signal.signal, soundfile.SoundFile.read

    def noting(number, handler):
        def noted(*args):
            heard.append(number)
            return handler(*args)
        return set_handler(number, noted if callable(handler) else handler)

    def closed():
        from dora import get_xp
        checkpoint = get_xp().folder / "checkpoint.th"
        return os.path.exists(os.environ["TEST_GATE"]) and checkpoint.exists() and checkpoint.stat().st_mtime > began

    def behind_the_gate(*args, **kwargs):
        while not heard and closed():
            time.sleep(0.05)
        return read(*args, **kwargs)
    signal.signal, soundfile.SoundFile.read = noting, behind_the_gate
"""


class Gate:
    """A closed gate. Trainings with `environment` wait at it after the first checkpoint of each start, until it is
    opened."""

    def __init__(self, folder: Path):
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(GATE)
        self._closed = folder / "closed"
        self._closed.touch()
        self.environment: tp.Dict[str, str] = {"PYTHONPATH": str(folder), "TEST_GATE": str(self._closed)}

    def open(self) -> None:
        self._closed.unlink()
