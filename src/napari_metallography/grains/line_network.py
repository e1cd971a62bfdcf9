"""The network that grades a line of grey values: many receptive fields, fused and gated.

Source: the grain-size network of the multiple receptive field fusion paper; 30 sub-nets of kernels
1, 3, ... 59, attention over their 120 channels, and three fully connected layers.
"""

from __future__ import annotations

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
_BLOCK = 16
_SMALL_BLOCK = 8
_SMALL_KERNEL = 7
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
        features = torch.cat([subnet(lines[:, :, None]) for subnet in self.subnets], 2)
        gates = self.attention(features.mean(1))
        gated = (features * gates[:, None]).transpose(1, 2)
        logits: Tensor = self.classifier(gated.flatten(1))
        return logits


class SubNet(nn.Module):
    """Three convolutions of one kernel: lines (B, L, 1) to (B, 512, 4), channels last."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        inputs = (1, *(CHANNELS for _ in range(_STAGES - 1)))
        self.stages = nn.ModuleList(Stage(n, CHANNELS, kernel) for n in inputs)

    def forward(self, lines: Tensor) -> Tensor:
        """Features at 512 places along the lines."""
        values = lines
        gain, offset = lines.new_ones(1), lines.new_zeros(1)
        for stage in self.stages:
            values, gain, offset = stage(values, gain, offset)
        pooled = functional.adaptive_avg_pool1d(values.transpose(1, 2), POOLED)
        # A normalisation commutes with a mean, and there are fewer values after it.
        return pooled.transpose(1, 2) * gain + offset


class Stage(nn.Module):
    """Convolution without bias, "same" zero padding, ReLU, batch normalisation.

    A few channels are too few for fast convolutions. Blocks of neighbouring places are computed
    together, as a product with a banded (Toeplitz) matrix; and the normalisation, which is a
    gain and an offset a channel, is not applied but handed on to the next stage's matrix.
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
        self._block = _SMALL_BLOCK if kernel <= _SMALL_KERNEL else _BLOCK

    def forward(
        self, values: Tensor, gain: Tensor, offset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rectified convolution of gain · values + offset, and its normalisation.

        Parameters
        ----------
        values
            (B, L, inputs).
        gain, offset
            (inputs,) that the stage before left to do.
        """
        batch, length, _ = values.shape
        weight = self.weight * gain[:, None]
        blocks = _blocks(_padded(values, gain, offset, weight.shape[2] // 2), self._block, weight)
        shift = (self.weight * offset[:, None]).sum((1, 2)).repeat(self._block)
        convolved = torch.addmm(shift, blocks, banded(weight, self._block))
        rectified, mean, square = _Rectified.apply(convolved, len(self.gamma))
        gain, offset = self._normalisation(mean, square, batch * length)
        return rectified.view(batch, length, -1), gain, offset

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


def banded(weight: Tensor, block: int) -> Tensor:
    """The matrix that convolves a block: ((block + K - 1) · inputs, block · outputs).

    Parameters
    ----------
    weight
        (outputs, inputs, K).
    """
    outputs, inputs, kernel = weight.shape
    reach = kernel + block - 1
    # A row of reach + 1 read as rows of reach: each row starts one place later.
    rows = functional.pad(weight.permute(2, 1, 0), (0, 0, 0, 0, 0, block)).repeat(block, 1, 1)
    shifted = rows[: block * reach].view(block, reach, inputs, outputs)
    return shifted.permute(1, 2, 0, 3).reshape(reach * inputs, block * outputs)


def _padded(values: Tensor, gain: Tensor, offset: Tensor, width: int) -> Tensor:
    """Values with, at both ends, what a gain and an offset make zero."""
    if width == 0:
        return values
    least = torch.full_like(gain, _LEAST_GAIN)
    zero = -offset / torch.where(gain.abs() < _LEAST_GAIN, least, gain)
    ends = zero.expand(len(values), width, len(zero))
    return torch.cat([ends, values, ends], 1)


def _blocks(padded: Tensor, block: int, weight: Tensor) -> Tensor:
    """What each block of places sees: (B · L / block, (block + K - 1) · inputs)."""
    _, inputs, kernel = weight.shape
    reach = (block + kernel - 1) * inputs
    return padded.reshape(len(padded), -1).unfold(1, reach, block * inputs).reshape(-1, reach)


class _Rectified(torch.autograd.Function):
    """Rectified values, and the mean and mean square of each channel."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        rectified = values.clamp_(min=0)
        mean = rectified.mean(0).view(-1, channels).mean(0)
        norms = torch.linalg.vector_norm(rectified, dim=0)
        square = (norms * norms / len(rectified)).view(-1, channels).mean(0)
        ctx.mark_dirty(values)
        ctx.save_for_backward(rectified)
        return rectified, mean, square

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rectified,) = ctx.saved_tensors
        gradient, of_mean, of_square = gradients
        blocks = rectified.shape[1] // len(of_mean)
        scale = 1 / (len(rectified) * blocks)
        whole = torch.addcmul(
            (of_mean * scale).repeat(blocks), rectified, (2 * scale * of_square).repeat(blocks)
        )
        whole.add_(gradient.view_as(whole))
        return whole.mul_(rectified > 0), None
