"""Multiply-adds of models: those of the variants as counted in their author's code, torch's counter, and formulas."""

import functools
import math

import pytest
import torch
from models.test_zoo import small
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from demucs.costs.count import operations_of
from demucs.costs.operations import ATTENTION, CONVOLUTION, KINDS, LINEAR, RECURRENT, TRANSFORM, TRANSPOSED, Operations
from demucs.costs.published import FIGURES
from demucs.costs.subject import Subject
from demucs.dsp.eager import as_on_other_devices
from demucs.models import zoo
from demucs.schema import SOURCES

# 10^9 multiply-adds (two decimals) at the default segment, and operations (two per multiply-add) with four sources and
# with one, counted by torch in the author's code; parameters are in tests/models/test_variants.py.
COUNTED = {
    "htdemucs": (171.26, 342.53, 339.99), "htdemucs_p": (149.01, 298.02, 296.33), "htdemucs_i": (51.36, 102.72, 100.81),
    "htdemucs_c": (116.84, 233.68, 226.43), "htdemucs_s": (191.71, 383.42, 374.27),
    "htdemucs_d": (75.11, 150.22, 147.49),
    "htdemucs_d2": (178.15, 356.30, 350.57), "htdemucs_d3": (205.40, 410.79, 401.64),
    "htdemucs_d4": (164.51, 329.01, 322.91), "htdemucs_n": (62.64, 125.27, 117.87),
    "htdemucs_nn": (59.91, 119.81, 116.51),
    "htdemucs_nn_conv": (66.74, 133.47, 126.07), "htdemucs_nc": (168.79, 337.59, 337.08),
    "htdemucs_nf": (277.63, 555.26, 538.25), "htdemucs_dnf": (178.09, 356.18, 318.24),
    "htdemucs_dn": (82.94, 165.87, 153.93),
}
PER_SECOND = {"htdemucs": 17.13, "htdemucs_p": 18.63, "htdemucs_i": 12.84, "htdemucs_c": 11.68, "htdemucs_s": 19.17,
              "htdemucs_d": 18.78, "htdemucs_d2": 17.82, "htdemucs_d3": 20.54, "htdemucs_d4": 16.45, "htdemucs_n": 6.26,
              "htdemucs_nn": 5.99, "htdemucs_nn_conv": 6.67, "htdemucs_nc": 16.88, "htdemucs_nf": 27.76,
              "htdemucs_dnf": 17.81, "htdemucs_dn": 8.29}
# Of them convolutions and transposed convolutions.
PARTS = {"htdemucs": (62.19, 10.84), "htdemucs_p": (41.94, 7.91), "htdemucs_i": (34.40, 7.50),
         "htdemucs_c": (89.70, 27.13), "htdemucs_s": (100.63, 21.35), "htdemucs_d": (58.25, 9.44), "htdemucs_d2": (135.02, 21.22),
         "htdemucs_d3": (157.20, 48.20), "htdemucs_d4": (121.33, 29.19), "htdemucs_n": (43.41, 7.55),
         "htdemucs_nn": (40.68, 7.55), "htdemucs_nc": (104.43, 64.36), "htdemucs_nf": (240.31, 37.32)}
HALF = 0.005 + 1e-9              # of the last decimal
RECURRENT_ONES = ("demucs", "hdemucs", "torch_hdemucs", "openunmix", "openunmix_separator")


@functools.cache
def counts(name, single=False):
    with torch.device("meta"):
        settings = {"as_published": True} if name != "htdemucs" else {}
        model = Subject(name, settings, ("instrumental",) if single else SOURCES).build()
    return operations_of(model), model.segment


def total(operations):
    return sum(count for kind, count in operations.counts.items() if kind != TRANSFORM)


@pytest.mark.parametrize("name", COUNTED)
def test_variants_cost_what_their_author_s_code_costs(name):
    macs, both, single = COUNTED[name]
    operations, segment = counts(name)
    assert segment == FIGURES[name].segment
    assert abs(2 * total(operations) / 1e9 - both) < HALF
    assert abs(total(operations) / 1e9 - macs) < 1.5 * HALF                 # half of the rounded number, rounded again
    assert abs(total(operations) / segment / 1e9 - PER_SECOND[name]) < HALF
    for kind, expected in zip((CONVOLUTION, TRANSPOSED), PARTS.get(name, ())):
        assert abs(operations.counts[kind] / 1e9 - expected) < HALF
    one, _ = counts(name, single=True)
    assert abs(2 * total(one) / 1e9 - single) < HALF


