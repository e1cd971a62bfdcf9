from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_metallography._napari import quantify as quantify_module
from napari_metallography._napari.layers import add_labels_layer, calibrate_layer
from napari_metallography._napari.particle_table import features_of, phase_table
from napari_metallography._napari.quantify import QuantifyWidget
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError
from napari_metallography.events import Events, Progress
from napari_metallography.io.labels import read_labels
from napari_metallography.regions import Box, Field

NAMES = ["ferrite", "carbide", "inclusion"]


def phases() -> np.ndarray:
    """Two carbides of 4×4 and 2×8 pixels, one inclusion of 3×3 at the border."""
    indices = np.zeros((40, 50), np.uint8)
    indices[5:9, 5:9] = 1
    indices[20:22, 10:18] = 1
    indices[0:3, 30:33] = 2
    return indices


def opened(viewer: Any, indices: np.ndarray, calibrated: bool = True) -> QuantifyWidget:
    image = viewer.add_image(100 + 50 * (indices == 1).astype(np.uint8), name="steel")
    if calibrated:
        calibrate_layer(image, Calibration.square(0.5, "test"))
    add_labels_layer(
        viewer,
        image,
        indices,
        named_classes(NAMES),
        "steel phases",
        {"provenance": {"method": "by hand"}, "field": Field(indices.shape[-2:]).to_dict()},
    )
    return QuantifyWidget(viewer)


@pytest.fixture
def widget(qtbot) -> QuantifyWidget:
    notification_manager.records.clear()
    widget = opened(ViewerModel(), phases())
    qtbot.addWidget(widget.native)
    return widget


def finished(widget: QuantifyWidget) -> Callable[[], bool]:
    return lambda: not widget.controls.is_running


def run(widget: QuantifyWidget, qtbot: Any) -> Any:
    """The layer of particles."""
    widget.controls.run_button.native.click()
    qtbot.waitUntil(finished(widget), timeout=30_000)
    return widget.viewer.layers["steel phases particles"]


def centre(widget: QuantifyWidget) -> tuple[float, ...]:
    return tuple(getattr(widget.viewer, "scene", widget.viewer).camera.center[-2:])


def column(widget: QuantifyWidget, name: str) -> list[str]:
    return list(widget.results.phases.to_dataframe()[name])


def test_features_row_i_belongs_to_label_i(widget, qtbot) -> None:
    layer = run(widget, qtbot)
    assert list(layer.features["phase"]) == ["", "inclusion", "carbide", "carbide"]
    assert list(layer.features["area_px"]) == [0, 9, 16, 16]
    for label in (1, 2, 3):
        assert (layer.data == label).sum() == layer.features["area_px"][label]
    radius = layer.features["equivalent_radius_um"]
    assert math.isnan(radius[0])
    assert radius[2] == pytest.approx(0.5 * math.sqrt(16 / math.pi))


def test_the_layer_lies_on_its_labels(widget, qtbot) -> None:
    layer, labels = run(widget, qtbot), widget.viewer.layers["steel phases"]
    np.testing.assert_array_equal(layer.scale, labels.scale)
    assert layer.units == labels.units
    assert layer not in widget.phase_layer.choices


def test_the_form_shows_area_count_radius_and_that_one_field_is_too_few(widget, qtbot) -> None:
    run(widget, qtbot)
    assert column(widget, "phase") == NAMES
    assert column(widget, "area\n(%)") == [f"{100 * n / 2000:.2f}" for n in (1959, 32, 9)]
    assert column(widget, "particles") == ["–", "2", "1"]
    radius = 0.5 * math.sqrt(16 / math.pi)
    assert column(widget, "mean radius\n(µm)")[:2] == ["–", f"{radius:.4g}"]
    assert "One field alone gives no confidence interval" in widget.results.summary.value


def test_planes_are_fields_with_a_confidence_interval(qtbot) -> None:
    other = np.roll(phases(), 3, 1)
    other[9, 8:12], other[3, 33:36] = 1, 2
    widget = opened(ViewerModel(), np.stack([phases(), other]))
    qtbot.addWidget(widget.native)
    widget.parameters["planes_are_fields"].value = True
    layer = run(widget, qtbot)
    assert layer.data.shape == (2, 40, 50)
    assert len(layer.features) == 7
    assert "2 fields" in widget.results.summary.value
    assert "95 % confidence" in widget.results.summary.value
    assert column(widget, "plane") == [0, 0, 0, 1, 1, 1]


