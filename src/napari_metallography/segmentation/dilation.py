"""Dilated depthwise convolutions at the speed of plain ones on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class PhasewiseConv2d(nn.Conv2d):
    """A depthwise convolution with dilation d, computed as a plain one on d × d phases.

    The pixels of equal remainder of row and column by d see only one another, so that each such
    phase is an image of its own. CPU kernels for dilated depthwise convolutions are several times
    slower than for plain ones, forwards and backwards.
    """

    def forward(self, input: Tensor) -> Tensor:
        """As `torch.nn.Conv2d`, (B, C, H, W)."""
        step = self.dilation[0]
        fits = all(side % step == 0 for side in input.shape[-2:])
        if input.device.type != "cpu" or torch.compiler.is_compiling() or not fits:
            return super().forward(input)
        padding = [margin // step for margin in _margins(self)]
        phases = _phases(input, step)
        found = conv2d(phases, self.weight, self.bias, padding=padding, groups=self.groups)
        return _joined(found, step)


def phasewise(network: nn.Module) -> nn.Module:
    """Put `PhasewiseConv2d` in the place of the convolutions it can stand for; same weights."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and _replaceable(child):
                setattr(module, name, _replaced(child))
    return network


def _replaceable(convolution: nn.Conv2d) -> bool:
    dilation, channels = convolution.dilation, convolution.in_channels
    return (
        type(convolution) is nn.Conv2d
        and convolution.groups == channels == convolution.out_channels
        and convolution.stride == (1, 1)
        and convolution.padding_mode == "zeros"
        and dilation[0] == dilation[1] > 1
        and not isinstance(convolution.padding, str)
        and all(margin % dilation[0] == 0 for margin in _margins(convolution))
    )


def _margins(convolution: nn.Conv2d) -> tuple[int, int]:
    if isinstance(convolution.padding, str):
        raise TypeError("padding is given in pixels")
    return convolution.padding[0], convolution.padding[1]


def _replaced(convolution: nn.Conv2d) -> PhasewiseConv2d:
    # Without storage of its own: first weights would be drawn, and the caller's seed used up.
    replacement = PhasewiseConv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        padding=_margins(convolution),
        dilation=convolution.dilation[0],
        groups=convolution.groups,
        device="meta",
    )
    replacement.weight, replacement.bias = convolution.weight, convolution.bias
    return replacement


def _phases(images: Tensor, step: int) -> Tensor:
    """(B, C, H, W) to (step² · B, C, H / step, W / step)."""
    batch, channels, height, width = images.shape
    apart = images.reshape(batch, channels, height // step, step, width // step, step)
    together = apart.permute(3, 5, 0, 1, 2, 4)
    phases = together.reshape(-1, channels, height // step, width // step)
    return phases.contiguous(memory_format=torch.channels_last)


def _joined(phases: Tensor, step: int) -> Tensor:
    """The inverse of `_phases`."""
    _, channels, height, width = phases.shape
    apart = phases.reshape(step, step, -1, channels, height, width)
    together = apart.permute(2, 3, 4, 0, 5, 1)
    images = together.reshape(-1, channels, height * step, width * step)
    return images.contiguous(memory_format=torch.channels_last)
