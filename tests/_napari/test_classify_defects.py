from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QComboBox

from napari_metallography._napari.answer_table import CLASS
from napari_metallography._napari.defect_layers import confirmed_planes, map_features
from napari_metallography._napari.defects import ClassifyDefectsWidget
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.looked_at import stack_of
from napari_metallography.calibration import Calibration
from napari_metallography.classification import named
from napari_metallography.errors import DeviceError
from napari_metallography.models import registry
from napari_metallography.models.file import read_card, read_model, write_model

KINDS = ["lying", "upright", "upright", "lying", "upright", "lying"]


@pytest.fixture
def stack(striped) -> np.ndarray:
    return np.stack([striped(kind, 40 + n) for n, kind in enumerate(KINDS)])


@pytest.fixture
def form(ended, stripes_model, tmp_path, monkeypatch) -> Callable[[Any], ClassifyDefectsWidget]:
    """Makes the form for a viewer, with the model of the stripes among the user's own."""
    own = tmp_path / "models"
    own.mkdir()
    file = read_model(stripes_model, "defects")
    # Learnt from few images, it finds windows of a strip strange.
    shown = file.card.defects.model_copy(update={"most_strange": None})
    card = file.card.model_copy(update={"defects": shown})
    write_model(own / "stripes.safetensors", card, file.state)
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(own))
    notification_manager.records.clear()

    def opened(viewer: Any) -> ClassifyDefectsWidget:
        widget: ClassifyDefectsWidget = ended(ClassifyDefectsWidget(viewer))
        widget.model.choose("stripes")
        widget.parameters["risk"].value = 1
        return widget

    return opened


@pytest.fixture
def widget(form, qtbot) -> ClassifyDefectsWidget:
    widget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    return widget


def column(widget: ClassifyDefectsWidget, number: int) -> list[str]:
    return [widget.table.item(row, number).text() for row in range(widget.table.rowCount())]


def likeliest(widget: ClassifyDefectsWidget) -> list[str]:
    return [one.plane.row["most_probable"] for one in widget.answered]


def correct(widget: ClassifyDefectsWidget, row: int, name: str) -> None:
    """As the editor of the cell does it."""
    widget.table.item(row, CLASS).setText(name)


# --- answers ---------------------------------------------------------------------------------


def test_a_stack_in_the_viewer_is_answered_corrected_and_exported(
    form, viewer, stack, tmp_path, run
) -> None:
    image = viewer.add_image(stack, name="strip")
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Classify defects")
    widget.extent.value = "stack"
    assert run(widget).startswith("6 looked at: ")
    assert likeliest(widget) == KINDS
    assert column(widget, 1) == [f"strip, plane {n}" for n in range(6)]
    noted = image.metadata["defects"]
    assert [noted["answers"][n]["most_probable"] for n in range(6)] == KINDS
    assert noted["provenance"]["model"] == "stripes"
    assert [noted["answers"][n]["answer"] for n in range(6)] == column(widget, 2)
    widget.table.setCurrentCell(4, 1)
    assert viewer.dims.current_step[0] == 4
    correct(widget, 4, "dent")
    correct(widget, 0, "lying")
    assert image.metadata["defects"]["confirmed"] == {4: "dent", 0: "lying"}
    assert widget.tuning.confirmed.value == "dent 1, lying 1"
    widget.write(tmp_path / "classes.csv")
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines()))
    assert [row["confirmed"] for row in rows] == ["lying", "", "", "", "dent", ""]
    assert [row["most_probable"] for row in rows] == KINDS
    shares = [float(rows[3][f"probability_{name}"]) for name in ("lying", "upright")]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] >= 0.5
    told = json.loads((tmp_path / "classes.json").read_text("utf-8"))
    assert told["model_digest"] == noted["provenance"]["model_digest"]


