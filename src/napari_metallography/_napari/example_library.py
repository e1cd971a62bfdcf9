"""Examples of structures from layers: whole planes, and what shapes on them mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from ..classification.grey_stacks import grey_plane
from ..classification.library import Example, Library, example_of, known_name
from ..classification.stacks import Stack
from ..errors import InputError
from ..events import Events, Progress
from ..regions import Box
from .layers import (
    closed_outline,
    data_positions,
    layer_calibration,
    pixel_positions,
    plane_placement,
    specimen_of,
)
from .looked_at import place_of, plane_in_view, plane_numbered, stack_of

K = TypeVar("K")

CLASS = "class"
"""Column of a Shapes layer's features that names the class of each shape."""

_CHOOSING = ("select", "direct")
_COLOUR = "#e69f00"
_EDGE_SHARE = 1 / 200
_TEXT_SIZE = 12


@dataclass(frozen=True)
class Marked:
    """Examples that shapes mark, and why other shapes are none."""

    examples: tuple[Example, ...]
    skipped: tuple[str, ...]


def plane_example(image: Image, number: int, name: str, specimen: str = "") -> Example:
    """A plane of an image as an example of a class; call on the GUI thread.

    Parameters
    ----------
    specimen
        Empty: that of the image's index, else the layer's name.

    Raises
    ------
    InputError
        When the layer is sheared, the plane cannot be used, or no class can have the name.
    """
    return plane_to_take(image, number, name, specimen).example()


@dataclass(frozen=True)
class PlaneToTake:
    """A plane that is to become an example: its pixels, copied, and what is known of it."""

    stack: Stack
    number: int
    name: str
    specimen: str
    source: str

    def example(self) -> Example:
        """The example, made in whatever thread; errors as for `plane_example`."""
        pixels, _ = grey_plane(self.stack, self.number)
        size = self.stack.calibration.mean_um if self.stack.calibration else None
        return example_of(pixels, self.name, size, self.specimen, self.source)


def plane_to_take(image: Image, number: int, name: str, specimen: str = "") -> PlaneToTake:
    """A plane as it is now; parameters and errors as for `plane_example`."""
    stack, source = stack_of(image, (number,)), place_of(image, number)
    return PlaneToTake(stack, number, name, _specimen(image, specimen), source)


def examples_made(planes: Mapping[K, PlaneToTake]) -> Events[dict[K, Example]]:
    """Make planes examples; errors as for `plane_example`."""
    made: dict[K, Example] = {}
    for key, plane in planes.items():
        yield Progress(len(made), len(planes), "planes made examples")
        made[key] = plane.example()
    return made


def shape_examples(
    viewer: ViewerModel, image: Image, shapes: Shapes, names: Sequence[str], specimen: str = ""
) -> Marked:
    """What rectangles, polygons and ellipses mark on an image; call on the GUI thread.

    A shape lies on the plane of a stack that its own place says; one of a layer without such an
    axis on that in view. Shapes that cannot be used are skipped.

    Parameters
    ----------
    names
        Classes there are already.
    specimen
        As for `plane_example`.

    Raises
    ------
    InputError
        When the image is sheared, or the layer does not say of which class its shapes are.
    """
    if CLASS not in shapes.features:
        raise InputError(
            f"{shapes.name}: its features have no column '{CLASS}'; press 'New shapes layer' and "
            "draw there"
        )
    layer_calibration(image)
    planes: dict[int, tuple[NDArray[np.uint8], Box]] = {}
    found: list[Example] = []
    skipped: list[str] = []
    for place in range(len(shapes.data)):
        try:
            known = [*names, *(one.name for one in found)]
            name = _class_of(shapes, place, known)
            number = _plane_of(shapes, place, image, viewer)
            if number not in planes:
                planes[number] = _grey(image, number)
            outline = _outline(shapes, place, image)
            found.append(_example(image, number, planes[number], name, specimen, outline))
        except InputError as error:
            skipped.append(f"shape {place}: {error}")
    return Marked(tuple(found), tuple(skipped))


def told_apart(library: Library, example: Example) -> Example:
    """The example under a source of its own where another image was called the same."""
    planes = {one.source: one.plane for one in library.examples}
    source, number = example.source, 1
    while source in planes and not np.array_equal(planes[source], example.plane):
        number += 1
        source = f"{example.source} ({number})"
    return replace(example, source=source)


