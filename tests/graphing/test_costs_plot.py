"""Scores against costs: which scores have a cost, and the table and figure of them."""

import sys

import pytest
from conftest import REPOSITORY
from graphing.conftest import REAL, TOY

from demucs import schema
from demucs.errors import SignatureError
from demucs.schema import ModelCost

COSTS = REPOSITORY / "demucs_results" / "costs"


def cost(model, run="", macs=1e9, **settings):
    return ModelCost(model=model, settings=settings, run=run, sources=4, segment=10., parameters=2_000_000,
                     macs_per_second={"all": macs}, macs_as_thop=macs, inference_memory=1, training_memory=2)


@pytest.fixture
def records():
    from records import baselines, costs
    return costs, baselines.load()


def test_published_rows_exist(records):
    costs, table = records
    rows = {(row.model, row.variant): row for row in table if row.family == "sdr_median_of_medians"}
    assert set(costs.PUBLISHED) <= set(rows)
    assert not any(rows[each].trained_on_test or rows[each].single_or_bag.startswith("bag") for each in costs.PUBLISHED)


def test_groups_are_comparable(records, results):
    costs, table = records
    found = costs.groups([cost("htdemucs", macs=17e9), cost("hdemucs"), cost("hdemucs", run=TOY, channels=16),
                          cost("hdemucs", run=REAL, macs=3e9), cost("hdemucs", run="00000000"),
                          cost("htdemucs", channels=8)], table, results)
    assert len({(group.test_set, group.family.key) for group in found}) == len(found)
    by_set = {(group.test_set, group.family.key): group for group in found}
    papers = by_set["MUSDB18-HQ test", "sdr_median_of_medians"]
    assert [point.score for point in papers.points] == sorted((point.score for point in papers.points), reverse=True)
    assert {point.macs for point in papers.points} == {17e9, 1e9} and 7.52 in {point.score for point in papers.points}
    toy, = by_set["synthetic (seed 7) test", "nsdr_mean"].points
    assert toy.label == f"hdemucs {TOY}" and 1 < toy.score < 4
    real, = by_set["MUSDB18-HQ test", "nsdr_mean"].points
    assert real.macs == 3e9


def test_figure_and_table(results, monkeypatch, capsys, tmp_path, without_svg):
    import plot_costs
    schema.write_json([schema.to_plain(cost("htdemucs", macs=17e9)), schema.to_plain(cost("hdemucs"))],
                      tmp_path / "costs.json")
    text = tmp_path / "page.md"
    text.write_text("a\n<!-- scores by cost -->\nold\n<!-- end -->\nz\n")
    monkeypatch.setattr(sys, "argv", ["plot_costs.py", str(tmp_path / "costs.json"), "--results", str(results),
                                      "--page", str(text)])
    plot_costs.main()
    assert (results / "figures" / "costs" / "scores_by_cost.png").stat().st_size > 10_000
    written = text.read_text()
    assert written.startswith("a\n<!-- scores by cost -->\n| test songs |") and written.endswith("<!-- end -->\nz\n")
    assert "| HTDemucs (v4), MUSDB only | MUSDB18-HQ train | 7.52 | 17.00 | 2.00 million |" in written
    schema.write_json([schema.to_plain(cost("htdemucs_n"))], tmp_path / "costs.json")
    with pytest.raises(SignatureError, match="has scores"):
        plot_costs.main()


def test_the_page_is_up_to_date(records):
    import plot_costs
    costs, table = records
    text = (REPOSITORY / "docs" / "models.md").read_text()
    found = costs.groups([cost for path in sorted(COSTS.glob("*.json")) for cost in schema.load_costs(path)], table,
                         REPOSITORY / "demucs_results")
    assert plot_costs.MARKS.search(text)[0] == f"<!-- scores by cost -->\n{plot_costs.table(found)}\n<!-- end -->"
