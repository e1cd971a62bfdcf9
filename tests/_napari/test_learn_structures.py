from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_metallography._napari import learn_structures, worker
from napari_metallography._napari.answer_table import CLASS
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography._napari.learn_structures import LearnStructuresWidget
from napari_metallography.calibration import Calibration
from napari_metallography.classes import named_classes
from napari_metallography.classification.few_shot_model import FewShotNetwork, save_few_shot_model
from napari_metallography.classification.library import (
    Example,
    Library,
    read_library,
    write_library,
)
from napari_metallography.events import drain
from napari_metallography.models import registry
from napari_metallography.models.card import (
    DataSource,
    FewShotInput,
    ModelCard,
    Network,
    Normalisation,
)
from napari_metallography.models.file import write_model

KINDS = ["lying", "upright", "upright", "lying"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A few-shot model and a backbone of random weights, and a model of another task."""
    folder = tmp_path_factory.mktemp("few")
    torch.manual_seed(0)
    network = FewShotNetwork("resnet18", "cosine").eval()
    stated: dict[str, Any] = {
        "network": Network(architecture="prototypes", encoder="resnet18"),
        "normalisation": Normalisation(mean=(130, 130, 130), std=(40, 40, 40)),
        "data": DataSource(name="none", digest="0"),
    }
    few = ModelCard(
        name="few",
        task="few-shot",
        classes=named_classes(["a", "b"]),
        few_shot=FewShotInput(side=32, scale=10),
        **stated,
    )
    save_few_shot_model(folder / "few.safetensors", few, network)
    seen = ModelCard(name="seen", task="backbone", classes=(), training={"side": 32}, **stated)
    write_model(folder / "seen.safetensors", seen, network.backbone.tensors())
    return folder


@pytest.fixture
def form(ended, models, monkeypatch) -> Callable[[Any], LearnStructuresWidget]:
    """Makes the form for a viewer, with the models among the user's own."""
    monkeypatch.setenv("NAPARI_METALLOGRAPHY_MODELS", str(models))
    notification_manager.records.clear()

    def opened(viewer: Any) -> LearnStructuresWidget:
        widget: LearnStructuresWidget = ended(LearnStructuresWidget(viewer))
        widget.model.choose("few")
        return widget

    return opened


@pytest.fixture
def widget(form, qtbot) -> LearnStructuresWidget:
    widget: LearnStructuresWidget = form(ViewerModel())
    qtbot.addWidget(widget.native)
    return widget


@pytest.fixture
def stack(striped) -> np.ndarray:
    return np.stack([striped(kind, 40 + n) for n, kind in enumerate(KINDS)])


@pytest.fixture
def taught(widget, striped) -> LearnStructuresWidget:
    """With two examples of each kind of stripes, whose layers are gone."""
    for kind in ("lying", "upright"):
        for seed in range(2):
            add_example(widget, striped(kind, seed), f"{kind} {seed}", kind)
    widget.viewer.layers.clear()
    return widget


def add_example(widget: LearnStructuresWidget, pixels: np.ndarray, name: str, kind: str) -> str:
    widget.image.value = widget.viewer.add_image(pixels, name=name)
    widget.panel.name.value = kind
    widget.panel.add_image_button.native.click()
    return str(widget.controls.status.value)


def likeliest(widget: LearnStructuresWidget) -> list[str]:
    return [one.plane.row["most_probable"] for one in widget.answered]


def column(widget: LearnStructuresWidget, number: int) -> list[str]:
    return [widget.table.item(row, number).text() for row in range(widget.table.rowCount())]


def correct(widget: LearnStructuresWidget, row: int, name: str) -> str:
    """As the editor of the cell does it."""
    widget.table.item(row, CLASS).setText(name)
    return str(widget.controls.status.value)


def library_rows(widget: LearnStructuresWidget) -> dict[str, int]:
    """What the table shows: the pictures of each class."""
    table = widget.panel.table
    found = {}
    for row in range(table.rowCount()):
        items = [table.item(row, column) for column in range(2, table.columnCount())]
        pictures = [item for item in items if item is not None and not item.icon().isNull()]
        assert table.item(row, 1).text() == str(len(pictures))
        found[table.item(row, 0).text()] = len(pictures)
    return found


# --- the whole way ---------------------------------------------------------------------------


def test_a_stack_is_learnt_from_named_corrected_and_exported(
    form, viewer, stack, striped, tmp_path, run
) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Learn structures")
    for kind in ("lying", "upright"):
        said = add_example(widget, striped(kind, 7), f"sample {kind}", kind)
        assert said == f"sample {kind}: an example of {kind}"
        widget.panel.add_image_button.native.click()
        assert widget.controls.status.value == f"sample {kind}: already an example of {kind}"
    assert library_rows(widget) == {"lying": 1, "upright": 1}
    assert run(widget, widget.learn).startswith("2 classes learnt: lying, upright")
    image = viewer.add_image(stack, name="strip")
    widget.image.value, widget.extent.value = image, "stack"
    assert run(widget).startswith("4 looked at: ")
    assert likeliest(widget) == KINDS
    assert column(widget, 1) == [f"strip, plane {n}" for n in range(4)]
    widget.table.setCurrentCell(2, 1)
    assert viewer.dims.current_step[0] == 2
    said = correct(widget, 2, "Chequered ")
    assert (
        said == "strip, plane 2: an example of Chequered; Learn or Classify takes it into account"
    )
    correct(widget, 0, "LYING")
    assert column(widget, CLASS) == ["lying", "", "Chequered", ""]
    assert library_rows(widget) == {"Chequered": 1, "lying": 2, "upright": 1}
    noted = image.metadata["learnt_structures"]
    assert noted["confirmed"] == {0: "lying", 2: "Chequered"}
    assert [noted["answers"][n]["most_probable"] for n in range(4)] == KINDS
    widget.write(tmp_path / "classes.csv")
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines()))
    assert [row["confirmed"] for row in rows] == ["lying", "", "Chequered", ""]
    assert [row["most_probable"] for row in rows] == KINDS
    shares = [float(rows[3][f"probability_{name}"]) for name in ("lying", "upright")]
    assert sum(shares) == pytest.approx(1)
    told = json.loads((tmp_path / "classes.json").read_text("utf-8"))
    assert told["examples"] == {"lying": 1, "upright": 1}
    assert told["model"] == "few"
    # Naming again learns first: what was confirmed is what comes out.
    run(widget)
    assert likeliest(widget)[::2] == ["lying", "Chequered"]
    assert column(widget, CLASS) == ["lying", "", "Chequered", ""]


