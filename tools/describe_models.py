"""Write the tables of docs/models.md from the code: `python -m tools.describe_models docs/models.md`.

The text between the lines `<!-- table: NAME -->` and `<!-- end -->` is replaced, and nothing else.
"""

import argparse
import sys
from pathlib import Path

from demucs.arguments import Parser
from demucs.console import command
from demucs.errors import DemucsError
from demucs.files import write_text
from demucs.repositories.models_page import filled


@command()
def main() -> int:
    parser = Parser(prog="python -m tools.describe_models", description=__doc__,
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