def test_the_plane_in_view_and_selected_layers(widget, stack, striped, run) -> None:
    viewer = widget.viewer
    first = viewer.add_image(stack, name="strip")
    viewer.dims.set_point(0, 3)
    widget.image.value = first
    run(widget)
    assert [one.plane.number for one in widget.answered] == [3]
    colour = np.repeat(striped("upright", 3)[..., None], 3, axis=2)
    second = viewer.add_image(colour, name="other", rgb=True)
    widget.extent.value = "selected"
    viewer.layers.selection = {first, second}
    run(widget)
    # Had alike, each plane is there once.
    assert likeliest(widget) == [*KINDS, "upright"]
    widget.table.setCurrentCell(6, 1)
    assert (first.visible, second.visible) == (False, True)
    assert viewer.layers.selection.active is second
    viewer.layers.remove(first)
    assert likeliest(widget) == ["upright"]
    widget.parameters["risk"].value = 0
    run(widget)
    assert widget.table.rowCount() == 1


def test_answers_outlive_another_run_and_so_does_what_was_confirmed(widget, stack, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    correct(widget, 1, "upright")
    widget.parameters["risk"].value = 0.5
    run(widget)
    assert column(widget, CLASS) == ["", "upright", "", "", "", ""]
    assert image.metadata["defects"]["confirmed"] == {1: "upright"}
    correct(widget, 1, "")
    assert image.metadata["defects"]["confirmed"] == {}


@pytest.mark.parametrize("typed", ["unsure", "Unsure", " UNSURE "])
def test_unsure_is_no_class_and_takes_nothing_away(widget, stack, typed, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    correct(widget, 2, "upright")
    correct(widget, 2, typed)
    assert "is no class" in widget.controls.status.value
    assert column(widget, CLASS)[2] == "upright"
    assert image.metadata["defects"]["confirmed"] == {2: "upright"}


def test_sure_answers_of_selected_rows_are_confirmed_at_once(widget, stack, run) -> None:
    black = np.concatenate([stack, np.zeros((1, 48, 48), np.uint8)])
    image = widget.viewer.add_image(black, name="strip")
    widget.extent.value = "stack"
    run(widget)
    answers = column(widget, 2)
    assert answers[6] == "unsure\none grey value"
    changes: list[object] = []
    image.events.metadata.connect(lambda: changes.append(None))
    widget.table.selectAll()
    widget.confirm.native.click()
    # Noted once for all rows, whose number may be large.
    assert len(changes) == 1
    sure = {n: answer for n, answer in enumerate(answers) if "unsure" not in answer}
    assert image.metadata["defects"]["confirmed"] == sure
    assert column(widget, CLASS)[6] == ""


def test_the_editor_offers_classes_and_takes_new_ones(widget, stack, qtbot, run) -> None:
    widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    correct(widget, 0, "dent")
    widget.native.show()
    widget.table.editItem(widget.table.item(1, CLASS))
    (editor,) = [x for x in widget.table.findChildren(QComboBox) if x.isVisible()]
    offered = [editor.itemText(n) for n in range(editor.count())]
    assert offered == ["lying", "upright", "dent", "none"]
    editor.setCurrentText("crack")
    QApplication.processEvents()
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: column(widget, CLASS)[1] == "crack", timeout=5_000)
    assert widget.tuning.confirmed.value == "crack 1, dent 1"


def test_a_click_on_the_current_row_brings_its_plane_back(form, viewer, stack, qtbot, run) -> None:
    viewer.add_image(stack, name="strip")
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Classify defects")
    widget.extent.value = "stack"
    run(widget)

    def click(row: int) -> None:
        where = widget.table.visualItemRect(widget.table.item(row, 1)).center()
        qtbot.mouseClick(widget.table.viewport(), Qt.MouseButton.LeftButton, pos=where)

    click(1)
    run(widget, widget.heat)
    viewer.dims.set_point(0, 3)
    click(1)
    assert viewer.dims.current_step[0] == 1
    # It still is the row's own.
    assert "strip heat" in viewer.layers
    click(0)
    assert viewer.dims.current_step[0] == 0
    assert "strip heat" not in viewer.layers


def test_a_layer_that_goes_takes_what_was_confirmed_along(widget, stack, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    other = widget.viewer.add_image(stack[:2], name="other")
    widget.image.value, widget.extent.value = image, "stack"
    run(widget)
    correct(widget, 0, "dent")
    widget.image.value, widget.parameters["risk"].value = other, 0.5
    run(widget)
    assert {one.image for one in widget.answered} == {other}
    assert widget.tuning.confirmed.value == "dent 1"
    widget.viewer.layers.remove(image)
    assert widget.tuning.confirmed.value == "none yet"
    widget.viewer.layers.append(image)
    assert widget.tuning.confirmed.value == "dent 1"


def test_the_table_keeps_up_with_names(widget, stack, tmp_path, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    other = widget.viewer.add_image(stack[:1], name="other")
    widget.image.value, widget.extent.value = image, "stack"
    run(widget)
    correct(widget, 1, "dent")
    image.name = "iron"
    assert column(widget, 1) == [f"iron, plane {n}" for n in range(6)]
    assert column(widget, CLASS) == ["", "dent", "", "", "", ""]
    # Chosen by its new name, also once layers are offered anew.
    widget.viewer.layers.remove(other)
    assert widget.image.value is image
    assert widget.image.current_choice == "iron"
    widget.write(tmp_path / "classes.csv")
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines()))
    assert {row["image"] for row in rows} == {"iron"}
    assert rows[1]["confirmed"] == "dent"


# --- what does not go well -------------------------------------------------------------------


def test_a_plane_that_cannot_be_used_is_skipped_and_named(widget, stack, run) -> None:
    planes = stack[:5].astype(np.float32)
    planes[3, 7, 7] = np.nan
    image = widget.viewer.add_image(planes, name="strip")
    widget.extent.value = "stack"
    said = run(widget)
    assert said.startswith("4 looked at: ")
    assert "1 skipped: strip, plane 3: holds NaN" in said
    assert [one.plane.number for one in widget.answered] == [0, 1, 2, 4]
    assert set(image.metadata["defects"]["answers"]) == {0, 1, 2, 4}


def test_a_cancelled_run_keeps_its_answers(widget, stack, qtbot, run) -> None:
    image = widget.viewer.add_image(np.repeat(stack, 2000, axis=0), name="strip")
    widget.extent.value = "stack"
    widget.controls.run_button.native.click()
    assert not widget.heat.enabled
    assert not widget.tuning.button.enabled
    qtbot.waitUntil(lambda: "12000 planes" in widget.controls.status.value, timeout=30_000)
    qtbot.wait(200)
    said = run(widget, widget.controls.cancel_button)
    count = widget.table.rowCount()
    assert 0 < count < 12_000
    assert said.startswith(f"cancelled; {count} looked at: ")
    assert likeliest(widget) == [KINDS[0]] * count
    assert len(image.metadata["defects"]["answers"]) == count
    assert widget.heat.enabled
    assert widget.tuning.button.enabled


def test_a_failure_keeps_the_answers_before_it(widget, stack, monkeypatch, run) -> None:
    name_plane, calls = named.name_plane, []

    def failing(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        if len(calls) == 3:
            raise DeviceError("the device failed")
        return name_plane(*arguments, **keywords)

    monkeypatch.setattr(named, "name_plane", failing)
    widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    assert run(widget).startswith("the device failed; 2 looked at: ")
    assert likeliest(widget) == KINDS[:2]


def test_answers_for_replaced_data_are_dropped(widget, stack, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    correct(widget, 5, "upright")
    widget.table.setCurrentCell(5, 1)
    run(widget, widget.heat)
    # Of the same shape, too: nobody has looked at them.
    image.data = stack.copy()
    assert widget.table.rowCount() == 0
    run(widget)
    correct(widget, 5, "upright")
    widget.table.setCurrentCell(5, 1)
    run(widget, widget.heat)
    image.data = stack[:2]
    assert widget.table.rowCount() == 0
    assert "strip: its answers are dropped" in widget.controls.status.value
    assert "defects" not in image.metadata
    assert "strip heat" not in widget.viewer.layers
    assert widget.tuning.confirmed.value == "none yet"
    assert "no image is confirmed" in run(widget, widget.tuning.button)
    assert run(widget).startswith("2 looked at: ")
    assert column(widget, 1) == ["strip, plane 0", "strip, plane 1"]


@pytest.mark.parametrize("scan", [False, True])
def test_data_replaced_during_a_run_get_no_answers(widget, stack, striped, scan, wait) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    other = widget.viewer.add_image(striped("lying", 3), name="other")
    widget.parameters["scan"].value = scan
    widget.extent.value = "selected"
    widget.viewer.layers.selection = {image, other}
    widget.controls.run_button.native.click()
    image.data = stack[:3, :40, :40]
    said = wait(widget)
    assert said.startswith("1 looked at: ")
    assert "strip: its data were replaced meanwhile; classify it again" in said
    assert [one.image for one in widget.answered] == [other]
    assert "defects" not in image.metadata


def test_what_was_confirmed_before_the_window_was_opened_is_of_the_data(form, stack, run) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(stack, name="strip")
    first = form(viewer)
    first.extent.value = "stack"
    run(first)
    correct(first, 5, "upright")
    second = form(viewer)
    assert second.tuning.confirmed.value == "upright 1"
    image.events.data.disconnect()
    image.data = stack[:2]
    assert confirmed_planes(viewer) == []
    assert form(viewer).tuning.confirmed.value == "none yet"


# --- maps ------------------------------------------------------------------------------------


def test_a_scan_shows_what_lies_where(widget, striped, run) -> None:
    strip = np.hstack([striped("lying", 1, (48, 96)), striped("upright", 2, (48, 96))])
    image = widget.viewer.add_image(np.stack([strip, strip[:, ::-1]]), name="strip")
    calibrate_layer(image, Calibration.square(2.0, "test"))
    widget.extent.value = "stack"
    widget.parameters["scan"].value = True
    run(widget)
    layer = widget.viewer.layers["strip defects"]
    assert layer.data.shape == image.data.shape
    assert tuple(layer.scale) == tuple(image.scale)
    assert [one["name"] for one in layer.metadata["classes"]] == ["lying", "upright"]
    assert (layer.data[0, :, :48] != 2).all()
    assert (layer.data[1, :, :48] != 1).all()
    assert layer.features["class"].tolist() == ["unsure", "lying", "upright"]
    assert layer.features["area_fraction"].sum() == pytest.approx(1)
    assert layer.features["windows"].sum() == 2 * 7
    shares = np.bincount(layer.data.ravel(), minlength=3) / layer.data.size
    assert layer.features["area_fraction"].tolist() == pytest.approx(shares.tolist())
    run(widget)
    assert len([x for x in widget.viewer.layers if x.name.startswith("strip defects")]) == 1
    assert map_features([], ["a"])["area_fraction"].tolist() == [0, 0]


def test_planes_scanned_one_after_the_other_share_a_map(widget, striped, run) -> None:
    strip = np.hstack([striped("lying", 1, (48, 96)), striped("upright", 2, (48, 96))])
    whole = np.stack([strip, strip[:, ::-1], strip[::-1]])
    widget.viewer.add_image(whole, name="strip")
    widget.parameters["scan"].value = True

    def scan(plane: int) -> None:
        widget.viewer.dims.set_point(0, plane)
        run(widget)

    scan(0)
    layer = widget.viewer.layers["strip defects"]
    first = layer.data[0].copy()
    assert first.any()
    scan(1)
    assert widget.viewer.layers["strip defects"] is layer
    assert (layer.data[0] == first).all()
    assert layer.data[1].any()
    assert not layer.data[2].any()
    scanned = layer.data[:2]
    shares = np.bincount(scanned.ravel(), minlength=3) / scanned.size
    assert layer.features["area_fraction"].tolist() == pytest.approx(shares.tolist())
    assert layer.features["windows"].sum() == 2 * 7
    # Scanned again a plane counts once; had otherwise, the others make way.
    scan(1)
    assert layer.features["windows"].sum() == 2 * 7
    widget.parameters["risk"].value = 0.5
    scan(2)
    (anew,) = [x for x in widget.viewer.layers if x.name.startswith("strip defects")]
    assert not anew.data[:2].any()
    # What was painted stays.
    anew.data[0, 0, 0] = 1
    scan(1)
    maps = [x for x in widget.viewer.layers if x.name.startswith("strip defects")]
    assert len(maps) == 2
    assert anew.data[0, 0, 0] == 1
    assert not anew.data[1].any()


def test_only_the_planes_asked_for_are_copied(stack) -> None:
    layer = Image(stack.reshape(2, 3, 48, 48).copy(), name="strip")
    taken = stack_of(layer, (4,))
    assert taken.leading == (2, 3)
    layer.data[:] = 0
    assert (taken.plane(4).array == stack[4]).all()
    assert sum(one.nbytes for one in taken.array.planes.values()) == stack[4].nbytes
    single = stack_of(Image(stack[0], name="single"), (0,))
    assert (single.plane(0).array == stack[0]).all()


def test_heat_lies_on_the_plane_of_the_row_only(widget, stack, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    calibrate_layer(image, Calibration.square(0.5, "test"))
    widget.extent.value = "stack"
    run(widget)
    widget.table.setCurrentCell(4, 1)
    run(widget, widget.heat)
    heat = widget.viewer.layers["strip heat"]
    assert isinstance(heat, Image)
    assert heat.data.shape == (1, 48, 48)
    assert heat.data.max() > 0
    assert heat.metadata["heat"] == "upright"
    assert np.allclose(heat.data_to_world((0, 5, 7)), image.data_to_world((4, 5, 7)))
    assert heat not in widget.image.choices
    widget.table.setCurrentCell(5, 1)
    assert "strip heat" not in widget.viewer.layers


def test_the_colours_of_heat_maps_can_be_compared(widget, striped, run) -> None:
    pale = (striped("upright", 1) // 3 + 60).astype(np.uint8)
    widget.viewer.add_image(np.stack([striped("upright", 1), pale]), name="strip")
    widget.extent.value = "stack"
    run(widget)
    found = {}
    for row in (0, 1, 0):
        widget.table.setCurrentCell(row, 1)
        said = run(widget, widget.heat)
        heat = widget.viewer.layers["strip heat"]
        found[row] = (float(heat.data.max()), heat.contrast_limits[1])
        assert f"{found[row][0]:.3g} at most" in said
        assert f"stands for {found[row][1]:.3g}" in said
    strongest = max(most for most, _ in found.values())
    assert found[0][1] == found[1][1] == pytest.approx(strongest)
    assert found[0][0] != found[1][0]


# --- learning --------------------------------------------------------------------------------


def test_confirmed_answers_make_a_new_model(widget, stack, tmp_path, run) -> None:
    widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    for row, kind in enumerate(KINDS):
        correct(widget, row, {"lying": "rungs"}.get(kind, kind))
    widget.tuning.fields["iterations"].value = 2
    widget.tuning.name.value = "mine"
    said = run(widget, widget.tuning.button)
    assert "written to" in said
    assert "will not know lying" in said
    path = tmp_path / "models" / "mine" / "mine.safetensors"
    card = read_card(path)
    assert [one.name for one in card.classes] == ["upright", "rungs"]
    assert card.parent == widget.answered[0].image.metadata["defects"]["provenance"]["model_digest"]
    assert widget.model.value == "mine"
    before = path.read_bytes()
    assert "exists already" in run(widget, widget.tuning.button)
    assert path.read_bytes() == before
    run(widget)
    assert set(column(widget, CLASS)) == {"rungs", "upright"}
    assert set(likeliest(widget)) <= {"rungs", "upright"}


def test_nothing_is_copied_before_a_training_begins(widget, stack, run) -> None:
    image = widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    for row, kind in enumerate(KINDS):
        correct(widget, row, kind)
    found = confirmed_planes(widget.viewer)
    assert [one.class_name for one in found] == KINDS
    assert all(np.shares_memory(one.array, image.data) for one in found)
    assert all((one.array == plane).all() for one, plane in zip(found, stack, strict=True))


def test_training_can_be_cancelled(widget, stack, tmp_path, qtbot, run, wait) -> None:
    widget.viewer.add_image(stack, name="strip")
    widget.extent.value = "stack"
    run(widget)
    for row, kind in enumerate(KINDS):
        correct(widget, row, kind)
    widget.tuning.fields["iterations"].value = 100_000
    widget.tuning.button.native.click()
    qtbot.waitUntil(lambda: "iterations" in widget.controls.status.value, timeout=30_000)
    widget.controls.cancel_button.native.click()
    assert wait(widget) == "cancelled"
    assert not (tmp_path / "models" / "my-defects").exists()


# --- bad input -------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_a_line(widget, stack, monkeypatch, tmp_path, run) -> None:
    assert "open an image first" in run(widget)
    widget.extent.value = "selected"
    assert "select image layers" in run(widget)
    assert "select a row" in run(widget, widget.heat)
    assert "select rows" in run(widget, widget.confirm)
    assert "classify images first" in run(widget, widget.export)
    assert "no image is confirmed" in run(widget, widget.tuning.button)
    holes = np.full((2, 48, 48), np.nan)
    widget.image.value = widget.viewer.add_image(holes, name="holes", contrast_limits=(0, 1))
    widget.extent.value = "stack"
    assert run(widget).startswith("holes, plane 0: holds NaN or infinite values")
    for name in ("a/b", "", " "):
        widget.tuning.name.value = name
        assert "without slashes" in run(widget, widget.tuning.button)


def test_without_a_model_a_line_says_so(widget, tmp_path, monkeypatch, stack, run) -> None:
    widget.viewer.add_image(stack, name="strip")
    (tmp_path / "models" / "stripes.safetensors").unlink()
    monkeypatch.setattr(registry, "_SHIPPED", tmp_path / "nothing")
    widget.model.combo.reset_choices()
    assert "choose a model" in run(widget)


def test_another_pixel_size_is_told_in_the_status_line(
    widget, striped, stripes_model, tmp_path, run, wait
) -> None:
    file = read_model(stripes_model, "defects")
    card = file.card.model_copy(update={"pixel_size_um": (0.5, 0.5), "name": "known"})
    write_model(tmp_path / "models" / "known.safetensors", card, file.state)
    widget.model.combo.reset_choices()
    widget.model.choose("known")
    image = widget.viewer.add_image(striped("lying", 1, (96, 96)), name="strip")
    assert "no pixel size is known" in run(widget)
    correct(widget, 0, "upright")
    # What is refused meanwhile takes no notice away.
    widget.controls.run_button.native.click()
    widget.attempt(widget.tune)
    assert "under way" in widget.controls.status.value
    assert "no pixel size is known" in wait(widget)
    calibrate_layer(image, Calibration.square(2.0, "test"))
    assert "a pixel is 2 µm" in run(widget)
    calibrate_layer(image, Calibration.square(0.5, "test"))
    assert "pixel" not in run(widget)
