"""The tables of docs/models.md, written from the code: models of the zoo, and bags that are published."""

import re
import typing as tp
from pathlib import Path

import torch
import yaml

from ..models import zoo
from ..schema import SOURCES
from . import catalogue

CONF = Path(__file__).resolve().parents[2] / "conf" / "models"
WHAT = {
    "demucs": "waveforms alone (Défossez et al. 2019; with residual branches as of 2021)",
    "hdemucs": "spectrogram and waveform (Défossez 2021)",
    "htdemucs": "the same with a transformer across both (Rouard et al. 2022)",
    "torch_hdemucs": "HDemucs as torchaudio has it",
}


def zoo_table() -> tp.List[str]:
    """A row per model of the zoo, with the published configuration of conf/models."""
    rows = ["| model | what it is | settings | parameters | float32 file |", "|---|---|---:|---:|---:|"]
    for name in zoo.NAMES:
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        with torch.device("meta"):       # sizes without numbers
            model = zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=44100, segment=44,
                              **{key: float(value) if key == "dconv_init" else value for key, value in settings.items()})
        count = sum(parameter.numel() for parameter in model.parameters())
        rows.append(f"| `{name}` | {WHAT[name]} | {len(settings)} | {count / 1e6:.2f} million | {4 * count / 1e6:.0f} MB |")
    return rows


def bag_table() -> tp.List[str]:
    """A row per published bag."""
    files = catalogue.published_files()
    rows = ["| name | models | what each source comes from | trained on |", "|---|---|---|---|"]
    for name, path in catalogue.published_bags().items():
        bag = catalogue.read_bag(path)
        kinds = " ".join(f"{files[signature].model} `{signature}`" for signature in bag.models)
        shares = "all models" if bag.weights is None else "; ".join(
            f"{source}: {', '.join(str(1 + index) for index, row in enumerate(bag.weights) if row[column])}"
            for column, source in enumerate(SOURCES))
        if len(bag.models) == 1:
            shares = "the one model"
        data = "; ".join(dict.fromkeys(files[signature].data.split(";")[0] for signature in bag.models))
        rows.append(f"| `{name}` | {kinds} | {shares} | {data} |")
    return rows


TABLES: tp.Dict[str, tp.Callable[[], tp.List[str]]] = {"zoo": zoo_table, "bags": bag_table}


def filled(page: str) -> str:
    """The text of a page with its tables made anew."""
    return re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
                  lambda match: match[1] + "\n".join(TABLES[match[2]]()) + "\n" + match[3], page, flags=re.DOTALL)
