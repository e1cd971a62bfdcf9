"""PDMSNet, the network that names surface defects, and the networks its paper grew it from.

Source: D. Li et al., Steel surface defect recognition based on a lightweight convolutional neural
network (PDMSNet); SqueezeNet 1.0 with normalisation, shortcuts, mixed depthwise separable
convolutions and partly spliced blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Expansion = Literal["original", "plain", "separable", "mixed"]

SIDE = 224
"""Side in pixels of the images the network is trained on."""

FEATURES = 512
STRIDE = 16
"""Pixels of the image between places of the features."""

FIRST_CENTRE = 17
"""Row and column of the image in the middle of what the first place sees."""

STEM = 96

_MIDDLE = 256
_WHOLE = (
    ((16, 64), (16, 64), (32, 128)),
    ((32, 128), (48, 192), (48, 192), (64, 256)),
)
_PARTIAL = (
    ((8, 32), (8, 32), (16, 80)),
    ((16, 64), (24, 96), (24, 96), (24, 128)),
)
_LAST = (64, 256)
_DROPOUT = 0.5


@dataclass(frozen=True)
class Design:
    """A member of the family.

    Attributes
    ----------
    expansion
        The branch of a fire module with the larger kernel: 3×3 in "original", which is SqueezeNet,
        and in "plain", which has batch normalisation, shortcuts and a shuffle of channels like all
        that follow; "separable" is depthwise 3×3 with bias, then 1×1; "mixed" is depthwise by
        groups of channels with `kernels`, then 1×1.
    kernels
        Of a mixed expansion, odd and increasing.
    spliced
        Of the two blocks of modules: whether one works on half of its input's channels, and the
        whole input is joined to what it gives.
    """

    expansion: Expansion = "mixed"
    kernels: tuple[int, ...] = (3, 5, 7)
    spliced: tuple[bool, bool] = (True, True)


DESIGNS = {
    "squeezenet": Design("original", spliced=(False, False)),
    "squeezenet-bn": Design("plain", spliced=(False, False)),
    "squeezenet-separable": Design("separable", spliced=(False, False)),
    "squeezenet-dms": Design(spliced=(False, False)),
    "pdmsnet": Design(),
}
"""The five rows of the paper's table of networks."""


class PdmsNet(nn.Module):
    """Normalised images (B, 3, H, W), H and W 31 at least, to logits (B, classes), none below 0."""

    def __init__(self, classes: int, design: Design = DESIGNS["pdmsnet"]) -> None:
        super().__init__()
        self.stem = Stem()
        self.block1 = _block(0, STEM, design)
        self.block2 = _block(1, _MIDDLE, design)
        self.last = Fire(FEATURES, *_LAST, design)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Conv2d(FEATURES, classes, 1)
        self.relu = nn.ReLU()
        self.average = nn.AdaptiveAvgPool2d(1)
        _initialise(self)

    def features(self, images: Tensor) -> Tensor:
        """What the classifier sees, (B, 512, h, w)."""
        values = self.block2(self.pool(self.block1(self.stem(images))))
        features: Tensor = self.last(self.pool(values))
        return features

    def evidence(self, features: Tensor) -> Tensor:
        """What speaks for each class at each place, (B, classes, h, w); its mean is the logits.

        It is the class activation map as the network itself computes it.
        """
        evidence: Tensor = self.relu(self.classifier(self.dropout(features)))
        return evidence

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        logits: Tensor = self.average(self.evidence(self.features(images)))
        return logits.flatten(1)


class Stem(nn.Module):
    """Convolution, ReLU and max-pooling: images (B, 3, H, W) to (B, 96, about H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, STEM, 7, stride=2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images."""
        # The order does not matter to the result, and a quarter of the values are left.
        return functional.relu(self.pool(self.convolution(images)), inplace=True)


class Spliced(nn.Module):
    """A block that works on half as many channels; its whole input is joined to the result."""

    def __init__(self, inputs: int, modules: nn.Sequential) -> None:
        super().__init__()
        half = inputs // 2
        self.reduce = nn.Sequential(
            nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True)
        )
        self.fires = modules

    def forward(self, values: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, inputs + those of the last module, h, w)."""
        given = self.fires(self.reduce(values))
        if given.requires_grad:
            # A part of a joined gradient is not dense: normalisation would take ten times as long.
            given.register_hook(_dense)
        return torch.cat([given, values], 1)


class Fire(nn.Module):
    """Squeeze by 1×1, expand by 1×1 and by a larger kernel; a shortcut where channels agree.

    Parameters
    ----------
    squeezed
        Channels in the middle.
    expanded
        Channels of either branch.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int, design: Design) -> None:
        super().__init__()
        normalised = design.expansion != "original"
        self.shortcut = normalised and inputs == 2 * expanded
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.squeezed = _activation(squeezed, normalised=normalised)
        self.expand = _expansion(squeezed, expanded, design)
        self.expanded = _activation(2 * expanded, normalised=normalised)

    def forward(self, values: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 2 · expanded, h, w)."""
        expanded: Tensor = self.expanded(self.expand(self.squeezed(self.squeeze(values))))
        return expanded + values if self.shortcut else expanded


class PlainExpansion(nn.Module):
    """1×1 and 3×3 side by side."""

    def __init__(self, inputs: int, outputs: int, *, shuffled: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, outputs, 1)
        self.three = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.shuffled = shuffled

    def forward(self, values: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 2 · outputs, h, w)."""
        joined = torch.cat([self.one(values), self.three(values)], 1)
        return functional.channel_shuffle(joined, 2) if self.shuffled else joined