def test_what_is_learnt_is_learnt_again_only_when_something_changed(taught, stack, run) -> None:
    run(taught, taught.learn)
    first = taught._learnt
    taught.viewer.add_image(stack, name="strip")
    run(taught)
    assert taught._learnt is first
    correct(taught, 0, "lying")
    run(taught)
    second = taught._learnt
    assert second is not first
    taught.model.choose("seen")
    run(taught)
    assert taught._learnt is not second
    assert taught._learnt.lesson.model == "seen"
    assert taught._provenance["model"] == "seen"


# --- the library -----------------------------------------------------------------------------


def test_shapes_become_examples_of_the_classes_they_were_drawn_as(form, viewer, stack) -> None:
    widget = form(viewer)
    viewer.window.add_dock_widget(widget, name="Learn structures")
    image = viewer.add_image(stack, name="strip")
    calibrate_layer(image, Calibration.square(0.5, "test"))
    widget.image.value = image
    widget.panel.name.value = "lying"
    widget.panel.new_shapes_button.native.click()
    marks = viewer.layers[-1]
    assert widget.panel.shapes.value is marks
    square = np.array([[2, 3], [2, 42], [41, 42], [41, 3]])
    marks.add_rectangles(np.c_[np.zeros(4), square])
    widget.panel.name.value = "upright"
    marks.add_polygons(np.c_[np.ones(4), square])
    marks.add_rectangles(np.c_[np.ones(4), square / 3])
    widget.panel.specimen.value = "A7"
    widget.panel.add_shapes_button.native.click()
    said = widget.controls.status.value
    assert said.startswith("2 examples from strip examples; 1 skipped: shape 2: ")
    library = widget.panel.library
    lying, upright = widget.panel.library.examples
    assert np.array_equal(lying.plane, stack[0, 2:42, 3:43])
    assert np.array_equal(upright.plane, stack[1, 2:42, 3:43])
    assert (upright.name, upright.specimen, upright.pixel_size_um) == ("upright", "A7", 0.5)
    # Pressed again, nothing is there twice.
    widget.panel.add_shapes_button.native.click()
    assert library_rows(widget) == {"lying": 1, "upright": 1}
    said = widget.controls.status.value
    assert said.startswith("0 examples from strip examples; 2 already there; 1 skipped")
    assert widget.panel.library is library
    viewer.layers.remove(marks)
    widget.panel.add_shapes_button.native.click()
    assert "choose a Shapes layer" in widget.controls.status.value


