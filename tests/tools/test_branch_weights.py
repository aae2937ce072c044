"""Learnt weights and gates of exported models and experiments, as text."""

import sys

import pytest
import torch
from models.test_zoo import small

from demucs.packages import package
from tools import branch_weights


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command beside a model with weights, an experiment with gates, and one that combines nothing."""
    monkeypatch.chdir(tmp_path)
    for name, path in (("htdemucs_nn", "nn.th"), ("htdemucs_s", "outputs/xps/abcd1234/best.th"), ("htdemucs_nc", "nc.th")):
        model = small(name)
        with torch.no_grad():
            if name == "htdemucs_nn":
                model.final_fusion_weights.copy_(torch.tensor([[9., 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 0]]))
        card = package.new_card(model, signature="x", epochs_done=1, epochs=1, valid={}, argv=[])
        package.save(model, tmp_path / path, card=card)
    (tmp_path / "outputs" / "xps" / "abcd9999").mkdir()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["branch_weights", *arguments])
        return branch_weights.main(), *capsys.readouterr()
    return run


def test_weights_and_gates(call):
    status, out, err = call("nn.th", "abcd1234")
    assert (status, err) == (0, "")
    words = [line.split() for line in out.splitlines()]
    assert words[:3] == [["nn.th", "(htdemucs_nn)"], ["fusion_weights", "nfft_2048", "nfft_4096", "nfft_8192"],
                         ["all", "0.333", "0.333", "0.333"]]
    assert words[3:8] == [["final_fusion_weights", "nfft_2048", "nfft_4096", "nfft_8192"], ["drums", "1.000", "0.000", "0.000"],
                          ["bass", "0.000", "1.000", "0.000"], ["other", "0.000", "0.000", "1.000"],
                          ["vocals", "0.333", "0.333", "0.333"]]
    assert words[8:] == [["abcd1234", "(htdemucs_s)"], ["gate", "value"], ["residual_weight_freq", "0.500"],
                         ["residual_weight_time", "0.500"]]


@pytest.mark.parametrize("name, message", [
    ("nc.th", "error: nc.th: a model htdemucs_nc has no learnt weights of branches, and no gates\n"),
    ("missing.th", "error: missing.th: no such file"), ("abcd9999", "error: experiment abcd9999 has no weights yet"),
    ("abcd1235", "error: no experiment 'abcd1235' in outputs/xps. Did you mean 'abcd1234'?")])
def test_errors(call, name, message):
    status, out, err = call("nn.th", name)
    assert status == 1 and out.startswith("nn.th") and err.startswith(message) and err.count("\n") == 1
