from __future__ import annotations

import csv
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_metallography._napari.answered import with_answers
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.structure import ClassifyStructureWidget
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification import structure_stacks
from napari_metallography.classification.stacks import NamedPlane
from napari_metallography.classification.structure import classify_plane
from napari_metallography.errors import DeviceError
from napari_metallography.events import Progress

SIZE = Calibration.square(0.1, "test")
KINDS = ["dark", "bright", "dark"]


@pytest.fixture
def form(ended, structure_models, monkeypatch) -> Callable[[Any], ClassifyStructureWidget]:
    """Makes the form for a viewer, with the models among the user's own."""
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(structure_models))

    def opened(viewer: Any) -> ClassifyStructureWidget:
        widget: ClassifyStructureWidget = ended(ClassifyStructureWidget(viewer))
        widget.model.choose("levels")
        return widget

    return opened


@pytest.fixture
def widget(form, qtbot) -> ClassifyStructureWidget:
    widget: ClassifyStructureWidget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    return widget


def answers(widget: ClassifyStructureWidget) -> list[str]:
    return [one.plane.row["answer"] for one in widget.answered]


def column(widget: ClassifyStructureWidget, heading: str) -> list[str]:
    table = widget.table
    headings = [table.horizontalHeaderItem(n).text() for n in range(table.columnCount())]
    at = headings.index(heading)
    return [table.item(row, at).text() for row in range(table.rowCount())]


def wait_for(widget: ClassifyStructureWidget, qtbot: Any, planes: int) -> None:
    """Until so many planes are answered."""
    asked = widget._asked
    qtbot.waitUntil(lambda: len(asked.parts) >= planes, timeout=30_000)


def add(widget: ClassifyStructureWidget, pixels: np.ndarray, name: str) -> Any:
    image = widget.viewer.add_image(pixels, name=name)
    calibrate_layer(image, SIZE)
    return image


@pytest.fixture
def stack(noisy) -> np.ndarray:
    return np.stack([noisy(kind, 50 + n) for n, kind in enumerate(KINDS)])


def test_a_stack_is_answered_noted_and_exported(widget, stack, tmp_path, run) -> None:
    image = add(widget, stack, "steel")
    widget.extent.value = "stack"
    assert run(widget).startswith("3 named, 0 of them none")
    assert answers(widget) == KINDS
    noted = image.metadata["structure"]
    assert [noted["answers"][n]["answer"] for n in range(3)] == KINDS
    assert noted["provenance"]["model"] == "levels"
    assert column(widget, "image") == [f"steel, plane {n}" for n in range(3)]
    assert column(widget, "answer") == KINDS
    assert column(widget, "note") == [""] * 3
    rows = [one.plane.row for one in widget.answered]
    shares = [row[f"probability_{row['answer']}"] for row in rows]
    assert column(widget, "probability") == [f"{share:.3f}" for share in shares]
    assert column(widget, "spread") == [f"{row['spread']:.2f}" for row in rows]
    assert column(widget, "P(none)") == [f"{row['probability_none']:.2f}" for row in rows]
    widget.table.setCurrentCell(1, 1)
    assert widget.viewer.dims.current_step[0] == 1
    widget.write(tmp_path / "classes.csv")
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines()))
    assert [row["answer"] for row in rows] == KINDS
    assert float(rows[0]["pixel_size_um"]) == pytest.approx(0.1)
    shares = [float(rows[1][f"probability_{name}"]) for name in ("dark", "bright", "none")]
    assert sum(shares) == pytest.approx(1)
    told = json.loads((tmp_path / "classes.json").read_text("utf-8"))
    assert told == noted["provenance"]


def test_the_plane_in_view_and_selected_layers(widget, stack, run, noisy) -> None:
    first = add(widget, stack, "steel")
    widget.viewer.dims.set_point(0, 1)
    widget.image.value = first
    run(widget)
    assert [(one.plane.number, one.plane.row["answer"]) for one in widget.answered] == [
        (1, "bright")
    ]
    second = add(widget, noisy("dark", 9), "other")
    widget.extent.value = "selected"
    widget.viewer.layers.selection = {first, second}
    run(widget)
    # Had alike, each plane is there once.
    assert answers(widget) == [*KINDS, "dark"]
    widget.table.setCurrentCell(3, 1)
    assert (first.visible, second.visible) == (False, True)
    widget.viewer.layers.remove(first)
    assert answers(widget) == ["dark"]
    widget.model.choose("free")
    run(widget)
    assert widget.table.rowCount() == 1
    widget.viewer.layers.remove(second)
    assert widget.table.rowCount() == 0


