"""Memory of trainings as text: the report of a count, and the tables of docs/small_gpus.md."""

import json
import re
import subprocess
import sys
import typing as tp
from pathlib import Path

from . import memory
from .config import Config
from .errors import DemucsError
from .files import write_text
from .tables import aligned, markdown
from .training.memory import AVERAGES, BACKWARD, BATCH, GRADIENTS, OPTIMIZER, PARAMETERS, RECOMPUTED

MIB = 2 ** 20
# Labels that are no layers, in the order of a report.
PARTS = (PARAMETERS, GRADIENTS, OPTIMIZER, AVERAGES, memory.REDUCTION, BATCH, BACKWARD, memory.MALLOC, memory.PROCESS)
SAVED = ("", "misc.checkpoint_activations=true")
PRESETS = ("", "variant=small_gpu_8gb", "variant=small_gpu_6gb")

# The commands of the Lightning port with their memory in MiB, as its page has it, and ours.
PORT = (("model=Demucs", 16_885, "model=demucs batch_size=4"),
        ("model=HDemucs", 19_199, "model=hdemucs batch_size=4"),
        ("batch_size=2 augment.remix.group_size=2 model=Demucs", 10_851,
         "batch_size=2 augment.remix.group_size=2 model=demucs"),
        ("batch_size=1 data_augmentation=False model=Demucs", 7_703, "batch_size=1 variant=no_augmentation model=demucs"),
        ("batch_size=1 data_augmentation=False segment=6 model=Demucs", 6_175,
         "batch_size=1 variant=no_augmentation dset.segment=6 model=demucs"))
# Published trainings: their overrides or signature, and the number of GPUs that their batch is split over.
PUBLISHED = (("model=demucs", 8), ("model=hdemucs", 8), ("model=hdemucs", 1), ("-f 955717e8", 8), ("-f 955717e8", 1))
# Small and middle sizes, whose memory the process of a training was measured to take.
SIZES = "batch_size=2 dset.segment=4 augment.remix.group_size=2 augment.repitch.proba=0"
MEASURED = tuple(f"{model} {SIZES}" for model in (
    "model=hdemucs hdemucs.channels=16", "model=hdemucs hdemucs.channels=16 misc.checkpoint_activations=true",
    "model=htdemucs htdemucs.channels=16", "model=demucs demucs.channels=16", "model=hdemucs hdemucs.channels=32",
    "model=htdemucs htdemucs.channels=32", "model=demucs demucs.channels=32"))


def mebibytes(size: int) -> str:
    """Bytes as a whole number of MiB."""
    return f"{round(size / MIB):,}"


def report(config: Config, found: memory.Footprint, *, world_size: int, layers: bool) -> str:
    """What a training takes, as a table for a terminal. With `layers`, every layer has a row."""
    lines = []
    device = "CPU" if memory.PROCESS in found.train else "GPU"
    where = f"each {device}" if world_size > 1 else f"the {device}"
    examples = memory.examples_per_process(config, world_size)
    lines.append(f"{config.model} on {where}: a batch of {examples}, "
                 f"{min(config.misc.examples_at_once or examples, examples)} at once, of {config.training_length} samples, "
                 f"in {config.optim.precision}, activations "
                 f"{'computed again in the backward pass' if config.misc.checkpoint_activations else 'stored'}")
    for title, parts in (("training step", found.train), ("validation of a song", found.valid)):
        rows = [[name, mebibytes(parts[name])] for name in PARTS if name in parts]
        rest = {name: size for name, size in parts.items() if name not in PARTS}
        if layers or title != "training step":
            rows += [[name, mebibytes(size)] for name, size in sorted(rest.items(), key=lambda item: -item[1])]
        else:
            for name, chosen in (("activations", False), ("activations, recomputed", True)):
                size = sum(size for label, size in rest.items() if label.endswith(RECOMPUTED) == chosen)
                rows += [[name, mebibytes(size)]] if size else []
        rows.append(["sum", mebibytes(sum(parts.values()))])
        lines += ["", *aligned([f"peak of a {title}", "MiB"], rows)]
    return "\n".join(lines)


def _count(overrides: str, gpus: int = 1, *more: str) -> memory.Footprint:
    words = overrides.split()
    base = words[1] if words[0] == "-f" else None
    config = memory.configuration([*(words[2:] if base else words), *filter(None, more)], base)
    return memory.count(config, world_size=gpus)


def _port_table() -> str:
    rows = []
    for theirs, size, ours in PORT:
        counts = [_count(ours, 1, more).peak for more in SAVED]
        rows.append([f"`{theirs}`", f"{size:,}", f"`{ours}`", *map(mebibytes, counts)])
    return markdown(["port", "MiB", "here", "MiB", f"with `{SAVED[1]}`"], rows, "lrlrr")


def _published_table() -> str:
    rows = []
    for overrides, gpus in PUBLISHED:
        counts = [_count(overrides, gpus, more).peak for more in PRESETS]
        rows.append([f"`{overrides}`", str(gpus), *map(mebibytes, counts)])
    return markdown(["training", "GPUs", "as it is", *(f"`{more}`" for more in PRESETS[1:])], rows, "lrrrr")


def _precision_table() -> str:
    rows = []
    for precision in ("float32", "bf16", "fp16"):
        counts = [_count(f"model=hdemucs batch_size=4 optim.precision={precision}", 1, more).peak for more in SAVED]
        rows.append([f"`optim.precision={precision}`", *map(mebibytes, counts)])
    return markdown(["HDemucs, batch of 4", "MiB", f"with `{SAVED[1]}`"], rows, "lrr")


def _ask(*arguments: str) -> tp.Dict[str, tp.Any]:
    """The JSON that the tool prints in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tools.memory", "--json", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise DemucsError(f"python -m tools.memory {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def _measured_table() -> str:
    rows = []
    for overrides in MEASURED:
        found = _ask("--cpu", *overrides.split())
        counted = sum(found["train"].values())
        print(f"  {overrides}", file=sys.stderr, flush=True)
        measured = _ask("--measure", *overrides.split())["measured"]
        shown = overrides.removesuffix(SIZES).strip()
        rows.append([f"`{shown}`", mebibytes(counted), mebibytes(measured), f"{100 * (counted / measured - 1):+.0f} %"])
    return markdown(["training", "counted (MiB)", "measured (MiB)", "difference"], rows, "lrrr")


TABLES: tp.Dict[str, tp.Callable[[], str]] = {"port": _port_table, "published": _published_table,
                                              "precision": _precision_table, "measured": _measured_table}


def write(page: Path, *, only: tp.Collection[str] = ()) -> None:
    """Write the tables of a page anew, between the lines `<!-- table: NAME -->` and `<!-- end -->`; `only` those."""
    for name in re.findall(r"<!-- table: (\w+) -->", page.read_text(encoding="utf-8")):
        if only and name not in only:
            continue
        print(f"{page}: table {name}", file=sys.stderr, flush=True)
        table = TABLES[name]()
        text = page.read_text(encoding="utf-8")              # it may have been edited in the minutes that this took
        write_text(page, re.sub(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", lambda match: f"{match[1]}{table}\n{match[2]}",
                                text, flags=re.DOTALL))
