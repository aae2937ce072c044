"""Tables of docs/models.md, generated from the code: models of the zoo, published bags, published Separators."""

import re
import typing as tp
from pathlib import Path

import torch
import yaml

from ..models import zoo
from ..schema import SOURCES
from ..tables import markdown
from . import catalogue
from .separators import published_separators

CONF = Path(__file__).resolve().parents[2] / "conf" / "models"


def settings_in_files() -> tp.Dict[str, tp.Dict[str, tp.Any]]:
    """Published settings of the models by name, from the files in conf/models, which have one model or several."""
    sections: tp.Dict[str, tp.Dict[str, tp.Any]] = {}
    for path in sorted(CONF.glob("*.yaml")):
        text = path.read_text()
        content = yaml.safe_load(text)
        sections.update(content if text.startswith("# @package _global_\n") else {path.stem: content})
    return sections


def zoo_table() -> str:
    """Markdown table of the models of the zoo, one row each: description, number of settings, parameters, size of the
    file. Sizes are for the published configuration in conf/models."""
    rows, sections = [], settings_in_files()
    for name, entry in zoo.MODELS.items():
        settings = sections[name]
        sources = SOURCES[-1:] if entry.single else SOURCES
        with torch.device("meta"):       # shapes without data
            model = zoo.build(name, sources=sources, audio_channels=2, samplerate=44100, segment=44,
                              **{key: float(value) if key == "dconv_init" else value
                                 for key, value in settings.items()})
        count = sum(parameter.numel() for parameter in model.parameters())
        rows.append([f"`{name}`", entry.description, str(len(settings)), f"{count / 1e6:.2f} million",
                     f"{4 * count / 1e6:.0f} MB"])
    return markdown(["model", "what it is", "settings", "parameters", "float32 file"], rows, "llrrr")


def bag_table() -> str:
    """Markdown table of the published bags, one row each: their models, which of them each source comes from, training
    data."""
    files = catalogue.published_files()
    rows = []
    for name, path in catalogue.published_bags().items():
        bag = catalogue.read_bag(path)
        kinds = " ".join(f"{files[signature].model} `{signature}`" for signature in bag.models)
        shares = "all models" if bag.weights is None else "; ".join(
            f"{source}: {', '.join(str(1 + index) for index, row in enumerate(bag.weights) if row[column])}"
            for column, source in enumerate(SOURCES))
        if len(bag.models) == 1:
            shares = "the one model"
        data = "; ".join(dict.fromkeys(files[signature].data.split(";")[0] for signature in bag.models))
        rows.append([f"`{name}`", kinds, shares, data])
    return markdown(["name", "models", "what each source comes from", "trained on"], rows)


def separator_table() -> str:
    """Markdown table of the published models of Open-Unmix, one row each: targets, size, transform, training data,
    licence."""
    rows = []
    for name, about in published_separators().items():
        with torch.device("meta"):
            model = zoo.build("openunmix_separator", sources=list(about.files), audio_channels=about.audio_channels,
                              samplerate=about.samplerate, segment=1, hidden_size=about.hidden_size, nfft=about.nfft,
                              nhop=about.nhop, bandwidth=about.bandwidth)
        count = sum(parameter.numel() for parameter in model.parameters())
        rows.append([f"`{name}`", ", ".join(about.files), str(about.hidden_size), f"{count / 1e6:.2f} million",
                     f"{about.samplerate} Hz, {'mono' if about.audio_channels == 1 else 'stereo'}",
                     f"{about.nfft}, {about.nhop}", about.data, about.licence])
    return markdown(["name", "targets", "hidden size", "parameters", "rate, channels", "window, hop", "trained on",
                     "licence"], rows)


TABLES: tp.Dict[str, tp.Callable[[], str]] = {"zoo": zoo_table, "bags": bag_table, "openunmix": separator_table}


def filled(page: str) -> str:
    """Text of a Markdown page in which each table between the markers `<!-- table: NAME -->` and `<!-- end -->` is
    generated anew. `page` is its text."""
    return re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
                  lambda match: match[1] + TABLES[match[2]]() + "\n" + match[3], page, flags=re.DOTALL)
