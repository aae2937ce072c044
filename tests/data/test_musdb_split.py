from pathlib import Path

import pytest
import yaml

from demucs.data.musdb import VALIDATION_TRACKS
from demucs.schema import SOURCES


def test_split_is_the_official_one():
    musdb = pytest.importorskip("musdb")
    setup = yaml.safe_load((Path(musdb.__file__).parent / "configs" / "mus.yaml").read_text())
    assert list(VALIDATION_TRACKS) == setup["validation_tracks"]
    assert set(SOURCES) == set(setup["sources"])
