"""Write the tables of docs/models.md from the code: `python3 -m tools.describe_models docs/models.md`.

What stands between the lines `<!-- table: NAME -->` and `<!-- end -->` is replaced; all else is text for people.
"""

import argparse
import re
import sys
import typing as tp
from pathlib import Path

import torch
import yaml

from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import DemucsError
from demucs.files import write_text
from demucs.models import zoo
from demucs.repositories import catalogue
from demucs.tables import markdown

CONF = Path(__file__).resolve().parent.parent / "conf" / "models"
SOURCES = ["drums", "bass", "other", "vocals"]


def zoo_table() -> str:
    """A row per model of the zoo, with the published configuration of conf/models."""
    rows = []
    for name, entry in zoo.MODELS.items():
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text())
        with torch.device("meta"):       # sizes without numbers
            model = zoo.build(name, sources=SOURCES, audio_channels=2, samplerate=44100, segment=44,
                              **{key: float(value) if key == "dconv_init" else value for key, value in settings.items()})
        count = sum(parameter.numel() for parameter in model.parameters())
        rows.append([f"`{name}`", entry.description, str(len(settings)), f"{count / 1e6:.2f} million",
                     f"{4 * count / 1e6:.0f} MB"])
    return markdown(["model", "what it is", "settings", "parameters", "float32 file"], rows, "llrrr")


def bag_table() -> str:
    """A row per published bag."""
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


TABLES: tp.Dict[str, tp.Callable[[], str]] = {"zoo": zoo_table, "bags": bag_table}


def filled(page: str) -> str:
    """The text of a page with its tables made anew."""
    return re.sub(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
                  lambda match: match[1] + TABLES[match[2]]() + "\n" + match[3], page, flags=re.DOTALL)


@command()
def main() -> int:
    parser = Parser(prog="python3 -m tools.describe_models", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="docs/models.md")
    page = parser.parse_args().page
    try:
        text = page.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DemucsError(f"{page}: is no text in UTF-8 ({error}); save it as such") from error
    write_text(page, filled(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
