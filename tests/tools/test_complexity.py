"""The command `tools.complexity`: models by name, settings, runs and studies; records; and errors."""

import json
import re

import pytest
from conftest import REPOSITORY

from demucs import schema
from demucs.costs import page, speed
from demucs.costs.published import FIGURES
from demucs.errors import DemucsError
from demucs.models import zoo
from demucs.models.variants import VARIANTS
from demucs.schema import ModelCost
from tools import complexity

COSTS = REPOSITORY / "demucs_results" / "costs"
SMALL = ["htdemucs_nc.channels=8", "htdemucs_nc.depth=4", "--segment", "1"]
ZOO, PUBLISHED, RUNS = (schema.load_costs(COSTS / f"{name}.json") for name in ("zoo", "as_published", "runs"))


def printed(capsys, *words):
    assert complexity.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_settings_name_the_model(capsys):
    cost, = printed(capsys, *SMALL, "--counts-only")
    assert cost["model"] == "htdemucs_nc" and cost["settings"] == {"segment": 1.0, "channels": 8, "depth": 4}
    model = zoo.build("htdemucs_nc", sources=schema.SOURCES, audio_channels=2, samplerate=44100, segment=1, channels=8,
                      depth=4)
    assert cost["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    kinds = {key: value for key, value in cost["macs_per_second"].items() if key not in ("all", "transform")}
    assert sum(kinds.values()) == cost["macs_per_second"]["all"] > 0
    assert 0 < cost["inference_memory"] < cost["training_memory"]
    assert cost["seconds"] is None and cost["context"] is None


def test_time_is_measured_of_recorded_costs(capsys, tmp_path, monkeypatch):
    (tmp_path / "costs.json").write_text(json.dumps(printed(capsys, *SMALL, "--counts-only")))
    monkeypatch.setattr(speed, "SIZE", 64)
    monkeypatch.setattr(speed, "_peaks", {})
    cost, = printed(capsys, "--record", str(tmp_path / "costs.json"), "--time", "--rounds", "1")
    before, = schema.load_costs(tmp_path / "costs.json")
    assert cost["seconds"] > 0 and cost["share"] > 0 and re.search(r", \d+ threads?$", cost["device"])
    assert {**cost, "seconds": None, "share": None, "device": ""} == schema.to_plain(before)
    assert complexity.main(["--record", str(tmp_path / "costs.json")]) == 0
    out = capsys.readouterr().out
    assert "htdemucs_nc (channels=8, depth=4)" in out and "GMAC/s" in out and "of peak" not in out


@pytest.mark.parametrize("words, message", [
    (["htdemuks"], "Did you mean 'htdemucs'"),
    (["../../etc"], "is no model of the zoo, no run in"),
    (["htdemucs.chanels=4"], "Did you mean 'channels'"),
    (["hdemucs", "htdemucs.channels=4"], "htdemucs is not among those named, hdemucs"),
    (["htdemucs.channels=[4"], "the value is not YAML"),
    (["htdemucs.channels=-4"], "must be"),
    (["channels=4"], "is no setting MODEL.KEY=VALUE"),
    (["htdemucs.segment=4"], "by --segment"),
    (["htdemucs", "--segment", "-1"], "--segment"),
    (["htdemucs", "--sources", "drums,drums"], "--sources"),
    (["htdemucs", "--record", "missing.json"], "leave out the others"),
    (["--record", "missing.json"], "missing.json: no such file")])
def test_errors_are_one_line(words, message, capsys):
    assert complexity.main([*words, "--counts-only"] if "--record" not in words else words) == 1
    err = capsys.readouterr().err
    assert message in err and "unexpected" not in err and err.splitlines()[-1].startswith("error: ")


def test_invalid_records_are_named(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(schema.SchemaError, match="bad.json: not a list of costs"):
        schema.load_costs(bad)
    bad.write_text('[{"model": 3}]')
    with pytest.raises(schema.SchemaError, match="bad.json, object 1"):
        schema.load_costs(bad)


def test_the_records_have_all_models():
    assert [each.model for each in ZOO] == list(zoo.NAMES) and not any(each.settings for each in ZOO)
    assert [each.model for each in PUBLISHED] == list(VARIANTS)
    assert all(each.settings == {"as_published": True} for each in PUBLISHED)
    measured = [each for each in ZOO if each.context is not None]
    assert {"hdemucs", "htdemucs", "openunmix", "htdemucs_n", "htdemucs_nn"} <= {each.model for each in measured}
    for each in measured:
        assert each.receptive_field == each.latency == each.segment and each.spans_segment
        assert 0 < each.look_ahead < each.context < 20


def test_the_records_are_those_of_the_code():
    """One quick model of each record; tests/costs/test_operations.py counts all of them."""
    from demucs.costs.count import counted
    from demucs.costs.subject import Subject
    for record, settings in ((ZOO, {}), (PUBLISHED, {"as_published": True})):
        again = counted(Subject("htdemucs_nc", settings))
        kept, = (each for each in record if each.model == "htdemucs_nc")
        counts = [(each.parameters, each.macs_per_second, each.macs_as_thop, each.inference_memory, each.training_memory)
                  for each in (kept, again)]
        assert counts[0] == counts[1]


def test_the_run_has_the_parameters_of_its_card():
    run, = RUNS
    card = schema.load(schema.RunCard, REPOSITORY / "demucs_results" / "runs" / run.run / "run_card.json")
    assert (run.model, run.parameters, run.segment) == (card.model, card.parameters, card.model_settings["segment"])


def test_the_page_is_up_to_date():
    text = (REPOSITORY / "docs" / "models.md").read_text()
    assert all(f"<!-- costs: {name} -->" in text for name in page.TABLES)
    assert page.filled(text, [*ZOO, *PUBLISHED]) == text
    for name, figures in FIGURES.items():
        assert f"| `{name}" in text and f"| {figures.macs:.2f}" in text


def test_the_commands_of_the_page(monkeypatch, tmp_path, capsys):
    """They parse, and name models and settings that exist."""
    from demucs.costs.subject import subjects
    text = (REPOSITORY / "docs" / "models.md").read_text()
    commands = re.findall(r"^    python -m tools\.complexity *(.*?)(?: *#.*| > .*)?$", text, flags=re.MULTILINE)
    assert len(commands) == 6
    asked = []
    monkeypatch.setattr(complexity, "_costs", lambda args: asked.append(args) or ZOO[:1])
    monkeypatch.setattr(page, "write", lambda page, costs: None)
    monkeypatch.chdir(REPOSITORY)
    for command in commands:
        assert complexity.main(command.split()) == 0
        assert subjects(asked[-1].models, as_published=asked[-1].as_published)
        assert all(path.is_file() for path in asked[-1].record)
    assert "GMAC/s" in capsys.readouterr().out


def test_only_known_tables_are_written():
    with pytest.raises(DemucsError, match="no such table"):
        page.filled("<!-- costs: other -->\n<!-- end -->", ZOO)
    with pytest.raises(DemucsError, match="no costs for this table"):
        page.filled("<!-- costs: zoo -->\n<!-- end -->", RUNS)
    assert page.filled("nothing", ZOO) == "nothing"


def test_costs_are_records():
    cost = ModelCost(model="x", settings={}, run="", sources=4, segment=1., parameters=1, macs_per_second={"all": 1.},
                     macs_as_thop=1., inference_memory=1, training_memory=1)
    assert schema.from_plain(ModelCost, schema.to_plain(cost)) == cost
