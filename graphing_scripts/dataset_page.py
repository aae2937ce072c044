"""Self-contained HTML page about a checked dataset, from the record that `python -m tools.dataset check` writes.

The page needs no server and no network. All its content comes from the record.
"""

import argparse
from pathlib import Path

import command_line
from pages.dataset_sections import content, head
from pages.elements import contents, escape, page

from demucs.arguments import Parser
from demucs.files import write_text
from demucs.schema import DatasetCheck, load

FOOTER = "<footer>Drawn by graphing_scripts/dataset_page.py from the record of a check.</footer>"


def dataset_page(record: DatasetCheck) -> str:
    """HTML page about the record of a check."""
    name = Path(record.path).name or record.path
    body = content(record)
    return page(f"Dataset {name}", f"<h1>Dataset {escape(name)}</h1>" + head(record) + contents(body) + body + FOOTER)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="file of the record")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="the page (default: beside the record, with the suffix .html)")
    arguments = parser.parse_args()
    out = arguments.out or arguments.record.with_suffix(".html")
    write_text(out, dataset_page(load(DatasetCheck, arguments.record)))
    print(out)


if __name__ == "__main__":
    command_line.run(main)
