from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_metallography.classification.descriptors import (
    ClassGaussians,
    balanced_quantile,
    gaussian,
    leave_one_specimen_out,
    log_densities,
)


def _clouds(seed: int, per_image: int = 20, images: int = 4):
    """Descriptors of two classes far apart, their classes and images."""
    random = np.random.default_rng(seed)
    classes = np.repeat([0, 1], images * per_image)
    numbers = np.repeat(np.arange(2 * images), per_image)
    shape = random.normal(size=(2, 2, 2))
    centres = np.array([[0.0, 0.0], [9.0, 4.0]])
    points = np.einsum("nij,nj->ni", shape[classes], random.normal(size=(len(classes), 2)))
    points += centres[classes]
    return torch.from_numpy(points).float(), torch.from_numpy(classes), torch.from_numpy(numbers)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_gaussians_are_those_of_scikit_learn(seed) -> None:
    mixture = pytest.importorskip("sklearn.mixture")
    points, classes, _ = _clouds(seed)
    own = points[classes == 0].double()
    reference = mixture.GaussianMixture(1, reg_covar=1e-3).fit(own.numpy())
    mean, covariance = gaussian(own)
    assert mean.numpy() == pytest.approx(reference.means_[0], abs=1e-6)
    assert covariance.numpy() == pytest.approx(reference.covariances_[0], rel=1e-4, abs=1e-6)
    found = log_densities(points.double(), mean[None], covariance[None])[:, 0]
    assert found.numpy() == pytest.approx(
        reference.score_samples(points.numpy()), rel=1e-4, abs=1e-6
    )


def test_the_density_is_one_in_all() -> None:
    grid = torch.linspace(-8, 8, 201, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    covariance = torch.tensor([[[1.5, 0.6], [0.6, 0.8]]], dtype=torch.float64)
    density = log_densities(points, torch.zeros(1, 2, dtype=torch.float64), covariance).exp()
    assert float(density.sum()) * 0.08**2 == pytest.approx(1, abs=1e-3)


def test_each_specimen_is_judged_without_itself() -> None:
    points, classes, specimens = _clouds(1)
    found = leave_one_specimen_out(points, classes, specimens, 2)
    for specimen in range(8):
        own = specimens == specimen
        rest = (classes == classes[own][0]) & ~own
        parts = [gaussian(points[rest]), gaussian(points[classes != classes[own][0]])]
        means, covariances = (torch.stack(part) for part in zip(*parts, strict=True))
        expected = log_densities(points[own].double(), means, covariances).amax(1)
        assert torch.allclose(found[own], expected)


def test_a_specimen_of_two_classes_is_left_out_of_both() -> None:
    points, classes, specimens = _clouds(1)
    specimens = specimens % 4
    found = leave_one_specimen_out(points, classes, specimens, 2)
    own = specimens == 2
    parts = [gaussian(points[(classes == number) & ~own]) for number in (0, 1)]
    means, covariances = (torch.stack(part) for part in zip(*parts, strict=True))
    assert torch.allclose(
        found[own], log_densities(points[own].double(), means, covariances).amax(1)
    )


@given(
    st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=40), min_size=1, max_size=4),
    st.floats(0, 0.5),
)
def test_each_group_counts_alike_in_the_quantile(groups, share) -> None:
    parts = [torch.tensor(one, dtype=torch.float64) for one in groups]
    found = balanced_quantile(parts, share)
    below = np.mean([float((one < found).double().mean()) for one in parts])
    up_to = np.mean([float((one <= found).double().mean()) for one in parts])
    assert below <= share + 1e-6
    assert up_to > share
    repeated = [one.repeat(1 + place) for place, one in enumerate(parts)]
    assert float(balanced_quantile(repeated, share)) == float(found)


