"""The form *Grade grain size*, its layers and its files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points, Shapes
from napari.utils.notifications import notification_manager

from napari_metallography._napari import grain_size as grain_size_module
from napari_metallography._napari.boundary_fields import IN_IMAGE
from napari_metallography._napari.grain_fields import mean_table
from napari_metallography._napari.grain_size import GrainSizeWidget
from napari_metallography._napari.intersections_layer import TEST_LINE, WEIGHT
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.worker import CANCELLED
from napari_metallography.calibration import Calibration
from napari_metallography.errors import InputError
from napari_metallography.events import Progress
from napari_metallography.grains.standards import intercept_g
from napari_metallography.synthesis.polycrystals import PolycrystalParameters, polycrystal

PIXEL_UM = 0.5
METHOD_NAMES = ("lines", "circles", "planimetric", "automatic")


@pytest.fixture(scope="module")
def made() -> Any:
    return polycrystal(
        PolycrystalParameters(
            height_px=240, width_px=320, pixel_size_um=PIXEL_UM, grain_size=10.0, contrast=0.5
        ),
        4,
    )


def opened(viewer: Any, pixels: np.ndarray, calibrated: bool = True) -> GrainSizeWidget:
    image = viewer.add_image(pixels, name="steel")
    if calibrated:
        calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
    return GrainSizeWidget(viewer)


def with_mask(viewer: Any, made: Any, mask: np.ndarray) -> GrainSizeWidget:
    widget = opened(viewer, made.image)
    widget.boundaries.value = viewer.add_labels(mask.astype(np.uint8), name="mask")
    return widget


@pytest.fixture
def widget(qtbot, made) -> GrainSizeWidget:
    notification_manager.records.clear()
    widget = with_mask(ViewerModel(), made, made.boundaries)
    qtbot.addWidget(widget.native)
    return widget


def run(widget: GrainSizeWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)


def shown(widget: GrainSizeWidget, column: str) -> dict[str, str]:
    frame = widget.results.table.to_dataframe()
    return dict(zip(frame["method"], frame[column], strict=True))


def points_of(widget: GrainSizeWidget, method: str = "lines") -> Points:
    return widget.viewer.layers[f"intersections by {method} · steel"]


def layer_of(widget: GrainSizeWidget, method: str, name: str) -> Any:
    """A layer of a method, whose layers are added when they are shown."""
    widget.results.counted_by.value = method
    return widget.viewer.layers[name]


def expected_g(points: Points, lines: Shapes) -> float:
    """From what is seen in the layers alone."""
    ends = np.array(lines.data)
    length_mm = np.hypot(*(ends[:, 1] - ends[:, 0]).T).sum() * PIXEL_UM / 1000
    return intercept_g(length_mm / points.features[WEIGHT].sum())


def test_each_method_has_a_row_near_its_truth(widget, qtbot, made) -> None:
    assert widget.results.native.isHidden()
    run(widget, qtbot)
    assert not widget.results.native.isHidden()
    found = {method: float(g) for method, g in shown(widget, "G").items()}
    assert list(found) == list(METHOD_NAMES)
    assert found["lines"] == pytest.approx(made.intercept_g, abs=0.25)
    assert found["planimetric"] == pytest.approx(made.planimetric_g, abs=0.25)
    iso = shown(widget, "ISO\n643")
    assert float(iso["lines"]) == pytest.approx(found["lines"] - 0.046, abs=0.011)


def test_the_number_follows_from_the_layers(widget, qtbot) -> None:
    run(widget, qtbot)
    g = expected_g(points_of(widget), widget.viewer.layers["test lines · steel"])
    assert shown(widget, "G")["lines"] == f"{g:.2f}"
    assert shown(widget, "count")["lines"] == f"{points_of(widget).features[WEIGHT].sum():g}"


def test_layers_lie_on_the_image(widget, qtbot) -> None:
    image = widget.viewer.layers["steel"]
    image.translate = (3, -7)
    run(widget, qtbot)
    for layer in list(widget.viewer.layers)[2:]:
        np.testing.assert_allclose(layer.scale, image.scale)
        np.testing.assert_allclose(layer.translate, image.translate)
        assert layer.units == image.units
    # The mask had no pixel size of its own.
    np.testing.assert_allclose(widget.viewer.layers["mask"].scale, image.scale)
    points = points_of(widget)
    assert points.data.min() >= 0
    assert (points.data.max(0) <= np.array(image.data.shape) - 1).all()


def test_intersections_lie_on_boundaries_of_the_measured_box(widget, qtbot, made) -> None:
    image = widget.viewer.layers["steel"]
    corners = [[40, 60], [40, 259], [219, 259], [219, 60]]
    region = widget.viewer.add_shapes(
        [corners], shape_type="rectangle", scale=image.scale, units=image.units
    )
    widget.region.value = region
    run(widget, qtbot)
    places = np.rint(points_of(widget).data).astype(int)
    assert places.min(0).tolist() >= [40, 60]
    assert (places.max(0) <= [219, 259]).all()
    near = np.zeros(made.boundaries.shape, bool)
    for dy in (-2, -1, 0, 1, 2):
        for dx in (-2, -1, 0, 1, 2):
            near |= np.roll(made.boundaries, (dy, dx), (0, 1))
    assert near[tuple(places.T)].mean() > 0.98


def test_a_region_beyond_the_image_is_cut_and_that_is_told(widget, qtbot) -> None:
    image = widget.viewer.layers["steel"]
    corners = [[120, -50], [120, 900], [900, 900], [900, -50]]
    region = widget.viewer.add_shapes(
        [corners], shape_type="rectangle", scale=image.scale, units=image.units
    )
    widget.region.value = region
    run(widget, qtbot)
    assert points_of(widget).data[:, 0].min() >= 120
    said = "the region is cut at the data bar or the edge of the image: rows 120 to 239"
    assert said in widget.results.summary.value
    region.data = [np.array(corners) + 1000]
    widget.controls.run_button.native.click()
    assert "the region holds no pixel of the image" in widget.controls.status.value


def test_only_one_rectangle_is_a_test_area(widget, qtbot) -> None:
    region = widget.viewer.add_shapes([[[9, 9], [9, 90], [90, 90]]], shape_type="polygon")
    widget.region.value = region
    widget.controls.run_button.native.click()
    assert "must be one rectangle" in widget.controls.status.value


def test_deleting_adding_and_moving_are_counted_and_undone(widget, qtbot) -> None:
    run(widget, qtbot)
    points, results = points_of(widget), widget.results
    before, count = shown(widget, "G")["lines"], float(shown(widget, "count")["lines"])
    weight = points.features[WEIGHT].iloc[:40].sum()
    points.remove(list(range(40)))
    assert float(shown(widget, "count")["lines"]) == count - weight
    assert shown(widget, "G")["lines"] != before
    points.add((100.0, 100.0))
    assert float(shown(widget, "count")["lines"]) == count - weight + 1
    results.undo.native.click()
    results.undo.native.click()
    assert shown(widget, "G")["lines"] == before
    assert not results.undo.enabled
    assert widget._shown.intersections["lines"].corrections == 0
    results.redo.native.click()
    assert widget._shown.intersections["lines"].corrections == 40
    assert float(shown(widget, "count")["lines"]) == count - weight
    assert len(points.face_color) == len(points.data)


def test_a_moved_point_goes_to_the_nearest_line(widget, qtbot) -> None:
    run(widget, qtbot)
    points, lines = points_of(widget), widget.viewer.layers["test lines · steel"]
    horizontal = next(n for n, ends in enumerate(lines.data) if ends[0][0] == ends[1][0])
    row = lines.data[horizontal][0][0]
    moved = next(n for n, line in enumerate(points.features[TEST_LINE]) if line != horizontal)
    points.selected_data = {moved}
    # As the mouse does it, away from lines of other directions.
    points._drag_start = np.zeros(2)
    column = _away_from_others(lines, horizontal, row)
    points._move({moved}, (row, column))
    assert points.features[TEST_LINE][moved] == horizontal
    widget.results.undo.native.click()
    assert points.features[TEST_LINE][moved] != horizontal


def _away_from_others(lines: Shapes, chosen: int, row: float) -> float:
    def distance(column: float) -> float:
        point = np.array([row, column])
        apart = []
        for number, (start, end) in enumerate(np.array(lines.data)):
            if number != chosen:
                along = (end - start) / np.hypot(*(end - start))
                across = point - start - ((point - start) @ along) * along
                apart.append(np.hypot(*across))
        return min(apart)

    return max(np.arange(20.0, 300.0), key=distance)


def test_weights_follow_the_choice_and_impossible_ones_are_refused(widget, qtbot) -> None:
    run(widget, qtbot)
    points = points_of(widget)
    one = int(np.flatnonzero(points.features[WEIGHT] == 1)[0])
    count = float(shown(widget, "count")["lines"])
    points.selected_data = {one}
    widget.results.weight.value = 1.5
    assert points.features[WEIGHT][one] == 1.5
    assert float(shown(widget, "count")["lines"]) == count + 0.5
    points.add((50.0, 50.0))
    assert float(shown(widget, "count")["lines"]) == count + 2
    features = points.features.copy()
    features.loc[one, WEIGHT] = 7.0
    points.features = features
    assert points.features[WEIGHT][one] == 1.5
    assert float(shown(widget, "count")["lines"]) == count + 2


def test_all_intersections_deleted_is_no_number_and_may_be_undone(widget, qtbot) -> None:
    run(widget, qtbot)
    before = shown(widget, "G")
    points = points_of(widget)
    points.remove(list(range(len(points.data))))
    assert shown(widget, "G")["lines"] == "–"
    widget.results.undo.native.click()
    assert shown(widget, "G") == before


def test_corrections_are_kept_when_measured_again(widget, qtbot) -> None:
    run(widget, qtbot)
    edited = points_of(widget)
    edited.remove([0])
    layer_of(widget, "circles", "intersections by circles · steel")
    widget.results.counted_by.value = "lines"
    run(widget, qtbot)
    names = [layer.name for layer in widget.viewer.layers]
    assert edited in widget.viewer.layers
    assert "intersections by lines · steel [1]" in names
    assert "intersections by circles · steel" not in names
    layer_of(widget, "circles", "intersections by circles · steel")
    count = shown(widget, "count")["lines"]
    edited.remove([0])
    assert shown(widget, "count")["lines"] == count


def test_planimetric_shows_inside_cut_and_corner(widget, qtbot) -> None:
    run(widget, qtbot)
    assert "counted, planimetric · steel" not in widget.viewer.layers
    layer = layer_of(widget, "planimetric", "counted, planimetric · steel")
    assert isinstance(layer, Labels)
    assert set(np.unique(layer.data)) == {1, 2, 3}
    corners = layer.data[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 3).all()
    whole = layer_of(widget, "automatic", "counted, automatic · steel")
    assert set(np.unique(whole.data)) == {0, 1}
    widget.results.counted_by.value = "planimetric"
    assert layer.visible
    assert not whole.visible
    assert not points_of(widget).visible
    assert "corners: 1 together" in widget.results.legend.value
    widget.results.counted_by.value = "automatic"
    assert "cut" not in widget.results.legend.value


def test_boundaries_are_found_and_corrected_by_paint(qtbot, made) -> None:
    widget = opened(ViewerModel(), made.image)
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    before = float(shown(widget, "count")["planimetric"])
    layer = widget.viewer.layers["grain boundaries · steel"]
    assert widget.boundaries.value == IN_IMAGE
    layer.data_setitem(np.nonzero(np.ones((60, 60), bool)), 0)
    layer.events.paint(value=[])
    assert widget.boundaries.value is layer
    assert not widget.results.enabled
    widget.study.add.native.click()
    assert "was painted on" in widget.controls.status.value
    run(widget, qtbot)
    assert widget.results.enabled
    assert float(shown(widget, "count")["planimetric"]) < before


def stroke(layer: Labels, place: tuple[int, int]) -> None:
    """As the mouse paints."""
    with layer.block_history():
        layer.paint(place, 1)


def test_paint_that_is_taken_back_leaves_the_numbers(qtbot, made) -> None:
    widget = opened(ViewerModel(), made.image)
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    layer = widget.viewer.layers["grain boundaries · steel"]
    stroke(layer, (100, 100))
    assert not widget.results.enabled
    layer.undo()
    qtbot.waitUntil(lambda: widget.results.enabled, timeout=5_000)
    widget.study.add_field()
    assert widget.study.names == ["steel"]
    stroke(layer, (50, 50))
    # Also when another image was looked at meanwhile.
    widget.viewer.add_image(made.image, name="other")
    for name in ("other", "steel"):
        widget.image.value = widget.viewer.layers[name]
    assert not widget.results.enabled


def test_numbered_grains_and_their_mask_agree(widget, qtbot, made) -> None:
    run(widget, qtbot)
    by_mask = {method: float(g) for method, g in shown(widget, "G").items()}
    widget.boundaries.value = widget.viewer.add_labels(made.grains.astype(np.int32), name="grains")
    run(widget, qtbot)
    for method, g in shown(widget, "G").items():
        assert float(g) == pytest.approx(by_mask[method], abs=0.1)


def test_pixels_that_are_not_square(qtbot, made) -> None:
    found = []
    for repeats in (2, 1):
        viewer = ViewerModel()
        tall = np.repeat(np.repeat(made.grains.astype(np.int32), 2, 0), repeats, 1)
        image = viewer.add_image((tall % 251).astype(np.uint8), name="steel")
        calibrate_layer(image, Calibration(PIXEL_UM / repeats, PIXEL_UM / 2, "test"))
        widget = GrainSizeWidget(viewer)
        qtbot.addWidget(widget.native)
        widget.boundaries.value = viewer.add_labels(tall, name="grains")
        run(widget, qtbot)
        found.append(shown(widget, "G"))
        points = points_of(widget)
        parts = layer_of(widget, "planimetric", "counted, planimetric · steel")
        assert parts.data.shape == image.data.shape
        assert (points.data.max(0) > 0.9 * np.array(image.data.shape)).all()
        assert (points.data.max(0) <= np.array(image.data.shape) - 0.5).all()
    assert found[0] == found[1]


def test_the_plane_shown_of_a_stack_is_measured(qtbot, made) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.stack([np.zeros_like(made.image), made.image]), name="steel")
    calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
    widget = GrainSizeWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.boundaries.value = viewer.add_labels(made.grains.astype(np.int32), name="grains")
    viewer.dims.set_current_step(0, 1)
    run(widget, qtbot)
    points = viewer.layers["intersections by lines · steel, plane 1"]
    assert (points.data[:, 0] == 1).all()
    parts = layer_of(widget, "planimetric", "counted, planimetric · steel, plane 1")
    assert parts.data.shape == (1, *made.image.shape)
    assert parts.translate[0] == image.scale[0]
    widget.results.counted_by.value = "lines"
    points.add((1.0, 50.0, 50.0))
    assert shown(widget, "count")["lines"] == f"{points.features[WEIGHT].sum():g}"


def test_fields_count_each_image_once_and_follow_corrections(widget, qtbot, made) -> None:
    run(widget, qtbot)
    widget.study.add_field()
    assert widget.controls.status.value == "steel: 1 field"
    widget.study.add_field()
    assert "takes the place of its earlier result" in widget.controls.status.value
    assert widget.study.names == ["steel"]
    other = widget.viewer.add_image(made.image[::-1].copy(), name="other")
    calibrate_layer(other, Calibration.square(PIXEL_UM, "test"))
    widget.image.value = other
    assert widget.results.native.isHidden()
    widget.boundaries.value = IN_IMAGE
    run(widget, qtbot)
    own = [layer for layer in widget.viewer.layers if layer.name.endswith(" · steel")]
    assert own
    assert not any(layer.visible for layer in own)
    widget.study.add_field()
    table = widget.study.table.to_dataframe()
    assert list(table["n"]) == [2] * 4
    assert " to " in table["95 % CI"][0]
    widget.image.value = widget.viewer.layers["steel"]
    points = points_of(widget)
    assert points.visible
    points.remove(list(range(len(points.data) // 2)))
    assert widget.study.table.to_dataframe()["G"][0] != table["G"][0]


def test_fields_by_other_methods_do_not_mix(widget, qtbot) -> None:
    run(widget, qtbot)
    widget.study.add_field()
    other = widget.viewer.add_image(widget.viewer.layers["steel"].data, name="other")
    calibrate_layer(other, Calibration.square(PIXEL_UM, "test"))
    widget.image.value = other
    widget.methods["circles"].value = False
    run(widget, qtbot)
    widget.study.add.native.click()
    assert "by the same methods" in widget.controls.status.value
    assert widget.study.names == ["steel"]


def test_the_files_hold_what_is_shown(widget, qtbot, tmp_path) -> None:
    run(widget, qtbot)
    points_of(widget).remove([0, 1])
    widget.study.write(tmp_path)
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)
    found = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    assert f"{found['G']:.2f}" == shown(widget, "G")["lines"]
    assert found["fields"][0]["provenance"]["corrections_by_hand"] == {"lines": 2}
    report = (tmp_path / "grain_size.html").read_text("utf-8")
    assert f"G {found['G']:.2f} by lines" in report
    assert report.count("data:image/jpeg") == len(METHOD_NAMES)
    assert "lines: 2 corrections of intersections by hand" in report
    assert sorted(p.name for p in tmp_path.glob("*.png")) == sorted(
        f"steel_{method}.png" for method in METHOD_NAMES
    )
    with pytest.raises(ValueError, match="choose another folder"):
        widget.study.write(tmp_path)


def test_few_intersections_and_disagreement_are_said(qtbot, made) -> None:
    widget = with_mask(ViewerModel(), made, made.boundaries)
    qtbot.addWidget(widget.native)
    grains = np.ones((240, 320), np.int32)
    grains[:, 150:160] = 2
    grains[:, 160:] = 3
    widget.boundaries.value = widget.viewer.add_labels(grains, name="bands")
    widget.methods["automatic"].value = False
    run(widget, qtbot)
    assert "3 grains in the field: far too few" in widget.results.summary.value
    assert "the methods disagree" in widget.results.summary.value


def test_twins_are_left_out_and_their_number_told(qtbot) -> None:
    parameters = PolycrystalParameters(
        height_px=240, width_px=320, pixel_size_um=PIXEL_UM, grain_size=9.5, twinned=0.4
    )
    made = polycrystal(parameters, 4)
    pieces = 2 * made.grains.astype(np.int32) - made.twins
    widget = opened(ViewerModel(), made.image)
    qtbot.addWidget(widget.native)
    widget.boundaries.value = widget.viewer.add_labels(pieces, name="with twins")
    run(widget, qtbot)
    with_twins = float(shown(widget, "count")["planimetric"])
    before = float(shown(widget, "G")["lines"])
    assert "twins" not in widget.results.summary.value
    widget.grains.twins.value = True
    run(widget, qtbot)
    without = float(shown(widget, "count")["planimetric"])
    (line,) = [x for x in widget.results.summary.value.splitlines() if "twin" in x]
    assert line.endswith("left out as twins.")
    left_out = int(line.split()[0])
    assert 0 < with_twins - without <= left_out
    after = float(shown(widget, "G")["lines"])
    assert abs(after - made.intercept_g) < 0.5 * abs(before - made.intercept_g)


# --- bad input -------------------------------------------------------------------------------


def test_without_a_pixel_size_nothing_is_graded(qtbot, made) -> None:
    widget = opened(ViewerModel(), made.image, calibrated=False)
    qtbot.addWidget(widget.native)
    widget.controls.run_button.native.click()
    assert "use the Calibrate widget" in widget.controls.status.value
    assert "--" not in widget.controls.status.value
    assert not widget.controls.is_running


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((240, 320), bool), "there is no boundary in it"),
        (np.eye(240, 320, dtype=bool) < 1, "seems inverted"),
        (np.pad(np.ones((3, 320), bool), ((0, 237), (0, 0))), "one grain fills the field"),
    ],
)
def test_masks_that_are_none_are_refused_in_a_line(qtbot, made, mask, said) -> None:
    widget = with_mask(ViewerModel(), made, mask)
    qtbot.addWidget(widget.native)
    before = len(widget.viewer.layers)
    run(widget, qtbot)
    assert said in widget.controls.status.value
    assert "\n" not in widget.controls.status.value
    assert len(widget.viewer.layers) == before
    assert widget.results.native.isHidden()


def test_nan_is_refused(qtbot, made) -> None:
    pixels = made.image.astype(np.float32)
    pixels[3, 3] = math.nan
    widget = opened(ViewerModel(), pixels)
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    assert "NaN" in widget.controls.status.value


def test_a_mask_of_another_size_is_refused(widget, qtbot) -> None:
    other = widget.viewer.add_labels(np.eye(20, dtype=np.uint8), name="small")
    widget.boundaries.value = other
    widget.controls.run_button.native.click()
    assert "must be drawn on the image they belong to" in widget.controls.status.value


def test_an_image_removed_while_it_is_measured(widget, qtbot) -> None:
    widget.controls.run_button.native.click()
    widget.viewer.layers.remove("steel")
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)
    assert "was removed while it was measured" in widget.controls.status.value
    assert widget.results.native.isHidden()


def endless(*_: object) -> Any:
    while True:
        time.sleep(0.005)
        yield Progress(0, 5, "boundaries")


def refused(*_: object) -> Any:
    yield Progress(0, 5, "boundaries")
    raise InputError("steel: none here")


def begin(widget: GrainSizeWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: "boundaries" in widget.controls.status.value, timeout=10_000)


def cancel(widget: GrainSizeWidget, qtbot: Any) -> None:
    widget.controls.cancel_button.native.click()
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=60_000)


@pytest.mark.parametrize("events", [endless, refused])
def test_a_run_without_a_result_leaves_corrections_to_be_used(
    widget, qtbot, monkeypatch, tmp_path, events
) -> None:
    run(widget, qtbot)
    measured = shown(widget, "count")["lines"]
    points_of(widget).remove([0, 1, 2])
    corrected = shown(widget, "count")["lines"]
    assert "earlier" not in widget.results.summary.value
    with monkeypatch.context() as patched:
        patched.setattr(grain_size_module, "graded_events", events)
        if events is endless:
            begin(widget, qtbot)
            cancel(widget, qtbot)
        else:
            run(widget, qtbot)
    assert widget.controls.status.value in (CANCELLED, "steel: none here")
    assert "from an earlier measurement" in widget.results.summary.value
    assert shown(widget, "count")["lines"] == corrected
    widget.results.undo.native.click()
    assert shown(widget, "count")["lines"] == measured
    widget.results.redo.native.click()
    widget.study.add.native.click()
    assert widget.study.names == ["steel"]
    widget.study.write(tmp_path)
    qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=30_000)
    found = json.loads((tmp_path / "grain_size.json").read_text("utf-8"))
    assert found["fields"][0]["provenance"]["corrections_by_hand"] == {"lines": 3}
    run(widget, qtbot)
    assert "earlier" not in widget.results.summary.value


def test_cancel_adds_nothing_and_the_form_may_run_again(widget, qtbot, monkeypatch) -> None:
    before = len(widget.viewer.layers)
    with monkeypatch.context() as patched:
        patched.setattr(grain_size_module, "graded_events", endless)
        begin(widget, qtbot)
        cancel(widget, qtbot)
    assert widget.controls.status.value == CANCELLED
    assert len(widget.viewer.layers) == before
    widget.study.add.native.click()
    assert "measure first" in widget.controls.status.value
    run(widget, qtbot)
    assert not widget.results.native.isHidden()


def test_cancel_amid_the_search_for_boundaries(qtbot, made) -> None:
    widget = opened(ViewerModel(), np.tile(made.image, (4, 3)))
    qtbot.addWidget(widget.native)

    def time_from_growth(end: Callable[[], object]) -> float:
        # Grains growing is the longest step.
        widget.controls.run_button.native.click()
        qtbot.waitUntil(lambda: "grains" in widget.controls.status.value, timeout=60_000)
        start = time.monotonic()
        end()
        qtbot.waitUntil(lambda: not widget.controls.is_running, timeout=60_000)
        return time.monotonic() - start

    cancelled = time_from_growth(widget.controls.cancel_button.native.click)
    assert widget.controls.status.value == CANCELLED
    assert [layer.name for layer in widget.viewer.layers] == ["steel"]
    assert widget.results.native.isHidden()
    assert cancelled < time_from_growth(lambda: None) / 2


def test_no_interval_shows_a_dash() -> None:
    one = {
        "method": "lines",
        "G": math.nan,
        "n_fields": 1,
        "ci95": None,
        "relative_accuracy_percent": None,
        "fields_still_needed": None,
    }
    (row,) = mean_table(one).to_dict("records")
    assert [row["G"], row["95 % CI"], row["%RA"], row["needed"]] == ["–"] * 4


# --- in a window -----------------------------------------------------------------------------


def test_in_a_window_a_deleted_intersection_changes_the_number_and_undo_restores_it(
    viewer, qtbot, made
) -> None:
    image = viewer.add_image(made.image, name="steel")
    calibrate_layer(image, Calibration.square(PIXEL_UM, "test"))
    _, widget = viewer.window.add_plugin_dock_widget("napari-metallography", "Grade grain size")
    run(widget, qtbot)
    points, lines = points_of(widget), viewer.layers["test lines · steel"]
    assert viewer.layers.selection.active is points
    before = widget.results.table.to_dataframe()
    chosen = sorted(np.flatnonzero(points.features[WEIGHT] == 1)[:30].tolist())
    points.selected_data = set(chosen)
    points.remove_selected()
    after = widget.results.table.to_dataframe()
    assert float(after["count"][0]) == float(before["count"][0]) - 30
    assert after["G"][0] == f"{expected_g(points, lines):.2f}"
    assert after["G"][0] != before["G"][0]
    assert after["G"][1:].equals(before["G"][1:])
    widget.results.undo.native.click()
    assert widget.results.table.to_dataframe().equals(before)