def test_what_was_answered_before_a_cancellation_stays(widget, qtbot, wait, noisy) -> None:
    planes = np.stack([noisy(KINDS[n % 2], n) for n in range(60)])
    image = add(widget, planes, "steel")
    widget.extent.value = "stack"
    widget.controls.run_button.native.click()
    assert not widget.saliency.enabled
    wait_for(widget, qtbot, 2)
    widget.controls.cancel_button.native.click()
    wait(widget)
    count = len(widget.answered)
    assert 2 <= count < 60
    assert widget.controls.status.value == f"cancelled; {count} named, 0 of them none"
    assert [*image.metadata["structure"]["answers"]] == [*range(count)]
    assert widget.table.rowCount() == count
    assert widget.saliency.enabled


def test_what_was_answered_before_the_device_failed_stays(widget, stack, monkeypatch, run) -> None:
    done = []

    def failing(*arguments: Any, **keywords: Any) -> Any:
        done.append(1)
        if len(done) == 3:
            raise DeviceError("the device failed")
        return classify_plane(*arguments, **keywords)

    monkeypatch.setattr(structure_stacks, "classify_plane", failing)
    add(widget, stack, "steel")
    widget.extent.value = "stack"
    assert run(widget) == "the device failed; 2 named, 0 of them none"
    assert answers(widget) == KINDS[:2]


def test_answers_are_of_the_data_they_were_had_from(widget, stack, run, wait, noisy) -> None:
    image = add(widget, stack, "steel")
    other = add(widget, noisy("dark", 9), "other")
    widget.extent.value = "selected"
    widget.viewer.layers.selection = {image, other}
    for data in (stack[:2], stack[:2].copy()):
        run(widget)
        image.data = data
        assert column(widget, "image") == ["other"]
        assert "structure" not in image.metadata
        assert "steel: its answers are dropped" in widget.controls.status.value
    # While they are looked for, too.
    widget.controls.run_button.native.click()
    image.data = image.data.copy()
    said = wait(widget)
    assert said.startswith("1 named, 0 of them none")
    assert "steel: its data were replaced meanwhile" in said
    assert column(widget, "image") == ["other"]


def test_a_layer_that_goes_meanwhile_is_not_counted(widget, stack, wait) -> None:
    image = add(widget, stack, "steel")
    widget.extent.value = "stack"
    widget.controls.run_button.native.click()
    widget.viewer.layers.remove(image)
    assert wait(widget).startswith("0 named")
    assert widget.table.rowCount() == 0


def test_the_table_keeps_up_with_names(widget, stack, tmp_path, run) -> None:
    image = add(widget, stack, "steel")
    widget.viewer.dims.set_point(0, 1)
    run(widget)
    image.name = "iron"
    assert column(widget, "image") == ["iron, plane 1"]
    widget.write(tmp_path / "classes.csv")
    (row,) = csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines())
    assert row["image"] == "iron"


def test_a_thousand_answers_do_not_freeze_the_window(widget, longest_stretch) -> None:
    image = add(widget, np.zeros((1000, 8, 8), np.uint8), "steel")
    row = {
        "answer": "dark",
        "spread": 0.1,
        "probability_none": 0.1,
        "crops": 8,
        "outside": 0.5,
        "note": "",
    }
    picture = np.zeros((64, 64, 3), np.uint8)
    planes = [NamedPlane("steel", n, row, 0.9, picture) for n in range(1000)]
    widget.answered = with_answers([], image, planes)
    widget.native.show()
    assert longest_stretch(widget._show_table) < 1
    assert widget.table.rowCount() == 1000


def test_without_a_pixel_size_only_a_scale_free_model_answers(widget, run, noisy) -> None:
    widget.image.value = widget.viewer.add_image(noisy("bright", 3), name="steel")
    said = run(widget)
    assert "steel: no pixel size is known" in said
    assert "alibrate" in said
    assert not widget.answered
    assert "no pixel size is known" in run(widget, widget.saliency)
    widget.model.choose("free")
    assert run(widget).startswith("1 named")
    assert answers(widget) == ["bright"]


def test_extrapolations_are_noted(widget, run, noisy) -> None:
    image = widget.viewer.add_image(noisy("bright", 3), name="steel")
    calibrate_layer(image, Calibration.square(5.0, "test"))
    assert "1 of 1 answers are extrapolations" in run(widget)
    assert column(widget, "note") == ["extrapolation: 100% of the crops"]


