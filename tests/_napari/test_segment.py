from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Shapes
from napari.utils.notifications import notification_manager

from napari_metallography._napari import segment as segment_module
from napari_metallography._napari import worker
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.segment import SegmentWidget
from napari_metallography.calibration import Calibration
from napari_metallography.classes import layer_to_indices
from napari_metallography.errors import DeviceError, InputError
from napari_metallography.events import Events, Progress
from napari_metallography.models.card import DataSource
from napari_metallography.segmentation.model import save_model
from napari_metallography.segmentation.prediction import PredictionParameters
from napari_metallography.segmentation.thresholding import ThresholdParameters, threshold

NAMES = ["matrix", "network", "particles"]


@pytest.fixture(scope="module")
def models(untrained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of random weights."""
    folder = tmp_path_factory.mktemp("models")
    made = untrained(
        NAMES,
        pixel_size_um=(0.05, 0.2),
        data=DataSource(name="none <at all>", digest="0" * 64, licence="BSD-3-Clause"),
        metrics={"validation_miou": 0.25},
        good_from_px={"particles": 4},
    )
    save_model(folder / "random.safetensors", made.card, made.network)
    return folder


@pytest.fixture
def form(qtbot, models, monkeypatch) -> Iterator[Callable[[Any], SegmentWidget]]:
    """Makes the form for a viewer that holds one calibrated image, "steel"."""
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(models))
    notification_manager.records.clear()
    forms = []

    def opened(viewer: Any) -> SegmentWidget:
        viewer.add_image(two_phases(), name="steel")
        calibrate_layer(viewer.layers["steel"], Calibration.square(0.1, "test"))
        forms.append(SegmentWidget(viewer))
        forms[-1].by_model.model.choose("random")
        return forms[-1]

    yield opened
    for one in forms:
        one.abandon()
    settle()


@pytest.fixture
def widget(form, qtbot) -> SegmentWidget:
    widget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    return widget


def two_phases(shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    """Dark matrix with a bright square of 20×20 pixels, and a gradient over both."""
    image = np.full(shape, 60, np.uint8)
    image[10:30, 40:60] = 180
    return image + np.arange(shape[1], dtype=np.uint8)[None] // 8


BAR = np.array([[19.5, -0.5], [19.5, 79.5], [29.5, 79.5], [29.5, -0.5]])


def add_data_bar(widget: SegmentWidget) -> Shapes:
    """Rows 20 to 29, the lower half of the square."""
    return widget.viewer.add_shapes(
        [BAR], shape_type="rectangle", name="steel data bar", scale=(0.1, 0.1), units=("um", "um")
    )


def bright(widget: SegmentWidget) -> int:
    """Pixels of the phase in the preview; -1 while there is none."""
    shown = [x for x in widget.viewer.layers if x.name == "threshold preview"]
    return int(shown[0].data.sum()) if shown else -1


def settle() -> None:
    """Let abandoned computations end, so that none outlives its test."""
    from qtpy.QtWidgets import QApplication

    until = time.monotonic() + 20
    while worker._under_way and time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.005)


def finished(widget: SegmentWidget) -> Callable[[], bool]:
    return lambda: not widget.controls.is_running


def run(widget: SegmentWidget, qtbot: Any) -> None:
    widget.controls.run_button.native.click()
    qtbot.waitUntil(finished(widget), timeout=60_000)


def by_threshold(widget: SegmentWidget) -> None:
    widget.method.value = "threshold"


def endless(*args: object, **kwargs: object) -> Events[None]:
    while True:
        yield Progress(1, 3, "windows")
        time.sleep(0.001)


def test_a_model_gives_calibrated_phases_and_uncertainty(widget, qtbot) -> None:
    widget.by_model.fields["uncertainty"].value = True
    run(widget, qtbot)
    image, labels = widget.viewer.layers["steel"], widget.viewer.layers["steel phases"]
    assert isinstance(labels, Labels)
    assert labels.data.shape == image.data.shape
    assert set(np.unique(labels.data)) <= {1, 2, 3}
    np.testing.assert_array_equal(labels.scale, image.scale)
    assert labels.units == image.units
    assert labels.metadata["provenance"]["model"] == "random"
    assert len(labels.metadata["provenance"]["model_digest"]) == 64
    assert list(labels.features["class"]) == ["unlabelled", *NAMES]
    uncertainty = widget.viewer.layers["steel uncertainty"]
    assert uncertainty.data.dtype == np.float32
    assert 0 <= uncertainty.data.min() < uncertainty.data.max() <= 1
    np.testing.assert_array_equal(uncertainty.scale, image.scale)
    assert "%" in widget.controls.status.value


def test_threshold_finds_the_square_exactly(widget, qtbot) -> None:
    by_threshold(widget)
    run(widget, qtbot)
    labels = widget.viewer.layers["steel phases"]
    found = np.argwhere(layer_to_indices(labels.data) == 1)
    assert len(found) == 400
    assert (*found.min(0), *found.max(0)) == (10, 40, 29, 59)
    assert labels.metadata["provenance"]["method"] == "threshold"


REGION = np.array([[4.5, 34.5], [4.5, 69.5], [39.5, 69.5], [39.5, 34.5]])


def choose_region(widget: SegmentWidget) -> Shapes:
    """Rows 5 to 39 and columns 35 to 69, in a layer named "corner"."""
    shapes = widget.viewer.add_shapes(
        [REGION], shape_type="rectangle", scale=(0.1, 0.1), units=("um", "um"), name="corner"
    )
    widget.region.value = shapes
    return shapes


def test_the_phases_of_a_threshold_bear_the_names_given(widget, qtbot) -> None:
    by_threshold(widget)
    widget.by_threshold.names[0].value = " ferrite "
    widget.by_threshold.names[1].value = "carbide"
    run(widget, qtbot)
    labels = widget.viewer.layers["steel phases"]
    assert list(labels.features["class"]) == ["unlabelled", "ferrite", "carbide"]
    assert "carbide" in widget.controls.status.value
    assert [field.value for field in SegmentWidget(widget.viewer).by_threshold.names] == [
        " ferrite ",
        "carbide",
    ]


@pytest.mark.parametrize("name", ["", "  ", "matrix"])
def test_phases_without_names_of_their_own_are_refused(name: str, widget) -> None:
    by_threshold(widget)
    widget.by_threshold.names[1].value = name
    widget.controls.run_button.native.click()
    assert widget.controls.status.value == "give matrix and phase a name each, not the same one"


def test_outside_the_region_stays_unlabelled(widget, qtbot) -> None:
    assert choose_region(widget) in widget.region.choices
    by_threshold(widget)
    run(widget, qtbot)
    labels = widget.viewer.layers["steel phases (corner)"].data
    inside = np.zeros(labels.shape, bool)
    inside[5:40, 35:70] = True
    np.testing.assert_array_equal(labels > 0, inside)


def test_a_stack_is_segmented_plane_by_plane(widget, qtbot) -> None:
    planes = np.stack([two_phases(), two_phases()[::-1]])
    layer = widget.viewer.add_image(planes, name="stack")
    widget.image.value = layer
    by_threshold(widget)
    run(widget, qtbot)
    labels = widget.viewer.layers["stack phases"].data
    assert labels.shape == planes.shape
    np.testing.assert_array_equal(labels[0], labels[1][::-1])


def test_a_colour_image_works(widget, qtbot) -> None:
    widget.image.value = widget.viewer.add_image(
        np.repeat(two_phases()[..., None], 3, axis=2), name="colour", rgb=True
    )
    by_threshold(widget)
    run(widget, qtbot)
    assert (widget.viewer.layers["colour phases"].data == 2).sum() == 400


def test_a_rerun_replaces_its_own_result(widget, qtbot) -> None:
    by_threshold(widget)
    run(widget, qtbot)
    run(widget, qtbot)
    assert [x.name for x in widget.viewer.layers] == ["steel", "steel phases"]


def test_a_rerun_keeps_what_the_user_edited(widget, qtbot) -> None:
    by_threshold(widget)
    run(widget, qtbot)
    edited = widget.viewer.layers["steel phases"]
    edited.data_setitem((np.array([0]), np.array([0])), 2)
    run(widget, qtbot)
    run(widget, qtbot)
    assert [x.name for x in widget.viewer.layers] == ["steel", "steel phases", "steel phases [1]"]
    assert edited.data[0, 0] == 2
    assert widget.viewer.layers["steel phases [1]"].data[0, 0] == 1


def results(widget: SegmentWidget) -> list[str]:
    return [x.name for x in widget.viewer.layers if isinstance(x, Labels)]


def test_a_region_leaves_the_whole_field_s_result_alone(widget, qtbot) -> None:
    by_threshold(widget)
    run(widget, qtbot)
    whole = widget.viewer.layers["steel phases"]
    shapes = choose_region(widget)
    run(widget, qtbot)
    run(widget, qtbot)
    assert results(widget) == ["steel phases", "steel phases (corner)"]
    assert (whole.data > 0).all()
    # The same layer, but another region.
    shapes.data = [REGION + np.array([3, 0])]
    run(widget, qtbot)
    assert results(widget)[2:] == ["steel phases (corner) [1]"]
    widget.region.value = None
    run(widget, qtbot)
    assert len(results(widget)) == 3


def test_a_moved_data_bar_corrects_the_result(widget, qtbot) -> None:
    bar = add_data_bar(widget)
    by_threshold(widget)
    run(widget, qtbot)
    assert not widget.viewer.layers["steel phases"].data[20:30].any()
    bar.data = [BAR + np.array([5, 0])]
    run(widget, qtbot)
    assert results(widget) == ["steel phases"]
    assert widget.viewer.layers["steel phases"].data[20:25].all()


def test_another_image_of_the_same_name_does_not_replace_a_result(widget, qtbot) -> None:
    by_threshold(widget)
    run(widget, qtbot)
    former = widget.viewer.layers["steel phases"]
    widget.viewer.layers.remove("steel")
    widget.viewer.add_image(255 - two_phases(), name="steel")
    run(widget, qtbot)
    assert former in widget.viewer.layers
    assert results(widget) == ["steel phases", "steel phases [1]"]


def test_the_uncertainty_of_a_region_is_a_map_of_its_own(widget, qtbot) -> None:
    widget.by_model.fields["uncertainty"].value = True
    run(widget, qtbot)
    choose_region(widget)
    run(widget, qtbot)
    names = [x.name for x in widget.viewer.layers]
    assert {"steel uncertainty", "steel uncertainty (corner)"} <= set(names)
    assert [x.name for x in widget.image.choices] == ["steel"]


def test_cancel_leaves_no_layer(widget, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(segment_module, "segment", endless)
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: widget.controls.progress.value == 1)
    assert not widget.controls.run_button.enabled
    widget.controls.cancel_button.native.click()
    qtbot.waitUntil(finished(widget))
    assert widget.controls.status.value == "cancelled"
    assert widget.controls.run_button.enabled
    assert len(widget.viewer.layers) == 1


@pytest.mark.parametrize(
    "error", [InputError("every pixel has the same value"), DeviceError("use --device cpu")]
)
def test_errors_stand_in_the_form_and_in_a_notification(error, widget, qtbot, monkeypatch) -> None:
    def failing(*args: object, **kwargs: object) -> Events[None]:
        yield Progress(0, 1)
        raise error

    monkeypatch.setattr(segment_module, "segment", failing)
    run(widget, qtbot)
    assert widget.controls.status.value == str(error)
    assert [n.message for n in notification_manager.records] == [str(error)]


def test_a_runtime_error_is_not_swallowed(widget, qtbot, monkeypatch) -> None:
    def failing(*args: object, **kwargs: object) -> Events[None]:
        yield Progress(0, 1)
        raise RuntimeError("boom")

    monkeypatch.setattr(segment_module, "segment", failing)
    run(widget, qtbot)
    assert widget.controls.status.value == "RuntimeError: boom"


def test_a_constant_image_is_refused_in_one_line(widget, qtbot) -> None:
    widget.image.value = widget.viewer.add_image(np.zeros((40, 40), np.uint8), name="black")
    run(widget, qtbot)
    assert "every pixel has the same value" in widget.controls.status.value
    assert "\n" not in widget.controls.status.value


def test_without_an_image_the_form_says_what_to_do(widget) -> None:
    widget.viewer.layers.clear()
    widget.controls.run_button.native.click()
    assert widget.controls.status.value == "open an image first, then choose it here"


def test_closing_the_dock_ends_the_run(form, viewer, qtbot, monkeypatch) -> None:
    closed = []

    def computation(*args: object, **kwargs: object) -> Events[None]:
        try:
            yield from endless()
        finally:
            closed.append(True)

    monkeypatch.setattr(segment_module, "segment", computation)
    widget = form(viewer)
    viewer.window.add_dock_widget(widget)
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: widget.controls.progress.value == 1)
    viewer.window.remove_dock_widget(widget.native)
    qtbot.waitUntil(lambda: not worker._under_way)
    assert closed
    assert len(viewer.layers) == 1


def test_closing_the_dock_takes_the_preview_away(form, viewer, qtbot) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget)
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: "threshold preview" in viewer.layers)
    viewer.window.remove_dock_widget(widget.native)
    assert [x.name for x in viewer.layers] == ["steel"]


def test_closing_the_viewer_ends_the_run(form, viewer, qtbot, monkeypatch) -> None:
    monkeypatch.setattr(segment_module, "segment", endless)
    widget = form(viewer)
    viewer.window.add_dock_widget(widget)
    widget.controls.run_button.native.click()
    qtbot.waitUntil(lambda: widget.controls.progress.value == 1)
    viewer.close()
    qtbot.waitUntil(lambda: not worker._under_way, timeout=10_000)


def test_a_real_window_shows_the_result(form, viewer, qtbot) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget)
    run(widget, qtbot)
    assert "steel phases" in viewer.layers


def test_the_preview_is_what_the_run_gives(widget, qtbot) -> None:
    by_threshold(widget)
    fields = widget.by_threshold
    fields.fields["method"].value = "manual"
    fields.preview.value = True
    preview = "threshold preview"
    qtbot.waitUntil(lambda: preview in widget.viewer.layers)
    fields.value.value = 67.0
    shown = widget.viewer.layers[preview].data
    plane = segment_module.snapshot(widget.viewer.layers["steel"])[0]
    np.testing.assert_array_equal(shown == 1, plane > 67)
    run(widget, qtbot)
    assert preview not in widget.viewer.layers
    np.testing.assert_array_equal(widget.viewer.layers["steel phases"].data == 2, shown == 1)


def test_the_preview_of_a_turned_image_lies_on_it(widget, qtbot) -> None:
    turned = np.array([[0, 1, 7], [-1, 0, 2], [0, 0, 1]])
    image = widget.viewer.add_image(
        two_phases(), name="turned", scale=(2, 3), rotate=20, translate=(5, 6), affine=turned
    )
    widget.image.value = image
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: "threshold preview" in widget.viewer.layers)
    preview = widget.viewer.layers["threshold preview"]
    assert np.allclose(preview.data_to_world((10, 40)), image.data_to_world((10, 40)))


def test_small_holes_of_the_phase_are_filled(widget, qtbot) -> None:
    pixels = two_phases()
    pixels[15:18, 45:48] = 60
    widget.image.value = widget.viewer.add_image(pixels, name="holes")
    by_threshold(widget)
    for smallest, expected in ((9, 391), (10, 400)):
        widget.by_threshold.fields["smallest_hole_px"].value = smallest
        run(widget, qtbot)
        assert (widget.viewer.layers["holes phases"].data == 2).sum() == expected


def test_a_broken_link_among_the_models_is_passed_over(form, models, qtbot) -> None:
    link = models / "gone.safetensors"
    link.symlink_to(models / "nowhere.safetensors")
    try:
        widget = form(ViewerModel())
        qtbot.addWidget(widget.native)
        names = widget.by_model.model.combo.choices
    finally:
        link.unlink()
    assert "random" in names
    assert "gone" not in names


def test_the_slider_starts_at_otsu_and_spans_the_grey_values(widget, qtbot) -> None:
    by_threshold(widget)
    fields = widget.by_threshold
    fields.fields["method"].value = "manual"
    qtbot.waitUntil(lambda: "Otsu" in fields.found.value)
    image = two_phases()
    assert (fields.value.min, fields.value.max) == (image.min(), image.max())
    from napari_metallography.plane import as_plane
    from napari_metallography.regions import Field

    expected = threshold(as_plane(image), Field(image.shape), ThresholdParameters()).value
    assert fields.value.value == pytest.approx(expected)


def test_a_preview_of_a_stack_follows_the_plane_in_view(widget, qtbot) -> None:
    planes = np.stack([two_phases(), 255 - two_phases()])
    widget.image.value = widget.viewer.add_image(planes, name="stack")
    by_threshold(widget)
    widget.by_threshold.preview.value = True

    def share() -> float:
        names = [x.name for x in widget.viewer.layers]
        if "threshold preview" not in names:
            return -1
        return float(widget.viewer.layers["threshold preview"].data.mean())

    widget.viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(lambda: share() == pytest.approx(400 / 5120))
    widget.viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: share() == pytest.approx(1 - 400 / 5120))


def test_the_preview_follows_a_shape_that_is_moved(widget, qtbot) -> None:
    shapes = choose_region(widget)
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: bright(widget) == 400)
    # The upper half of the square lies above the region now.
    shapes.data = [REGION + np.array([15, 0])]
    qtbot.waitUntil(lambda: bright(widget) == 200)


def test_the_preview_follows_the_data_bar(widget, qtbot) -> None:
    layer = add_data_bar(widget)
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: bright(widget) == 200)
    layer.data = [BAR + np.array([5, 0])]
    qtbot.waitUntil(lambda: bright(widget) == 300)
    # Back by five rows, as napari's transform tool moves whole layers.
    layer.translate = (-0.5, 0)
    qtbot.waitUntil(lambda: bright(widget) == 200)


def test_the_preview_follows_when_the_data_bar_is_deleted(widget, qtbot) -> None:
    layer = add_data_bar(widget)
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: bright(widget) == 200)
    widget.viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: bright(widget) == 400)


def test_a_data_bar_found_by_itself_does_not_hinder_closing_everything(widget, qtbot) -> None:
    planes = np.random.default_rng(0).integers(60, 200, (200, 300), np.uint8)
    planes[-30:] = 0
    planes[-20:-10, 20:120:10] = 255
    widget.image.value = widget.viewer.add_image(planes, name="sem")
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: "threshold preview" in widget.viewer.layers)
    assert "sem data bar" in widget.viewer.layers
    widget.viewer.layers.clear()
    qtbot.wait(100)
    assert len(widget.viewer.layers) == 0


def test_a_previewed_image_that_is_removed_is_let_go(widget, qtbot) -> None:
    other = widget.viewer.add_image(two_phases(), name="other")
    widget.image.value = other
    by_threshold(widget)
    widget.by_threshold.preview.value = True
    qtbot.waitUntil(lambda: "threshold preview" in widget.viewer.layers)
    assert other not in _held_by_the_preview(widget)
    widget.viewer.layers.clear()
    qtbot.waitUntil(lambda: widget._previewer._plane is None)


def _held_by_the_preview(widget: SegmentWidget) -> list[Any]:
    return [*widget._previewer._key, *vars(widget._previewer).values()]


def test_the_card_is_readable_and_escaped(widget) -> None:
    text = widget.by_model.model.card.value
    for part in (*NAMES, "0.05 to 0.2 µm", "none &lt;at all&gt;", "BSD-3-Clause", "mIoU 0.25"):
        assert part in text


def test_the_form_says_from_which_size_each_class_is_reliable(widget) -> None:
    form = widget.by_model
    assert form.reliable.label == "Reliable from"
    assert form.reliable.value == "particles: 4 px (0.4 µm)<br>network: not known"
    # Calibrating the image, wherever it is done, changes what is said in µm.
    calibrate_layer(widget.viewer.layers["steel"], Calibration.square(0.4, "test"))
    assert "particles: 4 px (1.6 µm)" in form.reliable.value
    # Trained on 0.05 to 0.2 µm: the image is enlarged twofold.
    form.fields["resample"].value = True
    assert "particles: 2 px (0.8 µm)" in form.reliable.value
    widget.image.value = widget.viewer.add_image(two_phases(), name="in pixels")
    assert form.reliable.value == "particles: 4 px<br>network: not known"


def test_labels_stand_in_one_column_none_of_them_cut(widget, qtbot) -> None:
    # As napari does: its style comes after the form was made.
    widget.native.setStyleSheet("QLabel { font-size: 20px; padding: 3px }")
    by_threshold(widget)
    widget.show()
    qtbot.wait(50)
    shown = [x for x in widget.fields if x.visible and x.label]
    labels = [x.native.parentWidget().layout().itemAt(0).widget() for x in shown]
    assert len(labels) > 5
    assert len({label.width() for label in labels}) == 1
    assert all(label.width() >= label.sizeHint().width() for label in labels)


def test_settings_are_remembered(widget, qtbot) -> None:
    by_threshold(widget)
    widget.by_threshold.fields["shading_px"].value = 25.0
    widget.by_model.multi_scale.value = False
    run(widget, qtbot)
    again = SegmentWidget(widget.viewer)
    assert again.method.value == "threshold"
    assert again.by_threshold.fields["shading_px"].value == 25
    assert not again.by_model.multi_scale.value
    assert again.by_model.parameters().prediction.scales == (1.0,)


def test_a_model_file_of_another_task_is_refused(widget, tmp_path, monkeypatch) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_bytes(b"no model")
    choice = widget.by_model.model
    monkeypatch.setattr(
        "qtpy.QtWidgets.QFileDialog.getOpenFileName", lambda *a, **k: (str(path), "")
    )
    choice.combo.value = "file…"
    assert choice.value == "random"
    assert "not a model file" in notification_manager.records[-1].message


def test_the_form_begins_with_the_command_lines_parameters(widget) -> None:
    assert widget.by_model.parameters().prediction == PredictionParameters()