def test_without_a_pixel_size_everything_is_in_pixels(qtbot) -> None:
    notification_manager.records.clear()
    widget = opened(ViewerModel(), phases(), calibrated=False)
    qtbot.addWidget(widget.native)
    layer = run(widget, qtbot)
    assert not [name for name in layer.features if "_um" in name]
    assert layer.features["equivalent_radius_px"][2] == pytest.approx(math.sqrt(16 / math.pi))
    assert column(widget, "mean radius\n(px)")[2] == f"{math.sqrt(9 / math.pi):.4g}"
    assert "No pixel size is known" in widget.results.summary.value
    told = [widget.results.summary.value, *(n.message for n in notification_manager.records)]
    assert "; use the Calibrate widget" in told[0]
    assert any("; use the Calibrate widget" in line for line in told[1:])
    assert not any("--" in line for line in told)


def test_labels_take_the_calibration_of_the_chosen_image(qtbot) -> None:
    widget = opened(ViewerModel(), phases(), calibrated=False)
    qtbot.addWidget(widget.native)
    image = widget.viewer.layers["steel"]
    calibrate_layer(image, Calibration.square(0.5, "objective 50×"))
    widget.image.value = image
    layer = run(widget, qtbot)
    assert layer.features["area_um2"][1] == pytest.approx(9 * 0.25)
    np.testing.assert_array_equal(widget.viewer.layers["steel phases"].scale, image.scale)


def test_matrix_is_left_out_unless_chosen(widget, qtbot) -> None:
    assert widget.classes.value == [1, 2]
    widget.classes.value = [2]
    assert list(run(widget, qtbot).features["phase"][1:]) == ["inclusion"]
    widget.classes.value = [0]
    assert list(run(widget, qtbot).features["phase"][1:]) == ["ferrite"]


def is_marked_as_earlier(widget: QuantifyWidget, tmp_path: Path) -> bool:
    """Whether the numbers shown say that they are old, and none of them can be written."""
    with pytest.raises(InputError, match="quantify first"):
        widget.results.write_xlsx(tmp_path / "study.xlsx")
    says = widget.results.summary.value.startswith("An earlier result")
    return says and not widget.results.csv.native.isEnabled()


def test_a_refusal_keeps_the_last_result_and_marks_it(widget, qtbot, tmp_path: Path) -> None:
    widget.show()
    layer = run(widget, qtbot)
    widget.classes.value = []
    widget.controls.run_button.native.click()
    assert widget.results.visible
    assert layer in widget.viewer.layers
    assert is_marked_as_earlier(widget, tmp_path)


def test_cancel_keeps_the_last_result_and_marks_it(widget, qtbot, tmp_path, monkeypatch) -> None:
    def endless(*_: object) -> Events[None]:
        while True:
            yield Progress(1, 3, "planes")
            time.sleep(0.001)

    layer = run(widget, qtbot)
    with monkeypatch.context() as patch:
        patch.setattr(quantify_module, "measured_events", endless)
        widget.controls.run_button.native.click()
        widget.controls.cancel_button.native.click()
        qtbot.waitUntil(finished(widget), timeout=30_000)
    assert layer in widget.viewer.layers
    assert is_marked_as_earlier(widget, tmp_path)
    # The next result takes its place, and counts.
    assert run(widget, qtbot) is not layer
    assert layer not in widget.viewer.layers
    assert widget.results.csv.native.isEnabled()
    assert widget.results.summary.value.startswith("steel phases: ")


@pytest.mark.parametrize("choice", ["phase_layer", "image"])
def test_another_layer_has_no_results_until_it_is_measured(widget, qtbot, choice: str) -> None:
    widget.show()
    run(widget, qtbot)
    image = widget.viewer.layers["steel"]
    classes = named_classes(NAMES)
    others = {
        "phase_layer": add_labels_layer(widget.viewer, image, phases(), classes, "other", {}),
        "image": widget.viewer.add_image(phases(), name="other image"),
    }
    assert widget.results.visible
    getattr(widget, choice).value = others[choice]
    assert not widget.results.visible
    # What was measured keeps its own layer, named after it.
    assert "steel phases particles" in widget.viewer.layers


