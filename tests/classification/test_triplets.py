from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models import resnet18

from napari_metallography.classification.triplets import (
    TripletNetwork,
    all_triplets,
    distances,
    hardest_triplets,
)
from napari_metallography.errors import InputError


def _points(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    classes = torch.arange(3).repeat_interleave(4)
    return torch.randn(12, 2, generator=random), classes


@given(st.integers(0, 500), st.floats(0.1, 3))
def test_losses_agree_with_their_definitions(seed, margin) -> None:
    points, classes = _points(seed)
    apart = torch.cdist(points, points)
    hardest, every = [], []
    for a in range(12):
        positive = [float(apart[a, p]) for p in range(12) if classes[p] == classes[a] and p != a]
        negative = [float(apart[a, n]) for n in range(12) if classes[n] != classes[a]]
        hardest.append(max(0.0, max(positive) - min(negative) + margin))
        every += [max(0.0, p - n + margin) for p, n in itertools.product(positive, negative)]
    active = [value for value in every if value > 0]
    found = hardest_triplets(points, classes, margin)
    assert float(found) == pytest.approx(np.mean(hardest), rel=1e-4, abs=1e-5)
    found = all_triplets(points, classes, margin)
    expected = np.mean(active) if active else 0
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_losses_vanish_where_the_classes_are_apart_and_have_gradients_where_points_coincide():
    classes = torch.arange(3).repeat_interleave(4)
    apart = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]).repeat_interleave(4, 0)
    for loss in (hardest_triplets, all_triplets):
        assert float(loss(apart, classes, 1.0)) == pytest.approx(0, abs=1e-5)
        same = torch.zeros(12, 2, requires_grad=True)
        value = loss(same, classes, 1.0)
        assert float(value.detach()) == pytest.approx(1)
        value.backward()
        assert same.grad is not None
        assert same.grad.isfinite().all()


def test_distances_are_not_squared() -> None:
    assert float(distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))[0, 1]) == pytest.approx(5)


def test_the_magnification_matters_to_the_network_and_not_to_its_control() -> None:
    torch.manual_seed(0)
    crops = torch.randn(3, 1, 48, 48)
    for magnification in (True, False):
        network = TripletNetwork(magnification=magnification).eval()
        with torch.no_grad():
            one, other = (network(crops, torch.full((3,), value)) for value in (-1.0, 2.0))
        assert one.shape == (3, 2)
        assert torch.allclose(one, other) != magnification
    assert 11e6 < sum(p.numel() for p in network.parameters()) < 12e6


def test_weights_of_a_colour_network_answer_alike_on_grey_images() -> None:
    torch.manual_seed(0)
    colour = resnet18(weights=None)
    network = TripletNetwork(magnification=True)
    network.encoder.take(colour.state_dict(), "file")
    colour.fc = torch.nn.Identity()
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour.eval()(grey.expand(-1, 3, -1, -1))
        assert torch.allclose(network.eval().features(grey), expected, atol=1e-4)
    with pytest.raises(InputError, match="not the weights of a ResNet"):
        network.encoder.take({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "file")
