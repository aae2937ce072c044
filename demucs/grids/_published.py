"""Published experiments by signature. Their argument lists ship with the code, so that `dora run -f 955717e8` needs no
archive to be unpacked first; `published.json` is written by tests/golden/make_signatures.py from published Demucs."""

import functools
import gzip
import io
import json
import tarfile
import typing as tp
from pathlib import Path

from ..files import atomic
from ..runs.layout import ARGV, EXPERIMENTS

TABLE = Path(__file__).with_name("published.json")
DOCUMENTED = Path(__file__).with_name("documented.json")      # further ones, named in README and docs; same layout


@functools.lru_cache(maxsize=None)
def experiments() -> tp.Mapping[str, tp.Sequence[str]]:
    """{signature: arguments} of the models of the MDX challenge, their ancestors, and the experiments of all grids."""
    return json.loads(TABLE.read_text())


@functools.lru_cache(maxsize=None)
def documented() -> tp.Mapping[str, tp.Sequence[str]]:
    """{signature: arguments} of experiments that README and docs name and that were not published with Demucs."""
    return json.loads(DOCUMENTED.read_text())


def unpack(outputs: Path) -> tp.List[str]:
    """Write OUTPUTS/xps/SIG/.argv.json, the overrides, of every published experiment that has no such file. Returns the
    signatures of those written."""
    written = []
    for signature, argv in experiments().items():
        path = outputs / EXPERIMENTS.name / signature / ARGV
        if not path.exists():
            with atomic(path) as file:
                file.write(json.dumps(argv).encode())
            written.append(signature)
    return written


def pack(archive: Path) -> None:
    """Write a tar.gz archive of the arguments (`outputs/xps/SIG/.argv.json`) of all published experiments to the file
    `archive`. An existing file is replaced; the bytes are the same at every call."""
    with atomic(archive) as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as compressed, \
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for signature, argv in experiments().items():
            content = json.dumps(argv).encode()
            entry = tarfile.TarInfo(f"{EXPERIMENTS.as_posix()}/{signature}/{ARGV}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
