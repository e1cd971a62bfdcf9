import copy

import pytest
import torch
from torch import nn

from napari_metallography.segmentation.dilation import PhasewiseConv2d, phasewise


def _network(side: int, dilation: int, bias: bool) -> nn.Module:
    padding = dilation * (side // 2)
    return nn.Sequential(
        nn.Conv2d(6, 6, side, padding=padding, dilation=dilation, groups=6, bias=bias)
    )


@pytest.mark.parametrize("size", [(16, 24), (13, 9)])
@pytest.mark.parametrize("dilation", [2, 4])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_dilated_convolution(
    size: tuple[int, int], dilation: int, side: int, bias: bool
) -> None:
    plain = _network(side, dilation, bias)
    phases = phasewise(copy.deepcopy(plain))
    assert isinstance(phases[0], PhasewiseConv2d)
    images = torch.randn(2, 6, *size)
    weights = torch.randn(2, 6, *size)
    for network in (plain, phases):
        (network(images) * weights).sum().backward()
    torch.testing.assert_close(phases(images), plain(images))
    for ours, theirs in zip(phases.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_other_convolutions_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, stride=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=4),
    )
    assert not any(isinstance(module, PhasewiseConv2d) for module in phasewise(network))


def test_no_random_number_is_drawn() -> None:
    network = _network(3, 2, bias=True)
    before = torch.get_rng_state()
    phasewise(network)
    assert torch.equal(torch.get_rng_state(), before)
