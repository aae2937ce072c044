"""Published experiments by signature. Their argument lists ship with the code, so that `dora run -f 955717e8` needs no
archive to be unpacked first; `published.json` is written by tests/golden/make_signatures.py from published Demucs."""

import functools
import json
import typing as tp
from pathlib import Path

TABLE = Path(__file__).with_name("published.json")


@functools.lru_cache(maxsize=None)
def experiments() -> tp.Mapping[str, tp.Sequence[str]]:
    """{signature: arguments} of the models of the MDX challenge, their ancestors, and the experiments of all grids."""
    return json.loads(TABLE.read_text())
