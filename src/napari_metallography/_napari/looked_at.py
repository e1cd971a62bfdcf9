"""Planes of layers whose class is looked for: which, their pixels, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.components import ViewerModel
from napari.layers import Image
from numpy.typing import NDArray

from ..classification.stacks import Stack
from ..errors import InputError
from ..plane import leading_shape
from .form import chosen
from .layers import layer_calibration, pixels_of, plane_shape, snapshot
from .results import centre_on, is_computed

_EXTENTS = {
    "view": "the plane in view",
    "stack": "every plane of the image",
    "selected": "every plane of all selected layers",
}


class LookedAt:
    """Which planes a form looks at.

    Parameters
    ----------
    image
        The form's choice of an image.
    """

    def __init__(self, viewer: ViewerModel, image: ComboBox) -> None:
        self._viewer, self._image = viewer, image
        self.extent = ComboBox(
            choices=[(text, value) for value, text in _EXTENTS.items()], label="Look at"
        )

    def images(self) -> list[Image]:
        """The layers; `InputError` where there are none."""
        if self.extent.value != "selected":
            return [chosen(self._image, "an image")]
        selected = self._viewer.layers.selection
        images = [x for x in self._viewer.layers if x in selected and isinstance(x, Image)]
        images = [image for image in images if not is_computed(image)]
        if not images:
            raise InputError("select image layers in the layer list first")
        return images

    def stack(self, image: Image) -> Stack:
        """What to look at of a layer; errors as for `stack_of`."""
        in_view = self.extent.value == "view"
        return stack_in_view(self._viewer, image) if in_view else stack_of(image)


@dataclass(frozen=True)
class TakenPlanes:
    """Some planes of an array, copied, by their index along the axes before the rows."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    planes: Mapping[tuple[int, ...], NDArray[Any]]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self.planes[key]


def stack_of(image: Image, planes: tuple[int, ...] | None = None) -> Stack:
    """The pixels of a layer as they are now, or those of some planes; call on the GUI thread.

    Raises
    ------
    InputError
        When the layer is sheared, so that its pixels have no one size, or has no such plane.
    """
    array, rgb = pixels_of(image)
    whole = Stack(image.name, array, rgb, layer_calibration(image), planes)
    if planes is None or not whole.leading or type(array) is not np.ndarray:
        return replace(whole, array=snapshot(image)[0])
    taken = {index: array[index].copy() for index in map(whole.index, planes)}
    return replace(whole, array=TakenPlanes(array.shape, array.dtype, taken))


def index_of(image: Image, number: int) -> tuple[int, ...]:
    """Where a plane lies along the axes before the rows."""
    array, rgb = pixels_of(image)
    return Stack(image.name, array, rgb, None).index(number)


def place_of(image: Image, number: int) -> str:
    """The layer's name, and the plane where there are several."""
    return place_at(image, index_of(image, number))


def place_at(image: Image, index: tuple[int, ...]) -> str:
    """As `place_of`, of a plane by its index along the axes before the rows."""
    return f"{image.name}, plane {', '.join(map(str, index))}" if index else image.name


def plane_in_view(viewer: ViewerModel, image: Image) -> int:
    """Number of the plane of an image that is in view.

    Raises
    ------
    InputError
        When its rows and columns are not what is shown.
    """
    last = viewer.dims.ndim
    if not {last - 2, last - 1} <= {*viewer.dims.displayed}:
        raise InputError(
            f"{image.name}: its rows and columns are not in view; roll the axes until they are"
        )
    array, rgb = pixels_of(image)
    lengths = leading_shape(array, rgb=rgb)
    point = image.world_to_data(viewer.dims.point[-image.ndim :])
    index = np.clip(np.rint(point[: len(lengths)]).astype(int), 0, np.array(lengths) - 1)
    return int(np.ravel_multi_index(tuple(index), lengths)) if lengths else 0


def plane_numbered(image: Image, index: tuple[int, ...]) -> int | None:
    """Number of the plane at an index along the axes before the rows; None outside the image."""
    array, rgb = pixels_of(image)
    lengths = leading_shape(array, rgb=rgb)
    if not all(0 <= at < length for at, length in zip(index, lengths, strict=True)):
        return None
    return int(np.ravel_multi_index(index, lengths)) if lengths else 0


def stack_in_view(viewer: ViewerModel, image: Image) -> Stack:
    """The plane of an image in view; call on the GUI thread. Errors as for `stack_of`."""
    return stack_of(image, (plane_in_view(viewer, image),))


def bring_into_view(
    viewer: ViewerModel, image: Image, number: int, others: Iterable[Image]
) -> None:
    """Show a plane of an image, and hide other images."""
    for other in others:
        other.visible = other is image
    viewer.layers.selection.active = image
    rows, columns = plane_shape(image)
    centre_on(viewer, image, (*index_of(image, number), rows / 2, columns / 2))
