"""The network that grades a line of grey values: many receptive fields, fused and gated.

Source: the grain-size network of the multiple receptive field fusion paper; 30 sub-nets of kernels
1, 3, ... 59, attention over their 120 channels, and three fully connected layers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = tuple(range(1, 60, 2))
CHANNELS = 4
POOLED = 512
GATED = CHANNELS * len(KERNELS)

_STAGES = 3
_SQUEEZED = 30
_HIDDEN = (256, 128)
_MOMENTUM = 0.1
_EPSILON = 1e-5
_BLOCK = 8
_LEAST_GAIN = 1e-12


class LineNetwork(nn.Module):
    """Normalised lines (B, 1376) to the logits (B, classes) of their grain-size classes."""

    def __init__(self, classes: int = 14) -> None:
        super().__init__()
        self.subnets = nn.ModuleList(SubNet(kernel) for kernel in KERNELS)
        self.attention = nn.Sequential(
            nn.Linear(GATED, _SQUEEZED), nn.ReLU(), nn.Linear(_SQUEEZED, GATED), nn.Sigmoid()
        )
        first, second = _HIDDEN
        self.classifier = nn.Sequential(
            nn.Linear(GATED * POOLED, first),
            nn.BatchNorm1d(first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.BatchNorm1d(second),
            nn.ReLU(),
            nn.Linear(second, classes),
        )

    def forward(self, lines: Tensor) -> Tensor:
        """Logits of lines (B, 1376)."""
        blocks = lines.view(len(lines), -1, _BLOCK).transpose(1, 2).contiguous()
        features = torch.cat([subnet(blocks) for subnet in self.subnets], 1)
        gates = self.attention(features.mean(2))
        logits: Tensor = self.classifier((features * gates[:, :, None]).flatten(1))
        return logits


class SubNet(nn.Module):
    """Three convolutions of one kernel: blocks of lines to features (B, 4, 512)."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        inputs = (1, *(CHANNELS for _ in range(_STAGES - 1)))
        self.stages = nn.ModuleList(Stage(n, CHANNELS, kernel) for n in inputs)

    def forward(self, blocks: Tensor) -> Tensor:
        """Features at 512 places along the lines."""
        values = blocks
        gain, offset = blocks.new_ones(1), blocks.new_zeros(1)
        for stage in self.stages:
            values, gain, offset = stage(values, gain, offset)
        by_block = values.view(len(values), CHANNELS, _BLOCK, -1).transpose(2, 3)
        pooled = averaged(by_block.reshape(len(values), CHANNELS, -1))
        # A normalisation commutes with a mean, and there are fewer values after it.
        return pooled * gain[:, None] + offset[:, None]


class Stage(nn.Module):
    """Convolution without bias, "same" zero padding, ReLU, batch normalisation.

    A few channels are too few for fast convolutions. Lines are therefore folded into blocks of 8
    neighbouring places, each a channel of its own, which a kernel of banded (Toeplitz) matrices
    convolves; and the normalisation, which is a gain and an offset a channel, is not applied but
    handed on to the next stage's kernel.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        bound = (inputs * kernel) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel).uniform_(-bound, bound))
        self.gamma = nn.Parameter(torch.ones(outputs))
        self.beta = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("running_mean", torch.zeros(outputs))
        self.register_buffer("running_var", torch.ones(outputs))

    def forward(
        self, values: Tensor, gain: Tensor, offset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rectified convolution of gain · values + offset, and its normalisation.

        Parameters
        ----------
        values
            (B, inputs · 8, L / 8).
        gain, offset
            (inputs,) that the stage before left to do.
        """
        kernel = banded(self.weight * gain[:, None], _BLOCK)
        shift = (self.weight * offset[:, None]).sum((1, 2)).repeat_interleave(_BLOCK)
        padded = _padded(values, gain, offset, kernel.shape[2] // 2)
        convolved = functional.conv1d(padded, kernel, shift)
        rectified, mean, square = _Rectified.apply(convolved, len(self.gamma))
        count = rectified.numel() // len(self.gamma)
        return rectified, *self._normalisation(mean, square, count)

    def _normalisation(self, mean: Tensor, square: Tensor, count: int) -> tuple[Tensor, Tensor]:
        variance = (square - mean * mean).clamp(min=0)
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(mean, _MOMENTUM)
                self.running_var.lerp_(variance * count / (count - 1), _MOMENTUM)
        else:
            mean, variance = self.running_mean, self.running_var
        gain = self.gamma * (variance + _EPSILON).rsqrt()
        return gain, self.beta - mean * gain


def averaged(values: Tensor) -> Tensor:
    """Adaptive average pooling of (..., 1376) to (..., 512), as a product with a small matrix.

    Its windows begin anew after every 43 places.
    """
    period = values.shape[-1] // math.gcd(values.shape[-1], POOLED)
    one = torch.eye(period, dtype=values.dtype, device=values.device)[:, None]
    windows = functional.adaptive_avg_pool1d(one, POOLED * period // values.shape[-1])[:, 0]
    pooled = values.reshape(-1, period) @ windows
    return pooled.view(*values.shape[:-1], POOLED)


def banded(weight: Tensor, block: int) -> Tensor:
    """The kernel that convolves blocks as `weight` convolves places.

    Parameters
    ----------
    weight
        (outputs, inputs, K), K odd.

    Returns
    -------
    (outputs · block, inputs · block, 2 D + 1), of D blocks on either side.
    """
    outputs, inputs, taps = weight.shape
    aside = -(-(taps // 2) // block)
    reach = (2 * aside + 1) * block
    before = aside * block - taps // 2
    # A row of reach + 1 read as rows of reach: each row starts one place later.
    row = functional.pad(weight, (before, reach + 1 - before - taps))
    shifted = row.repeat(1, 1, block)[:, :, : block * reach]
    bands = shifted.view(outputs, inputs, block, 2 * aside + 1, block)
    return bands.permute(0, 2, 1, 4, 3).reshape(outputs * block, inputs * block, -1)


def _padded(values: Tensor, gain: Tensor, offset: Tensor, blocks: int) -> Tensor:
    """Values with, at both ends, what a gain and an offset make zero."""
    if blocks == 0:
        return values
    least = torch.full_like(gain, _LEAST_GAIN)
    zero = -offset / torch.where(gain.abs() < _LEAST_GAIN, least, gain)
    ends = zero.repeat_interleave(_BLOCK)[:, None].expand(len(values), -1, blocks)
    return torch.cat([ends, values, ends], 2)


class _Rectified(torch.autograd.Function):
    """Rectified values, and the mean and mean square of each channel."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        rectified = values.clamp_(min=0)
        by_channel = rectified.view(len(rectified), channels, -1)
        mean = by_channel.mean((0, 2))
        norms = torch.linalg.vector_norm(by_channel, dim=2)
        square = (norms * norms).mean(0) / by_channel.shape[2]
        ctx.mark_dirty(values)
        ctx.save_for_backward(rectified)
        return rectified, mean, square

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rectified,) = ctx.saved_tensors
        gradient, of_mean, of_square = gradients
        by_channel = rectified.view(len(rectified), len(of_mean), -1)
        scale = len(of_mean) / rectified.numel()
        whole = torch.addcmul(
            (of_mean * scale)[:, None], by_channel, (2 * scale * of_square)[:, None]
        ).view_as(rectified)
        whole.add_(gradient)
        return torch.ops.aten.threshold_backward(whole, rectified, 0), None
