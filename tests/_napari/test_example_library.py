from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_metallography._napari.example_library import (
    CLASS,
    draw_as,
    new_shapes,
    plane_example,
    shape_examples,
    taken_in,
    told_apart,
)
from napari_metallography._napari.layers import calibrate_layer
from napari_metallography.calibration import Calibration
from napari_metallography.classification.library import Library
from napari_metallography.errors import InputError

SQUARE = np.array([[20.0, 30], [20, 69], [59, 69], [59, 30]])
"""Rows 20 to 59 and columns 30 to 69."""


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (80, 100), np.uint8)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def shapes_with(*names: object, data: list[np.ndarray] | None = None, **keywords: object) -> Shapes:
    drawn = data or [SQUARE] * len(names)
    features = pd.DataFrame({CLASS: pd.Series(names, dtype=object)})
    return Shapes(drawn, features=features, name="marks", **{"shape_type": "polygon", **keywords})


def shows_the_square(plane: np.ndarray, pixels: np.ndarray) -> bool:
    """To a pixel: the corners lie on the centres of pixels."""
    rows, columns = plane.shape
    near = [
        pixels[20 + down : 20 + down + rows, 30 + right : 30 + right + columns]
        for down in (0, 1)
        for right in (0, 1)
    ]
    return min(rows, columns) >= 38 and any(np.array_equal(plane, one) for one in near)


# --- whole planes ----------------------------------------------------------------------------


def test_a_plane_of_a_stack_keeps_its_pixels_size_and_specimen(pixels) -> None:
    image = Image(np.stack([pixels[::-1], pixels]), name="strip")
    assert plane_example(image, 1, "pearlite").pixel_size_um is None
    calibrate_layer(image, Calibration(0.25, 0.16, "test"))
    found = plane_example(image, 1, "pearlite")
    assert np.array_equal(found.plane, pixels)
    assert found.pixel_size_um == pytest.approx(0.2)
    assert (found.name, found.specimen, found.source) == ("pearlite", "strip", "strip, plane 1")
    assert plane_example(image, 1, "pearlite", " A7 ").specimen == "A7"
    image.metadata = {**image.metadata, "microscope": {"specimen": "heat 12"}}
    assert plane_example(image, 0, "pearlite").specimen == "heat 12"


def test_colours_become_grey_and_other_types_8_bit(pixels) -> None:
    grey = Image(np.repeat(pixels[..., None], 3, axis=2), rgb=True, name="a")
    assert np.array_equal(plane_example(grey, 0, "x").plane, pixels)
    red = np.zeros((40, 40, 3), np.uint8)
    red[:, 20:, 0] = 200
    assert set(np.unique(plane_example(Image(red, rgb=True, name="b"), 0, "x").plane)) == {0, 60}
    deep = plane_example(Image(pixels.astype(np.uint16) * 257, name="c"), 0, "x").plane
    assert deep.dtype == np.uint8
    assert np.abs(deep.astype(int) - pixels).max() <= 2


def test_images_that_show_nothing_are_refused(pixels) -> None:
    sheared = Image(pixels, name="leaning", shear=[0.4], units="um", scale=(0.2, 0.2))
    for image, name, said in (
        (Image(pixels[:31], name="low"), "x", "low: 100 × 31 px"),
        (Image(np.full((50, 50), 9, np.uint8), name="flat"), "x", "flat: every pixel has the same"),
        (sheared, "x", "leaning: is sheared"),
        (Image(pixels, name="fine"), "unsure", "unsure"),
    ):
        with pytest.raises(InputError, match=said):
            plane_example(image, 0, name)


