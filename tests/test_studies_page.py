"""docs/studies.md: its example is a study that runs."""

import re

import pytest
import yaml

from demucs.metrics.verdicts import VERDICTS
from demucs.studies import timed
from tools import study as tool

pytestmark = pytest.mark.runs
# A model that makes its steps in less than a second; nothing that the page speaks of.
TINY = ["hdemucs.channels=2", "hdemucs.depth=2", "hdemucs.nfft=256", "hdemucs.dconv_mode=0", "dset.segment=1",
        "dset.shift=0.5", "batch_size=2", "augment.remix.group_size=1", "dset.valid_samples=1", "test.shifts=0"]


def test_the_example_runs(repository, tmp_path, monkeypatch, capsys):
    page = (repository / "docs" / "studies.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)
    plain = yaml.safe_load(text)
    plain["common"] += TINY
    arguments = plain["steps"][0]["arguments"]
    arguments[arguments.index("--seconds") + 1] = 1.5
    path = tmp_path / "example.yaml"
    path.write_text(yaml.safe_dump(plain))
    monkeypatch.setattr(timed, "seconds_of", lambda solver: 150. * (
        len(solver.history) * solver.train.sampler.steps + solver.position.step))
    assert tool.main([str(path), "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().out
    assert "fast against slow" in shown
    assert (tmp_path / "results" / "studies" / "learning_rates" / "study.json").exists()
    for verdict in VERDICTS:
        assert verdict in " ".join(page.split())