@pytest.mark.parametrize("name", FIGURES)
def test_why_the_notes_differ(name):
    """What thop counts comes out by its two rules: to a unit of its third decimal, but for the layer normalisations
    of transformers, which thop adds, below 0.2 %."""
    operations, _ = counts(name)
    added = FIGURES[name].macs - operations.as_thop / 1e9
    assert -0.001 < added < 0.002 * FIGURES[name].macs
    assert added < 0.001 or operations.counts[ATTENTION]


def test_every_variant_has_figures():
    assert set(COUNTED) == set(FIGURES) == {name for name in zoo.NAMES if name.startswith("htdemucs")}


@pytest.mark.parametrize("name", [name for name in zoo.NAMES if name not in RECURRENT_ONES])
def test_as_torch_counts(name):
    """All operations that torch's counter knows, on a computed forward pass of a small model."""
    model, mix = small(name).eval(), torch.randn(1, 2, 8000)
    with torch.no_grad(), as_on_other_devices(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as theirs:
        model(mix)
    operations = operations_of(model, mix)
    assert 2 * total(operations) == theirs.get_total_flops() > 0
    with torch.device("meta"):
        same = zoo.build(model.zoo_name, **model.zoo_kwargs)
    assert operations_of(same, mix.to("meta")).counts == operations.counts       # without data


@pytest.mark.parametrize("name", RECURRENT_ONES)
def test_with_recurrent_layers(name):
    """Apart from LSTMs, whose steps torch's counter sees one by one, if at all."""
    model, mix = small(name).eval(), torch.randn(1, 2, 4000)
    operations = operations_of(model, mix)
    own = nn.LSTM.forward
    try:
        nn.LSTM.forward = lambda lstm, x, hx=None: (x.new_zeros(*x.shape[:2], 2 * lstm.hidden_size), None)
        with torch.no_grad(), as_on_other_devices(), FlopCounterMode(display=False) as theirs:
            model(mix)
    finally:
        nn.LSTM.forward = own
    assert 2 * (total(operations) - operations.counts[RECURRENT]) == theirs.get_total_flops() > 0
    assert operations.counts[RECURRENT] > 0


def test_kinds_by_their_formulas():
    """With the sizes of the layers, and of an LSTM as the sum over its weight matrices."""
    lstm = nn.LSTM(5, 7, num_layers=2, bidirectional=True)
    layers = {CONVOLUTION: (nn.Conv1d(6, 8, 3, stride=2, groups=2), torch.empty(2, 6, 21), 2 * 10 * 8 * 3 * 3),
              TRANSPOSED: (nn.ConvTranspose1d(6, 8, 4, stride=3, groups=2), torch.empty(2, 6, 9), 2 * 9 * 6 * 4 * 4),
              LINEAR: (nn.Linear(5, 4), torch.empty(2, 3, 5), 2 * 3 * 5 * 4),
              RECURRENT: (lstm, torch.empty(11, 3, 5),
                          11 * 3 * sum(weight.numel() for name, weight in lstm.named_parameters() if "weight" in name))}
    for kind, (layer, x, expected) in layers.items():
        operations = Operations()
        with torch.no_grad(), operations.in_modules(), operations:
            layer(x)
        assert operations.counts == {**dict.fromkeys(KINDS, 0), kind: expected}


def test_attention_and_transforms_by_their_formulas():
    operations = Operations()
    with torch.no_grad(), operations:
        nn.functional.scaled_dot_product_attention(torch.ones(2, 3, 5, 8), torch.ones(2, 3, 7, 8),
                                                   torch.ones(2, 3, 7, 4))
        torch.fft.rfft(torch.ones(3, 64))
    assert operations.counts[ATTENTION] == 2 * 3 * 5 * 7 * (8 + 4)
    assert operations.counts[TRANSFORM] == 3 * 1.25 * 64 * math.log2(64) and operations.as_thop == 0


def test_an_interrupted_count_leaves_torch_as_it_was():
    own = nn.LSTM.forward
    with pytest.raises(ValueError, match="stop"), Operations().in_modules():
        raise ValueError("stop")
    assert nn.LSTM.forward is own