# --- shapes ----------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    scale=st.floats(0.01, 50),
    other=st.floats(0.01, 50),
    moved=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
)
def test_a_shape_marks_the_same_pixels_wherever_the_layers_lie(scale, other, moved) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 100), np.uint8)
    image = Image(pixels, name="strip", scale=(scale, scale), translate=moved, units="um")
    # The same places in another scale, unit and origin.
    world = np.array([image.data_to_world(vertex) for vertex in SQUARE])
    drawn = (world / 1000 - 3) / other
    marks = shapes_with(
        "x",
        data=[drawn],
        scale=(other, other),
        translate=(3, 3),
        units="mm",
        shape_type="rectangle",
    )
    (found,) = shape_examples(ViewerModel(), image, marks, ()).examples
    assert shows_the_square(found.plane, pixels)
    assert found.pixel_size_um == pytest.approx(scale)


def test_a_rotated_image_and_an_ellipse(pixels, viewer) -> None:
    image = Image(pixels, name="strip", rotate=30)
    world = np.array([image.data_to_world(vertex) for vertex in SQUARE])
    (found,) = shape_examples(viewer, image, shapes_with("x", data=[world]), ()).examples
    assert shows_the_square(found.plane, pixels)
    around = np.array([[10.0, 10], [10, 79], [69, 79], [69, 10]])
    marks = shapes_with("x", data=[around], shape_type="ellipse")
    (found,) = shape_examples(viewer, Image(pixels, name="strip"), marks, ()).examples
    # The largest rectangle in an ellipse has sides of 1/√2 of its axes.
    assert found.plane.shape == pytest.approx(np.array([60, 70]) / np.sqrt(2), abs=3)


def test_shapes_belong_to_the_plane_that_they_were_drawn_on(pixels, viewer) -> None:
    stack = np.stack([pixels, pixels[::-1], pixels[:, ::-1]])
    image = viewer.add_image(stack, name="strip", scale=(5, 1, 1))
    on = [np.c_[np.full(4, number), SQUARE] for number in (2, 0, 7)]
    marks = shapes_with("a", "b", "c", data=on, scale=(5, 1, 1))
    found = shape_examples(viewer, image, marks, ())
    assert [one.source.split(", rows")[0] for one in found.examples] == [
        "strip, plane 2",
        "strip, plane 0",
    ]
    assert np.array_equal(found.examples[0].plane, stack[2, 20:60, 30:70])
    assert found.skipped == ("shape 2: does not lie on a plane of strip",)
    # Without an axis of their own they lie on the plane in view.
    viewer.dims.set_point(0, 5)
    (found_one,) = shape_examples(viewer, image, shapes_with("a"), ()).examples
    assert np.array_equal(found_one.plane, stack[1, 20:60, 30:70])


@settings(max_examples=15)
@given(
    scale=st.tuples(st.floats(0.5, 20), st.floats(0.05, 5)),
    unit=st.sampled_from(["nm", "um", "mm"]),
    plane=st.integers(0, 2),
)
def test_a_shape_in_another_unit_lies_on_the_same_plane(scale, unit, plane) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 80, 100), np.uint8)
    along, across = scale
    image = Image(pixels, name="strip", scale=(along, across, across), units="um")
    world = np.array([image.data_to_world(vertex) for vertex in np.c_[np.full(4, plane), SQUARE]])
    factor = {"nm": 1000, "um": 1, "mm": 1 / 1000}[unit]
    marks = shapes_with("x", data=[world * factor], units=unit)
    (found,) = shape_examples(ViewerModel(), image, marks, ()).examples
    assert found.source.startswith(f"strip, plane {plane}, ")
    assert shows_the_square(found.plane, pixels[plane])


def test_shapes_that_cannot_be_used_are_skipped_and_named(pixels, viewer) -> None:
    small, far = SQUARE[0] + (SQUARE - SQUARE[0]) / 4, SQUARE + 500
    marks = shapes_with(
        "a", pd.NA, None, float("nan"), " A ", "b", "b", data=[SQUARE] * 5 + [small, far]
    )
    found = shape_examples(viewer, Image(pixels, name="strip"), marks, ())
    assert [one.name for one in found.examples] == ["a", "a"]
    assert [said.split(":")[0] for said in found.skipped] == [f"shape {n}" for n in (1, 2, 3, 5, 6)]
    assert "has no class" in found.skipped[0]
    assert "too few" in found.skipped[3]
    assert "outside" in found.skipped[4]
    line = shapes_with("a", data=[SQUARE[:2]], shape_type="line")
    (said,) = shape_examples(viewer, Image(pixels, name="strip"), line, ()).skipped
    assert "a line encloses no area" in said


