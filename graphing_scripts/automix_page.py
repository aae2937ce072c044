"""Page to listen to remixes of tools.automix: players for some of them, the beats over the waveforms, the origin of
every stem, and what was found out about the songs. It needs no server and no network.
"""

from pathlib import Path

import command_line
from pages import remixes
from pages.elements import contents, page, paragraph, section

from demucs import schema
from demucs.arguments import Parser, number
from demucs.files import write_text
from demucs.ranges import Range
from demucs.schema import AutomixRecord

RECORD = "automix.json"
MIXES = Range(1, 100, whole=True)
SECONDS = Range(1, 120, unit="seconds")      # limited, since sounds are embedded in the page


def listening_page(root: Path, *, mixes: int = 4, seconds: float = 15.) -> str:
    """HTML page on the remixes in `root`. Raises SchemaError or AudioError if they cannot be read."""
    record = schema.load(AutomixRecord, root / RECORD)
    shown = remixes.chosen(record, mixes)
    body = section("Listen", paragraph(f"The first {seconds:g} s of {len(shown)} of {len(record.mixes)} remixes. "
                                       f"Bright lines are bars, dim ones beats, where the analysis has them: attacks "
                                       f"of all stems should be on them."),
                   *(remixes.players(root, mix, record.lead, seconds) for mix in shown)) + remixes.about(record)
    return page("Remixes", "<h1>Remixes</h1>" + contents(body) + body
                + "<footer>Drawn by graphing_scripts/automix_page.py from the record and the sounds.</footer>")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the remixes, with automix.json")
    parser.add_argument("--mixes", type=number("--mixes", MIXES), default=4, help="number of remixes (default: 4)")
    parser.add_argument("--seconds", type=number("--seconds", SECONDS), default=15.,
                        help="seconds of each (default: 15)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="page to write (default: FOLDER/automix.html)")
    arguments = parser.parse_args()
    out = arguments.out or arguments.folder / "automix.html"
    write_text(out, listening_page(arguments.folder, mixes=arguments.mixes, seconds=arguments.seconds))
    print(out)


if __name__ == "__main__":
    command_line.run(main)
