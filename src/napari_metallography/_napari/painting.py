"""Labels layers to paint classes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..calibration import micrometres
from ..classes import PALETTE, UNLABELLED, PhaseClass, indices_to_layer
from ..errors import InputError
from .layers import (
    add_labels_layer,
    class_labels_keywords,
    labels_as_indices,
    layer_calibration,
    pixel_positions,
    pixels_of,
    plane_placement,
    plane_shape,
)

_KEYS = 9
_BRUSH = 8
_SAME_SCALE = 1e-3
_LEAST_CHROMA = 64
_MAGENTA = "#ff00ff"


def image_shape(image: Image) -> tuple[int, ...]:
    """Shape of an image at full resolution, without colours."""
    array, rgb = pixels_of(image)
    return tuple(array.shape[:-1] if rgb else array.shape)


def require_fit(image: Image, labels: Labels) -> None:
    """Refuse labels of another size, scale or place than their image."""
    if tuple(labels.data.shape) != image_shape(image):
        raise InputError(
            f"{labels.name}: its size {tuple(labels.data.shape)} is not that of {image.name}, "
            f"{image_shape(image)}; press 'New labels layer' and paint there"
        )
    if not (_same_scale(image, labels) and _same_place(image, labels)):
        raise InputError(
            f"{labels.name}: does not lie on {image.name} pixel by pixel; give it the image's "
            "scale, units and place, or press 'New labels layer'"
        )


def lay_on(image: Image, labels: Labels) -> None:
    """Put labels of the image's size that have no place of their own, as from a file, onto it.

    Left in pixels beside an image in µm they would slip off it, and napari would warn of units
    with every layer that comes or goes.
    """
    if tuple(labels.data.shape) != image_shape(image) or not _has_no_place(labels):
        return
    for name, value in plane_placement(image, labels.ndim).items():
        setattr(labels, name, value)
    if calibration := layer_calibration(image):
        labels.metadata = {**labels.metadata, "calibration": calibration.to_dict()}


def new_labels(viewer: ViewerModel, image: Image, classes: Sequence[PhaseClass]) -> Labels:
    """Add an empty labels layer over an image, ready for the first stroke."""
    empty = np.full(image_shape(image), UNLABELLED, np.uint8)
    layer = add_labels_layer(viewer, image, empty, classes, f"{image.name} labels", {})
    layer.brush_size = _BRUSH
    return layer


def in_paint(classes: Sequence[PhaseClass]) -> tuple[PhaseClass, ...]:
    """The classes as they are painted: what is grey, as the matrix is in results, has a colour.

    Results lie on the whole image, where the matrix should not draw the eye; a grey stroke on a
    grey micrograph would not be seen.
    """
    taken = {phase.colour.lower() for phase in classes}
    # The palette's last colours are the least likely to be those of the next classes.
    free = iter([colour for colour in reversed(PALETTE[1:]) if colour not in taken])
    return tuple(
        phase.model_copy(update={"colour": next(free, _MAGENTA)}) if _is_grey(phase) else phase
        for phase in classes
    )


def make_paintable(layer: Labels, classes: Sequence[PhaseClass]) -> None:
    """Give a layer the classes' names and paint, and the keys 1 to 9 to choose among them."""
    nothing = np.empty((0, 0), np.uint8)
    _, keywords = class_labels_keywords(nothing, classes, layer.metadata)
    _, drawn = class_labels_keywords(nothing, in_paint(classes), {})
    layer.colormap = drawn["colormap"]
    layer.features = keywords["features"]
    layer.metadata = keywords["metadata"]
    for label in range(1, _KEYS + 1):
        layer.bind_key(str(label), _chooser(label, len(classes)), overwrite=True)


def start_painting(viewer: ViewerModel, layer: Labels) -> None:
    """Put the brush into the user's hand."""
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.selected_label = max(1, layer.selected_label)


def stated_classes(layer: Labels) -> tuple[PhaseClass, ...]:
    """The classes that a layer states; none where it states none."""
    return tuple(PhaseClass.model_validate(c) for c in layer.metadata.get("classes", ()))