def test_classes_of_other_blanks_and_case_are_one(widget, striped) -> None:
    for seed, name in enumerate(("Grain  boundary", " grain boundary ", "GRAIN BOUNDARY")):
        add_example(widget, striped("lying", seed), f"image {seed}", name)
    assert library_rows(widget) == {"Grain boundary": 3}
    table = widget.panel.table
    widget.panel.name.value = ""
    table.cellClicked.emit(0, 2)
    assert widget.panel.name.value == "Grain boundary"


def test_examples_are_removed_by_picture_or_by_class(taught, qtbot) -> None:
    table = taught.panel.table
    taught.panel.remove.native.click()
    assert "select pictures of examples" in taught.controls.status.value
    table.item(1, 3).setSelected(True)
    taught.panel.remove.native.click()
    assert [one.source for one in taught.panel.library.examples] == [
        "lying 0",
        "lying 1",
        "upright 0",
    ]
    table.item(0, 0).setSelected(True)
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert library_rows(taught) == {"upright": 1}
    assert taught.controls.status.value == "2 removed from the library"


def test_a_library_is_saved_and_opened_again(taught, striped, form, tmp_path, wait) -> None:
    folder = tmp_path / "library"
    taught.save_library(folder)
    assert wait(taught) == f"4 examples written to {folder}"
    assert taught.panel.told.value == "Library: 4 examples of 2 classes, library"
    add_example(taught, striped("lying", 9), "late", "lying")
    assert taught.panel.told.value.endswith("; 1 not saved")
    # Only the user saves.
    assert len(drain(read_library(folder))) == 4
    taught.open_library(folder)
    assert wait(taught) == "4 examples of 2 classes; 1 not saved yet kept"
    assert library_rows(taught) == {"lying": 3, "upright": 2}
    taught.save_library(folder)
    wait(taught)
    other = form(ViewerModel())
    other.open_library(folder)
    wait(other)
    assert library_rows(other) == {"lying": 3, "upright": 2}
    mine, its = (
        {
            one.source: (one.name, one.specimen, one.plane.tobytes())
            for one in x.panel.library.examples
        }
        for x in (taught, other)
    )
    assert mine == its
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    other.open_library(foreign)
    assert "foreign" in wait(other)
    assert library_rows(other) == {"lying": 3, "upright": 2}


# --- confirmed answers -----------------------------------------------------------------------


def test_what_is_taken_back_is_no_example_any_more(taught, stack, run) -> None:
    image = taught.viewer.add_image(stack, name="strip")
    taught.extent.value = "stack"
    run(taught)
    correct(taught, 1, "lying")
    image.name = "renamed"
    correct(taught, 1, "none")
    assert taught.panel.library.counts == {"lying": 2, "upright": 2, "none": 1}
    assert correct(taught, 1, "").startswith("renamed, plane 1: no example any more")
    assert taught.panel.library.counts == {"lying": 2, "upright": 2}
    assert image.metadata["learnt_structures"]["confirmed"] == {}
    correct(taught, 1, "dent")
    taught.panel.table.item(0, 0).setSelected(True)
    taught.panel.remove.native.click()
    assert column(taught, CLASS) == ["", "", "", ""]
    assert image.metadata["learnt_structures"]["confirmed"] == {}


