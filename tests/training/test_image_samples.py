from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from napari_metallography.classification.images import OUTSIDER, ClassifiedImages
from napari_metallography.training.image_samples import (
    ImageSampler,
    blurred,
    class_weights,
    parts,
    targets,
    varied,
)


def _images(classes: list[int]) -> ClassifiedImages:
    n = len(classes)
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 8, 8, 3))
    return ClassifiedImages(
        pixels.copy(),
        np.array(classes),
        ("a", "b"),
        ("x",) * n,
        (None,) * n,
        np.ones((n, 2), np.int64),
    )


def _shown(sampler: ImageSampler, steps: int, size: int) -> list[int]:
    batches = [sampler.batch(step, size)[0][:, 0, 0, 0] for step in range(steps)]
    return [int(grey) for batch in batches for grey in batch]


def test_every_image_has_its_turn_before_one_comes_again() -> None:
    sampler = ImageSampler(_images([0] * 7 + [1] * 3), "none", 0, torch.device("cpu"))
    shown = _shown(sampler, 10, 3)
    for start in range(0, 30, 10):
        assert sorted(shown[start : start + 10]) == list(range(10))


def test_classes_are_shown_alike_and_their_images_in_turn() -> None:
    sampler = ImageSampler(_images([0] * 8 + [1] * 2), "sampling", 0, torch.device("cpu"))
    counts = Counter(_shown(sampler, 8, 4))
    assert all(counts[n] == 2 for n in range(8))
    assert all(counts[n] == 8 for n in (8, 9))


def test_weights_make_classes_count_alike() -> None:
    images = _images([0] * 6 + [1] * 2 + [OUTSIDER])
    weights = class_weights(images)
    assert float(weights[0] * 6) == pytest.approx(float(weights[1] * 2))
    assert float((weights * torch.tensor([6.0, 2.0])).sum()) == pytest.approx(8)


def test_an_outsider_is_no_class_more_than_another() -> None:
    assert targets(_images([1, OUTSIDER])).tolist() == [[0, 1], [0.5, 0.5]]


@pytest.mark.parametrize("augmentation", ["flips", "mild", "strong"])
def test_variation_keeps_the_range_and_follows_the_seed(augmentation) -> None:
    images = 255 * torch.rand(6, 3, 24, 24)
    first, second, other = (
        varied(images, augmentation, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255


def test_a_blur_spreads_a_point_by_its_sigma() -> None:
    images = torch.zeros(2, 3, 15, 15)
    images[:, :, 7, 7] = 1
    found = blurred(images, torch.tensor([0.0, 1.0]).view(-1, 1, 1, 1))
    torch.testing.assert_close(found[0], images[0])
    places = torch.arange(15) - 7.0
    spread = (found[1, 0].sum(0) * places.square()).sum()
    assert float(spread) == pytest.approx(1, rel=0.05)
    assert float(found[1, 0].sum()) == pytest.approx(1, rel=1e-4)


def test_the_whole_is_a_part_and_a_part_is_a_corner() -> None:
    images = torch.rand(1, 3, 16, 16)
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    torch.testing.assert_close(parts(images, one, zero, zero), images, atol=1e-5, rtol=0)
    corner = parts(images, 0.5 * one, -one, -one)
    assert float((corner.mean() - images[:, :, :8, :8].mean()).abs()) < 0.02
