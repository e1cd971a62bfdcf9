from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Layer, Points

from napari_metallography._napari import calibrate
from napari_metallography._napari.calibrate import CalibrateWidget, LengthField, describe
from napari_metallography._napari.layers import add_labels_layer, layer_calibration
from napari_metallography._napari.results import mark_computed
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.errors import InputError

CLASSES = named_classes(["matrix", "carbide"])


def pixels(rows: int = 40, columns: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (rows, columns), np.uint8)


@pytest.fixture
def model() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(pixels(), name="steel")
    return viewer


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr(calibrate, "show_error", messages.append)
    return messages


@pytest.fixture
def form(qtbot, model: ViewerModel) -> CalibrateWidget:
    widget = CalibrateWidget(model)
    qtbot.addWidget(widget.native)
    widget.show()
    return widget


def test_a_sheared_image_is_refused_in_one_line(form, model, told) -> None:
    model.layers["steel"].shear = [0.3]
    known(form, "0.2")
    assert "is sheared" in form.status.value
    assert len(told) == 1
    model.layers["steel"].units = ("um", "um")
    assert "is sheared" in form.present.value


def known(form: CalibrateWidget, text: str, unit: str = "µm") -> None:
    form.way.value = "known"
    form.known.number.value, form.known.unit.value = text, unit
    form.apply_button.changed.emit(True)


def size(layer: Layer) -> float:
    calibration = layer_calibration(layer)
    assert calibration is not None
    assert calibration.x_um == calibration.y_um
    return calibration.x_um


@pytest.mark.parametrize(
    ("text", "unit"), [("0.25", "µm"), ("0,25", "µm"), (" 250 ", "nm"), ("2.5e-4", "mm")]
)
def test_known_pixel_size_in_any_unit_and_with_a_decimal_comma(form, model, text, unit) -> None:
    known(form, text, unit)
    assert size(model.layers["steel"]) == pytest.approx(0.25)
    assert "0.25 µm per pixel (stated by the user)" in form.present.value


@pytest.mark.parametrize("text", ["", "abc", "0", "-1", "nan", "inf", "1,000.5"])
def test_what_is_no_pixel_size_is_refused_and_changes_nothing(form, model, told, text) -> None:
    known(form, text)
    assert layer_calibration(model.layers["steel"]) is None
    assert told == [form.status.value]
    assert told[0].startswith("Pixel size: ")


def test_without_an_image_the_form_says_so(form, model, told) -> None:
    model.layers.clear()
    known(form, "1")
    assert "open an image" in told[0]
    form.way.value = "bar"
    form.bar.mark_button.changed.emit(True)
    assert len(told) == 2


def test_active_image_is_offered_first(qtbot, model) -> None:
    model.add_image(pixels(), name="second")
    model.layers.selection.active = model.layers["second"]
    widget = CalibrateWidget(model)
    qtbot.addWidget(widget.native)
    assert widget.image.value is model.layers["second"]


def test_a_computed_map_is_neither_offered_nor_chosen(qtbot) -> None:
    viewer = ViewerModel()
    errors = viewer.add_image(pixels(), name="steel errors")
    mark_computed(errors)
    steel = viewer.add_image(pixels(), name="steel")
    viewer.layers.selection.active = errors
    widget = CalibrateWidget(viewer)
    qtbot.addWidget(widget.native)
    assert widget.image.choices == (steel,)
    assert widget.image.value is steel


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(0, 39), st.integers(0, 20)),
    st.tuples(st.integers(0, 39), st.integers(25, 49)),
    st.floats(1e-3, 1e3),
    st.floats(1e-2, 1e2),
)
def test_scale_bar_gives_length_over_pixels_whatever_the_old_scale(
    qtbot, first, second, length, old
) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(pixels(), scale=(old, old), units="um", name="steel")
    widget = CalibrateWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.way.value = "bar"
    widget.bar.mark_button.changed.emit(True)
    for end in (first, second):
        viewer.layers["steel scale bar"].add(end)
    widget.bar.length.number.value = repr(length)
    widget.apply()
    assert size(image) == pytest.approx(length / np.hypot(*np.subtract(first, second)))


def test_scale_bar_says_how_far_the_marking_has_come(form, model, told) -> None:
    form.way.value = "bar"
    form.bar.mark_button.changed.emit(True)
    bar = model.layers["steel scale bar"]
    assert isinstance(bar, Points)
    assert bar.mode == "add"
    assert "0 of 2" in form.bar.marked.value
    bar.add((5, 10))
    assert "1 of 2" in form.bar.marked.value
    form.bar.length.number.value = "20"
    form.apply()
    assert "1 are marked" in told[0]
    bar.add((5, 40))
    assert form.bar.marked.value == "30.0 px"
    bar.add((9, 9))
    assert "delete all but the two ends" in form.bar.marked.value


def test_scale_bar_states_the_uncertainty_of_its_ends(form, model) -> None:
    form.way.value = "bar"
    form.bar.mark_button.changed.emit(True)
    model.layers["steel scale bar"].data = [(5, 10), (5, 30)]
    form.bar.length.number.value = "10"
    form.apply()
    calibration = layer_calibration(model.layers["steel"])
    assert calibration is not None
    assert calibration.relative_uncertainty == pytest.approx(np.sqrt(2 / 12) / 20)
    assert "± 2 %" in form.present.value
    # The marks stay on the ends of the bar, and a click no longer adds one.
    bar, steel = model.layers["steel scale bar"], model.layers["steel"]
    assert bar.mode == "pan_zoom"
    assert np.allclose(steel.world_to_data(bar.data_to_world(bar.data[1])), (5, 30))


def test_marking_twice_uses_the_same_layer(form, model) -> None:
    form.bar.mark_button.changed.emit(True)
    form.bar.mark_button.changed.emit(True)
    assert len(model.layers) == 2