@pytest.mark.parametrize("at_once", [0, 9])
def test_answers_of_selected_rows_are_confirmed_but_not_those_of_none(
    taught, stack, monkeypatch, at_once, run, wait
) -> None:
    taught.viewer.add_image(stack, name="strip")
    taught.extent.value = "stack"
    run(taught)
    answers = column(taught, 2)
    taught.confirm.native.click()
    assert "select rows" in taught.controls.status.value
    taught.table.selectAll()
    # In a thread of its own if there are many: of large planes it takes long.
    monkeypatch.setattr(learn_structures, "_AT_ONCE", at_once)
    taught.confirm.native.click()
    assert taught.controls.is_running == (at_once == 0)
    count = len([one for one in answers if one != "none"])
    assert wait(taught).startswith(f"{count} confirmed; ")
    sure = ["" if answer == "none" else answer for answer in answers]
    assert column(taught, CLASS) == sure
    assert len(taught.panel.library) == 4 + len([one for one in sure if one])


def test_planes_that_change_while_they_are_confirmed_stay_as_they_were(
    taught, stack, monkeypatch, run, wait
) -> None:
    monkeypatch.setattr(learn_structures, "_AT_ONCE", 0)
    image = taught.viewer.add_image(stack, name="strip")
    taught.extent.value = "stack"
    run(taught)
    taught.table.selectAll()
    taught.confirm.native.click()
    assert taught.controls.is_running
    image.data = stack.copy()
    wait(taught)
    assert len(taught.panel.library) == 4
    assert "learnt_structures" not in image.metadata


def test_unsure_is_no_class(taught, stack, run) -> None:
    taught.viewer.add_image(stack, name="strip")
    run(taught)
    correct(taught, 0, "upright")
    assert "unsure" in correct(taught, 0, "unsure")
    assert column(taught, CLASS) == ["upright"]
    assert len(taught.panel.library) == 5


def test_another_dock_takes_up_what_was_confirmed(taught, stack, form, run) -> None:
    taught.viewer.add_image(stack, name="strip")
    taught.viewer.dims.set_point(0, 3)
    run(taught)
    correct(taught, 0, "dent")
    other = form(taught.viewer)
    # With what was not saved, however it came in.
    assert other.panel.library is taught.panel.library
    assert other.panel.library.counts == {"dent": 1, "lying": 2, "upright": 2}
    assert other.panel.told.value.endswith("; 5 not saved")
    run(other)
    assert column(other, CLASS) == ["dent"]
    assert correct(other, 0, "").startswith("strip, plane 3: no example any more")
    assert other.panel.library.counts == {"lying": 2, "upright": 2}


def test_a_closed_dock_leaves_its_library_to_the_next_one(form, viewer, striped) -> None:
    first = form(viewer)
    dock = viewer.window.add_dock_widget(first, name="Learn structures")
    first.panel.specimen.value = "A7"
    add_example(first, striped("lying", 0), "strip", "lying")
    viewer.window.remove_dock_widget(dock)
    second = form(viewer)
    add_example(second, striped("lying", 1), "other", "lying")
    # The closed one has no say any more.
    viewer.layers.remove("strip")
    third = form(viewer)
    assert [one.source for one in third.panel.library.examples] == ["strip", "other"]
    assert third.panel.library.examples[0].specimen == "A7"


@pytest.mark.parametrize("saved", [False, True])
def test_a_library_of_others_takes_over_no_confirmed_plane(
    widget, striped, tmp_path, saved, run, wait
) -> None:
    """Nor does an image of the same name in it."""
    theirs = tmp_path / "theirs"
    example = Example(striped("upright", 5), "rungs", None, "B", "a")
    write_library(theirs, Library((example,)))
    add_example(widget, striped("lying", 0), "a", "lying")
    image = widget.viewer.layers["a"]
    if saved:
        widget.save_library(tmp_path / "mine")
        wait(widget)
    run(widget)
    assert column(widget, CLASS) == ["lying"]
    widget.open_library(theirs)
    wait(widget)
    noted = image.metadata["learnt_structures"]["confirmed"]
    if saved:
        # The example went with the library that it is in.
        assert (noted, column(widget, CLASS)) == ({}, [""])
        assert widget.panel.library.counts == {"rungs": 1}
        widget.open_library(tmp_path / "mine")
        wait(widget)
        assert column(widget, CLASS) == [""]
    else:
        assert (noted, column(widget, CLASS)) == ({0: "lying"}, ["lying"])
        assert widget.panel.library.counts == {"lying": 1, "rungs": 1}
        correct(widget, 0, "")
        assert widget.panel.library.counts == {"rungs": 1}