def test_saliency_lies_on_its_plane_in_the_colours_of_the_classes(widget, run, noisy) -> None:
    mixed = np.hstack([noisy("dark", 1, (64, 96)), noisy("bright", 2, (64, 96))])
    image = add(widget, np.stack([mixed, mixed[:, ::-1]]), "steel")
    widget.viewer.dims.set_point(0, 1)
    widget.windows["window_px"].value = 32
    said = run(widget, widget.saliency)
    layer = widget.viewer.layers["steel saliency"]
    assert "windows of 32 px" in said
    assert layer.rgb
    assert layer.data.shape == (1, 64, 192, 3)
    assert np.allclose(layer.data_to_world((0, 5, 7)), image.data_to_world((1, 5, 7)))
    dark, bright = (one.rgb for one in named_classes(("dark", "bright")))
    assert (layer.data[0, 32, :40] == bright).all()
    assert (layer.data[0, 32, -40:] == dark).all()
    assert "bright" in widget.legend.value
    assert layer.metadata["saliency"]["window_px"] == 32
    assert layer not in widget.image.choices
    # Known by the image, not by its name.
    image.name = "iron"
    run(widget, widget.saliency)
    assert [x.name for x in widget.viewer.layers] == ["iron", "iron saliency"]
    image.name = "former"
    widget.image.value = add(widget, np.stack([mixed, mixed]), "iron")
    widget.viewer.dims.set_point(0, 1)
    run(widget, widget.saliency)
    assert len([x for x in widget.viewer.layers if "saliency" in x.metadata]) == 2


def test_saliency_can_be_cancelled(widget, qtbot, wait, noisy) -> None:
    add(widget, noisy("dark", 1, (900, 900)), "steel")
    widget.windows["window_px"].value = 32
    widget.windows["stride_px"].value = 4
    widget.saliency.native.click()
    qtbot.waitUntil(lambda: "parts" in widget.controls.status.value, timeout=30_000)
    widget.controls.cancel_button.native.click()
    assert wait(widget) == "cancelled"
    assert len(widget.viewer.layers) == 1


def test_what_is_missing_is_said_in_a_line(widget, run, noisy) -> None:
    assert "open an image first" in run(widget)
    assert "open an image first" in run(widget, widget.saliency)
    assert "classify images first" in run(widget, widget.map)
    assert "classify images first" in run(widget, widget.export)
    widget.extent.value = "selected"
    assert "select image layers" in run(widget)
    add(widget, noisy("dark", 1, (20, 20)), "small")
    widget.extent.value = "view"
    assert "fewer than the smallest crop of 32 px" in run(widget)


def test_a_plane_seen_from_the_side_is_not_named(widget, stack, run) -> None:
    add(widget, stack, "steel")
    widget.viewer.dims.order = (1, 0, 2)
    said = "steel: its rows and columns are not in view; roll the axes until they are"
    assert run(widget) == said
    assert run(widget, widget.saliency) == said
    widget.viewer.dims.order = (0, 2, 1)
    assert run(widget).startswith("1 named")


def test_what_has_no_known_end_is_not_counted(widget) -> None:
    widget.controls._show(Progress(0, 0, "loading the model"))
    assert widget.controls.status.value == "loading the model"


def test_the_descriptor_map_opens_in_a_dock_and_goes_with_the_form(
    form, viewer, structure_models, run, noisy, noise_model
) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Classify structure")
    add(widget, noisy("bright", 5), "steel")
    run(widget)
    assert run(widget, widget.map) == "descriptor map of steel"
    dock = widget.docks.dock
    assert dock.title.text().startswith("steel.")
    (axes,) = dock.canvas.figure.axes
    assert len(axes.collections) >= 4
    run(widget, widget.map)
    assert widget.docks.dock is dock
    # The map of another model would be one that the crops were not described by.
    noise_model(structure_models / "levels.safetensors", largest_px=48)
    assert "the model file has changed; classify again" in run(widget, widget.map)
    # Its crops may lie amid a class where the whole image is of none.
    noise_model(structure_models / "levels.safetensors", most_strange=0.0)
    run(widget)
    assert column(widget, "note")[0].startswith("unlike the training images")
    run(widget, widget.map)
    assert "unlike the training images" in dock.title.text()
    viewer.window.remove_dock_widget(widget.native)
    assert widget.docks.dock is None
