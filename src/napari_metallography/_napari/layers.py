"""What the forms read from napari layers, and the layers they add."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_info
from numpy.typing import NDArray

from ..calibration import Calibration, micrometres
from ..classes import (
    MOST_FOREIGN_CLASSES,
    UNLABELLED,
    PhaseClass,
    indices_to_layer,
    layer_to_indices,
    numbered_classes,
)
from ..databar import find_data_bar
from ..errors import InputError
from ..io.labels import LabelImage, looks_like_labels, looks_like_mask
from ..plane import ArrayLike, leading_shape
from ..regions import Box, Field, Polygon
from .results import PARTICLES_OF, is_computed, is_untouched

CONVENTION = "value = class index + 1; 0 = unlabelled"
"""What the values of a Labels layer of classes mean."""

UNLABELLED_NAME = "unlabelled"

_AGREE_TO = 1e-6
_STEP = 1e4
_SKEWED_FROM = 1e-4
_VERTICES_OF_AN_ELLIPSE = 128
_CLOSED_SHAPES = ("polygon", "rectangle", "ellipse")
_MOST_COPIED_BYTES = 1 << 30


def layer_calibration(layer: Layer) -> Calibration | None:
    """Pixel size of a layer, with its source and uncertainty where they are known.

    `metadata["calibration"]` counts only while it agrees with the scale, which the user and other
    plugins may change. None when the layer is in pixels or in a unit that is no length.

    Raises
    ------
    InputError
        For a sheared layer, where a length in pixels depends on its direction.
    """
    try:
        shown = Calibration.from_scale(layer.scale, layer.units)
    except InputError:
        return None
    if shown is None:
        return None
    y, x = _stretch(layer)
    shown = replace(shown, y_um=shown.y_um * y, x_um=shown.x_um * x)
    stated = layer.metadata.get("calibration")
    if not isinstance(stated, Mapping):
        return shown
    noted = Calibration.from_dict(dict(stated))
    return noted if _agree(noted, shown) else shown


def calibrate_layer(layer: Layer, calibration: Calibration) -> None:
    """Set scale and units of the last two axes to µm, and note where the pixel size comes from.

    The layer keeps its place on the pixel grid: its translation is scaled along. Errors as for
    `layer_calibration`.
    """
    old = np.asarray(layer.scale[-2:], float)
    new = np.array([calibration.y_um, calibration.x_um]) / _stretch(layer)
    layer.translate = (*layer.translate[:-2], *(layer.translate[-2:] * new / old))
    layer.scale = (*layer.scale[:-2], *new)
    layer.units = (*layer.units[:-2], "um", "um")
    layer.metadata = {**layer.metadata, "calibration": calibration.to_dict()}


def calibrate_with_companions(viewer: ViewerModel, image: Image, calibration: Calibration) -> None:
    """Calibrate an image and what lies on its pixels, so that nothing slips off it.

    Companions are the labels, regions, points and maps on the same pixel grid that are named
    after the image, or after no image if it is the only one on that grid.
    """
    companions = [layer for layer in viewer.layers if _is_companion(layer, image, viewer)]
    for layer in (image, *companions):
        calibrate_layer(layer, calibration)


def same_size_images(viewer: ViewerModel, image: Image) -> list[Image]:
    """Other micrographs with as many rows and columns; maps made from one are not counted."""
    return [
        layer
        for layer in _micrographs(viewer)
        if layer is not image and plane_shape(layer) == plane_shape(image)
    ]


def image_named_by(viewer: ViewerModel, layer: Layer) -> Image | None:
    """The micrograph that a layer is named after, as results are; None where there is none."""
    owners = [one for one in _micrographs(viewer) if _is_named_after(layer, one)]
    return max(owners, key=lambda one: len(one.name), default=None)


def layers_in_pixels_beside_others(viewer: ViewerModel) -> list[str]:
    """Names of the layers in pixels when others are in a unit of length, else nothing."""
    in_pixels = [layer.name for layer in viewer.layers if str(layer.units[-1]) == "pixel"]
    return in_pixels if len(in_pixels) < len(viewer.layers) else []


def snapshot(layer: Image) -> tuple[ArrayLike, bool]:
    """Pixels as they are now, and whether the last axis holds colours; call on the GUI thread.

    A copy, so that a later change of the layer does not reach a computation under way; but for
    arrays above 1 GiB and those that are read when they are needed (memory maps, dask, zarr).
    """
    array, rgb = pixels_of(layer)
    if type(array) is np.ndarray and array.nbytes <= _MOST_COPIED_BYTES:
        return array.copy(), rgb
    return array, rgb


def pixels_of(layer: Image) -> tuple[ArrayLike, bool]:
    """The layer's own pixels at full resolution, and whether the last axis holds colours."""
    array = layer.data[0] if layer.multiscale else layer.data
    return array, getattr(layer, "rgb", False)  # a Labels layer has none