def test_a_library_opened_anew_still_holds_the_confirmed_planes(
    widget, striped, tmp_path, run, wait
) -> None:
    add_example(widget, striped("lying", 0), "a", "lying")
    run(widget)
    widget.save_library(tmp_path / "mine")
    wait(widget)
    widget.open_library(tmp_path / "mine")
    assert wait(widget) == "1 example of 1 class"
    assert column(widget, CLASS) == ["lying"]
    correct(widget, 0, "rungs")
    assert widget.panel.library.counts == {"rungs": 1}


def test_a_layer_that_comes_back_is_confirmed_no_more(taught, stack, run) -> None:
    image = taught.viewer.add_image(stack, name="strip")
    run(taught)
    correct(taught, 0, "lying")
    taught.viewer.layers.remove(image)
    taught.viewer.layers.append(image)
    run(taught)
    assert column(taught, CLASS) == [""]
    # What was confirmed is still an example.
    assert taught.panel.library.counts == {"lying": 3, "upright": 2}


def test_answers_that_were_learnt_from_are_marked_and_follow_names(taught, stack, run) -> None:
    image = taught.viewer.add_image(stack, name="strip")
    taught.extent.value = "stack"
    run(taught)
    correct(taught, 1, "upright")
    similarity = CLASS + 1
    assert not any("example" in text for text in column(taught, similarity))
    run(taught)
    shown = column(taught, similarity)
    assert [text.endswith("an example") for text in shown] == [False, True, False, False]
    rows = [one.plane.row for one in taught.answered]
    assert [text.split()[0] for text in shown] == [f"{r['similarity']:.2f}" for r in rows]
    marks = taught.viewer.add_shapes(name="marks")
    taught.panel.shapes.value = marks
    image.name, marks.name = "iron", "places"
    assert column(taught, 1) == [f"iron, plane {n}" for n in range(4)]
    assert column(taught, CLASS) == ["", "upright", "", ""]
    taught.viewer.layers.remove(taught.viewer.add_shapes(name="others"))
    assert taught.panel.shapes.value is marks
    assert taught.image.value is image


def test_data_of_the_same_shape_are_other_data_too(taught, stack, run, wait) -> None:
    image = taught.viewer.add_image(stack, name="strip")
    run(taught)
    correct(taught, 0, "lying")
    image.data = stack[::-1].copy()
    assert taught.table.rowCount() == 0
    assert "learnt_structures" not in image.metadata
    taught.controls.run_button.native.click()
    image.data = stack.copy()
    assert "strip: its data were replaced meanwhile" in wait(taught)
    assert not taught.answered


def test_one_draws_on_the_image_that_is_cut(widget, striped) -> None:
    below = widget.viewer.add_image(striped("lying", 0), name="below")
    above = widget.viewer.add_image(striped("upright", 0), name="above")
    widget.image.value, widget.panel.name.value = below, "lying"
    widget.panel.new_shapes_button.native.click()
    assert (below.visible, above.visible) == (True, False)
    marks = widget.viewer.layers[-1]
    assert widget.viewer.layers.selection.active is marks
    assert marks.visible


# --- what does not go well -------------------------------------------------------------------


def test_an_empty_library_and_no_model_are_refused(widget, striped, monkeypatch) -> None:
    widget.viewer.add_image(striped("lying", 0), name="strip")
    for button in (widget.learn, widget.controls.run_button):
        button.native.click()
        assert widget.controls.status.value.startswith("the library is empty; add an image")
    widget.panel.add_image_button.native.click()
    assert widget.controls.status.value == "type the class of the example first"
    widget.viewer.layers.clear()
    add_example(widget, striped("lying", 0), "strip", "none")
    assert widget.panel.library.counts == {"none": 1}
    widget.learn.native.click()
    assert widget.controls.status.value.startswith("the library is empty")
    widget.panel.name.value = "x"
    widget.viewer.layers.clear()
    widget.panel.add_image_button.native.click()
    assert "open an image first" in widget.controls.status.value


def test_one_class_is_enough(widget, striped, run) -> None:
    add_example(widget, striped("lying", 0), "strip", "lying")
    assert run(widget).startswith("1 looked at: ")
    assert likeliest(widget) == ["lying"]


