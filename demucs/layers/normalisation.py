"""Batch normalisation whose statistics in training may be those of the batches of all ranks together."""

import typing as tp

import torch
from torch import nn
from torch.nn import functional as F

Sum = tp.Callable[[torch.Tensor], torch.Tensor]


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` of rows [N, C], with the same parameters and buffers.

    In training with several ranks, mean and variance are those of the rows of all ranks, as if one process had the
    global batch, and the running statistics are the same on all ranks. Otherwise it is torch's own.

    Attributes:
        sum_over_ranks: differentiable sum of a tensor over all ranks, which is set by a training with several of them
            (`training.distributed`); None for the statistics of this process alone.
    """

    sum_over_ranks: tp.Optional[Sum] = None

    def forward(self, input: torch.Tensor, *, gain: tp.Optional[torch.Tensor] = None,
                offset: tp.Optional[torch.Tensor] = None) -> torch.Tensor:
        """Normalised rows, multiplied by `gain` [C] with `offset` [C] added, which costs no further pass over them."""
        if gain is None and offset is None and (not self.training or self.sum_over_ranks is None):
            return super().forward(input)
        weight, bias = self.weight, self.bias
        if gain is not None:
            weight, bias = weight * gain, bias * gain
        if offset is not None:
            bias = bias + offset
        if self.training and self.sum_over_ranks is not None:
            return self._over_ranks(input.float(), weight, bias, self.sum_over_ranks).to(input.dtype)
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        assert self.momentum is not None
        return F.batch_norm(input, self.running_mean, self.running_var, weight, bias, self.training, self.momentum,
                            self.eps)

    def _over_ranks(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, sum_over_ranks: Sum
                    ) -> torch.Tensor:
        """Rows normalised by mean and variance of all ranks. Sums are in float64, so that they depend on the number of
        ranks no more than the rest of the network."""
        rows = x.new_full((1,), len(x), dtype=torch.float64)
        sums = sum_over_ranks(torch.cat([x.sum(0, dtype=torch.float64), rows]))
        count = sums[-1].detach()
        mean = (sums[:-1] / count).to(x.dtype)
        centred = x - mean
        variance = sum_over_ranks(centred.square().sum(0, dtype=torch.float64)) / count
        self._update(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        gain = (variance + self.eps).rsqrt().to(x.dtype)
        return centred * (gain * weight) + bias

    @torch.no_grad()
    def _update(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Update the running statistics with the mean and the unbiased variance of a batch."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