def plane_shape(image: Image) -> tuple[int, int]:
    """Rows and columns of an image layer at full resolution."""
    array, rgb = pixels_of(image)
    rows, columns = array.shape[-3:-1] if rgb else array.shape[-2:]
    return rows, columns


def field_of(image: Image, region: Shapes | None, data_bar: Shapes | None) -> Field:
    """The part of an image that two Shapes layers mark, in pixels of the image.

    Parameters
    ----------
    region
        Polygons, rectangles and ellipses; None or an empty layer means the whole image.
    data_bar
        One rectangle around what is left out; None or an empty layer leaves out nothing.

    Raises
    ------
    InputError
        For lines and paths, which enclose nothing, and for a data bar of several shapes.
    """
    shape = plane_shape(image)
    polygons = tuple(_polygons(region, image)) if region is not None else ()
    return Field(shape, _data_bar_box(image, data_bar, shape), polygons)


def closed_outline(vertices: NDArray[Any], kind: str, name: str) -> NDArray[Any]:
    """Vertices of the polygon that a shape is or, an ellipse, comes close to.

    Raises
    ------
    InputError
        For lines and paths, which enclose nothing.
    """
    if kind not in _CLOSED_SHAPES:
        raise InputError(f"{name}: a {kind} encloses no area; draw rectangles, ellipses, polygons")
    return _ellipse(vertices) if kind == "ellipse" else vertices


def pixel_positions(
    vertices: Iterable[Sequence[float]], layer: Layer, image: Image
) -> list[tuple[float, float]]:
    """Points of a layer as (row, column) in pixels of an image."""
    return [_row_and_column(at) for at in data_positions(vertices, layer, image)]


def data_positions(
    vertices: Iterable[Sequence[float]], layer: Layer, image: Image
) -> list[tuple[float, ...]]:
    """Points of a layer in the data of an image, along all of its axes."""
    factors = _units_ratios(layer, image)
    world = [np.asarray(layer.data_to_world(vertex)) * factors for vertex in vertices]
    return [image.world_to_data(point) for point in world]


def plane_placement(image: Image, ndim: int) -> dict[str, Any]:
    """Where an image lies, for a layer over it; without its leading axes when that has fewer."""
    placement = {
        "scale": image.scale[-ndim:],
        "translate": image.translate[-ndim:],
        "units": image.units[-ndim:],
    }
    if ndim == image.ndim:
        placement |= {"rotate": image.rotate, "shear": image.shear, "affine": image.affine}
    return placement


