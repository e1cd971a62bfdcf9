"""The comparison chart of the form *Grade grain size*."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_metallography._napari.boundary_fields import IN_IMAGE
from napari_metallography._napari.grain_chart import CHART, chart_field, show_chart
from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.layers import calibrate_layer, layer_calibration
from napari_metallography.calibration import Calibration
from napari_metallography.regions import Box
from napari_metallography.synthesis.chart import Plate, chart
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

PIXEL_UM = 0.5


@pytest.fixture(scope="module")
def made() -> Any:
    return polycrystal(
        PolycrystalParameters(
            height_px=240, width_px=320, pixel_size_um=PIXEL_UM, grain_size=10.0, contrast=0.5
        ),
        4,
    )


@pytest.fixture
def widget(qtbot, made) -> GrainSizeWidget:
    viewer = ViewerModel()
    image = viewer.add_image(made.image, name="steel", translate=(3, -7))
    calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
    mask = viewer.add_labels(made.boundaries.astype(np.uint8), name="mask")
    widget = GrainSizeWidget(viewer)
    widget.boundaries.value = mask
    qtbot.addWidget(widget.native)
    return widget


def press(widget: GrainSizeWidget, qtbot: Any, button: Any) -> None:
    button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)


def charts(widget: GrainSizeWidget) -> list[Layer]:
    return [layer for layer in widget.viewer.layers if CHART in layer.metadata]


def test_plates_stand_to_the_right_at_the_scale_of_the_image(widget, qtbot) -> None:
    press(widget, qtbot, widget.controls.run_button)
    active = widget.viewer.layers.selection.active
    press(widget, qtbot, widget.results.chart)
    image = widget.viewer.layers["steel"]
    over, *beside, titles = charts(widget)
    assert [layer.name for layer in beside] == [f"chart G {g} · steel" for g in (9, 10, 11)]
    right = image.extent.world[1, 1]
    for layer in beside:
        assert layer_calibration(layer).x_um == pytest.approx(PIXEL_UM)
        assert layer.units == image.units
        assert layer.extent.world[0, 0] == pytest.approx(image.extent.world[0, 0])
        assert layer.extent.world[0, 1] > right
        right = layer.extent.world[1, 1]
        assert layer.data.shape == image.data.shape
    assert [text.split()[1] for text in titles.features["title"]] == ["9", "10", "11"]
    assert titles.units == image.units
    for place, layer in zip(titles.data, beside, strict=True):
        assert place[0] >= layer.extent.world[1, 0]
        assert layer.extent.world[0, 1] <= place[1] < layer.extent.world[1, 1]
    assert over.name == "chart G 10 over the image · steel"
    assert not over.visible
    np.testing.assert_allclose(over.extent.world, image.extent.world)
    assert widget.viewer.layers.selection.active is active
    assert "chart of G 9, 10, 11" in widget.controls.status.value


def test_a_chart_replaces_the_one_before_and_is_offered_for_nothing(widget, qtbot) -> None:
    press(widget, qtbot, widget.controls.run_button)
    for _ in range(2):
        press(widget, qtbot, widget.results.chart)
        assert len(charts(widget)) == 5
    choices = (*widget.image.choices, *widget.boundaries.choices)
    assert {one.name for one in choices if isinstance(one, Layer)} == {"steel", "mask"}


def test_marks_on_the_image_make_way_for_the_chart(widget, qtbot) -> None:
    widget.boundaries.value = IN_IMAGE
    press(widget, qtbot, widget.controls.run_button)
    press(widget, qtbot, widget.results.chart)
    layers = widget.viewer.layers
    marks = ["grain boundaries · steel", "test lines · steel", "intersections by lines · steel"]
    assert not any(layers[name].visible for name in marks)
    widget.results.counted_by.value = "circles"
    widget.results.counted_by.value = "lines"
    assert all(layers[name].visible for name in marks)


def test_only_the_first_chart_brings_all_into_view(widget, qtbot) -> None:
    press(widget, qtbot, widget.controls.run_button)
    viewer = widget.viewer
    # napari 0.9 moved the camera into a scene.
    camera = getattr(viewer, "scene", viewer).camera
    camera.center, camera.zoom = (0, 5, 6), 7.0
    press(widget, qtbot, widget.results.chart)
    assert camera.zoom != 7
    camera.center, camera.zoom = (0, 5, 6), 7.0
    press(widget, qtbot, widget.results.chart)
    assert camera.zoom == 7
    assert tuple(camera.center) == (0, 5, 6)


def test_a_chart_too_fine_to_draw_is_refused_in_a_line(widget, qtbot) -> None:
    press(widget, qtbot, widget.controls.run_button)
    widget.results.counted_by.value = "lines"
    layer = widget.viewer.layers["intersections by lines · steel"]
    layer.add(np.random.default_rng(0).uniform(0, 200, (20_000, 2)))
    press(widget, qtbot, widget.results.chart)
    assert "too fine to be drawn" in widget.controls.status.value
    assert "\n" not in widget.controls.status.value
    assert not charts(widget)


def test_pixels_that_are_not_square_get_a_field_of_square_ones() -> None:
    assert chart_field(Box(10, 0, 110, 50), Calibration(2.0, 1.0, "test")) == ((100, 100), 1.0)


def test_a_box_of_an_image_in_other_units_and_the_plate_over_it_have_one_place() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((2, 300, 400), np.uint8), scale=(1, 500, 500), units=("pixel", "nm", "nm")
    )
    plate = Plate(9.0, chart(9.0, (200, 260), 0.5), 0.5)
    show_chart(viewer, image, Box(50, 60, 250, 320), 9.2, [plate])
    over, beside = viewer.layers[1], viewer.layers[2]
    np.testing.assert_allclose(over.extent.world, [[25_000, 30_000], [124_500, 159_500]])
    np.testing.assert_allclose(beside.scale, [500, 500])
