"""Bidirectional LSTM over time, in overlapping chunks for long sequences (Défossez et al. 2021, section 3.2)."""

import math
import typing as tp
import warnings

import torch
from torch import nn
from torch.nn import functional as F

from .dropout import dropout


class LSTM(nn.LSTM):
    """`nn.LSTM` that stays in float32 under autocast on a GPU, and in training. On a GPU torch would compute it in
    float16 regardless of the type of autocast, and values above 65504 would become infinite. On a CPU torch has no
    training in 16 bits of it without the instructions of newer processors.

    In training, dropout between its layers is that of `layers.dropout`. On a GPU cuDNN would draw the masks from a
    state of its own, which neither torch's seeds nor a checkpoint have, so that a run that was interrupted would end
    otherwise.
    """

    def forward(self, input: torch.Tensor, hx: tp.Any = None) -> tp.Any:
        device = input.device.type
        if (input.is_cuda or torch.is_grad_enabled()) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._run(input.float(), hx)
        return self._run(input, hx)

    def _run(self, input: torch.Tensor, hx: tp.Any) -> tp.Any:
        if self.training and self.dropout and self.num_layers > 1 and hx is None and input.dim() == 3:
            return self._layer_by_layer(input)
        return super().forward(input, hx)

    def _layer_by_layer(self, x: torch.Tensor) -> tp.Tuple[torch.Tensor, tp.Tuple[torch.Tensor, torch.Tensor]]:
        """The same as torch's forward pass of [T, B, H] in training, one call per layer."""
        assert not self.batch_first and not self.proj_size and self.bias
        directions = 2 if self.bidirectional else 1
        start = x.new_zeros(directions, x.shape[1], self.hidden_size)
        states = []
        for layer in range(self.num_layers):
            own = self.all_weights[layer * directions:(layer + 1) * directions]
            weights = [weight for each in own for weight in each]
            x, *state = self._one_layer(dropout(x, self.dropout) if layer else x, start, weights)
            states.append(state)
        h, c = (torch.cat(parts) for parts in zip(*states))
        return x, (h, c)

    def _one_layer(self, x: torch.Tensor, start: torch.Tensor, weights: tp.List[torch.Tensor]
                   ) -> tp.Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with warnings.catch_warnings():
            # cuDNN wants the weights of a call side by side, and copies them; they are small beside the activations.
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            return torch.lstm(x, (start, start), weights, True, 1, 0., True, self.bidirectional, False)


class BLSTM(nn.Module):
    """BiLSTM over time with as many hidden units as channels, followed by a linear layer: [B, C, T] -> [B, C, T]. With
    `skip` the input is added to the output.

    Sequences longer than `max_steps` (a multiple of 4; None: no limit) are cut into chunks of that length with half
    overlap, processed as a batch, and only the middle half of each chunk is kept (of the first and last also their
    outer quarter): an LSTM over thousands of steps is slow and forgets.
    """

    def __init__(self, channels: int, *, layers: int = 1, max_steps: tp.Optional[int] = None, skip: bool = False):
        super().__init__()
        assert max_steps is None or max_steps % 4 == 0, max_steps
        self.max_steps = max_steps
        self.skip = skip
        self.lstm = LSTM(input_size=channels, hidden_size=channels, num_layers=layers, bidirectional=True)
        self.linear = nn.Linear(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.shape[-1]
        if self.max_steps is None or steps <= self.max_steps:
            y = self._run(x)
        else:
            y = self._run_chunks(x, self.max_steps)
        return x + y if self.skip else y

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(x.permute(2, 0, 1))
        return self.linear(y).permute(1, 2, 0)

    def _run_chunks(self, x: torch.Tensor, width: int) -> torch.Tensor:
        batch, channels, steps = x.shape
        stride, margin = width // 2, width // 4
        chunks = math.ceil(steps / stride)
        padded = F.pad(x, (0, (chunks - 1) * stride + width - steps))
        framed = padded.unfold(-1, width, stride)                                # [B, C, chunks, width]
        y = self._run(framed.permute(0, 2, 1, 3).reshape(-1, channels, width))
        y = y.view(batch, chunks, channels, width).transpose(1, 2)               # [B, C, chunks, width]
        middles = y[..., margin:margin + stride].reshape(batch, channels, -1)
        whole = torch.cat([y[:, :, 0, :margin], middles, y[:, :, -1, margin + stride:]], dim=-1)
        return whole[..., :steps]
