"""Learnt weights and gates over epochs: the lines and bars are the numbers of the history."""

import json
import sys

import plot_fusion
import pytest
from figures import fusion, style
from graphing.conftest import SOURCES, make_card, make_history
from records.chains import find_chains

from demucs import schema
from demucs.errors import DemucsError

BRANCHES = ["nfft_2048", "nfft_4096", "nfft_8192"]
GATES = ["residual_weight_freq", "residual_weight_time"]


def combination(epoch, *, weights=True, gates=True):
    """Weights that depend on epoch and source, whose sum is 1."""
    def of(number):
        first = 0.3 + 0.02 * epoch + 0.05 * number
        return dict(zip(BRANCHES, (first, 0.3, 0.7 - first)))
    rows = {"fusion_weights": {"all": of(0)}, "final_fusion_weights": {source: of(k) for k, source in enumerate(SOURCES)}}
    return {"weights": rows if weights else {}, "gates": {name: 0.5 + 0.01 * epoch for name in GATES} if gates else {}}


def write(folder, card, **parts):
    """The records of a run of four epochs; without `parts`, those of a model that combines nothing."""
    schema.save(card, folder / "run_card.json")
    entries = make_history()
    for epoch, entry in enumerate(entries, start=1):
        if parts:
            entry["combination"] = combination(epoch, **parts)
    (folder / "history.json").write_text(json.dumps(entries))


def drawn(function, *runs, results):
    chain, = find_chains(list(runs), results, experiments=None, continued=False)
    with style.themed(style.LIGHT):
        figure = function(chain, style.LIGHT)
        if figure is not None:
            figure.canvas.draw()
    return figure


def lines(axes):
    """Data of the lines over epochs; those at a constant height mark equal weights or joins."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if len(line.get_xdata()) > 2]


def test_weights(tmp_path):
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"), weights=True)
    figure = drawn(fusion.weights_plot, "162f67a7", results=tmp_path)
    panels = {axes.get_title("left"): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == [*SOURCES, "bottleneck, all sources", "after epoch 4"]
    for number, source in enumerate(SOURCES):
        expected = [combination(epoch)["weights"]["final_fusion_weights"][source] for epoch in range(1, 5)]
        assert lines(panels[source]) == [([1, 2, 3, 4], [each[branch] for each in expected]) for branch in BRANCHES]
    assert len({axes.get_ylim() for name, axes in panels.items() if name != "after epoch 4"}) == 1
    end = combination(4)["weights"]
    rows = [*end["final_fusion_weights"].values(), end["fusion_weights"]["all"]]
    assert [bar.get_height() for bar in panels["after epoch 4"].patches] == [value for row in rows for value in row.values()]
    labels = [label.get_text() for label in panels["after epoch 4"].get_xticklabels()]
    assert labels == [*SOURCES, "bottleneck,\nall sources"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == BRANCHES


def test_gates(tmp_path):
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"), weights=False)
    assert drawn(fusion.weights_plot, "162f67a7", results=tmp_path) is None
    axes, = drawn(fusion.gates_plot, "162f67a7", results=tmp_path).axes
    assert lines(axes) == 2 * [([1, 2, 3, 4], [0.51, 0.52, 0.53, 0.54])]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == GATES


def test_runs_that_continue_one_another(tmp_path):
    """Lines are interrupted where the second run begins, and its epochs come after those of the first."""
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"), gates=True)
    second = make_card("955717e8", ended="2025-05-02T09:46:12+00:00", continued_from="162f67a7")
    write(tmp_path / "runs" / "955717e8", second, gates=True)
    axes, = drawn(fusion.gates_plot, "162f67a7", "955717e8", results=tmp_path).axes
    assert [x for x, _ in lines(axes)] == 2 * [[1, 2, 3, 4], [5, 6, 7, 8]]


def call(monkeypatch, results, *arguments):
    monkeypatch.setattr(sys, "argv", ["plot_fusion", *arguments, "--results", str(results)])
    plot_fusion.main()


def test_the_command_of_the_page(tmp_path, repository, monkeypatch, capsys, without_svg):
    command = "    python graphing_scripts/plot_fusion.py 162f67a7\n"
    assert command in (repository / "docs" / "models.md").read_text()
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"), weights=True)
    call(monkeypatch, tmp_path, *command.split()[2:])
    assert capsys.readouterr().out.split() == [str(tmp_path / "figures" / "162f67a7" / name) for name in
                                               ("fusion_weights.png", "fusion_weights.svg", "gates.png", "gates.svg")]


def test_a_run_without_any_is_an_error(tmp_path, monkeypatch):
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"))
    with pytest.raises(DemucsError, match="^162f67a7: no learnt weights or gates in history.json. Only some models have them"):
        call(monkeypatch, tmp_path, "162f67a7")


def test_weights_that_are_missing_or_not_finite_are_left_out(tmp_path):
    write(tmp_path / "runs" / "162f67a7", make_card("162f67a7"), weights=True)
    path = tmp_path / "runs" / "162f67a7" / "history.json"
    entries = json.loads(path.read_text())
    del entries[0]["combination"]
    entries[1]["combination"]["weights"]["final_fusion_weights"]["drums"][BRANCHES[0]] = None
    entries[3]["combination"]["gates"][GATES[0]] = None
    path.write_text(json.dumps(entries))
    panels = drawn(fusion.weights_plot, "162f67a7", results=tmp_path).axes
    assert [len(line.get_xdata()) for line in panels[0].lines] == [2, 3, 3, 2]
    axes, = drawn(fusion.gates_plot, "162f67a7", results=tmp_path).axes
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[2, 3], [2, 3, 4]]