def test_a_result_that_comes_when_another_layer_is_chosen_is_not_shown(widget, qtbot) -> None:
    widget.show()
    widget.controls.run_button.native.click()
    widget.phase_layer.value = widget.viewer.add_labels(phases() + 1, name="other")
    qtbot.waitUntil(finished(widget), timeout=30_000)
    assert "steel phases particles" in widget.viewer.layers
    assert not widget.results.visible


def test_the_results_say_whose_they_are(widget, qtbot) -> None:
    run(widget, qtbot)
    assert widget.results.summary.value.startswith("steel phases: 1 field, 3 particles.")


def test_no_class_chosen_is_refused(widget) -> None:
    widget.classes.value = []
    widget.controls.run_button.native.click()
    assert "choose at least one phase" in widget.controls.status.value


def test_edge_rule_and_smallest_area(widget, qtbot) -> None:
    widget.parameters["edge_rule"].value = "exclude-border"
    assert list(run(widget, qtbot).features["phase"][1:]) == ["carbide", "carbide"]
    widget.parameters["smallest_area_px"].value = 17
    assert len(run(widget, qtbot).features) == 1


def test_grey_values_come_from_the_image(widget, qtbot) -> None:
    widget.image.value = widget.viewer.layers["steel"]
    assert list(run(widget, qtbot).features["mean_grey"][1:]) == [100, 150, 150]


def test_the_segmented_field_stays_the_measured_one(widget, qtbot) -> None:
    labels = widget.viewer.layers["steel phases"]
    field = Field((40, 50), data_bar=Box(30, 0, 40, 50))
    labels.metadata = {**labels.metadata, "field": field.to_dict()}
    layer = run(widget, qtbot)
    assert layer.metadata["statistics"]["provenance"]["field"]["data_bar"] == [30, 0, 40, 50]
    assert column(widget, "area\n(%)")[1] == f"{100 * 32 / 1500:.2f}"


def test_selecting_a_particle_centres_the_view(widget, qtbot) -> None:
    layer = run(widget, qtbot)
    layer.selected_label = 3
    assert centre(widget) == pytest.approx((20.5 * 0.5, 13.5 * 0.5))
    layer.selected_label = 99
    assert centre(widget) == pytest.approx((20.5 * 0.5, 13.5 * 0.5))


def test_selecting_a_particle_of_another_plane_shows_that_plane(qtbot) -> None:
    widget = opened(ViewerModel(), np.stack([phases(), phases()]))
    qtbot.addWidget(widget.native)
    layer = run(widget, qtbot)
    widget.viewer.dims.set_current_step(0, 0)
    layer.selected_label = 5
    assert widget.viewer.dims.current_step[0] == 1


def test_files_hold_what_the_form_shows(widget, qtbot, tmp_path: Path) -> None:
    widget.image.value = widget.viewer.layers["steel"]
    run(widget, qtbot)
    results = widget.results
    results.decimal_comma.value = False
    results.specimen.value = "plate <7>"
    for write, name in (
        (results.write_csv, "particles.csv"),
        (results.write_xlsx, "study.xlsx"),
        (results.write_report, "report.html"),
    ):
        write(tmp_path / name)
        qtbot.waitUntil(finished(widget), timeout=30_000)
        assert widget.controls.status.value.startswith(f"wrote {name}")
    assert list(pd.read_csv(tmp_path / "particles.csv")["area_px"]) == [9, 16, 16]
    assert list(pd.read_csv(tmp_path / "particles_phases.csv")["phase"]) == NAMES
    assert len(pd.read_excel(tmp_path / "study.xlsx", sheet_name="particles")) == 3
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "plate &lt;7&gt;" in html
    assert "data:image/png" in html


