"""Networks made ready for inference: batch normalisation folded into the convolutions."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

_PROBE_SIDE = 64


def folded(network: Network) -> Network:
    """A copy in evaluation mode that gives the same answers, up to rounding, in less time.

    Each batch normalisation that takes the output of one convolution is merged into its weights;
    a network without any is merely copied. What follows what is seen by running an image through.
    """
    network = copy.deepcopy(network).eval()
    names = {module: name for name, module in network.named_modules()}
    for convolution, normalisation in _pairs(network):
        _put(network, names[convolution], fuse_conv_bn_eval(convolution, normalisation))
        # timm's layers hold the activation that follows.
        activation = getattr(normalisation, "act", None)
        _put(network, names[normalisation], activation or nn.Identity())
    return network


def _pairs(network: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def remember(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)

    def match(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    hooks = [m.register_forward_hook(remember) for m in network.modules()]
    hooks += [m.register_forward_pre_hook(match) for m in network.modules()]
    with torch.inference_mode():
        network(_probe(network))
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if _is_used_once(pair, pairs)]


def _is_used_once(
    pair: tuple[nn.Module, nn.Module], pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]
) -> bool:
    return all(sum(other[side] is pair[side] for other in pairs) == 1 for side in (0, 1))


def _probe(network: nn.Module) -> Tensor:
    parameter = next(network.parameters(), torch.zeros(0))
    return torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE, device=parameter.device)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