def test_a_layer_without_classes_or_on_a_sheared_image_is_refused(pixels, viewer) -> None:
    with pytest.raises(InputError, match="have no column 'class'; press 'New shapes layer'"):
        shape_examples(viewer, Image(pixels, name="strip"), Shapes([SQUARE], name="marks"), ())
    sheared = Image(pixels, name="leaning", shear=[0.4], units="um", scale=(0.2, 0.2))
    with pytest.raises(InputError, match="leaning: is sheared"):
        shape_examples(viewer, sheared, shapes_with("a"), ())


def test_a_new_layer_lies_on_the_image_and_takes_the_class_that_is_set(pixels, viewer) -> None:
    image = viewer.add_image(
        np.stack([pixels] * 2), name="strip", scale=(1, 0.2, 0.2), translate=(0, 7, 9), units="um"
    )
    layer = new_shapes(viewer, image, "ferrite")
    assert layer.name == "strip examples"
    on = np.c_[np.ones(4), SQUARE]
    layer.add_rectangles(on)
    draw_as(layer, "pearlite")
    layer.add_rectangles(on)
    assert [*layer.features[CLASS]] == ["ferrite", "pearlite"]
    assert [*layer.text.values] == ["ferrite", "pearlite"]
    found = shape_examples(viewer, image, layer, ())
    assert [one.name for one in found.examples] == ["ferrite", "pearlite"]
    assert np.array_equal(found.examples[0].plane, pixels[20:60, 30:70])
    # That just drawn stays selected, and keeps its class.
    assert layer.mode == "add_rectangle"
    layer.selected_data = {1}
    draw_as(layer, "bainite")
    assert [*layer.features[CLASS]] == ["ferrite", "pearlite"]
    # One that is chosen, to be changed, takes the class too.
    layer.mode, layer.selected_data = "select", {0}
    draw_as(layer, "martensite")
    assert [*layer.features[CLASS]] == ["martensite", "pearlite"]
    assert [*layer.text.values] == ["martensite", "pearlite"]


def test_a_layer_of_others_keeps_its_columns(viewer) -> None:
    features = pd.DataFrame({CLASS: pd.Categorical(["a", "b"]), "by": ["me", "you"]})
    layer = Shapes([SQUARE, SQUARE], shape_type="polygon", features=features)
    draw_as(layer, "c")
    layer.add_polygons(SQUARE)
    assert [*layer.features[CLASS]] == ["a", "b", "c"]
    layer.mode, layer.selected_data = "select", {1}
    draw_as(layer, "d")
    assert [*layer.features[CLASS]] == ["a", "d", "c"]
    assert [*layer.features["by"]][:2] == ["me", "you"]
    plain = Shapes([SQUARE], shape_type="polygon")
    draw_as(plain, "c")
    assert CLASS not in plain.features


# --- names and sources -----------------------------------------------------------------------


def test_another_image_of_the_same_name_does_not_replace_an_example(pixels) -> None:
    one = plane_example(Image(pixels, name="image"), 0, "a")
    library = Library().added(one)
    assert told_apart(library, one) == one
    other = plane_example(Image(pixels[::-1], name="image"), 0, "a")
    assert told_apart(library, other).source == "image (2)"
    library = library.added(told_apart(library, other))
    assert len(library) == 2
    assert told_apart(library, other).source == "image (2)"
    assert taken_in(library, other) == (library, library.examples[1])
    more, again = taken_in(library, replace(other, specimen="A7"))
    assert (len(more), again.specimen, again.source) == (2, "A7", "image (2)")
    third = plane_example(Image(pixels[:, ::-1], name="image"), 0, "a")
    assert told_apart(library, third).source == "image (3)"
