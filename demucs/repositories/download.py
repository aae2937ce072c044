"""Download of model files into the cache of torch.hub. See `demucs.downloads.transfer`, whose errors are PackageErrors
here."""

import typing as tp
from pathlib import Path

from ..downloads import transfer
from ..downloads.partial import DownloadError, checksum_of
from ..downloads.transfer import answer_of
from ..errors import PackageError

__all__ = ["Unreachable", "answer_of", "checksum_of", "fetch"]

ELSEWHERE = "choose another folder for downloaded models with the environment variable TORCH_HOME"


class Unreachable(PackageError):
    """Error for a file that cannot be downloaded: the server cannot be reached, or does not have it. The message is a
    short reason."""


def fetch(url: str, path: tp.Union[str, Path], *, checksum: str, timeout: float = transfer.TIMEOUT,
          attempts: int = transfer.ATTEMPTS, pause: float = transfer.PAUSE) -> Path:
    """Download `url` to the file `path`, unless it exists with the right checksum. Returns `path`.

    Args:
        checksum: first hexadecimal digits of the sha256 of the file.
        timeout, attempts, pause: as for `transfer.fetch`.

    Raises:
        Unreachable: if the server cannot be reached or does not have the file.
        PackageError: if the server sends other content, or the file cannot be written.
        ConfigError: for another kind of URL.
    """
    try:
        return transfer.fetch(url, path, checksum=checksum, elsewhere=ELSEWHERE, timeout=timeout, attempts=attempts,
                              pause=pause)
    except transfer.Unreachable as error:
        raise Unreachable(str(error)) from error
    except DownloadError as error:
        raise PackageError(str(error)) from error
