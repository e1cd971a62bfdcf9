"""What a network costs: parameters and operations, counted as the paper of PDMSNet counts them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_metallography.classification.pdmsnet import (
    SIDE,
    STEM,
    MixedDepthwise,
    SeparableExpansion,
    Stem,
)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def operations(network: nn.Module, side: int = SIDE) -> int:
    """Multiplications with addition, bias, ReLU, 2 a normalised value, what is pooled.

    Additions of shortcuts are not counted.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += _operations(module, inputs[0], output)

    hooks = [m.register_forward_hook(count) for m in network.modules()]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total


def _operations(module: nn.Module, values: Tensor, output: Tensor) -> int:
    places = output[0, 0].numel() if output.ndim == 4 else 1
    match module:
        case nn.Conv2d() | nn.Linear():
            bias = 0 if module.bias is None else module.bias.numel()
            return places * (module.weight.numel() + bias)
        case MixedDepthwise():
            return places * parameters(module)
        case SeparableExpansion():
            return places * (parameters(module.one) + parameters(module.point))
        case Stem():
            return _stem_activations(values)
        case nn.BatchNorm2d():
            return 2 * output.numel()
        case nn.ReLU() | nn.ReLU6() | nn.Hardswish() | nn.Hardsigmoid():
            return output.numel()
        case nn.MaxPool2d() | nn.AdaptiveAvgPool2d():
            return values.numel()
    return 0


def _stem_activations(images: Tensor) -> int:
    """The ReLU of the first layer, which the paper has before its max-pooling."""
    rows, columns = ((length - 7) // 2 + 1 for length in images.shape[2:])
    return STEM * rows * columns


def cost(network: nn.Module) -> dict[str, Any]:
    return {"parameters": parameters(network), "mflops": round(operations(network) / 1e6, 2)}