def test_held_out_images_alone_tell_the_threshold() -> None:
    points, classes, specimens = _clouds(6, per_image=50)
    strange = points.clone()
    # What the network has not seen lies farther from the middle of its class.
    held_out = (specimens == 3) | (specimens == 7)
    for number in (0, 1):
        middle = points[classes == number].mean(0)
        own = held_out & (classes == number)
        strange[own] = middle + 2 * (points[own] - middle)
    fits = {}
    for name, mask in (("all", None), ("held out", held_out)):
        fitted = ClassGaussians(2)
        refused = fitted.fit(strange, classes, specimens, 0.1, mask)
        fits[name] = fitted, refused
        assert float(refused.mean()) == pytest.approx(0.1, abs=0.02)
    assert float(fits["held out"][0].threshold) < float(fits["all"][0].threshold) - 0.5
    assert torch.equal(fits["held out"][0].means, fits["all"][0].means)


def test_a_class_without_held_out_images_counts_with_all_of_its_own() -> None:
    points, classes, specimens = _clouds(7)
    fitted = ClassGaussians(2)
    refused = fitted.fit(points, classes, specimens, 0.2, specimens == 0)
    without = leave_one_specimen_out(points, classes, specimens, 2)
    expected = balanced_quantile([without[specimens == 0], without[classes == 1]], 0.2)
    assert float(fitted.threshold) == pytest.approx(float(expected))
    assert refused.shape == (2,)


def test_large_classes_do_not_decide() -> None:
    points, classes, specimens = _clouds(8, per_image=40)
    thresholds = []
    for times in (1, 9):
        # The first class again and again, as other specimens of the same descriptors.
        first = classes == 0
        again = [points[first]] * times + [points[~first]]
        more = [specimens[first]] * times + [specimens[~first]]
        sizes = [int(first.sum()) * times, int((~first).sum())]
        fitted = ClassGaussians(2)
        known = torch.arange(2).repeat_interleave(torch.tensor(sizes))
        fitted.fit(torch.cat(again), known, torch.cat(more), 0.05)
        thresholds.append(float(fitted.threshold))
    assert thresholds[0] == pytest.approx(thresholds[1], abs=1e-4)


def test_an_image_unlike_the_others_lowers_the_threshold() -> None:
    points, classes, images = _clouds(2)
    even = ClassGaussians(2)
    even.fit(points, classes, images, 0.01)
    odd = points.clone()
    odd[images == 0] += 4
    uneven = ClassGaussians(2)
    uneven.fit(odd, classes, images, 0.01)
    assert float(uneven.threshold) < float(even.threshold) - 1


def test_a_class_of_one_image_works() -> None:
    points, classes, images = _clouds(3)
    images = torch.where(classes == 1, 99, images)
    fitted = ClassGaussians(2)
    fitted.fit(points, classes, images, 0.01)
    assert float(fitted.threshold) > -50
    assert (fitted.probabilities(points).argmax(1) == classes).double().mean() > 0.9


@pytest.mark.parametrize("quantile", [0.01, 0.1])
def test_known_crops_are_seldom_none_and_strangers_are(quantile) -> None:
    points, classes, images = _clouds(4, per_image=100)
    fitted = ClassGaussians(2)
    fitted.fit(points, classes, images, quantile)
    found = fitted.probabilities(points)
    assert found.sum(1).numpy() == pytest.approx(1)
    assert float(found[:, 2].mean()) == pytest.approx(quantile, abs=quantile)
    known = found[:, 2] == 0
    assert (found[known, :2].argmax(1) == classes[known]).double().mean() > 0.99
    strangers = torch.tensor([[40.0, -40.0], [4.5, 60.0]])
    assert fitted.probabilities(strangers).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_they_come_back_from_their_tensors() -> None:
    points, classes, images = _clouds(5)
    fitted = ClassGaussians(2)
    fitted.fit(points, classes, images, 0.01)
    other = ClassGaussians(2, len(points))
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.probabilities(points), fitted.probabilities(points))
    assert torch.equal(other.descriptors, points)