def save_objective(form: CalibrateWidget, name: str, text: str) -> None:
    form.way.value = "objective"
    form.objective.name.value = name
    form.objective.size.number.value = text
    form.objective.add_button.changed.emit(True)


def test_objective_is_saved_applied_and_there_in_the_next_session(qtbot, form, model) -> None:
    save_objective(form, "50× air", "0,11")
    form.apply()
    assert layer_calibration(model.layers["steel"]) == Calibration.square(0.11, "objective 50× air")
    later = CalibrateWidget(ViewerModel())
    qtbot.addWidget(later.native)
    assert later.objective.saved.choices == ("50× air",)


def test_deleted_objective_is_no_longer_offered(form, told) -> None:
    save_objective(form, "50×", "0.11")
    save_objective(form, "10×", "0.55")
    assert form.objective.saved.value == "10×"
    form.objective.delete_button.changed.emit(True)
    assert form.objective.saved.choices == ("50×",)
    form.objective.delete_button.changed.emit(True)
    form.apply()
    assert "no objective is saved yet" in told[0]


def test_file_is_read_again(registered_plugin, form, model, tmp_path: Path) -> None:
    path = tmp_path / "sem.tif"
    tifffile.imwrite(path, pixels(), resolution=(1e4 / 0.25, 1e4 / 0.25), resolutionunit=3)
    (tmp_path / "index.csv").write_text("image,pixel_size_um\nsem.tif,0.5\n")
    (layer,) = model.open(path, plugin="napari-metallography")
    layer.scale, layer.units = (1, 1), ("pixel", "pixel")
    form.image.value = layer
    form.way.value = "file"
    form.apply()
    assert layer_calibration(layer) == Calibration.square(0.5, "index.csv")


def test_file_without_pixel_size_and_layer_without_file_are_refused(
    registered_plugin, form, model, told, tmp_path: Path
) -> None:
    form.way.value = "file"
    form.apply()
    assert "was not opened from a file" in told[0]
    tifffile.imwrite(tmp_path / "sem.tif", pixels())
    (form.image.value,) = model.open(tmp_path / "sem.tif", plugin="napari-metallography")
    form.apply()
    assert "sem.tif states no pixel size" in told[1]


def test_labels_and_regions_go_along_with_their_image(form, model) -> None:
    steel = model.layers["steel"]
    add_labels_layer(model, steel, pixels() % 2, CLASSES, "steel phases", {})
    region = model.add_shapes([[(1, 2), (1, 9), (8, 9), (8, 2)]], name="region")
    known(form, "0.5")
    assert size(model.layers["steel phases"]) == size(region) == 0.5
    assert np.allclose(steel.world_to_data(region.data_to_world(region.data[0][2])), (8, 9))
    assert not form.mixed.visible


def test_computed_maps_go_along_with_their_image(form, model) -> None:
    uncertainty = model.add_image(pixels(), name="steel uncertainty")
    mark_computed(uncertainty)
    known(form, "0.5")
    assert size(uncertainty) == 0.5


def test_another_image_keeps_its_own_pixel_size_with_all_that_is_its(form, model) -> None:
    other = model.add_image(pixels(), name="steel 2")
    labels = add_labels_layer(model, other, pixels() % 2, CLASSES, "steel 2 phases", {})
    known(form, "0.5")
    assert layer_calibration(other) is None
    assert layer_calibration(labels) is None


def test_layers_left_in_pixels_are_named(form, model) -> None:
    model.add_image(pixels(), name="other")
    assert not form.mixed.visible
    known(form, "0.5")
    assert form.mixed.visible
    assert "Still in pixels: other." in form.mixed.value


def test_images_of_the_same_size_are_calibrated_when_asked(form, model) -> None:
    model.add_image(pixels(), name="same")
    model.add_image(pixels(41, 50), name="larger")
    form.same_size.value = True
    known(form, "0.5")
    assert size(model.layers["same"]) == 0.5
    assert layer_calibration(model.layers["larger"]) is None


def test_scale_changed_by_others_is_shown(form, model) -> None:
    steel = model.layers["steel"]
    steel.units = ("um", "um")
    steel.scale = (0.3, 0.3)
    assert "0.3 µm per pixel (layer scale)" in form.present.value


def test_nominal_magnification_is_a_label_and_no_pixel_size(qtbot) -> None:
    layer = Image(pixels(), metadata={"microscope": {"nominal_magnification": "982×"}})
    text = calibrate.present_pixel_size(layer)
    assert "982× (not used for measuring)" in text
    assert "unknown" in text


def test_pixels_that_are_not_square_are_described_as_such() -> None:
    assert describe(Calibration(0.1, 0.2, "index.csv")) == "0.1 × 0.2 µm per pixel (index.csv)"


def test_an_empty_length_asks_for_one(qtbot) -> None:
    field = LengthField("Length of the bar", "")
    qtbot.addWidget(field.native)
    with pytest.raises(InputError, match="Length of the bar: it is still empty"):
        field.micrometres()


def test_each_way_shows_its_own_fields_only(form) -> None:
    shown = {
        "known": form.known, "bar": form.bar.length, "objective": form.objective.saved,
        "file": form.file,
    }  # fmt: skip
    for way in shown:
        form.way.value = way
        assert [key for key, widget in shown.items() if widget.visible] == [way]


def test_dock_opens_from_the_plugin(viewer) -> None:
    viewer.open_sample("napari-metallography", "grains")
    _, widget = viewer.window.add_plugin_dock_widget("napari-metallography", "Calibrate")
    assert "0.2252 µm per pixel (index.csv)" in widget.present.value
    known(widget, "1")
    assert size(viewer.layers[0]) == 1
