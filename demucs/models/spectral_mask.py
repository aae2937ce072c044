"""The network of Open-Unmix for one target: a mask for magnitude spectrograms from a BiLSTM over time (Stöter, Uhlich,
Liutkus and Mitsufuji 2019, "Open-Unmix - A Reference Implementation for Music Source Separation").

Parameter names, shapes and order are those of the package openunmix, so that its weights fit.
"""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

from ..layers.normalisation import BatchNorm1d
from ..layers.recurrent import LSTM

DROPOUT = 0.4                # between the layers of the LSTM
LEAST_DEVIATION = 1e-4       # smallest standard deviation of a bin, relative to the largest of all bins


class Layers(tp.NamedTuple):
    """Two parts of a network, before and after its LSTM, that process frames independently.

    Attributes:
        encode: magnitudes [T, B, A, F] -> features [T, B, H].
        decode: features [T, B, 2 H] -> mask [T, B, A, F].
    """
    encode: tp.Callable[[torch.Tensor], torch.Tensor]
    decode: tp.Callable[[torch.Tensor], torch.Tensor]


class SpectralMask(nn.Module):
    """Network that estimates the magnitude spectrogram of one target from that of the mixture, [B, A, F, T] -> [B, A,
    F, T], by a non-negative mask.

    It sees the `cropped` lower bins of its input, normalised by statistics per bin, and predicts a mask for all. The
    statistics of batch normalisation are over all frames of all examples.

    Args:
        bins: number of frequencies F.
        cropped: number of frequencies that the network sees.
        channels: number of audio channels A.
        hidden_size: number of features H.
        nb_layers: layers of the LSTM, with dropout between them.
        unidirectional: an LSTM with H units forward in time instead of H / 2 in each direction.

    Raises:
        ValueError: if `hidden_size` is odd and the LSTM has two directions.
    """

    def __init__(self, *, bins: int, cropped: int, channels: int, hidden_size: int, nb_layers: int,
                 unidirectional: bool):
        super().__init__()
        if hidden_size % 2 and not unidirectional:
            raise ValueError(f"hidden_size={hidden_size} must be even, since each direction of the LSTM has half of it")
        self.bins, self.cropped, self.channels = bins, cropped, channels
        # The statistics are trained as well, as in openunmix. The order is that of its parameters.
        self.input_mean = nn.Parameter(torch.zeros(cropped))       # the negative of the mean
        self.input_scale = nn.Parameter(torch.ones(cropped))
        self.output_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(bins))
        self.fc1 = nn.Linear(cropped * channels, hidden_size, bias=False)
        self.bn1 = BatchNorm1d(hidden_size)
        self.lstm = LSTM(hidden_size, hidden_size if unidirectional else hidden_size // 2, num_layers=nb_layers,
                         bidirectional=not unidirectional, dropout=DROPOUT if nb_layers > 1 else 0)
        self.fc2 = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.bn2 = BatchNorm1d(hidden_size)
        self.fc3 = nn.Linear(hidden_size, channels * bins, bias=False)
        self.bn3 = BatchNorm1d(channels * bins)

    def set_input_statistics(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Set mean and standard deviation [F] of the magnitudes of training mixtures, which normalise the input.
        Deviations are at least `LEAST_DEVIATION` of the largest one.

        Raises:
            ValueError: if they are not finite, or all deviations are zero.
        """
        largest = deviation.max()
        if not torch.isfinite(mean).all() or not torch.isfinite(deviation).all() or not largest > 0:
            raise ValueError("the magnitudes of the training mixtures have no deviation that is finite and positive")
        deviation = deviation.clamp(min=LEAST_DEVIATION * largest)
        with torch.no_grad():
            self.input_mean.copy_(-mean[:self.cropped])
            self.input_scale.copy_(1 / deviation[:self.cropped])

    def masked(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """Estimated magnitudes of the target, from those of the mixture; both [B, A, F, T]."""
        layers = self.layers()
        x = magnitudes.permute(3, 0, 1, 2)
        return layers.decode(self.features(layers.encode(x))).permute(1, 2, 3, 0) * magnitudes

    def features(self, encoded: torch.Tensor) -> torch.Tensor:
        """Output of the LSTM, concatenated to its input: [T, B, H] -> [T, B, 2 H]."""
        return torch.cat([encoded, self.lstm(encoded)[0]], dim=-1)

    def recomputable_blocks(self) -> tp.List[nn.Module]:
        """See `SeparationModel.recomputable_blocks`."""
        return [self.lstm]

    def layers(self) -> Layers:
        """The parts before and after the LSTM. In evaluation without gradients all that is affine is one product; the
        weights are those at the time of this call."""
        return Layers(self._encode, self._decode) if self.training or torch.is_grad_enabled() else self._fused()

    def _encode(self, x: torch.Tensor) -> torch.Tensor:
        frames, batch = x.shape[:2]
        # The scaler is part of the weights: the gradient of the input, for which it would be needed, is not computed.
        scale = self.input_scale.repeat(self.channels)
        shift = (self.input_mean * self.input_scale).repeat(self.channels)
        x = F.linear(x[..., :self.cropped].flatten(2).flatten(0, 1), self.fc1.weight * scale, self.fc1.weight @ shift)
        return torch.tanh(self.bn1(x)).view(frames, batch, -1)

    def _decode(self, features: torch.Tensor) -> torch.Tensor:
        frames, batch = features.shape[:2]
        x = F.relu(self.bn2(self.fc2(features.flatten(0, 1))))
        gain, offset = self.output_scale.repeat(self.channels), self.output_mean.repeat(self.channels)
        x = self.bn3(self.fc3(x), gain=gain, offset=offset)
        return F.relu(x).view(frames, batch, self.channels, self.bins)

    def _fused(self) -> Layers:
        scale = self.input_scale.repeat(self.channels)
        shift = (self.input_mean * self.input_scale).repeat(self.channels)
        first = _normalised(self.fc1.weight * scale, self.fc1.weight @ shift, self.bn1)
        second = _normalised(self.fc2.weight, 0, self.bn2)
        weight, bias = _normalised(self.fc3.weight, 0, self.bn3)
        gain = self.output_scale.repeat(self.channels)
        third = weight * gain[:, None], bias * gain + self.output_mean.repeat(self.channels)

        def encode(x: torch.Tensor) -> torch.Tensor:
            return F.linear(x[..., :self.cropped].flatten(2), *first).tanh_()

        def decode(features: torch.Tensor) -> torch.Tensor:
            hidden = F.linear(features, *second).relu_()
            return F.linear(hidden, *third).relu_().unflatten(-1, (self.channels, self.bins))
        return Layers(encode, decode)


def _normalised(weight: torch.Tensor, bias: tp.Union[int, torch.Tensor], norm: nn.BatchNorm1d
                ) -> tp.Tuple[torch.Tensor, torch.Tensor]:
    """(weight, bias) of a linear layer followed by batch normalisation with its running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return weight * gain[:, None], norm.bias + (bias - norm.running_mean) * gain
