from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.results import is_computed
from napari_metallography._napari.side_by_side import Beside, SideBySide
from napari_metallography.calibration import Calibration

SHAPE = (20, 30)


def grid(viewer: Any) -> Any:
    return viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid


def opened(viewer: Any, shape: tuple[int, ...] = SHAPE, *, rgb: bool = False) -> Beside:
    """A calibrated image with two segmentations, the new one shown."""
    pixels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape).astype(np.uint8)
    pixels = np.repeat(pixels[..., None], 3, -1) if rgb else pixels
    image = viewer.add_image(pixels, name="steel", rgb=rgb)
    left = viewer.add_labels(np.ones(shape, np.uint8), name="before", visible=False)
    right = viewer.add_labels(np.full(shape, 2, np.uint8), name="after", opacity=0.4)
    for layer in (image, left, right):
        calibrate_layer(layer, Calibration.square(0.5, "test"))
    return Beside(image, left, right)


def halves(viewer: Any) -> list[list[str]]:
    """Names of the visible layers in each half."""
    layers = viewer.layers
    return [
        [layer.name for layer in list(layers)[: grid(viewer).stride] if layer.visible],
        [layer.name for layer in list(layers)[grid(viewer).stride :] if layer.visible],
    ]


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, (3, *SHAPE)])
def test_each_half_has_the_image_and_one_segmentation(shape, rgb) -> None:
    viewer = ViewerModel()
    one = opened(viewer, shape, rgb=rgb)
    beside = SideBySide(viewer)
    beside.show([one])
    assert grid(viewer).enabled
    assert grid(viewer).shape == (1, 2)
    assert halves(viewer) == [["steel", "before"], ["steel (right)", "after (right)"]]
    copy = viewer.layers["after (right)"]
    assert copy.data is one.right.data
    np.testing.assert_allclose(copy.scale, one.right.scale)
    assert copy.units == one.right.units
    assert copy.opacity == 0.4
    assert not copy.editable
    assert is_computed(viewer.layers["steel (right)"])


def test_several_images_stay_in_order_when_layers_come() -> None:
    viewer = ViewerModel()
    beside = SideBySide(viewer)
    beside.show([opened(viewer), opened(viewer)])
    copies = [layer.name for layer in list(viewer.layers)[6:]]
    viewer.add_points([(1, 1)], name="mark")
    assert [layer.name for layer in list(viewer.layers)[7:]] == copies
    assert len(copies) == 4
    assert grid(viewer).stride == 7


def test_contrast_goes_for_both_halves() -> None:
    viewer = ViewerModel()
    one = opened(viewer)
    one.image.contrast_limits = (10, 90)
    SideBySide(viewer).show([one])
    copy = viewer.layers["steel (right)"]
    assert copy.contrast_limits == [10, 90]
    one.image.contrast_limits = (20, 80)
    assert copy.contrast_limits == [20, 80]
    copy.gamma = 0.5
    assert one.image.gamma == 0.5


def test_hiding_leaves_the_viewer_as_it_was() -> None:
    viewer = ViewerModel()
    one = opened(viewer)
    layers = list(viewer.layers)
    grid(viewer).stride, grid(viewer).shape = -2, (2, -1)
    beside = SideBySide(viewer)
    beside.show([one])
    beside.hide()
    assert not beside.is_on
    assert list(viewer.layers) == layers
    assert (grid(viewer).enabled, grid(viewer).stride, grid(viewer).shape) == (False, -2, (2, -1))
    assert (one.left.visible, one.right.visible) == (False, True)
    beside.hide()
    assert list(viewer.layers) == layers


def test_a_cover_is_hidden_meanwhile_and_the_brush_stays_in_hand() -> None:
    viewer = ViewerModel()
    one = opened(viewer)
    cover = viewer.add_image(np.zeros(SHAPE), name="cover")
    viewer.layers.selection.active = one.left
    beside = SideBySide(viewer)
    beside.show([replace(one, cover=cover)])
    assert not cover.visible
    assert viewer.layers.selection.active is one.left
    beside.hide()
    assert cover.visible
    cover.visible = False
    beside.show([replace(one, cover=cover)])
    beside.hide()
    assert not cover.visible


def test_new_layers_go_to_the_left_half() -> None:
    viewer = ViewerModel()
    beside = SideBySide(viewer)
    beside.show([opened(viewer)])
    viewer.add_points([(1, 1)], name="mark")
    viewer.layers.insert(0, viewer.layers["mark"].__class__([(2, 2)], name="below"))
    assert halves(viewer) == [
        ["below", "steel", "before", "mark"],
        ["steel (right)", "after (right)"],
    ]
    viewer.layers.remove(viewer.layers["mark"])
    assert halves(viewer)[0] == ["below", "steel", "before"]
    viewer.layers.move(viewer.layers.index(viewer.layers["steel (right)"]), 0)
    assert halves(viewer)[1] == ["steel (right)", "after (right)"]
    assert beside.is_on


@pytest.mark.parametrize("name", ["steel", "before", "after", "steel (right)", "after (right)"])
def test_removing_one_of_the_layers_ends_it(name: str) -> None:
    viewer = ViewerModel()
    beside = SideBySide(viewer)
    beside.show([opened(viewer)])
    viewer.layers.remove(viewer.layers[name])
    assert not beside.is_on
    assert not grid(viewer).enabled
    rest = {"steel", "before", "after"} - {name}
    assert {layer.name for layer in viewer.layers} == rest


def test_what_was_removed_is_not_shown() -> None:
    viewer = ViewerModel()
    one = opened(viewer)
    viewer.layers.remove(one.left)
    beside = SideBySide(viewer)
    beside.show([one])
    assert not beside.is_on
    assert not grid(viewer).enabled
    assert one.right.visible


def test_both_halves_are_drawn_with_one_camera(viewer) -> None:
    one = opened(viewer)
    beside = SideBySide(viewer)
    beside.show([one])
    layers = viewer.layers
    places = [grid(viewer).position(index, layers) for index in (0, len(layers) - 1)]
    assert places == [(0, 0), (0, 1)]
    viewer.window._qt_viewer.canvas.screenshot()
    viewer.layers.clear()
    assert not beside.is_on