def find_or_add_data_bar(viewer: ViewerModel, image: Image) -> Shapes | None:
    """The rectangle around the data bar of an image, as a layer that the user may move.

    The layer is added when the image has a data bar and is used again, as it is, from then on.
    None when the image has no data bar.
    """
    name = f"{image.name} data bar"
    if name in viewer.layers and isinstance(viewer.layers[name], Shapes):
        return viewer.layers[name]
    bar = find_data_bar(_first_plane(image))
    if bar is None:
        return None
    layer = Shapes(
        [np.asarray(bar.corners)],
        shape_type="rectangle",
        name=name,
        edge_color="#d55e00",
        edge_width=2,
        face_color="#d55e0033",
        **plane_placement(image, 2),
    )
    viewer.add_layer(layer)
    return layer


def class_labels_keywords(
    indices: NDArray[np.integer], classes: Sequence[PhaseClass], metadata: Mapping[str, Any]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Values and keywords of a Labels layer that shows class indices (255 = unlabelled).

    Row *i* of its features table belongs to label *i*; `metadata` is completed with the classes
    and the convention of values.
    """
    colours: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    colours |= {label: phase.colour for label, phase in enumerate(classes, start=1)}
    names = [UNLABELLED_NAME, *(phase.name for phase in classes)]
    stated = {"classes": [phase.model_dump() for phase in classes], "convention": CONVENTION}
    return indices_to_layer(indices), {
        "colormap": DirectLabelColormap(color_dict=colours),
        "features": pd.DataFrame({"class": names}),
        "metadata": {**metadata, **stated},
    }


def add_labels_layer(
    viewer: ViewerModel,
    image: Image,
    indices: NDArray[np.integer],
    classes: Sequence[PhaseClass],
    name: str,
    metadata: Mapping[str, Any],
) -> Labels:
    """Show class indices (255 = unlabelled) over their image, in the colours of the classes.

    Parameters
    ----------
    indices
        Shaped like the image, or like one plane of it.
    metadata
        Kept with the layer: `provenance`, `field`. Classes, convention of values and the
        calibration of the image are added.
    """
    layer = labels_layer(image, indices, classes, name, metadata)
    viewer.add_layer(layer)
    return layer


def labels_layer(
    image: Image,
    indices: NDArray[np.integer],
    classes: Sequence[PhaseClass],
    name: str,
    metadata: Mapping[str, Any],
) -> Labels:
    """The layer of `add_labels_layer`, not yet in the viewer."""
    calibration = layer_calibration(image)
    known = {"calibration": calibration.to_dict()} if calibration else {}
    values, keywords = class_labels_keywords(indices, classes, {**metadata, **known})
    return Labels(values, name=name, **keywords, **plane_placement(image, indices.ndim))


def labels_as_indices(layer: Labels) -> tuple[NDArray[np.uint8], tuple[PhaseClass, ...]]:
    """Class indices (255 = unlabelled) and classes of a Labels layer; call on the GUI thread.

    A layer that does not say what its values mean is taken as value = class index + 1, with
    classes "matrix", "class 1", "class 2", …, and the user is told so.

    Raises
    ------
    InputError
        When the values cannot be classes.
    """
    values = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    highest = int(values.max()) if values.size else 0
    if _says_what_it_means(layer):
        classes = tuple(PhaseClass.model_validate(c) for c in layer.metadata["classes"])
        _check_painted(layer, highest, classes)
    else:
        classes = _assumed_classes(layer, values, highest)
    return layer_to_indices(values), classes


def indices_in(image: Image) -> NDArray[np.uint8] | None:
    """Class indices that an image layer holds, white of a black and white one being class 1.

    None for a micrograph.
    """
    pixels, rgb = pixels_of(image)
    if rgb or is_computed(image):
        return None
    first = _first_plane(image)
    if looks_like_mask(first):
        return (np.asarray(pixels) > 0).astype(np.uint8)
    return np.asarray(pixels).astype(np.uint8) if looks_like_labels(first) else None


def label_image(layer: Labels) -> LabelImage:
    """A Labels layer of classes as `io.labels` writes it; call on the GUI thread.

    Leading axes become one. The provenance says when a result was corrected by hand. Errors as
    for `labels_as_indices`.
    """
    indices, classes = labels_as_indices(layer)
    provenance = dict(layer.metadata.get("provenance") or {})
    if is_computed(layer) and not is_untouched(layer):
        provenance["corrected_by_hand"] = True
    return LabelImage(
        indices.reshape(-1, *indices.shape[-2:]) if indices.ndim > 3 else indices,
        classes,
        layer_calibration(layer),
        Field.from_dict(plane_shape(layer), layer.metadata.get("field") or {}),
        provenance,
        "" if _says_what_it_means(layer) else _assumed(classes),
    )


def stated_names(layer: Labels) -> list[str]:
    """Names of the classes that a layer states; none where it states none."""
    return [phase["name"] for phase in layer.metadata.get("classes", ())]


def class_names(labels: Labels | None) -> Sequence[str]:
    """Names of a layer's classes; numbered where it names none."""
    if labels is None:
        return ()
    if stated := stated_names(labels):
        return stated
    highest = min(int(np.max(labels.data)), MOST_FOREIGN_CLASSES)
    return [phase.name for phase in numbered_classes(highest)] if highest else ()


def specimen_of(image: Image | None) -> str:
    """The specimen that an index beside the image's file names; empty where none does."""
    microscope = image.metadata.get("microscope", {}) if image is not None else {}
    return str(microscope.get("specimen", ""))


def _stretch(layer: Layer) -> tuple[float, float]:
    """By what a layer's affine multiplies the scale of its rows and columns; 1 as a rule."""
    sides = _STEP * np.eye(layer.ndim)[-2:]
    origin = np.asarray(layer.data_to_world((0,) * layer.ndim))
    one, other = (np.asarray(layer.data_to_world(side)) - origin for side in sides)
    lengths = np.linalg.norm([one, other], axis=1)
    if abs(one @ other) > _SKEWED_FROM * lengths.prod():
        raise InputError(
            f"{layer.name}: is sheared, so that its pixels have no one size; reset its transform"
        )
    y, x = lengths / (_STEP * np.abs(layer.scale[-2:]))
    # Exactly 1 where only rounding says otherwise, so that a pixel size stays the one stated.
    return (1.0, 1.0) if np.allclose((y, x), 1, rtol=_AGREE_TO) else (float(y), float(x))


def _agree(one: Calibration, other: Calibration) -> bool:
    return math.isclose(one.x_um, other.x_um, rel_tol=_AGREE_TO) and math.isclose(
        one.y_um, other.y_um, rel_tol=_AGREE_TO
    )


def _is_companion(layer: Layer, image: Image, viewer: ViewerModel) -> bool:
    if layer is image or not _on_same_grid(layer, image):
        return False
    micrographs = _micrographs(viewer)
    if layer in micrographs:
        return False
    owner = image_named_by(viewer, layer)
    if owner is not None:
        return owner is image
    return not any(one is not image and _on_same_grid(one, image) for one in micrographs)


def _micrographs(viewer: ViewerModel) -> list[Image]:
    """Image layers that are not a map computed from another."""
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    return [one for one in images if not is_computed(one)]


def _is_named_after(layer: Layer, image: Image) -> bool:
    return bool(layer.name.startswith(f"{image.name} "))


def _on_same_grid(layer: Layer, image: Image) -> bool:
    if isinstance(layer, Labels) and layer.data.shape[-2:] != plane_shape(image):
        return False
    if isinstance(layer, Image) and plane_shape(layer) != plane_shape(image):
        return False
    return bool(
        np.allclose(layer.scale[-2:], image.scale[-2:]) and layer.units[-2:] == image.units[-2:]
    )


def _row_and_column(point: Sequence[float]) -> tuple[float, float]:
    return float(point[-2]), float(point[-1])


def _first_plane(image: Image) -> NDArray[Any]:
    array, rgb = pixels_of(image)
    return np.asarray(array[(0,) * len(leading_shape(array, rgb=rgb))])


def _polygons(shapes: Shapes, image: Image) -> list[Polygon]:
    return [
        pixel_positions(closed_outline(vertices, kind, shapes.name), shapes, image)
        for vertices, kind in zip(shapes.data, shapes.shape_type, strict=True)
    ]


def _ellipse(corners: NDArray[Any]) -> NDArray[Any]:
    """Polygon of an ellipse from the four corners of the rectangle around it."""
    angle = np.linspace(0, 2 * np.pi, _VERTICES_OF_AN_ELLIPSE, endpoint=False)[:, None]
    centre = corners.mean(axis=0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    outline: NDArray[Any] = centre + np.cos(angle) * one + np.sin(angle) * other
    return outline


def _units_ratios(layer: Layer, image: Image) -> NDArray[np.float64]:
    """By what world coordinates of a layer are multiplied to give those of the image, by axis.

    Between pixels and µm napari draws one as one, hence so does this.
    """
    shared = min(layer.ndim, image.ndim)
    pairs = zip(layer.units[-shared:], image.units[-shared:], strict=True)
    return np.array([1.0] * (layer.ndim - shared) + [_ratio(*pair) for pair in pairs])


def _ratio(unit: object, other: object) -> float:
    try:
        return micrometres(1, str(unit)) / micrometres(1, str(other))
    except InputError:
        return 1.0


def _data_bar_box(image: Image, layer: Shapes | None, shape: tuple[int, int]) -> Box | None:
    if layer is None or not len(layer.data):
        return None
    if len(layer.data) > 1:
        raise InputError(f"{layer.name}: the data bar is one rectangle; delete the others")
    vertices = np.asarray(pixel_positions(layer.data[0], layer, image))
    top, left = np.maximum(np.ceil(vertices.min(axis=0)), 0).astype(int)
    bottom, right = np.minimum(np.floor(vertices.max(axis=0)) + 1, shape).astype(int)
    if bottom <= top or right <= left:
        return None
    return Box(int(top), int(left), int(bottom), int(right))


def _check_painted(layer: Labels, highest: int, classes: Sequence[PhaseClass]) -> None:
    if highest > len(classes):
        raise InputError(
            f"{layer.name}: label {highest} is painted, but there are only the classes "
            f"1 to {len(classes)}; repaint it"
        )


def _says_what_it_means(layer: Labels) -> bool:
    return bool(layer.metadata.get("convention") == CONVENTION)


def _assumed_classes(
    layer: Labels, values: NDArray[np.integer], highest: int
) -> tuple[PhaseClass, ...]:
    _check_foreign(layer, values, highest)
    classes = numbered_classes(highest)
    show_info(f"{layer.name}: {_assumed(classes)}")
    return classes


def _assumed(classes: Sequence[PhaseClass]) -> str:
    """What the values of a layer are taken for that does not say what they mean."""
    listed = [f"{value} = {phase.name}" for value, phase in enumerate(classes, start=1)]
    shown = ", ".join(listed if len(listed) < 5 else [*listed[:2], "…", listed[-1]])
    return (
        f"the layer does not say what its labels mean; 0 is taken as unlabelled, {shown}: where "
        "0 is the matrix, remove the layer and open the file itself by File › Open"
    )


def _check_foreign(layer: Labels, values: NDArray[np.integer], highest: int) -> None:
    if highest == 0:
        raise InputError(f"{layer.name}: nothing is labelled yet")
    if PARTICLES_OF in layer.metadata or _are_many(values, highest):
        raise InputError(
            f"{layer.name}: labels up to {highest} are single particles or grains, not classes; "
            "choose a layer of classes"
        )


def _are_many(values: NDArray[np.integer], highest: int) -> bool:
    few = values.min() >= 0 and highest <= UNLABELLED
    return not few or len(np.unique(values)) > MOST_FOREIGN_CLASSES
