"""Common fixtures: the folder of reference data, and the treatment of missing programs."""

import os
import shutil
from pathlib import Path

import pytest
import tiers
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
REFERENCE = REPOSITORY.parent / "shared" / "reference"

# Tests are made for CPUs: bits, and several processes where there may be one GPU. Those marked gpu ask for it themselves.
os.environ.setdefault("DEMUCS_DEVICE", "cpu")
torch.set_num_threads(1)   # the models in tests are too small to share, and waiting threads are slow on a busy machine


def require_program(name: str) -> str:
    """Path of an external program. If it is missing, the test is skipped; in CI it fails."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (`make setup` installs it)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.hookimpl(tryfirst=True)      # before -m chooses by the marks
def pytest_collection_modifyitems(items):
    tiers.order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests in parallel by the groups of `tiers.group`, in the order that they were given."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return tiers.group(nodeid)
    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    with tiers.kept(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test printed, with escapes for names that are no text: pytest-xdist sends reports as UTF-8 and dies of others."""
    report = yield
    report.sections = [(title, _encodable(text)) for title, text in report.sections]
    if report.longrepr is not None and _encodable(report.longreprtext) != report.longreprtext:
        report.longrepr = _encodable(report.longreprtext)
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _peer(what: str, variable: str, folder: str) -> Path:
    """Python with the code of a peer. If it is missing, the test is skipped; in CI it fails."""
    found = Path(os.environ.get(variable) or REPOSITORY / folder / "bin" / "python")
    if not found.exists():
        reason = f"{what} is not installed (`make test` or `make oracle` does it, or set {variable})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def published_python() -> Path:
    """Python with published Demucs 4.1.0."""
    return _peer("published Demucs", "DEMUCS_ORACLE", ".published")


@pytest.fixture(scope="session")
def openunmix_python() -> Path:
    """Python with openunmix 1.3.0."""
    return _peer("openunmix 1.3.0", "DEMUCS_OPENUNMIX", ".openunmix")


@pytest.fixture
def reference() -> Path:
    """Folder of real reference data beside the repository."""
    if not REFERENCE.is_dir():
        pytest.skip("the reference data (../shared/reference) is not beside this checkout")
    return REFERENCE


@pytest.fixture
def songs(tmp_path) -> Path:
    """A folder in the layout of MUSDB18-HQ: three songs of noise to train on, one to validate, one to test."""
    from training.small import write_songs
    return write_songs(tmp_path / "songs")


@pytest.fixture
def repository() -> Path:
    return REPOSITORY
