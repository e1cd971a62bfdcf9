"""Correcting, linking and colouring the particles of the form *Quantify*."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTableView

from napari_metallography._napari.corrections_panel import CUT, numbers_in
from napari_metallography._napari.layers import add_labels_layer, calibrate_layer
from napari_metallography._napari.particle_colours import decimals, value_colours
from napari_metallography._napari.particle_link import RING, row_of
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography._napari.size_plots import SizePlots
from napari_metallography.calibration import Calibration
from napari_metallography.classes import layer_to_indices, named_classes
from napari_metallography.errors import InputError
from napari_metallography.io.labels import read_labels
from napari_metallography.quantification.corrections import Correction, replayed

NAMES = ["ferrite", "carbide", "inclusion"]


def phases() -> np.ndarray:
    """Carbides: 1 a dumb-bell, 2 and 3 of 8×8, 4 px apart; inclusion 4."""
    indices = np.zeros((60, 80), np.uint8)
    cv2.circle(indices, (15, 15), 8, 1, -1)
    cv2.circle(indices, (35, 15), 8, 1, -1)
    indices[14:17, 15:35] = 1
    indices[40:48, 10:18], indices[40:48, 22:30], indices[40:46, 50:56] = 1, 1, 2
    return indices


def opened(viewer: Any, indices: np.ndarray | None = None) -> QuantifyWidget:
    indices = phases() if indices is None else indices
    image = viewer.add_image(100 + 50 * (indices == 1).astype(np.uint8), name="steel")
    calibrate_layer(image, Calibration.square(0.5, "test"))
    add_labels_layer(viewer, image, indices, named_classes(NAMES), "steel phases", {})
    return QuantifyWidget(viewer)


@pytest.fixture
def widget(qtbot) -> QuantifyWidget:
    widget = opened(ViewerModel())
    qtbot.addWidget(widget.native)
    return measured(widget, qtbot)


def settled(widget: QuantifyWidget) -> Callable[[], bool]:
    return lambda: widget.is_settled


def measured(widget: QuantifyWidget, qtbot: Any) -> QuantifyWidget:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    return widget


def press(widget: QuantifyWidget, qtbot: Any, button: str, numbers: str = "") -> None:
    if numbers:
        widget.corrections.particles.value = numbers
    getattr(widget.corrections, button).native.click()
    qtbot.waitUntil(settled(widget), timeout=30_000)


def particles(widget: QuantifyWidget) -> Any:
    return widget.viewer.layers["steel phases particles"]


def areas(widget: QuantifyWidget) -> list[int]:
    return list(particles(widget).features["area_px"])


def table_follows(widget: QuantifyWidget) -> None:
    """Every row says what the layer shows."""
    layer = particles(widget)
    for number, area in enumerate(areas(widget)):
        assert number == 0 or (layer.data == number).sum() == area, number


def test_delete_and_undo(widget, qtbot) -> None:
    before, whole = areas(widget), widget.viewer.layers["steel phases"].data.copy()
    press(widget, qtbot, "delete", "2")
    assert areas(widget)[2] == 0
    table_follows(widget)
    # The phases follow: the particle became matrix, which is label 1 in the layer.
    assert (widget.viewer.layers["steel phases"].data[40:48, 10:18] == 1).all()
    assert "1 correction by hand" in widget.results.summary.value
    # What Ctrl-Z calls.
    particles(widget).undo()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert areas(widget) == before
    np.testing.assert_array_equal(widget.viewer.layers["steel phases"].data, whole)
    assert "correction" not in widget.results.summary.value
    particles(widget).redo()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert areas(widget)[2] == 0


def test_what_is_noticed_is_said_once_a_measurement(widget, qtbot) -> None:
    def warnings() -> int:
        return sum("touch the border" in one.message for one in notification_manager.records)

    notification_manager.records.clear()
    widget.viewer.layers["steel phases"].data[0:3, 50:53] = 2
    measured(widget, qtbot)
    assert warnings() == 1
    press(widget, qtbot, "delete", "2")
    press(widget, qtbot, "undo")
    assert warnings() == 1
    measured(widget, qtbot)
    assert warnings() == 2


def test_how_many_particles_were_cut_apart_is_shown(widget, qtbot) -> None:
    assert "cut apart" not in widget.results.summary.value
    before = len(areas(widget))
    widget.parameters["split"].value = "distance"
    measured(widget, qtbot)
    made = len(areas(widget)) - before
    assert made > 0
    assert (
        f"{made + 1} of {len(areas(widget)) - 1} particles are parts of touching ones that were "
        "cut apart" in widget.results.summary.value
    )
    assert f"{made + 1} cut apart" in widget.controls.status.value
    press(widget, qtbot, "delete", "1")
    assert "are parts of touching ones" in widget.results.summary.value


def test_unlabel_makes_pixels_unlabelled(widget, qtbot) -> None:
    press(widget, qtbot, "unlabel", "4")
    assert (widget.viewer.layers["steel phases"].data[40:46, 50:56] == 0).all()


def test_merge_over_a_gap_and_undo(widget, qtbot) -> None:
    press(widget, qtbot, "merge", "2, 3")
    assert areas(widget)[2] > 2 * 64
    assert areas(widget)[3] == 0
    assert (widget.viewer.layers["steel phases"].data[44, 18:22] >= 1).all()
    table_follows(widget)
    widget.corrections.undo.native.click()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert areas(widget)[2:4] == [64, 64]


def test_split_at_the_neck_then_merge_again(widget, qtbot) -> None:
    whole = areas(widget)[1]
    press(widget, qtbot, "split", "1")
    assert sum(areas(widget)[number] for number in (1, 5)) == whole
    assert widget.corrections.particles.value == "1, 5"
    table_follows(widget)
    press(widget, qtbot, "merge")
    assert areas(widget)[1] == whole


def test_split_along_a_drawn_line(widget, qtbot) -> None:
    press(widget, qtbot, "cut", "2")
    line = widget.viewer.layers[CUT]
    assert line.mode == "add_line"
    assert line not in widget.region.choices
    # Drawn in the middle of the particle, in pixels of the layer.
    line.add([[36, 13.6], [52, 13.6]], shape_type="line")
    press(widget, qtbot, "cut")
    assert sorted([areas(widget)[2], areas(widget)[5]]) in ([32, 32], [24, 40])
    assert CUT not in widget.viewer.layers


def test_reclassify_changes_the_phase(widget, qtbot) -> None:
    widget.corrections.phase.value = 2
    press(widget, qtbot, "reclassify", "2")
    assert particles(widget).features["phase"][5] == "inclusion"
    assert (widget.viewer.layers["steel phases"].data[40:48, 10:18] == 3).all()
    particles(widget).undo()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert particles(widget).features["phase"][2] == "carbide"
    assert (widget.viewer.layers["steel phases"].data[40:48, 10:18] == 2).all()


def test_the_trail_replays_to_what_is_shown(widget, qtbot) -> None:
    layer, labels = particles(widget), widget.viewer.layers["steel phases"]
    ids, indices = layer.data.copy(), layer_to_indices(labels.data)
    press(widget, qtbot, "split", "1")
    press(widget, qtbot, "delete", "5")
    press(widget, qtbot, "merge", "2, 3")
    trail = [Correction.from_dict(one) for one in layer.metadata["corrections"]]
    assert [one.action for one in trail] == ["split", "delete", "merge"]
    again = replayed(indices, ids, trail)
    np.testing.assert_array_equal(again[1], layer.data)
    np.testing.assert_array_equal(again[0], layer_to_indices(labels.data))
    told = layer.metadata["statistics"]["provenance"]["corrections"]
    assert [row["correction"] for row in told] == ["split", "delete", "merge"]
    assert widget.corrections.trail.to_dataframe()["correction"].tolist() == [
        "split",
        "delete",
        "merge",
    ]


def told(widget: QuantifyWidget, name: str = "steel phases particles") -> list[str]:
    made = widget.viewer.layers[name].metadata["statistics"]["provenance"]
    return [row["correction"] for row in made.get("corrections", ())]


def test_quantified_again_a_split_stays_and_can_be_undone(widget, qtbot) -> None:
    whole = areas(widget)[1]
    press(widget, qtbot, "split", "1")
    press(widget, qtbot, "delete", "2")
    widget.parameters["edge_rule"].value = "exclude-border"
    measured(widget, qtbot)
    assert sum(areas(widget)[number] for number in (1, 5)) == whole
    assert areas(widget)[5] > 0
    assert told(widget) == ["split", "delete"]
    table_follows(widget)
    stored = widget.viewer.layers["steel phases"].metadata["corrections"]
    assert [one["action"] for one in stored] == ["split", "delete"]
    for _ in range(2):
        particles(widget).undo()
        qtbot.waitUntil(settled(widget), timeout=30_000)
    assert areas(widget)[1:3] == [whole, 64]
    assert told(widget) == []


def test_numbered_anew_a_lost_split_is_said_and_no_longer_told(widget, qtbot) -> None:
    press(widget, qtbot, "split", "1")
    press(widget, qtbot, "delete", "2")
    widget.classes.value = [1]
    measured(widget, qtbot)
    assert "no longer in force: split 1" in widget.controls.status.value
    name = "steel phases particles [1]"
    assert told(widget, name) == ["delete"]
    assert widget.viewer.layers[name].metadata["corrections"] == []
    press(widget, qtbot, "delete", "1")
    stored = widget.viewer.layers["steel phases"].metadata["corrections"]
    assert [one["particles"] for one in stored] == [(2,), (1,)]
    assert told(widget, name) == ["delete", "delete"]


def test_report_and_saved_labels_state_the_corrections(widget, qtbot, tmp_path) -> None:
    press(widget, qtbot, "delete", "2")
    measured(widget, qtbot)
    widget.results.write_report(tmp_path / "report.html")
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert "1 correction(s) by hand" in (tmp_path / "report.html").read_text("utf-8")
    widget.save_labels(tmp_path / "labels.tif")
    qtbot.waitUntil(settled(widget), timeout=30_000)
    provenance = read_labels(tmp_path / "labels.tif").provenance
    assert [row["correction"] for row in provenance["corrections"]] == ["delete"]


def paint(layer: Any, rows: slice, columns: slice, value: int) -> None:
    places = np.mgrid[rows, columns].reshape(2, -1)
    layer.data_setitem(tuple(places), value)


def test_paint_on_the_phases_marks_the_result_and_is_measured(widget, qtbot, tmp_path) -> None:
    labels = widget.viewer.layers["steel phases"]
    paint(labels, slice(52, 56), slice(60, 70), 2)
    assert "painted on" in widget.results.summary.value
    assert not widget.results.enabled
    with pytest.raises(InputError, match="quantify first"):
        widget.results.write_csv(tmp_path / "a.csv")
    press(widget, qtbot, "delete", "2")
    assert "press Quantify" in widget.controls.status.value
    labels.undo()
    assert widget.results.enabled
    labels.redo()
    assert not widget.results.enabled
    measured(widget, qtbot)
    assert widget.results.enabled
    assert 40 in areas(widget)


def test_paint_on_the_particles_marks_the_result(widget, qtbot) -> None:
    layer = particles(widget)
    paint(layer, slice(40, 44), slice(10, 18), 0)
    assert "steel phases particles was painted on" in widget.results.summary.value
    assert not widget.results.enabled
    layer.undo()
    assert widget.results.enabled
    press(widget, qtbot, "delete", "2")
    assert widget.results.enabled


def test_a_bridge_out_of_the_field_is_refused(widget, qtbot) -> None:
    box = [[0, 0], [0, 17], [59, 17], [59, 0]]
    other = [[0, 22], [0, 79], [59, 79], [59, 22]]
    widget.viewer.add_shapes([box, other], shape_type="polygon", name="roi", scale=(0.5, 0.5))
    widget.viewer.layers["roi"].units = ("um", "um")
    widget.region.value = widget.viewer.layers["roi"]
    measured(widget, qtbot)
    press(widget, qtbot, "merge", "2, 3")
    assert "leave the measured field" in widget.controls.status.value


def test_limits_of_small_values_are_kept() -> None:
    assert decimals(0.0, 100.0) == 2
    assert decimals(1.2e-6, 3.4e-6) == 10


def test_colour_limits_at_a_pixel_size_of_nanometres(widget) -> None:
    table = pd.DataFrame({"particle": [1, 2], "area_um2": [1.5e-6, 3.25e-6]})
    widget.colours.offer(table)
    widget.colours.column.value = "area_um2"
    assert widget.colours.low.value == pytest.approx(1.5e-6, rel=0.05)
    assert widget.colours.high.value == pytest.approx(3.25e-6, rel=0.05)


def test_corrections_one_upon_another_are_all_measured(widget, qtbot) -> None:
    # Without waiting: the second comes while the first is being measured.
    for number in ("2", "3", "4"):
        widget.corrections.particles.value = number
        widget.corrections.delete.native.click()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert areas(widget)[2:] == []
    assert areas(widget)[1] > 0
    assert widget.results.enabled


def test_nothing_is_written_while_it_is_measured_again(widget, qtbot, tmp_path) -> None:
    widget.corrections.particles.value = "2"
    widget.corrections.delete.native.click()
    qtbot.waitUntil(lambda: not widget.corrections.is_busy, timeout=30_000)
    with pytest.raises(InputError, match="quantify first"):
        widget.results.write_xlsx(tmp_path / "study.xlsx")
    qtbot.waitUntil(settled(widget), timeout=30_000)
    widget.results.write_report(tmp_path / "report.html")
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert "1 correction(s) by hand" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("button", "numbers", "message"),
    [
        ("delete", "", "choose a particle"),
        ("delete", "x", "no particle number"),
        ("delete", "99", "no particle 99"),
        ("merge", "2", "two particles"),
        ("split", "2", "no neck"),
        ("cut", "2, 3", "choose one particle"),
    ],
)
def test_what_cannot_be_done_is_said(widget, qtbot, button: str, numbers: str, message) -> None:
    before = particles(widget).data.copy()
    widget.corrections.particles.value = numbers
    press(widget, qtbot, button)
    assert message in widget.controls.status.value
    np.testing.assert_array_equal(particles(widget).data, before)
    assert widget.results.enabled


def test_particles_of_another_plane_are_corrected_there(qtbot) -> None:
    widget = opened(ViewerModel(), np.stack([phases(), phases()]))
    qtbot.addWidget(widget.native)
    measured(widget, qtbot)
    press(widget, qtbot, "delete", "6")
    layer = particles(widget)
    assert (layer.data[1, 40:48, 10:18] == 0).all()
    assert (layer.data[0] == 2).any()
    assert (widget.viewer.layers["steel phases"].data[1, 40:48, 10:18] == 1).all()
    layer.undo()
    qtbot.waitUntil(settled(widget), timeout=30_000)
    assert (layer.data == 6).sum() == 64
    press(widget, qtbot, "delete", "2, 6")
    assert "several planes" in widget.controls.status.value
    assert "flat field" in widget.results.summary.value


def test_labels_not_in_memory_are_not_corrected(widget, qtbot) -> None:
    layer = widget.viewer.layers["steel phases"]
    layer.data.flags.writeable = False
    press(widget, qtbot, "delete", "2")
    assert "not in memory" in widget.controls.status.value


# --- row and particle ------------------------------------------------------------------------


def test_a_selected_label_is_ringed_and_chosen(widget, qtbot) -> None:
    layer = particles(widget)
    assert widget.viewer.layers.selection.active is layer
    layer.selected_label = 3
    ring = widget.viewer.layers[RING]
    np.testing.assert_allclose(ring.data, [[43.5, 25.5]])
    np.testing.assert_array_equal(ring.scale, layer.scale)
    assert widget.corrections.particles.value == "3"
    layer.selected_label = 77
    assert not len(ring.data)


def click(
    widget: QuantifyWidget, row: float, column: float, *keys: str, drag: bool = False
) -> None:
    """What napari calls for a click on the canvas."""
    layer = particles(widget)
    event = SimpleNamespace(
        type="mouse_press",
        position=layer.data_to_world((row, column)),
        view_direction=None,
        dims_displayed=[0, 1],
        modifiers=keys,
    )
    for callback in layer.mouse_drag_callbacks:
        steps = callback(layer, event)
        if steps is None:
            continue
        next(steps)
        if drag:
            event.type = "mouse_move"
            next(steps)
        event.type = "mouse_release"
        next(steps, None)


def test_the_ring_lies_on_a_layer_of_another_pixel_size(widget, qtbot) -> None:
    particles(widget).selected_label = 3
    image = widget.viewer.add_image(phases(), name="other")
    add_labels_layer(widget.viewer, image, phases(), named_classes(NAMES), "other phases", {})
    widget.phase_layer.value = widget.viewer.layers["other phases"]
    measured(widget, qtbot)
    layer = widget.viewer.layers["other phases particles"]
    layer.selected_label = 3
    ring = widget.viewer.layers[RING]
    assert ring.units == layer.units
    row = layer.features.loc[3]
    expected = (row["centroid_row_px"], row["centroid_column_px"])
    np.testing.assert_allclose(ring.data_to_world(ring.data[0]), layer.data_to_world(expected))


def test_a_click_selects_and_shift_adds(widget) -> None:
    layer = particles(widget)
    click(widget, 44, 12)
    assert layer.selected_label == 2
    click(widget, 44, 25, "Shift")
    assert widget.corrections.particles.value == "2, 3"
    click(widget, 44, 12, "Shift")
    assert widget.corrections.particles.value == "3"
    click(widget, 44, 52, drag=True)
    assert layer.selected_label == 2


def test_rows_of_naparis_table_and_particles_are_linked(viewer, qtbot) -> None:
    widget = opened(viewer)
    viewer.window.add_dock_widget(widget)
    measured(widget, qtbot)
    layer = particles(widget)
    widget.results.features.native.click()
    dock = next(d for n, d in viewer.window.dock_widgets.items() if "Features table" in n)
    view = dock.findChild(QTableView)
    view.selectRow(3)
    assert layer.selected_label == 3
    assert widget.corrections.particles.value == "3"
    layer.selected_label = 2
    assert {i.row() for i in view.selectedIndexes()} == {2}
    view.selectAll()
    assert widget.corrections.particles.value == "1, 2, 3, 4"
    press(widget, qtbot, "delete", "2")
    assert view.model().rowCount() == 5
    view.selectAll()
    assert widget.corrections.particles.value == "1, 3, 4"


def test_a_real_ctrl_z_takes_a_correction_back(viewer, qtbot) -> None:
    widget = opened(viewer)
    measured(widget, qtbot)
    before = areas(widget)
    press(widget, qtbot, "delete", "3")
    assert areas(widget) != before
    viewer.layers.selection.active = particles(widget)
    canvas = viewer.window._qt_viewer.canvas.native
    viewer.window._qt_window.show()
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: settled(widget)() and areas(widget) == before, timeout=10_000)


# --- colours and plots -----------------------------------------------------------------------


def test_particles_are_coloured_by_a_column_and_back(widget, qtbot) -> None:
    layer = particles(widget)
    distinct = layer.get_color(2)
    widget.colours.column.value = "area_px"
    qtbot.waitUntil(settled(widget), timeout=10_000)
    low, high = widget.colours.low.value, widget.colours.high.value
    assert low <= 64 <= high
    expected = value_colours(np.array([64.0, 36.0]), low, high)
    np.testing.assert_allclose(layer.get_color(2), expected[0], atol=1e-6)
    np.testing.assert_allclose(layer.get_color(4), expected[1], atol=1e-6)
    widget.colours.high.value = 64
    qtbot.waitUntil(settled(widget), timeout=10_000)
    np.testing.assert_allclose(
        layer.get_color(2), value_colours(np.array([64.0]), low, 64)[0], atol=1e-6
    )
    widget.colours.column.value = ""
    qtbot.waitUntil(settled(widget), timeout=10_000)
    np.testing.assert_allclose(layer.get_color(2), distinct)


def test_choices_outlive_new_layers(widget, qtbot) -> None:
    widget.colours.column.value, widget.corrections.phase.value = "area_px", 2
    widget.viewer.add_image(np.zeros((4, 4)), name="other")
    assert widget.colours.column.value == "area_px"
    assert "solidity" in widget.colours.column.choices
    assert widget.corrections.phase.value == 2
    qtbot.waitUntil(settled(widget), timeout=10_000)


def test_colours_follow_corrections(widget, qtbot) -> None:
    widget.colours.column.value = "area_px"
    press(widget, qtbot, "split", "1")
    assert widget.colours.column.value == "area_px"
    colours = [tuple(particles(widget).get_color(n)) for n in (1, 5)]
    values = value_colours(
        np.array([areas(widget)[1], areas(widget)[5]], float),
        widget.colours.low.value,
        widget.colours.high.value,
    )
    np.testing.assert_allclose(colours, values, atol=1e-6)


def test_value_colours_run_from_dark_to_bright() -> None:
    colours = value_colours(np.array([0.0, 1.0, 2.0, np.nan]), 0, 1)
    assert colours[0, :3].sum() < colours[1, :3].sum()
    np.testing.assert_array_equal(colours[1], colours[2])
    assert colours[3, 3] < 1


def test_plots_show_each_phase_and_follow(widget, qtbot) -> None:
    widget.results.plots.native.click()
    plots = widget.plots
    assert plots is not None
    qtbot.addWidget(plots)
    shown = [plots.phase.itemText(n) for n in range(plots.phase.count())]
    assert shown == ["carbide", "inclusion"]
    assert "3 particles" in plots.canvas.figure.axes[0].get_legend().get_texts()[0].get_text()
    press(widget, qtbot, "delete", "2")
    assert "2 particles" in plots.canvas.figure.axes[0].get_legend().get_texts()[0].get_text()
    press(widget, qtbot, "delete", "4")
    assert plots.phase.count() == 1


def test_the_dock_of_plots_can_be_read_as_it_opens(viewer, qtbot) -> None:
    widget = opened(viewer)
    viewer.window._qt_window.resize(1280, 860)
    viewer.window._qt_window.show()
    viewer.window.add_dock_widget(widget)
    measured(widget, qtbot)
    widget.results.features.native.click()
    widget.results.plots.native.click()
    qtbot.wait(500)
    figure = widget.plots.canvas.figure
    figure.canvas.draw()
    assert widget.plots.canvas.height() >= 210
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert box.height > 0.4 * figure.bbox.height
        seen = [text for text in axes.get_xticklabels() if box.x0 <= text.get_window_extent().x0]
        ends = [text.get_window_extent() for text in seen]
        assert all(left.x1 < right.x0 for left, right in pairwise(ends))


def test_large_curves_are_drawn_to_their_end(qtbot) -> None:
    plots = SizePlots()
    qtbot.addWidget(plots)
    radii = np.random.default_rng(0).lognormal(0, 0.5, 20_000)
    table = {"phase": "carbide", "equivalent_radius_um": radii, "weight": 1.0}
    plots.show_particles(pd.DataFrame(table))
    line = plots.canvas.figure.axes[2].lines[0]
    assert len(line.get_xdata()) <= 1000
    assert line.get_ydata()[-1] == pytest.approx(100)
    assert line.get_xdata()[-1] == radii.max()


def test_numbers_in_texts() -> None:
    assert numbers_in(" 3, 7;3\t12 ") == (3, 7, 12)
    assert numbers_in("") == ()
    for text in ("a", "-1", "1.5", "²"):
        with pytest.raises(InputError):
            numbers_in(text)


def test_row_of_a_particle_that_is_not_there() -> None:
    table = pd.DataFrame({"particle": [1, 5], "area_px": [3, 4]})
    assert row_of(table, 2) is None
    assert row_of(table, 5)["area_px"] == 4  # type: ignore[index]
