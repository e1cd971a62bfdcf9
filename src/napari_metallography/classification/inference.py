"""The network in the form that answers fastest."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .pdmsnet import Fire, MixedDepthwise, PdmsNet, SeparableExpansion, Spliced


def deployed(network: PdmsNet) -> PdmsNet:
    """A copy in evaluation mode that gives the same answers, up to rounding, in less time.

    Kernels are merged once and for all, and normalisation is folded where it follows a
    convolution. Most of it follows a ReLU and comes before zero padding or a shortcut: it stays.
    """
    ready = copy.deepcopy(network).eval()
    for module in [*ready.modules()]:
        if isinstance(module, Fire) and isinstance(module.expand, SeparableExpansion):
            module.expand = _Merged(module.expand)
        if isinstance(module, Spliced):
            module.reduce = _folded(*module.reduce)
    return ready.to(memory_format=torch.channels_last)


def pooled_and_logits(network: PdmsNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean features (B, 512) and logits (B, m) of normalised images (B, 3, H, W), on the CPU."""
    pooled, evidence = pooled_and_evidence(network, images)
    return pooled, evidence.mean((2, 3))


def pooled_and_evidence(network: PdmsNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean features (B, 512) and what speaks for each class at each place (B, m, h, w)."""
    with torch.no_grad():
        features = network.features(images.contiguous(memory_format=torch.channels_last))
        evidence = network.evidence(features)
    return features.mean((2, 3)).cpu(), evidence.cpu()


def _folded(convolution: nn.Module, normalisation: nn.Module, relu: nn.Module) -> nn.Sequential:
    if not (isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)):
        raise TypeError("a convolution and its normalisation are folded")
    return nn.Sequential(fuse_conv_bn_eval(convolution, normalisation), relu)


class _Merged(nn.Module):
    """A `SeparableExpansion` whose kernels are computed beforehand."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, expansion: SeparableExpansion) -> None:
        super().__init__()
        with torch.no_grad():
            kernel, bias = expansion.joint()
        self.register_buffer("kernel", kernel.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self.depthwise = _plain(expansion.depthwise)

    def forward(self, values: Tensor) -> Tensor:
        return functional.conv2d(
            torch.cat([values, self.depthwise(values)], 1), self.kernel, self.bias
        )


def _plain(depthwise: nn.Module) -> nn.Module:
    if not isinstance(depthwise, MixedDepthwise):
        return depthwise
    with torch.no_grad():
        kernel = depthwise.merged()
    channels, side = kernel.shape[0], kernel.shape[-1]
    layer = nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels, bias=False)
    layer.weight = nn.Parameter(kernel)
    return layer