def test_planes_without_a_pixel_size_are_named_when_it_is_needed(taught, striped, run) -> None:
    for n, example in enumerate(taught.panel.library.examples):
        image = taught.viewer.add_image(example.plane, name=f"known {n}")
        calibrate_layer(image, Calibration.square(0.2, "test"))
        taught.image.value, taught.panel.name.value = image, example.name
        taught.panel.add_image_button.native.click()
    taught.viewer.layers.clear()
    table = taught.panel.table
    for row in range(2):
        for column_number in (2, 3):
            table.item(row, column_number).setSelected(True)
    taught.panel.remove.native.click()
    assert {one.pixel_size_um for one in taught.panel.library.examples} == {0.2}
    known = taught.viewer.add_image(striped("upright", 5), name="known")
    calibrate_layer(known, Calibration.square(0.2, "test"))
    unknown = taught.viewer.add_image(striped("upright", 6), name="unknown")
    taught.extent.value = "selected"
    taught.viewer.layers.selection = {known, unknown}
    said = run(taught)
    assert said.startswith("1 looked at: ")
    assert "1 skipped: unknown: no pixel size is known" in said
    assert "Calibrate widget" in said
    taught.viewer.layers.remove(known)
    taught.viewer.layers.selection = {unknown}
    assert "no pixel size" in run(taught)


def test_a_plane_that_cannot_be_used_is_skipped(taught, stack, run) -> None:
    planes = stack.astype(np.float32)
    planes[2, 7, 7] = np.nan
    taught.viewer.add_image(planes, name="strip")
    taught.extent.value = "stack"
    said = run(taught)
    assert said.startswith("3 looked at: ")
    assert "1 skipped: strip, plane 2: holds NaN" in said
    assert [one.plane.number for one in taught.answered] == [0, 1, 3]


def test_images_that_are_too_small_are_neither_examples_nor_named(widget, striped, run) -> None:
    small = striped("lying", 1)[:31]
    assert "small: 48 × 31 px are too few" in add_example(widget, small, "small", "lying")
    add_example(widget, striped("lying", 0), "strip", "lying")
    widget.image.value = widget.viewer.layers["small"]
    assert "small: 48 × 31 px are fewer than" in run(widget)
    assert not widget.answered


def test_layers_that_go_or_change_meanwhile(taught, stack, striped, wait) -> None:
    going = taught.viewer.add_image(stack, name="going")
    changing = taught.viewer.add_image(stack, name="changing")
    staying = taught.viewer.add_image(striped("lying", 8), name="staying")
    taught.extent.value = "selected"
    taught.viewer.layers.selection = {going, changing, staying}
    taught.controls.run_button.native.click()
    taught.viewer.layers.remove(going)
    changing.data = stack[:2]
    staying.name = "renamed"
    said = wait(taught)
    assert said.startswith("1 looked at: ")
    assert "changing: its data were replaced meanwhile" in said
    assert [one.image for one in taught.answered] == [staying]
    correct(taught, 0, "lying")
    staying.data = stack
    assert taught.table.rowCount() == 0
    assert "renamed: its answers are dropped" in taught.controls.status.value
    # What it showed was right all the same.
    assert taught.panel.library.counts == {"lying": 3, "upright": 2}


def test_a_dock_closed_meanwhile(form, viewer, stack, striped, qtbot) -> None:
    widget = form(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Learn structures")
    add_example(widget, striped("lying", 0), "strip", "lying")
    widget.controls.run_button.native.click()
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not worker._under_way, timeout=30_000)
    assert not widget.answered


def test_a_second_run_waits_and_the_first_goes_on(taught, stack, wait) -> None:
    taught.viewer.add_image(stack, name="strip")
    taught.extent.value = "stack"
    taught.controls.run_button.native.click()
    assert not taught.learn.enabled
    assert not taught.panel.save.enabled
    taught.attempt(taught.compute)
    assert "is under way" in taught.controls.status.value
    assert wait(taught).startswith("4 looked at: ")
    assert taught.learn.enabled


def test_only_models_that_compare_are_offered(taught, models) -> None:
    offered = {*taught.model.combo.choices[:-1]}
    tasks = {name: card.task for name, card in registry.cards().items()}
    assert offered == {name for name, task in tasks.items() if task in ("few-shot", "backbone")}
    assert {"few", "seen"} < {*tasks}
