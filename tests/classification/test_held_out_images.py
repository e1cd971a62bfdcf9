from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_metallography.classification.images import OUTSIDER, ClassifiedImages
from napari_metallography.classification.splitting import (
    held_out,
    near_duplicates,
    shown_in_both,
    split_off,
)


def _images(counts: list[int], copies: int = 1) -> ClassifiedImages:
    random = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(counts)), counts)
    noise = random.integers(0, 255, (len(classes), 24, 24, 3), np.uint8)
    pixels, classes = np.repeat(noise, copies, 0), np.repeat(classes, copies)
    n = len(classes)
    shapes = np.full((n, 2), 24)
    names = tuple(f"c{i}" for i in range(len(counts)))
    return ClassifiedImages(pixels, classes, names, ("x",) * n, (None,) * n, shapes)


@given(st.lists(st.integers(2, 12), min_size=2, max_size=4), st.floats(0.05, 0.6))
def test_every_class_is_on_both_sides(counts, share) -> None:
    images = _images(counts)
    chosen = held_out(images, share, 0)
    for number, count in enumerate(counts):
        found = int(chosen[images.classes == number].sum())
        assert 1 <= found < count
        assert found <= max(1, round(share * count))
        assert found >= min(round(share * count), count // 2)


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


def test_a_mirrored_image_is_a_duplicate() -> None:
    image, other = np.random.default_rng(0).integers(0, 255, (2, 48, 48, 3), np.uint8)
    views = [image, other, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    assert near_duplicates(np.stack(views)).tolist() == [0, 1, 0, 0, 0]


def test_a_large_group_of_duplicates_is_learnt_from() -> None:
    images = _images([11, 20])
    pixels = images.pixels.copy()
    pixels[1:9] = pixels[0]
    alike = ClassifiedImages(
        pixels, images.classes, images.names, images.files, images.pixel_sizes_um, images.shapes
    )
    for seed in range(10):
        chosen = held_out(alike, 0.2, seed)
        assert not chosen[:9].any()
        assert chosen[:11].sum() == 2
        assert chosen[11:].sum() == 4


def test_a_duplicate_in_another_class_empties_none() -> None:
    images = _images([2, 8])
    pixels = images.pixels.copy()
    pixels[2:4] = pixels[:2]
    alike = ClassifiedImages(
        pixels, images.classes, images.names, images.files, images.pixel_sizes_um, images.shapes
    )
    for seed in range(10):
        assert not held_out(alike, 0.5, seed)[:2].any()


def test_outsiders_are_all_learnt_from() -> None:
    images = _images([10, 10, 10])
    classes = np.where(images.classes == 2, OUTSIDER, images.classes)
    some = ClassifiedImages(
        images.pixels, classes, ("c0", "c1"), images.files, images.pixel_sizes_um, images.shapes
    )
    learnt, judged = split_off(some, 0.3, 0)
    assert judged is not None
    assert (learnt.classes == OUTSIDER).sum() == 10
    assert len(judged) == 6


def test_where_none_can_be_spared_none_is_held_out() -> None:
    images = _images([1, 1])
    learnt, judged = split_off(images, 0.3, 0)
    assert judged is None
    assert len(learnt) == 2


def test_images_shown_in_both_parts_are_named() -> None:
    images = _images([3, 3])
    mirrored = ClassifiedImages(
        images.pixels[2:4, :, ::-1],
        images.classes[2:4],
        images.names,
        ("y2", "y3"),
        (None,) * 2,
        np.full((2, 2), 24),
    )
    assert shown_in_both(mirrored, images) == [("y2", "x"), ("y3", "x")]
    assert shown_in_both(mirrored, images.where(images.classes == 5)) == []
