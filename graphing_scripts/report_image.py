"""Screenshot of a run's report for README.md: docs/images/report.png.

It needs Chromium. The PNG contains a hash of the run's records, so that a test can find out whether it is up to date.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import command_line
from PIL import Image, PngImagePlugin
from pages.browser import Browser
from records.chains import find_chains
from records.readers import RECORDS
from report import report

from demucs.errors import SignatureError, ToolError
from demucs.files import beside, write_text
from demucs.runs.layout import STUDY

PICTURE = command_line.REPOSITORY / "docs" / "images" / "report.png"
WIDTH, HEIGHT = 1100, 1750
LABEL = "demucs-record"      # of the text in the PNG


def fingerprint(folder: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 over the records in a run's folder (run card, history, evaluation),
    those that exist."""
    found = hashlib.sha256()
    for path in (folder / name for name in RECORDS):
        found.update(path.read_bytes() if path.exists() else b"")
    return found.hexdigest()[:16]


def main() -> None:
    parser = command_line.parser(__doc__, "python graphing_scripts/report_image.py 4c3a4313")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the PNG file (default: docs/images/report.png)")
    arguments = parser.parse_args()
    chain, *others = find_chains(arguments.runs, arguments.results)
    folder = arguments.results / "runs" / chain.name
    if others or not folder.is_dir():
        raise SignatureError(f"name one run of {arguments.results / 'runs'}: the picture is of a single report")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise ToolError("chromium is not installed: sudo apt-get install -y chromium")
    with tempfile.TemporaryDirectory() as place, Browser(program) as browser:
        page, shot = Path(place) / "report.html", Path(place) / "report.png"
        text = report(chain, arguments.results / "examples" / chain.name,
                      study=arguments.results / "quality" / chain.name / STUDY)
        write_text(page, text)
        browser.look(width=WIDTH)
        browser.open(page)
        browser.picture(shot, height=HEIGHT)
        origin = PngImagePlugin.PngInfo()
        origin.add_text(LABEL, f"{chain.name} {fingerprint(folder)}")
        # a palette makes the file smaller, without visible loss for text
        with beside(arguments.out) as picture:
            Image.open(shot).convert("RGB").quantize(colors=128).save(picture, pnginfo=origin, optimize=True)
    print(arguments.out)


if __name__ == "__main__":
    command_line.run(main)
