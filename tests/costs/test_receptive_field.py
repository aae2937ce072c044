"""Context of models in time: by formulas, by differences of outputs, and the same for every width."""

import pytest
import torch
from models.test_zoo import small
from torch import nn

from demucs.costs import receptive_field
from demucs.costs.receptive_field import Context, of_model
from demucs.costs.subject import Subject
from demucs.errors import ConfigError
from demucs.models.protocol import SeparationModel


class Layers(SeparationModel):
    audio_channels = 2

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, mix):
        return self.layers(mix)[:, None]


def test_convolutions_by_their_formula():
    """Dilations add up; a stride multiplies what follows, and a transposed convolution reads back to a quarter step."""
    stack = Layers(nn.Conv1d(2, 4, 5, padding=2), nn.Conv1d(4, 2, 3, dilation=8, padding=8))
    assert of_model(stack, 6000) == Context(2 + 8, 2 + 8, [])
    causal = Layers(nn.ConstantPad1d((6, 0), 0.), nn.Conv1d(2, 2, 7))
    assert of_model(causal, 6000) == Context(6, 0, [])
    strided = Layers(nn.Conv1d(2, 4, 4, stride=4), nn.ConvTranspose1d(4, 2, 4, stride=4))
    assert of_model(strided, 8000) == Context(3, 3, [])


def test_operations_over_the_segment_are_named_and_held():
    layers = Layers(nn.Conv1d(2, 8, 5, padding=2), nn.GroupNorm(1, 8), nn.Conv1d(8, 2, 3, padding=1))
    assert of_model(layers, 6000) == Context(3, 3, ["normalisation"])
    mix = torch.randn(1, 2, 6000).requires_grad_()
    gradient, = torch.autograd.grad(layers(mix)[..., 3000].sum(), mix)
    assert (gradient != 0).all()


def test_an_lstm_is_held():
    class Recurrent(SeparationModel):
        audio_channels = 2

        def __init__(self):
            super().__init__()
            self.before, self.lstm = nn.Conv1d(2, 4, 9, padding=4), nn.LSTM(4, 1, bidirectional=True)

        def forward(self, mix):
            return self.lstm(self.before(mix).permute(2, 0, 1))[0].permute(1, 2, 0)[:, None]
    own = nn.LSTM.forward
    assert of_model(Recurrent(), 6000) == Context(4, 4, ["LSTM"])
    assert nn.LSTM.forward is own


def test_a_mixture_that_is_too_short_is_no_answer():
    layers = Layers(nn.Conv1d(2, 2, 2001, padding=1000))
    assert of_model(layers, 6000) is None and of_model(layers, 9000) == Context(1000, 1000, [])


def held(model):
    """The model without what is over the whole segment: normalisations and gates by constants."""
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = lambda x: x
    return model


@pytest.mark.parametrize("name, settings", [("htdemucs_nc", {}), ("hybrid", {"mixers": {}, "fusion": {"kind": "sum"}})])
def test_by_differences_of_outputs(name, settings, monkeypatch):
    """A sample of the mixture outside of the context changes no sample of the estimates, with statistics held."""
    from demucs.models.hybrid import net
    model = held(small(name, **settings)).double().eval()
    monkeypatch.setattr(net, "_normalise", lambda x: (x, net.Level(x.new_zeros(1, 1, 1), x.new_ones(1, 1, 1))))
    length = 16_000
    context = of_model(small(name, **settings).double(), length)
    assert context is not None and context.spanning == ["normalisation"]
    mix = torch.randn(1, 2, length, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    place = length // 2
    with torch.no_grad():
        before = model(mix)
        mix[..., place] += 1
        changed = (model(mix) - before).abs().amax((0, 1, 2))
    touched = changed.nonzero().flatten()
    slack = receptive_field.APART                     # the estimates were probed so far apart
    assert place - touched[0] <= context.after + slack and touched[-1] - place <= context.before + slack
    assert place - touched[0] > context.after / 2 and touched[-1] - place > context.before / 2


def test_the_width_does_not_matter():
    settings = {"depth": 2, "nfft": 256, "samplerate": 2000, "segment": 2}
    found = receptive_field.measured(Subject("hdemucs", settings))
    assert found == of_model(Subject("hdemucs", {**settings, "channels": 16}).build(segment=4).double(), 8000)
    assert found.spanning == ["normalisation"] and 256 < found.before + found.after < 2000


def test_longer_than_can_be_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(receptive_field, "of_model", lambda model, length: asked.append((model.segment, length)))
    with pytest.raises(ConfigError, match="more than 64 s of the mixture"):
        receptive_field.measured(Subject("htdemucs_nc", {"depth": 2, "samplerate": 1000}))
    assert asked == [(2. ** power, 1000 * 2 ** power) for power in range(1, 7)]
