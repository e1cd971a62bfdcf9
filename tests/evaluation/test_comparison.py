from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_metallography.classes import UNLABELLED, named_classes
from napari_metallography.errors import InputError
from napari_metallography.evaluation.comparison import compare
from napari_metallography.evaluation.segmentation import score_image, summary
from napari_metallography.events import Progress, drain
from napari_metallography.io.overlays import FALSE_NEGATIVE, NOT_JUDGED, error_map

CLASSES = named_classes(["matrix", "carbide"])


def truth() -> np.ndarray:
    """Two carbides of 4×4 pixels; a row without label."""
    indices = np.zeros((20, 30), np.uint8)
    indices[4:8, 4:8] = indices[12:16, 20:24] = 1
    indices[19] = UNLABELLED
    return indices


def prediction() -> np.ndarray:
    """The second carbide missed."""
    indices = truth()
    indices[12:16, 20:24] = 0
    return indices


def test_planes_are_pooled_and_each_has_its_map() -> None:
    steps: list[object] = []
    stack, known = np.stack([prediction(), truth()]), np.stack([truth(), truth()])
    found = drain(compare(stack, known, CLASSES, class_index=1, name="found"), steps.append)
    assert found.scores["iou"]["carbide"] == pytest.approx(48 / 64)
    assert found.errors.shape == (2, 20, 30, 3)
    assert tuple(found.errors[0, 13, 21]) == FALSE_NEGATIVE
    assert tuple(found.errors[1, 19, 0]) == NOT_JUDGED
    assert steps == [Progress(done, 2, "planes") for done in range(3)]


def test_one_plane_is_scored_as_an_image_of_an_evaluation() -> None:
    found = drain(compare(prediction(), truth(), CLASSES, pixel_size_um=0.5, name="found"))
    score = score_image("found", truth(), prediction(), 2, 0.5)
    assert found.scores == summary([score], CLASSES)
    np.testing.assert_array_equal(found.errors, error_map(truth(), prediction()))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.just(1)))
def test_what_equals_the_truth_has_no_error(indices: np.ndarray) -> None:
    found = drain(compare(indices, indices, CLASSES, name="found"))
    assert found.scores["miou"] == found.scores["accuracy"] == 1
    assert found.errors.shape == (*indices.shape, 3)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match=r"found: has shape .* choose labels of the same image"):
        drain(compare(prediction()[1:], truth(), CLASSES, name="found"))
    with pytest.raises(InputError, match="no pixel is labelled in both"):
        drain(compare(np.full((20, 30), UNLABELLED, np.uint8), truth(), CLASSES, name="found"))