def taken_in(library: Library, example: Example) -> tuple[Library, Example]:
    """A library with an example, under a source of its own, and the example as it is there.

    One that is there already with all that is known of it stays.
    """
    apart = told_apart(library, example)
    former = _of_source(library, apart.source)
    known = former is not None and same_content(former, apart)
    if former is not None and known and _stated(former) == _stated(apart):
        return library, former
    more = library.added(apart)
    return more, _of_source(more, apart.source) or apart


def same_content(one: Example, other: Example) -> bool:
    """Whether two examples show the same and are called the same."""
    called = (one.source, one.name.casefold()) == (other.source, other.name.casefold())
    return called and np.array_equal(one.plane, other.plane)


def _of_source(library: Library, source: str) -> Example | None:
    return next((one for one in library.examples if one.source == source), None)


def _stated(example: Example) -> tuple[str, float | None]:
    return example.specimen, example.pixel_size_um


def new_shapes(viewer: ViewerModel, image: Image, name: str) -> Shapes:
    """Add an empty Shapes layer over an image, ready to draw examples of a class."""
    layer = Shapes(
        ndim=image.ndim,
        name=f"{image.name} examples",
        features=pd.DataFrame({CLASS: pd.Series([], dtype=object)}),
        feature_defaults=pd.DataFrame({CLASS: [name]}),
        text={
            "string": f"{{{CLASS}}}",
            "anchor": "upper_left",
            "color": _COLOUR,
            "size": _TEXT_SIZE,
        },
        edge_color=_COLOUR,
        edge_width=max(1.0, min(image.extent.data[1][-2:]) * _EDGE_SHARE),
        face_color="transparent",
        **plane_placement(image, image.ndim),
    )
    viewer.add_layer(layer)
    layer.mode = "add_rectangle"
    return layer


def draw_as(shapes: Shapes, name: str) -> None:
    """Make a class that of the shapes drawn from now on, and of those chosen to be changed."""
    if CLASS not in shapes.features:
        return
    if shapes.features[CLASS].dtype != object:
        # Of categories, as others may have them, a new one could not be set.
        _set_classes(shapes, shapes.features[CLASS].astype(object))
    shapes.feature_defaults = shapes.feature_defaults.assign(**{CLASS: [name]})
    # While shapes are drawn the last one stays selected, and keeps its class.
    if shapes.mode in _CHOOSING and shapes.selected_data:
        names = shapes.features[CLASS].copy()
        names.iloc[sorted(shapes.selected_data)] = name
        _set_classes(shapes, names)


def _set_classes(shapes: Shapes, names: pd.Series[Any]) -> None:
    shapes.features = shapes.features.assign(**{CLASS: names})
    shapes.refresh_text()


def _grey(image: Image, number: int) -> tuple[NDArray[np.uint8], Box]:
    return grey_plane(stack_of(image, (number,)), number)


def _example(
    image: Image,
    number: int,
    plane: tuple[NDArray[np.uint8], Box],
    name: str,
    specimen: str,
    outline: NDArray[np.float64],
) -> Example:
    calibration = layer_calibration(image)
    size = calibration.mean_um if calibration else None
    pixels, box = plane
    source, stated = place_of(image, number), _specimen(image, specimen)
    return example_of(pixels, name, size, stated, source, outline - (box.top, box.left))


def _specimen(image: Image, stated: str) -> str:
    return stated.strip() or specimen_of(image) or image.name


def _class_of(shapes: Shapes, place: int, names: Sequence[str]) -> str:
    name = known_name(shapes.features[CLASS].iloc[place], names)
    if not name:
        raise InputError("has no class; write one into the features table")
    return name


def _plane_of(shapes: Shapes, place: int, image: Image, viewer: ViewerModel) -> int:
    if shapes.ndim < image.ndim:
        return plane_in_view(viewer, image)
    positions = data_positions(shapes.data[place], shapes, image)
    found = {tuple(int(at) for at in np.rint(one[:-2])) for one in positions}
    number = plane_numbered(image, found.pop())
    if found or number is None:
        raise InputError(f"does not lie on a plane of {image.name}")
    return number


def _outline(shapes: Shapes, place: int, image: Image) -> NDArray[np.float64]:
    """Vertices (n, 2) of a shape in pixels of an image."""
    vertices: Any = closed_outline(shapes.data[place], shapes.shape_type[place], shapes.name)
    return np.asarray(pixel_positions(vertices, shapes, image), np.float64)
