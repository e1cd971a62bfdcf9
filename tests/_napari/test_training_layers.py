from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_metallography._napari.training_layers import (
    PreviewLayers,
    Watched,
    placement_of_part,
    scaled,
    visible_box,
)
from napari_metallography.classes import named_classes
from napari_metallography.events import Preview
from napari_metallography.labelled import LabelledImage
from napari_metallography.regions import Box
from napari_metallography.training.fine_tuning import Session

SHAPE = (60, 80)
CLASSES = named_classes(["matrix", "particles"])


def session(shape: tuple[int, int] = SHAPE) -> Session:
    """A session whose image is brighter from pixel to pixel."""
    grey = (np.indices(shape).sum(0) % 250).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, 2)
    return Session(images=[LabelledImage("steel", pixels, np.zeros(shape, np.uint8))])


def in_view(image: Image, top: int, left: int, bottom: int, right: int) -> Image:
    """As napari notes what it draws, last pixels included."""
    image.corner_pixels = np.array([(top, left), (bottom - 1, right - 1)])
    return image


def test_what_is_in_view_is_watched() -> None:
    image = in_view(Image(np.zeros(SHAPE, np.uint8)), 10, 20, 30, 50)
    known = session()
    watched = Watched(image, known)
    np.testing.assert_array_equal(watched.take(), known.images[0].pixels[10:30, 20:50])
    in_view(image, 0, 0, 5, 5)
    watched.follow()
    assert watched.take().shape == (5, 5, 3)
    assert [watched.box_of_next(), watched.box_of_next()] == [
        Box(10, 20, 30, 50),
        Box(0, 0, 5, 5),
    ]


def test_nothing_is_watched_before_there_is_something_to_see() -> None:
    image = in_view(Image(np.zeros(SHAPE, np.uint8)), 0, 0, 20, 20)
    assert Watched(image, Session()).take() is None
    even = session()
    even.images[0].pixels[:] = 7
    assert Watched(image, even).take() is None


def test_a_resampled_image_is_watched_at_the_same_place() -> None:
    image = in_view(Image(np.zeros(SHAPE, np.uint8)), 10, 20, 30, 50)
    halved = session((30, 40))
    np.testing.assert_array_equal(
        Watched(image, halved).take(), halved.images[0].pixels[5:15, 10:25]
    )


def test_a_large_view_is_cut_around_its_middle() -> None:
    image = in_view(Image(np.zeros((2000, 3000), np.uint8)), 0, 0, 2000, 3000)
    assert visible_box(image) == Box(744, 1244, 1256, 1756)


def test_an_image_never_drawn_is_seen_whole() -> None:
    assert visible_box(Image(np.zeros(SHAPE, np.uint8))) == Box(0, 0, *SHAPE)


@given(
    top=st.integers(0, 50),
    left=st.integers(0, 70),
    rotate=st.floats(-90, 90),
    ratio=st.sampled_from([0.5, 1, 2]),
)
def test_a_part_lies_over_what_it_was_made_of(top, left, rotate, ratio) -> None:
    affine = np.array([[1, 0.2, 5], [0, 1, -3], [0, 0, 1]])
    image = Image(np.zeros(SHAPE), scale=(0.3, 0.4), translate=(2, 7), rotate=rotate, affine=affine)
    box = Box(top, left, top + 8, left + 8)
    shape = (int(8 * ratio), int(8 * ratio))
    part = Image(np.zeros(shape), **placement_of_part(image, (), box, shape))
    for edge in (0, 1):
        pixel = [edge * n - 0.5 for n in shape]
        there = image.world_to_data(part.data_to_world(pixel))
        np.testing.assert_allclose(there, (top + 8 * edge - 0.5, left + 8 * edge - 0.5), atol=1e-9)


def test_a_box_never_becomes_empty() -> None:
    assert scaled(Box(10, 10, 11, 11), 0.3, 0.3).shape == (1, 1)


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, *SHAPE), np.uint8), name="steel")
    viewer.add_labels(np.zeros((3, *SHAPE), np.uint8), name="strokes")
    return viewer


def preview(shape: tuple[int, int]) -> Preview:
    return Preview(1, np.ones(shape, np.uint8), np.full(shape, 255, np.uint8))


def test_previews_follow_the_view_below_the_strokes(viewer) -> None:
    layers = PreviewLayers(viewer, viewer.layers["steel"], (2,), CLASSES)
    layers.show(preview((4, 4)), Box(10, 10, 14, 14))
    layers.show(preview((6, 5)), Box(20, 30, 26, 35))
    shown = viewer.layers["steel preview"]
    assert shown.data.shape == (1, 6, 5)
    np.testing.assert_allclose(shown.translate, (2, 20, 30))
    assert (shown.data == 2).all()
    assert viewer.layers["steel where to paint next"].data.max() == 1
    assert viewer.layers[-1].name == "strokes"
    assert viewer.layers.selection.active is viewer.layers["strokes"]
    layers.remove()
    assert len(viewer.layers) == 2


def test_a_preview_the_user_removed_does_not_come_back(viewer) -> None:
    layers = PreviewLayers(viewer, viewer.layers["steel"], (0,), CLASSES)
    layers.show(preview((4, 4)), Box(0, 0, 4, 4))
    viewer.layers.remove("steel where to paint next")
    layers.show(preview((4, 4)), Box(0, 0, 4, 4))
    assert "steel where to paint next" not in viewer.layers
    viewer.layers.remove("steel")
    layers.show(preview((4, 4)), Box(0, 0, 4, 4))
    layers.remove()
