"""One fuzzing input, by kind and number: its generation, reading and judgement."""

import shutil
import traceback
import typing as tp
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demucs.console import one_line
from demucs.errors import DemucsError
from fuzz import kinds, seeds

RESULT, ERROR, DEFECT = "result", "error", "defect"
LONGEST = 1000          # characters of a message


@dataclass(frozen=True)
class Outcome:
    """Outcome of an input: `what` is RESULT, ERROR or DEFECT, with details in `message`."""
    what: str
    message: str = ""


def prepare(scratch: Path) -> seeds.Seeds:
    """Write all seeds below `scratch`, and further files that entry points need."""
    kinds.SCRATCH[:] = [scratch]
    made = seeds.everything(scratch / "seeds", kinds.REPOSITORY)
    kinds.models_folder()
    return made


def numbers(name: str, total: int) -> range:
    """Which inputs of a kind are among `total` of all kinds."""
    return range(max(1, round(kinds.KINDS[name].share * total)))


def mutated(made: seeds.Seeds, name: str, number: int, seed: int) -> bytes:
    """Bytes of the input; the same for the same arguments. Seeds that programs wrote may differ between versions of these.
    """
    kind = kinds.KINDS[name]
    chance = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    choice = [data for part in kind.seeds for data in made[part]]
    data, other = (choice[int(chance.integers(len(choice)))] for _ in range(2))
    return kind.mutate(data, other, chance)


def judge(made: seeds.Seeds, name: str, number: int, seed: int, folder: Path) -> Outcome:
    """Outcome of an input at its entry point. `folder` is created for it, and removed unless there is a defect."""
    kind = kinds.KINDS[name]
    folder.mkdir(parents=True)
    (folder / kind.file).write_bytes(mutated(made, name, number, seed))
    outcome = _judged(lambda: kind.use(folder / kind.file, number))
    if outcome.what != DEFECT:
        shutil.rmtree(folder)
    return outcome


def _judged(use: tp.Callable[[], None]) -> Outcome:
    try:
        use()
    except kinds.Said as error:
        return Outcome(ERROR, str(error))
    except kinds.Wrong as error:
        return Outcome(DEFECT, f"a wrong result: {error}")
    except DemucsError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or one_line(error) != message or not message.isprintable():
            return Outcome(DEFECT, f"a message that is not one line of text: {message[:2000]!r}")
        if len(message) > LONGEST:
            return Outcome(DEFECT, f"a message of {len(message)} characters: {message[:300]}")
        return Outcome(ERROR, message)
    except Exception:
        return Outcome(DEFECT, traceback.format_exc())
    return Outcome(RESULT)
