"""docs/expectations.md: its numbers are those of the files that it names."""

import ast
import csv
import re

import pytest
import yaml

from demucs import schema
from demucs.grids import _published as published
from demucs.schema import RunCard


@pytest.fixture
def page(repository):
    return (repository / "docs" / "expectations.md").read_text()


def section(page, title):
    return page[page.index(f"## {title}"):].split("\n## ")[0]


def rows(text):
    """Cells of all rows of the tables in a text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()
            if line.startswith("| ")]


SCORES = {
    ("HTDemucs (v4)", "htdemucs_ft (per-source fine-tuned)"): "9.00",
    ("HTDemucs (v4)", "htdemucs (800 extra)"): "8.80",
    ("Hybrid Demucs (v3)", "single model (hdemucs_mmi recipe)"): "8.34",
    ("Hybrid Demucs (v3)", "MDX track A bag of 4 (2 time + 2 hybrid, fine-tuned on automix)"): "7.68",
    ("Hybrid Demucs (v3)", "repro_mdx_a bag of 4 (2 time + 2 hybrid, 600 epochs + ft)"): "7.64",
    ("HTDemucs (v4)", "MUSDB only"): "7.52",
    ("Hybrid Demucs (v3)", "single model retrained, 390 epochs, bs 32, 8x RTX 3090"): "6.93",
    ("Hybrid Demucs (torchaudio)", "HDEMUCS_HIGH_MUSDB (single model), third-party museval"): "6.80",
}


def test_scores_are_those_of_the_table_of_baselines(page, repository):
    with open(repository / "demucs_results" / "published_baselines.csv", newline="") as file:
        baselines = list(csv.DictReader(file))
    found = {(row["model"], row["variant"]): row for row in baselines if row["family"] == "sdr_median_of_medians"}
    told = [cells for cells in rows(section(page, "Scores")) if cells[2][0].isdigit()]
    assert [score for _, _, score, _ in told] == list(SCORES.values())
    for (_, data, score, _), key in zip(told, SCORES):
        assert found[key]["all"] == score and found[key]["test_set"] == "MUSDB18-HQ test"
        assert found[key]["training_data"] == data
    retrained = {row["family"]: row["all"] for row in baselines if row["variant"].startswith(
        "single model retrained, 390 epochs")}
    assert retrained == {"sdr_median_of_medians": "6.93", "sdr_mean_of_medians": "6.48", "nsdr_mean": "6.77"}


def test_scores_by_epochs_are_those_of_the_logs(page, reference):
    told = {int(epochs): (nsdr, sdr) for epochs, nsdr, sdr in rows(section(page, "Score by"))[1:]}
    assert told[390] == ("6.77", "6.93")        # those of the table of baselines, see above
    for path in (reference / "runs").glob("test_*_epochs.out"):
        printed = ast.literal_eval(path.read_text().strip().splitlines()[-1])
        epochs = int(re.search(r"_(\d+)_epochs", path.name)[1])
        assert told[epochs] == (f"{printed['nsdr']:.2f}", f"{printed['sdr_med']:.2f}")


def test_recipes_are_those_published(page, repository):
    base = yaml.safe_load((repository / "conf" / "config.yaml").read_text())
    recipes = {cells[0][1:9]: cells[1] for cells in rows(section(page, "GPUs")) if re.match(r"`[0-9a-f]{8}`", cells[0])}
    assert len(recipes) == 4
    for signature, told in recipes.items():
        settings = {"epochs": str(base["epochs"]), "batch_size": str(base["batch_size"]),
                    **dict(word.split("=", 1) for word in published.experiments()[signature])}
        batches = f" of {settings['max_batches']} batches" if "max_batches" in settings else ""
        assert told == f"{settings['epochs']}{batches}, {settings['batch_size']}", signature
    for grid, gpus in (("mdx", 8), ("repro", 8), ("mmi", 8), ("mmi_ft", 4)):
        text = (repository / "demucs" / "grids" / f"{grid}.py").read_text()
        assert f"launcher.slurm_(gpus={gpus}, time=3 * 24 * 60)" in text, grid


def test_the_demo_is_that_of_its_run_card(page, repository):
    card = schema.load(RunCard, repository / "demucs_results" / "runs" / "4c3a4313" / "run_card.json")
    row, = [cells for cells in rows(section(page, "GPUs")) if cells[0].startswith("`make demo-long`")]
    assert f"{card.parameters / 1e6:.1f} million parameters" in row[0]
    assert row[1] == f"{card.epochs}, {card.batch_size}"
    assert row[3] == f"{sum(session.seconds for session in card.sessions) / 3600:.2f}"
    assert {session.world_size for session in card.sessions} == {2}


@pytest.mark.parametrize("row, pattern", [
    ("HDemucs, 180 s of stereo, time", r"\| HDemucs \| about (\d+) s"),
    ("HDemucs, 180 s of stereo, peak memory", r"\| HDemucs \| about \d+ s \| about (\d+) MB"),
    ("HTDemucs, 180 s of stereo, time", r"\| HTDemucs \| about (\d+) s"),
    ("HTDemucs, 180 s of stereo, peak memory", r"\| HTDemucs \| about \d+ s \| about (\d+) MB"),
    ("all scores of 240 s on CPU, beside separating it with hdemucs", r"takes about ([\d.]+) s on two cores"),
])
def test_what_is_about_is_near_the_benchmarks(page, repository, row, pattern):
    """Within a quarter: benchmarks are written anew, and their last digits are not those of this page."""
    benchmarks = (repository / "docs" / "benchmarks.md").read_text()
    measured = float(re.search(rf"^\| {re.escape(row)} \| ([\d.]+) \|", benchmarks, re.M)[1])
    assert float(re.search(pattern, page)[1]) == pytest.approx(measured, rel=0.25)


def test_sizes_are_those_of_the_tables(page, repository):
    size, = re.findall(r"four averages of its weights \| (\d+) MB", page)
    assert f"saving a training of {size} MB" in (repository / "docs" / "benchmarks.md").read_text()
    models = (repository / "docs" / "models.md").read_text()
    sizes = re.search(r"in float32 \| (\d+), (\d+), (\d+) MB", page).groups()
    for name, size in zip(("hdemucs", "htdemucs", "demucs"), sizes):
        assert re.search(rf"^\| `{name}` .*\| {size} MB \|$", models, re.M), name