class SeparableExpansion(nn.Module):
    """1×1, and depthwise followed by 1×1, side by side; their channels are shuffled.

    Both 1×1 are computed as one, whose rows lie in the order of the shuffled channels: on few
    inputs, zeros in a matrix cost less than joining and shuffling many outputs.
    """

    def __init__(self, inputs: int, outputs: int, depthwise: nn.Module) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.one = nn.Conv2d(inputs, outputs, 1)
        self.point = nn.Conv2d(inputs, outputs, 1)

    def joint(self) -> tuple[Tensor, Tensor]:
        """Kernel (2 · outputs, 2 · inputs, 1, 1) and bias of both."""
        zero = torch.zeros_like(self.one.weight)
        upper, lower = (
            torch.cat([self.one.weight, zero], 1),
            torch.cat([zero, self.point.weight], 1),
        )
        biases = torch.stack([_bias(self.one), _bias(self.point)], 1)
        return torch.stack([upper, lower], 1).flatten(0, 1), biases.flatten()

    def forward(self, values: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, 2 · outputs, h, w)."""
        return functional.conv2d(torch.cat([values, self.depthwise(values)], 1), *self.joint())


class MixedDepthwise(nn.Module):
    """Depthwise convolution with a kernel of its own for each group of channels, without bias.

    The kernels are padded with zeros to the largest, so that one convolution does for all groups:
    several on a few channels each take longer than the zeros do.
    """

    def __init__(self, channels: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        each, rest = divmod(channels, len(kernels))
        groups = [each + (rest if place == 0 else 0) for place in range(len(kernels))]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(count, 1, kernel, kernel))
            for count, kernel in zip(groups, kernels, strict=True)
        )

    def merged(self) -> Tensor:
        """The kernels (channels, 1, K, K) of one convolution."""
        largest = self.weights[-1].shape[-1]
        padded = [
            functional.pad(weight, [(largest - weight.shape[-1]) // 2] * 4)
            for weight in self.weights
        ]
        return torch.cat(padded)

    def forward(self, values: Tensor) -> Tensor:
        """(B, channels, h, w), of the same shape."""
        kernel = self.merged()
        return functional.conv2d(
            values, kernel, padding=kernel.shape[-1] // 2, groups=kernel.shape[0]
        )


def _dense(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _block(place: int, inputs: int, design: Design) -> nn.Module:
    spliced = design.spliced[place]
    widths = (_PARTIAL if spliced else _WHOLE)[place]
    fires = []
    channels = inputs // 2 if spliced else inputs
    for squeezed, expanded in widths:
        fires.append(Fire(channels, squeezed, expanded, design))
        channels = 2 * expanded
    block = nn.Sequential(*fires)
    return Spliced(inputs, block) if spliced else block


def _activation(channels: int, *, normalised: bool) -> nn.Sequential:
    parts: dict[str, nn.Module] = {"relu": nn.ReLU(inplace=True)}
    if normalised:
        parts["norm"] = nn.BatchNorm2d(channels)
    return nn.Sequential(OrderedDict(parts))


def _expansion(inputs: int, outputs: int, design: Design) -> nn.Module:
    if design.expansion in ("original", "plain"):
        return PlainExpansion(inputs, outputs, shuffled=design.expansion == "plain")
    if design.expansion == "separable":
        depthwise: nn.Module = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
    else:
        depthwise = MixedDepthwise(inputs, design.kernels)
    return SeparableExpansion(inputs, outputs, depthwise)


def _bias(convolution: nn.Conv2d) -> Tensor:
    if convolution.bias is None:
        raise TypeError("these convolutions have a bias")
    return convolution.bias


def _initialise(network: PdmsNet) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, MixedDepthwise):
            for weight in module.weights:
                nn.init.kaiming_uniform_(weight)
    nn.init.normal_(network.classifier.weight, std=0.01)
