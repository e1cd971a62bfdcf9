"""Folding of batch normalisation into convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_metallography.models.card import Network
from napari_metallography.segmentation.folding import folded
from napari_metallography.segmentation.networks import ARCHITECTURES, SegmentationNetwork


def _with_own_statistics(network: nn.Module) -> nn.Module:
    """Batch statistics and affine parameters as a trained network has them, not 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var, module.bias.data):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_folded_network_gives_the_same_answers(architecture: str) -> None:
    torch.manual_seed(0)
    network = SegmentationNetwork(
        Network(architecture=architecture, encoder="efficientnet-lite0"), 3
    )
    network = _with_own_statistics(network).eval()
    image = torch.randn(1, 3, 96, 64)
    light = folded(network)
    with torch.inference_mode():
        expected, found = network(image), light(image)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-4, rtol=0)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in light.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_a_convolution_used_twice_is_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 1)
            self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.second(self.convolution(self.first(self.convolution(image))))

    network = _with_own_statistics(Shared()).eval()
    image = torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(folded(network)(image), network(image))


def test_a_network_without_parameters_is_copied() -> None:
    network = nn.Identity()
    assert folded(network) is not network
