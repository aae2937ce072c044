"""Catalogue of the published models of Open-Unmix, without torch: `demucs/remote/openunmix.ini`.

Each is a Separator with a file per target. Files are stored in the cache of torch.hub under their own names, as
openunmix stores them, so that files which it has downloaded are reused.
"""

import configparser
import dataclasses
import functools
import os
import typing as tp

from . import catalogue

ROOT_URL = "https://zenodo.org/"
FILE = "openunmix.ini"


@dataclasses.dataclass(frozen=True)
class PublishedSeparator:
    """Published model of Open-Unmix: name, training data, licence of the weights, record on Zenodo, names of the files
    by target, and the settings of its transform and networks."""
    name: str
    data: str
    licence: str
    record: str
    files: tp.Mapping[str, str]
    samplerate: int
    audio_channels: int
    nfft: int
    nhop: int
    hidden_size: int
    bandwidth: int

    @property
    def page(self) -> str:
        """Page about the model, with its licence."""
        return f"{ROOT_URL}records/{self.record}"

    def url(self, target: str) -> str:
        """URL of the file of a target on Zenodo, or on the server in the environment variable DEMUCS_MIRROR."""
        root = os.environ.get(catalogue.MIRROR) or ROOT_URL
        return f"{root.rstrip('/')}/records/{self.record}/files/{self.files[target]}"


def hash_in(filename: str) -> str:
    """First digits of the sha256 of a published file, from its name."""
    return filename.removesuffix(".pth")[-8:]


@functools.lru_cache(maxsize=None)
def published_separators() -> tp.Mapping[str, PublishedSeparator]:
    """The published models of Open-Unmix by name."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((catalogue.REMOTE_ROOT / FILE).read_text(encoding="utf-8"))
    found = {}
    for name in parser.sections():
        section = dict(parser[name])
        files = {filename.removesuffix(".pth")[:-9]: filename for filename in section.pop("files").split()}
        texts = {key: section.pop(key) for key in ("data", "licence", "record")}
        found[name] = PublishedSeparator(name=name, files=files, **texts,
                                         **{key: int(value) for key, value in section.items()})
    return found
