from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_metallography._napari.layers import add_labels_layer
from napari_metallography._napari.painting import (
    fill_unlabelled,
    in_paint,
    make_paintable,
    new_labels,
    require_fit,
    start_painting,
    whole_prediction,
)
from napari_metallography.classes import PALETTE, UNLABELLED, PhaseClass, named_classes
from napari_metallography.errors import InputError

CLASSES = named_classes(["matrix", "particles", "pores"])
SHAPE = (20, 30)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def image(viewer: ViewerModel) -> Image:
    layer = viewer.add_image(np.zeros(SHAPE, np.uint8), name="steel", scale=(0.5, 0.5))
    layer.units = ("um", "um")
    layer.translate = (3, 4)
    return layer


def press(viewer, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.NoModifier) -> None:
    """As a user does: through all of the viewer's own handling of keys."""
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    QTest.keyClick(canvas, key, modifier)
    # Or Qt takes the modifier for held in whatever is tested next.
    QTest.keyClick(canvas, Qt.Key_F24)


def test_a_new_layer_fits_its_image(viewer, image) -> None:
    layer = new_labels(viewer, image, CLASSES)
    require_fit(image, layer)
    assert layer.data.shape == SHAPE
    assert not layer.data.any()
    assert layer.data.dtype == np.uint8
    np.testing.assert_array_equal(layer.scale, image.scale)
    np.testing.assert_array_equal(layer.translate, image.translate)
    assert layer.units == image.units


def test_grey_classes_are_painted_in_colours_of_their_own(viewer, image) -> None:
    layer = new_labels(viewer, image, CLASSES)
    make_paintable(layer, CLASSES)
    shown = [np.asarray(layer.colormap.map(label))[:3] for label in (1, 2, 3)]
    # Seen on any grey; told apart from each other.
    assert all(np.ptp(colour) > 0.25 for colour in shown)
    assert len({tuple(colour) for colour in shown}) == 3
    # What results and the model have stays.
    assert layer.metadata["classes"] == [phase.model_dump() for phase in CLASSES]


@pytest.mark.parametrize("count", [2, 8, 20])
def test_paint_changes_greys_alone(count) -> None:
    classes = named_classes([f"class {i}" for i in range(count)])
    for one, paint in zip(classes, in_paint(classes), strict=True):
        assert one.name == paint.name
        assert max(paint.rgb) - min(paint.rgb) >= 64
        assert paint == one or one.colour == PALETTE[0]
    dark = (PhaseClass(name="pores", colour="#101010"), PhaseClass(name="edge", colour="#CC79A7"))
    assert in_paint(dark)[0].colour not in ("#101010", "#cc79a7")


def test_a_new_layer_on_a_colour_stack_fits(viewer) -> None:
    stack = viewer.add_image(np.zeros((3, *SHAPE, 3), np.uint8), rgb=True)
    layer = new_labels(viewer, stack, CLASSES)
    assert layer.data.shape == (3, *SHAPE)
    require_fit(stack, layer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (0.6, 0.6)}, "pixel by pixel"),
        ({"translate": (3, 5)}, "pixel by pixel"),
        ({"units": ("nm", "nm")}, "pixel by pixel"),
        ({"data": np.zeros((20, 31), np.uint8)}, "its size"),
    ],
)
def test_labels_elsewhere_are_refused(viewer, image, change, message) -> None:
    layer = new_labels(viewer, image, CLASSES)
    for name, value in change.items():
        setattr(layer, name, value)
    with pytest.raises(InputError, match=message):
        require_fit(image, layer)


def test_the_same_place_in_another_unit_fits(viewer, image) -> None:
    layer = new_labels(viewer, image, CLASSES)
    layer.units, layer.scale, layer.translate = ("nm", "nm"), (500, 500), (3000, 4000)
    require_fit(image, layer)


def test_keys_choose_the_class_and_undo_paint(make_napari_viewer) -> None:
    viewer = make_napari_viewer(show=True)
    layer = new_labels(viewer, viewer.add_image(np.zeros(SHAPE, np.uint8)), CLASSES)
    make_paintable(layer, CLASSES)
    start_painting(viewer, layer)
    assert (layer.mode, layer.selected_label) == ("paint", 1)
    press(viewer, Qt.Key_3)
    assert layer.selected_label == 3
    press(viewer, Qt.Key_4)
    assert layer.selected_label == 3
    make_paintable(layer, [*CLASSES, *named_classes(["x"])])
    press(viewer, Qt.Key_4)
    assert layer.selected_label == 4
    layer.paint((5, 5), 4)
    press(viewer, Qt.Key_Z, Qt.ControlModifier)
    assert not layer.data.any()


def test_a_prediction_of_other_classes_is_translated_by_name(viewer, image) -> None:
    indices = np.zeros(SHAPE, np.uint8)
    indices[0], indices[1], indices[2] = 1, 2, UNLABELLED
    theirs = named_classes(["matrix", "network", "particles"])
    prediction = add_labels_layer(viewer, image, indices, theirs, "steel phases", {})
    values, unknown = whole_prediction(image, prediction, CLASSES)
    assert unknown == ["network"]
    assert [values[row, 0] for row in range(4)] == [0, 2, 0, 1]


@given(row=st.integers(-8, 18), column=st.integers(-8, 28))
def test_a_part_lands_where_it_lies(row: int, column: int) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="steel", scale=(0.5, 0.5))
    part = np.ones((9, 9), np.uint8)
    prediction = add_labels_layer(viewer, image, part, CLASSES, "steel preview", {})
    prediction.translate = (0.5 * row, 0.5 * column)
    values, _ = whole_prediction(image, prediction, CLASSES)
    expected = np.zeros(SHAPE, np.uint8)
    expected[max(0, row) : row + 9, max(0, column) : column + 9] = 2
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("change", [{"scale": (1, 1)}, {"translate": (100, 100)}])
def test_a_prediction_elsewhere_is_refused(viewer, image, change) -> None:
    indices = np.ones((9, 9), np.uint8)
    prediction = add_labels_layer(viewer, image, indices, CLASSES, "steel preview", {})
    for name, value in change.items():
        setattr(prediction, name, value)
    with pytest.raises(InputError, match="steel"):
        whole_prediction(image, prediction, CLASSES)


def test_filling_keeps_strokes_and_can_be_undone(viewer, image) -> None:
    layer = new_labels(viewer, image, CLASSES)
    layer.data_setitem((np.array([0]), np.array([0])), 3)
    painted = layer.data.copy()
    values = np.full(SHAPE, 1, np.uint8)
    values[5] = 0
    assert fill_unlabelled(layer, values) == 19 * 30 - 1
    assert layer.data[0, 0] == 3
    assert not layer.data[5].any()
    assert fill_unlabelled(layer, values) == 0
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
