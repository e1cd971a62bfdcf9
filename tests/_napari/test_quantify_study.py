"""Studies in the form *Quantify*: fields put together, saved and opened; and large tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Shapes
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QTableView

from napari_metallography._napari import study_panel
from napari_metallography._napari.layers import add_labels_layer, calibrate_layer
from napari_metallography._napari.measured import FILE
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography._napari.quantify_results import with_ending
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.quantification.study_folder import digest, read_study_folder

NAMES = ["ferrite", "carbide"]


def phases(shift: int = 0) -> np.ndarray:
    indices = np.zeros((40, 60), np.uint8)
    indices[5:13, 5:13], indices[5:13, 15:23], indices[25:30, 30 + shift : 40] = 1, 1, 1
    return indices


def add_field(viewer: Any, name: str, indices: np.ndarray, size_um: float | None = 0.5) -> None:
    image = viewer.add_image(100 + 50 * indices, name=name)
    if size_um:
        calibrate_layer(image, Calibration.square(size_um, "test"))
    add_labels_layer(viewer, image, indices, named_classes(NAMES), f"{name} phases", {})


def settled(widget: QuantifyWidget) -> Callable[[], bool]:
    return lambda: widget.is_settled


def wait(widget: QuantifyWidget, qtbot: Any) -> None:
    qtbot.waitUntil(settled(widget), timeout=30_000)


def measure(widget: QuantifyWidget, qtbot: Any, name: str) -> None:
    widget.phase_layer.value = widget.viewer.layers[f"{name} phases"]
    widget.image.value = widget.viewer.layers[name]
    widget.controls.run_button.native.click()
    wait(widget, qtbot)


@pytest.fixture
def widget(qtbot) -> QuantifyWidget:
    notification_manager.records.clear()
    viewer = ViewerModel()
    add_field(viewer, "one", phases())
    add_field(viewer, "two", phases(4))
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget.native)
    return widget


@pytest.fixture
def collected(widget, qtbot) -> QuantifyWidget:
    """A study of two fields; the first particle of the second deleted."""
    widget.parameters["edge_rule"].value = "exclude-border"
    widget.parameters["smallest_area_px"].value = 3
    widget.results.specimen.value, widget.results.laboratory.value = "S-1", "L"
    box = [[1, 1], [1, 58], [38, 58], [38, 1]]
    region = Shapes([np.array(box)], shape_type="polygon", name="roi", scale=(0.5, 0.5))
    region.units = ("um", "um")
    widget.viewer.add_layer(region)
    widget.region.value = region
    for name in ("one", "two"):
        measure(widget, qtbot, name)
        widget.study.add.native.click()
    widget.corrections.particles.value = "1"
    widget.corrections.delete.native.click()
    wait(widget, qtbot)
    return widget


def test_statistics_are_over_fields(widget, qtbot) -> None:
    measure(widget, qtbot, "one")
    widget.study.add.native.click()
    assert "1 field, 3 particles" in widget.study.summary.value
    # Once, not for each phase.
    assert widget.study.summary.value.count("ne field alone gives no confidence interval") == 1
    measure(widget, qtbot, "two")
    widget.study.add.native.click()
    assert widget.study.names == ["one phases", "two phases"]
    assert "2 fields, 6 particles" in widget.study.summary.value
    assert "95 % confidence" in widget.study.summary.value
    assert widget.study.study().statistics["phases"]["carbide"]["area_fraction"]["n_fields"] == 2
    widget.study.add.native.click()
    assert widget.study.names == ["one phases", "two phases"]
    widget.study.remove_last.native.click()
    assert widget.study.names == ["one phases"]


def test_images_of_other_specimens_are_not_one_population(widget, qtbot) -> None:
    for name, specimen in (("one", "40"), ("two", "14")):
        widget.viewer.layers[name].metadata["microscope"] = {"specimen": specimen}
        measure(widget, qtbot, name)
        widget.study.add.native.click()
    statistics = widget.study.study().statistics
    assert set(statistics["specimens"]) == {"40", "14"}
    assert list(widget.study.study().phases["specimen"].unique()) == ["40", "14"]


def test_a_field_of_the_same_name_does_not_replace_another(widget, qtbot) -> None:
    layers = widget.viewer.layers
    measure(widget, qtbot, "one")
    widget.study.add.native.click()
    kept = layers["one phases"]
    kept.name = "former"
    layers["two phases"].name = "one phases"
    widget.reset_choices()
    widget.phase_layer.value, widget.image.value = layers["one phases"], layers["two"]
    widget.controls.run_button.native.click()
    wait(widget, qtbot)
    widget.study.add.native.click()
    widget.study.add.native.click()
    assert widget.study.names == ["one phases", "one phases (2)"]
    assert "2 fields, 6 particles" in widget.study.summary.value


def test_a_study_saved_without_its_image_keeps_naming_it(widget, qtbot, tmp_path) -> None:
    image = widget.viewer.layers["one"]
    file = tmp_path / "steel.tif"
    tifffile.imwrite(file, np.asarray(image.data))
    image.metadata = {**image.metadata, FILE: {"path": str(file), "sha256": ""}}
    measure(widget, qtbot, "one")
    # The digest is that of the file as measured.
    before = digest(file)
    file.rename(tmp_path / "away.tif")
    file.write_bytes(b"another")
    widget.study.add.native.click()
    widget.study.save_study(tmp_path / "study")
    wait(widget, qtbot)
    reopened = QuantifyWidget(ViewerModel())
    qtbot.addWidget(reopened.native)
    reopened.study.open_study(tmp_path / "study")
    wait(reopened, qtbot)
    assert "has changed" in reopened.controls.status.value
    reopened.study.save_study(tmp_path / "study")
    wait(reopened, qtbot)
    (tmp_path / "away.tif").replace(file)
    found = read_study_folder(tmp_path / "study").fields[0]
    assert found.problem == ""
    assert found.image is not None
    assert (found.image.path, found.image.sha256) == (file, before)


def test_a_painted_field_is_not_saved(widget, qtbot, tmp_path) -> None:
    measure(widget, qtbot, "one")
    widget.study.add.native.click()
    widget.viewer.layers["one phases"].data_setitem((np.array([20]), np.array([2])), 2)
    with pytest.raises(InputError, match="painted on"):
        widget.study.save_study(tmp_path / "study")


def test_widgets_are_read_in_the_window_s_thread(collected, qtbot, tmp_path) -> None:
    collected.study.save_study(tmp_path / "study")
    collected.results.laboratory.value = "another"
    wait(collected, qtbot)
    assert read_study_folder(tmp_path / "study").head.laboratory == "L"


def test_names_with_control_characters_are_written(widget, qtbot, tmp_path) -> None:
    widget.viewer.layers["one phases"].name = "one\x07 phases"
    widget.phase_layer.value = widget.viewer.layers["one\x07 phases"]
    widget.controls.run_button.native.click()
    wait(widget, qtbot)
    widget.results.write_xlsx(tmp_path / "a.xlsx")
    wait(widget, qtbot)
    assert "wrote a.xlsx" in widget.controls.status.value
    with pd.ExcelFile(tmp_path / "a.xlsx") as book:
        assert {"fields", "sizes", "statistics"} <= set(book.sheet_names)


def test_a_suffix_is_appended_to_a_name_with_dots() -> None:
    assert with_ending(Path("steel 0.5h"), ".csv") == Path("steel 0.5h.csv")
    assert with_ending(Path("a.CSV"), ".csv") == Path("a.CSV")


def test_a_correction_changes_the_study(collected) -> None:
    assert "2 fields, 5 particles" in collected.study.summary.value


def test_fields_with_and_without_a_pixel_size_do_not_go_together(qtbot) -> None:
    viewer = ViewerModel()
    add_field(viewer, "one", phases())
    add_field(viewer, "two", phases(), size_um=None)
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget.native)
    for name in ("one", "two"):
        measure(widget, qtbot, name)
        widget.study.add.native.click()
    assert "no pixel size" in widget.controls.status.value
    assert widget.study.names == ["one phases"]


def test_an_empty_study_is_not_saved(widget) -> None:
    widget.study.save.native.click()
    assert "no image to put together" in widget.controls.status.value
    with pytest.raises(InputError, match="add a field first"):
        widget.study.save_study(Path("study"))
    widget.study.add.native.click()
    assert "quantify first" in widget.controls.status.value


def test_a_study_is_reopened_as_it_was(collected, qtbot, tmp_path, monkeypatch) -> None:
    ask = lambda *_: (str(tmp_path / "study"), "")  # noqa: E731
    monkeypatch.setattr(study_panel.QFileDialog, "getSaveFileName", ask)
    collected.study.save.native.click()
    wait(collected, qtbot)
    assert collected.controls.status.value == "wrote the study study"
    reopened = QuantifyWidget(ViewerModel())
    qtbot.addWidget(reopened.native)
    where = lambda *_: str(tmp_path / "study")  # noqa: E731
    monkeypatch.setattr(study_panel.QFileDialog, "getExistingDirectory", where)
    reopened.study.open.native.click()
    wait(reopened, qtbot)
    assert reopened.controls.status.value == "opened study: 2 field(s)"
    assert reopened.study.names == collected.study.names
    for table in ("phases", "particles"):
        expected, found = (getattr(w.study.study(), table) for w in (collected, reopened))
        pd.testing.assert_frame_equal(found, expected)
    assert reopened.study.study().statistics == collected.study.study().statistics
    for name in ("one phases particles", "two phases particles", "two phases"):
        before, after = (w.viewer.layers[name] for w in (collected, reopened))
        np.testing.assert_array_equal(after.data, before.data)
        np.testing.assert_array_equal(after.scale, before.scale)
    layer = reopened.viewer.layers["two phases particles"]
    assert (
        layer.metadata["corrections"]
        == (collected.viewer.layers["two phases particles"].metadata["corrections"])
    )
    assert reopened.parameters["edge_rule"].value == "exclude-border"
    assert reopened.parameters["smallest_area_px"].value == 3
    assert (reopened.results.specimen.value, reopened.results.laboratory.value) == ("S-1", "L")
    assert reopened.region.value.name == "two phases region"
    assert reopened.results.visible or reopened.results.enabled
    # The day goes on: corrections can be taken back, and the study saved again.
    layer.undo()
    wait(reopened, qtbot)
    assert "2 fields, 6 particles" in reopened.study.summary.value
    reopened.study.save_study(tmp_path / "study")
    wait(reopened, qtbot)
    assert "wrote" in reopened.controls.status.value


def test_choosing_another_field_shows_its_results(collected, qtbot) -> None:
    collected.show()
    layers = collected.viewer.layers
    collected.phase_layer.value, collected.image.value = layers["one phases"], layers["one"]
    assert collected.results.visible
    assert collected.results.summary.value.startswith("one phases")
    layers["one phases particles"].selected_label = 2
    assert collected.corrections.particles.value == "2"


def test_an_image_that_is_gone_is_said_and_the_labels_open(collected, qtbot, tmp_path) -> None:
    collected.study.save_study(tmp_path / "study")
    wait(collected, qtbot)
    for image in (tmp_path / "study" / "images").iterdir():
        image.unlink()
    reopened = QuantifyWidget(ViewerModel())
    qtbot.addWidget(reopened.native)
    reopened.study.open_study(tmp_path / "study")
    wait(reopened, qtbot)
    assert "no longer there" in reopened.controls.status.value
    assert "\n" not in reopened.controls.status.value
    assert "two phases particles" in reopened.viewer.layers
    assert reopened.study.names == collected.study.names


def test_a_folder_without_a_study_is_one_line(widget, qtbot, tmp_path) -> None:
    widget.study.open_study(tmp_path)
    wait(widget, qtbot)
    assert "holds no study.json" in widget.controls.status.value


# --- tens of thousands of particles -----------------------------------------------------------


SIDE = 1600


def crowded() -> np.ndarray:
    """40 000 particles of 4×4 pixels: to measure them takes more than a second."""
    block = np.zeros((8, 8), np.uint8)
    block[2:6, 2:6] = 1
    return np.tile(block, (SIDE // 8, SIDE // 8))


def features_view(viewer: Any) -> QTableView:
    docks = viewer.window.dock_widgets.items()
    return next(dock for name, dock in docks if "Features table" in name).findChild(QTableView)


@pytest.fixture
def large(viewer, qtbot) -> QuantifyWidget:
    """A small image and one of 40 000 particles, of which the small one is measured."""
    add_field(viewer, "few", phases())
    add_field(viewer, "many", crowded())
    widget = QuantifyWidget(viewer)
    viewer.window.add_dock_widget(widget)
    measure(widget, qtbot, "few")
    widget.phase_layer.value, widget.image.value = viewer.layers["many phases"], None
    return widget


def quantify(widget: QuantifyWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    wait(widget, qtbot)


def test_tens_of_thousands_of_particles_do_not_freeze_the_window(
    large, viewer, qtbot, longest_stretch, longest_allowed
) -> None:
    allowed = longest_allowed((SIDE, SIDE))
    assert longest_stretch(lambda: quantify(large, qtbot)) < allowed
    assert "40,000 particles" in large.results.summary.value
    viewer.layers.selection.active = viewer.layers["many"]
    assert longest_stretch(large.results.features.native.click) < allowed
    view = features_view(viewer)
    assert view.model().rowCount() == 40_001
    layer = viewer.layers["many phases particles"]
    layer.selected_label = 15_000
    qtbot.wait(100)
    assert {index.row() for index in view.selectedIndexes()} == {15_000}
    numbers = iter(("500", "501"))

    def delete_and_undo() -> None:
        number = next(numbers)
        for button in ("delete", "undo"):
            large.corrections.particles.value = number
            getattr(large.corrections, button).native.click()
            wait(large, qtbot)

    assert longest_stretch(delete_and_undo) < allowed
    assert "40,000 particles" in large.results.summary.value


def test_a_second_large_image_is_in_the_table_that_the_first_opened(
    large, viewer, qtbot, longest_stretch, longest_allowed
) -> None:
    allowed = longest_allowed((SIDE, SIDE))
    large.phase_layer.value = viewer.layers["few phases"]
    large.results.features.native.click()
    view = features_view(viewer)
    assert view.model().rowCount() == len(viewer.layers["few phases particles"].features)
    large.phase_layer.value = viewer.layers["many phases"]
    quantify(large, qtbot)
    assert view.model().rowCount() == 40_001

    def look_at_another_and_back() -> None:
        for name in ("few", "many"):
            viewer.layers.selection.active = viewer.layers[f"{name} phases particles"]

    assert longest_stretch(look_at_another_and_back) < allowed
    assert view.model().rowCount() == 40_001