def whole_prediction(
    image: Image, prediction: Labels, classes: Sequence[PhaseClass]
) -> tuple[NDArray[np.uint8], list[str]]:
    """A prediction as label values of the whole image, and the classes of it that are unknown.

    Parameters
    ----------
    prediction
        Over the image or, as a preview is, over a part of it.
    classes
        What the values are to mean; unknown classes of the prediction stay unlabelled.

    Raises
    ------
    InputError
        When it does not lie on the image pixel by pixel.
    """
    indices, stated = labels_as_indices(prediction)
    names = [phase.name for phase in classes]
    table = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
    for index, phase in enumerate(stated):
        table[index] = names.index(phase.name) if phase.name in names else UNLABELLED
    unknown = [phase.name for phase in stated if phase.name not in names]
    return indices_to_layer(_on_whole(image, prediction, table[indices])), unknown


def fill_unlabelled(layer: Labels, values: NDArray[np.uint8]) -> int:
    """Paint where nothing is painted yet, so that it can be undone; returns how many pixels."""
    where = np.nonzero((np.asarray(layer.data) == 0) & (values > 0))
    if len(where[0]):
        layer.data_setitem(where, values[where])
    return len(where[0])


def _is_grey(phase: PhaseClass) -> bool:
    return max(phase.rgb) - min(phase.rgb) < _LEAST_CHROMA


def _chooser(label: int, count: int) -> Callable[[Labels], None]:
    """What a key does: with it a class is chosen, and the brush taken."""

    # napari asks whatever a key is bound to for its name, which a `partial` has not.
    def choose_class(layer: Labels) -> None:
        if label <= count:
            layer.selected_label = label
            layer.mode = "paint"

    return choose_class


def _on_whole(image: Image, prediction: Labels, indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shape = image_shape(image)
    if indices.shape == shape and _same_place(image, prediction):
        return indices
    if not _same_scale(image, prediction) or indices.ndim != len(shape):
        raise InputError(
            f"{prediction.name}: does not lie on {image.name} pixel by pixel; choose a prediction "
            "made of this image"
        )
    corner = [round(x) for x in _corner(image, prediction)]
    whole = np.full(shape, UNLABELLED, np.uint8)
    low = [max(0, at) for at in corner]
    high = [min(n, at + m) for n, at, m in zip(shape, corner, indices.shape, strict=True)]
    there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    here = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, corner, strict=True))
    if any(b <= a for a, b in zip(low, high, strict=True)):
        raise InputError(f"{prediction.name}: lies outside {image.name}; choose another prediction")
    whole[there] = indices[here]
    return whole


def _corner(image: Image, layer: Labels) -> Sequence[float]:
    """Where the first pixel of a layer lies, in pixels of the image."""
    row, column = pixel_positions([(0,) * layer.ndim], layer, image)[0]
    leading = (np.asarray(layer.translate) - np.asarray(image.translate)) / np.asarray(image.scale)
    return (*leading[:-2], row, column)


def _same_scale(image: Image, labels: Labels) -> bool:
    sizes = [np.asarray(layer.scale[-2:], float) for layer in (image, labels)]
    units = [[_factor(str(unit)) for unit in layer.units[-2:]] for layer in (image, labels)]
    return bool(np.allclose(sizes[0] * units[0], sizes[1] * units[1], rtol=_SAME_SCALE))


def _same_place(image: Image, labels: Labels) -> bool:
    rows, columns = plane_shape(image)
    corners = [(0, 0), (rows - 1, columns - 1), (0, columns - 1)]
    leading = (0,) * (labels.ndim - 2)
    found = pixel_positions([(*leading, *corner) for corner in corners], labels, image)
    return bool(np.allclose(found, corners, atol=0.1))


def _has_no_place(labels: Labels) -> bool:
    in_pixels = all(str(unit) == "pixel" for unit in labels.units)
    corners = np.vstack([np.zeros(labels.ndim), np.eye(labels.ndim)])
    return in_pixels and np.array_equal([labels.data_to_world(x) for x in corners], corners)


def _factor(unit: str) -> float:
    """How many µm a unit is; a pixel and what is no length count as themselves."""
    try:
        return micrometres(1, unit)
    except InputError:
        return 1.0
