"""Held-out labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_metallography.classes import UNLABELLED
from napari_metallography.labelled import LabelledImage
from napari_metallography.training.split import are_strokes, split


def _image(name: str, labels: np.ndarray, specimen: str = "") -> LabelledImage:
    return LabelledImage(name, np.zeros((*labels.shape, 3), np.uint8), labels, specimen=specimen)


def _half(name: str, specimen: str = "") -> LabelledImage:
    return _image(name, np.repeat(np.uint8([0, 1]), 64)[:, None] * np.ones(128, np.uint8), specimen)


def _strokes(count: int) -> np.ndarray:
    labels = np.full((300, 300), UNLABELLED, np.uint8)
    for number in range(count):
        labels[20 * number : 20 * number + 5, 10:60] = 0
        labels[20 * number : 20 * number + 5, 200:250] = 1
    return labels


def test_one_whole_truth_among_them_means_that_not_all_is_painted() -> None:
    painted = _image("painted", _strokes(6))
    assert are_strokes([painted, painted])
    assert not are_strokes([painted, _half("whole")])


def test_specimens_stay_on_one_side() -> None:
    images = [_half(str(n), specimen=str(n // 2)) for n in range(8)]
    parts = split(images)
    assert parts.held_out == "specimens"
    sides = [{image.specimen for image in side} for side in (parts.training, parts.validation)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 1


def test_images_are_held_out_where_no_specimen_is_known() -> None:
    parts = split([_half(str(n)) for n in range(8)])
    assert parts.held_out == "images"
    assert (len(parts.training), len(parts.validation)) == (6, 2)


def test_a_class_that_one_image_holds_is_not_held_out_with_it() -> None:
    parts = split([_image("a", np.zeros((256, 256), np.uint8)), _half("b")])
    assert parts.held_out == "blocks"


def test_whole_strokes_are_held_out() -> None:
    labels = _strokes(4)
    parts = split([_image("a", labels)])
    assert parts.held_out == "strokes"
    trained, held_out = parts.training[0].labels, parts.validation[0].labels
    for number in range(4):
        stroke = (slice(20 * number, 20 * number + 5), slice(10, 60))
        assert (trained[stroke] == 0).all() != (held_out[stroke] == 0).all()
    assert (held_out == 1).sum() == 250


def test_one_stroke_a_class_is_cut_into_blocks() -> None:
    labels = np.full((300, 300), UNLABELLED, np.uint8)
    labels[10:20], labels[200:210] = 0, 1
    parts = split([_image("a", labels)])
    assert parts.held_out == "blocks"
    assert set(np.unique(parts.validation[0].labels)) == {0, 1, UNLABELLED}


def test_a_dot_of_paint_is_not_held_out() -> None:
    labels = np.full((64, 64), UNLABELLED, np.uint8)
    labels[3, 3], labels[40, 40] = 0, 1
    parts = split([_image("a", labels)])
    assert parts.held_out == "nothing"
    assert not parts.validation


def _classes(side: tuple[LabelledImage, ...]) -> set[int]:
    return {int(c) for image in side for c in np.unique(image.labels)} - {UNLABELLED}


@pytest.mark.parametrize("seed", range(5))
def test_planes_of_one_stack_stay_on_one_side(seed: int) -> None:
    images = [replace(_half(str(n)), group=f"stack {n // 4}") for n in range(8)]
    parts = split([*images, _half("alone")], seed=seed)
    assert parts.held_out == "images"
    sides = [{image.group for image in side} for side in (parts.training, parts.validation)]
    assert not sides[0] & sides[1]
    assert split(images[:4]).held_out == "blocks"


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_decides(seed: int) -> None:
    image = _image("a", _strokes(8))
    masks = [split([image], seed=s).validation[0].labels == UNLABELLED for s in (seed, seed, 2)]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()


@settings(max_examples=25, deadline=None)
@given(
    arrays.arrays(np.uint8, (70, 70), elements=st.sampled_from([0, 1, UNLABELLED])),
    st.integers(0, 5),
)
def test_every_label_lies_on_one_side_and_every_class_on_both(
    labels: np.ndarray, seed: int
) -> None:
    parts = split([_image("a", labels)], seed=seed)
    sides = [
        side[0].labels if side else np.full_like(labels, UNLABELLED)
        for side in (parts.training, parts.validation)
    ]
    known = [side != UNLABELLED for side in sides]
    assert not (known[0] & known[1]).any()
    np.testing.assert_array_equal(known[0] | known[1], labels != UNLABELLED)
    np.testing.assert_array_equal(np.minimum(*sides), labels)
    if parts.validation:
        assert _classes(parts.training) == _classes(parts.validation)


def test_no_score_rests_on_some_of_the_classes_only() -> None:
    # An all-matrix network would be perfect where only matrix is held out.
    labels = _strokes(4)
    labels[labels == 1] = UNLABELLED
    labels[66:71, 194:244] = 1
    assert split([_image("a", labels)]).held_out == "nothing"


def test_a_class_too_small_to_share_means_that_nothing_is_held_out() -> None:
    labels = _strokes(4)
    labels[labels == 1] = UNLABELLED
    labels[200, 200] = 1
    assert split([_image("a", labels)]).held_out == "nothing"
