from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.images import ClassifiedImages
from napari_metallography.classification.splitting import held_out, near_duplicates


def _images(counts: list[int], copies: int = 1) -> ClassifiedImages:
    random = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(counts)), counts)
    noise = random.integers(0, 255, (len(classes), 24, 24, 3), np.uint8)
    pixels, classes = np.repeat(noise, copies, 0), np.repeat(classes, copies)
    n = len(classes)
    names = tuple(f"c{i}" for i in range(len(counts)))
    return ClassifiedImages(pixels, classes, names, ("x",) * n, (None,) * n, np.ones(n))


@given(st.lists(st.integers(2, 12), min_size=2, max_size=4), st.floats(0.05, 0.6))
def test_every_class_is_on_both_sides(counts, share) -> None:
    images = _images(counts)
    chosen = held_out(images, share, 0)
    for number, count in enumerate(counts):
        found = int(chosen[images.classes == number].sum())
        assert 1 <= found < count
        assert abs(found - share * count) <= 1


def test_near_duplicates_are_on_one_side() -> None:
    images = _images([6, 6], copies=3)
    noisy = images.pixels + np.random.default_rng(1).integers(0, 3, images.pixels.shape, np.uint8)
    numbers = near_duplicates(noisy)
    assert len(np.unique(numbers)) == 12
    chosen = held_out(images, 0.3, 0)
    assert 0 < chosen.sum() < len(chosen)
    for number in np.unique(numbers):
        assert len(set(chosen[numbers == number])) == 1


def test_brightness_and_contrast_do_not_hide_a_duplicate() -> None:
    image = np.random.default_rng(0).integers(0, 200, (48, 48, 3), np.uint8)
    other = np.random.default_rng(1).integers(0, 200, (48, 48, 3), np.uint8)
    brighter = (image * 0.6 + 90).astype(np.uint8)
    assert near_duplicates(np.stack([image, other, brighter])).tolist() == [0, 1, 0]


def test_the_same_seed_holds_out_the_same() -> None:
    images = _images([20, 20])
    assert np.array_equal(held_out(images, 0.2, 5), held_out(images, 0.2, 5))
    assert not np.array_equal(held_out(images, 0.2, 5), held_out(images, 0.2, 6))