def test_save_labels_writes_the_chosen_phases(widget, qtbot, tmp_path, monkeypatch) -> None:
    proposed = []

    def ask(*arguments: object) -> tuple[str, str]:
        proposed.append(arguments[2])
        return str(tmp_path / "steel_labels"), ""

    monkeypatch.setattr(quantify_module.QFileDialog, "getSaveFileName", ask)
    widget.save.native.click()
    qtbot.waitUntil(finished(widget), timeout=30_000)
    assert proposed == ["steel_labels.tif"]
    assert widget.controls.status.value == "wrote steel_labels.tif"
    saved = read_labels(tmp_path / "steel_labels.tif")
    np.testing.assert_array_equal(saved.indices, phases())
    assert saved.calibration == Calibration.square(0.5, "test")


def test_without_labels_there_is_nothing_to_save(widget) -> None:
    widget.viewer.layers.clear()
    widget.save.native.click()
    assert "open a Labels layer of phases" in widget.controls.status.value


def test_a_file_that_cannot_be_written_is_one_line(widget, qtbot, tmp_path: Path) -> None:
    run(widget, qtbot)
    (tmp_path / "study.xlsx").mkdir()
    widget.results.write_xlsx(tmp_path / "study.xlsx")
    qtbot.waitUntil(finished(widget))
    assert "cannot be written" in widget.controls.status.value


def test_foreign_labels_are_named_by_number(qtbot) -> None:
    viewer = ViewerModel()
    labels = viewer.add_labels(phases() + 1, name="steel phases")
    calibrate_layer(labels, Calibration.square(0.5, "test"))
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget.native)
    run(widget, qtbot)
    assert [name for name, _ in widget._class_choices(None)] == ["matrix", "class 1", "class 2"]
    assert column(widget, "phase") == ["matrix", "class 1", "class 2"]


def test_what_labels_were_taken_for_and_what_touches_the_border_stays_told(
    qtbot, tmp_path: Path
) -> None:
    viewer = ViewerModel()
    calibrate_layer(viewer.add_labels(phases(), name="steel phases"), Calibration.square(1, "test"))
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.classes.value = [0, 1]
    run(widget, qtbot)
    shown = widget.results.summary.value
    assert "\nThe layer does not say what its labels mean; 0 is taken as unlabelled, 1 = " in shown
    # What lies at the end of the labelled area is cut there.
    assert "\n3 of 3 particles counted touch the border: " in shown
    widget.results.write_report(tmp_path / "report.html")
    qtbot.waitUntil(finished(widget), timeout=30_000)
    assert "0 is taken as unlabelled" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 255, 255)])
def test_an_image_of_classes_is_offered_as_labels(qtbot, values: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.array(values, np.uint8)[phases()], name="mask")
    calibrate_layer(image, Calibration.square(0.5, "test"))
    viewer.add_image(np.random.default_rng(0).integers(0, 99, (40, 50), np.uint8), name="steel")
    widget = QuantifyWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.controls.run_button.native.click()
    assert "mask is an image of classes" in widget.controls.status.value
    assert widget.phase_layer.value is viewer.layers["mask labels"]
    widget.image.value = None
    widget.controls.run_button.native.click()
    qtbot.waitUntil(finished(widget), timeout=30_000)
    assert "3 particles" in widget.results.summary.value
    radius = viewer.layers["mask labels particles"].features["equivalent_radius_um"][2]
    assert radius == pytest.approx(0.5 * math.sqrt(16 / math.pi))


def test_missing_numbers_are_dashes() -> None:
    phases = pd.DataFrame(
        {
            "plane": [0],
            "phase": ["matrix"],
            "area_fraction": [np.nan],
            "n_particles": pd.array([pd.NA], "Int64"),
            "mean_radius_um": [np.nan],
        }
    )
    assert phase_table(phases).iloc[0].tolist() == ["matrix", "–", "–", "–"]


def test_features_without_a_particle_have_the_background_row() -> None:
    table = pd.DataFrame({"particle": np.arange(0), "area_px": np.arange(0)})
    assert features_of(table)["area_px"].tolist() == [0]


def test_the_particle_table_opens_in_a_real_window(viewer, qtbot) -> None:
    widget = opened(viewer, phases())
    viewer.window.add_dock_widget(widget)
    run(widget, qtbot)
    widget.results.features.native.click()
    assert any("Features table" in name for name in viewer.window.dock_widgets)
