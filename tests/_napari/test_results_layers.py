from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_metallography._napari.results import (
    is_computed,
    is_untouched,
    mark_computed,
    remove_untouched,
)


def labels(shape: tuple[int, ...] = (130, 140), dtype: type = np.uint8) -> Labels:
    layer = Labels(np.random.default_rng(0).integers(0, 3, shape).astype(dtype), name="phases")
    mark_computed(layer)
    return layer


def test_a_layer_of_the_user_is_no_result() -> None:
    layer = Labels(np.zeros((4, 4), int))
    assert not is_computed(layer)
    assert not is_untouched(layer)


@pytest.mark.parametrize("shape", [(1, 1), (130, 140), (2, 64, 64)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_a_result_is_untouched_until_it_is_edited(shape: tuple[int, ...], dtype: type) -> None:
    layer = labels(shape, dtype)
    assert is_untouched(layer)
    last = tuple(np.array([n - 1]) for n in shape)
    layer.data_setitem(last, 5)
    assert not is_untouched(layer)
    layer.undo()
    assert is_untouched(layer)


@given(st.lists(st.tuples(st.integers(0, 129), st.integers(0, 139), st.integers(0, 5)), max_size=9))
def test_any_edit_shows(edits: list[tuple[int, int, int]]) -> None:
    layer = labels()
    before = layer.data.copy()
    for row, column, value in edits:
        layer.data[row, column] = value
    assert is_untouched(layer) == np.array_equal(layer.data, before)


def test_two_pixels_that_change_places_show() -> None:
    layer = labels()
    layer.data[0, 0], layer.data[100, 8] = 1, 2
    mark_computed(layer)
    layer.data[0, 0], layer.data[100, 8] = 2, 1
    assert not is_untouched(layer)


@pytest.mark.parametrize("data", [np.random.default_rng(0).random((90, 90), np.float32)[::2, ::-1]])
def test_maps_that_lie_otherwise_in_memory(data: np.ndarray) -> None:
    layer = Image(data)
    mark_computed(layer)
    assert is_untouched(layer)
    layer.data = data + np.float32(0.5)
    assert not is_untouched(layer)


def test_only_untouched_results_of_that_name_and_origin_are_removed() -> None:
    viewer = ViewerModel()
    for name, origin in (("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")):
        layer = Labels(np.zeros((4, 4), np.uint8), name=name)
        mark_computed(layer, origin)
        viewer.add_layer(layer)
    viewer.layers["a [1]"].data_setitem((np.array([0]), np.array([0])), 1)
    remove_untouched(viewer, "a", "x")
    assert [layer.name for layer in viewer.layers] == ["a [1]", "a [2]", "b"]
