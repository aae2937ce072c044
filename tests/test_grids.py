"""Grids give the signatures of published Demucs, through Dora itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY

from demucs.grids._explorers import TrainingExplorer
from demucs.schema import load_history

TABLE = json.loads((Path(__file__).resolve().parent / "golden" / "signatures.json").read_text())


def test_dora_grid_mmi_gives_the_published_signatures(tmp_path):
    environment = {**os.environ, "_DORA_TEST_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "dora", "-P", "demucs", "grid", "mmi", "--dry_run", "--init"],
                          env=environment, cwd=REPOSITORY, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "xps").iterdir() if (path / ".argv.json").exists()}
    assert made == set(TABLE["grid_mmi"])
    assert len(made) == 20
    assert re.search("955717e8", done.stdout + done.stderr)


def test_the_table_reads_real_histories(reference):
    explorer = TrainingExplorer(lambda launcher: None)
    path = reference / "runs" / "history_759c9a58_epochs_1_to_127.json"
    row = explorer.process_history(json.loads(path.read_text()))
    records = load_history(path)
    assert row["train"]["epoch"] == 127
    assert row["valid"]["best_nsdr"] == max(record.valid["nsdr"] for record in records)
    assert row["valid"]["penalty"] == records[-1].penalty
    assert explorer.process_history([]) == {"train": {"epoch": 0}, "valid": {}, "test": {}}
