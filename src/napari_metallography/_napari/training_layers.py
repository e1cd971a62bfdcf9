"""Layers that show a training: the preview while it runs, before and after at its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from ..classes import UNLABELLED, PhaseClass
from ..events import Preview
from ..regions import Box
from .layers import (
    class_labels_keywords,
    labels_layer,
    plane_placement,
    plane_shape,
)
from .painting import image_shape
from .results import mark_computed, remove_untouched
from .side_by_side import add_on_top

if TYPE_CHECKING:
    # They import torch.
    from ..segmentation.segment import Segmentation
    from ..training.fine_tuning import Session

Index = tuple[int, ...]
"""Leading indices of a plane of a stack; empty for a single image."""

PREVIEW, UNSURE, BEFORE, AFTER = "preview", "where to paint next", "before", "after"

_LONGEST = 512
_OPACITY = 0.5


class Watched:
    """The part of an image in view, for the previews of one training.

    The GUI thread says what is in view (`follow`); the computing thread takes its pixels
    (`take`) and gets a preview back for each, in order.
    """

    def __init__(self, image: Image, session: Session) -> None:
        self._image = image
        self._shape = plane_shape(image)
        self._session = session
        self._box = Box(0, 0, 1, 1)
        self._taken: deque[Box] = deque()
        self.follow()

    def follow(self) -> None:
        """Note what is in view; call on the GUI thread."""
        self._box = visible_box(self._image)

    def take(self) -> NDArray[np.uint8] | None:
        """The pixels (Y, X, 3) in view, as the training has them; in the computing thread.

        None while there is nothing to see: before the images are read, or one grey all over.
        """
        if not self._session.images:
            return None
        box, pixels = self._box, self._session.images[0].pixels
        part = scaled(box, pixels.shape[0] / self._shape[0], pixels.shape[1] / self._shape[1])
        seen = np.ascontiguousarray(pixels[part.slices])
        if (seen == seen[:1, :1]).all():
            return None
        self._taken.append(box)
        return seen

    def box_of_next(self) -> Box:
        """Where the next preview lies, in pixels of the image."""
        return self._taken.popleft()


class PreviewLayers:
    """The layers of the previews of one training; one the user removes does not come back."""

    def __init__(
        self, viewer: ViewerModel, image: Image, index: Index, classes: Sequence[PhaseClass]
    ) -> None:
        self._viewer = viewer
        self._image = image
        self._index = index
        self._classes = classes
        self._layers: dict[str, Layer] = {}

    def show(self, preview: Preview, box: Box) -> None:
        """Show a preview of a part of the image, while that is open."""
        if self._image not in self._viewer.layers:
            return
        leading = (None,) * len(self._index)
        values, keywords = class_labels_keywords(preview.indices, self._classes, {})
        where = placement_of_part(self._image, self._index, box, preview.indices.shape)
        self._update(PREVIEW, Labels, values[leading], keywords | {"opacity": _OPACITY}, where)
        if preview.uncertainty is not None:
            unsure = preview.uncertainty.astype(np.float32) / 255
            self._update(UNSURE, Image, unsure[leading], unsure_keywords(), where)

    def remove(self) -> None:
        """Take them away."""
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = {}

    def _update(
        self,
        name: str,
        kind: type[Layer],
        data: NDArray[Any],
        keywords: dict[str, Any],
        where: dict[str, Any],
    ) -> None:
        layer = self._layers.get(name)
        if layer is None:
            full_name = f"{self._image.name} {name}"
            remove_untouched(self._viewer, full_name)
            layer = kind(data, name=full_name, **keywords, **where)
            mark_computed(layer)
            self._layers[name] = layer
            add_above(self._viewer, self._image, layer)
        elif layer in self._viewer.layers:
            layer.data = data
            layer.scale, layer.translate = where["scale"], where["translate"]


def add_above(viewer: ViewerModel, image: Image, layer: Layer) -> None:
    """Add a layer right above an image, below the strokes; the brush stays in the user's hand."""
    active = viewer.layers.selection.active
    viewer.layers.insert(viewer.layers.index(image) + 1, layer)
    if active is not None:
        viewer.layers.selection.active = active


def show_phases(
    viewer: ViewerModel,
    image: Image,
    found: Mapping[Index, Segmentation],
    suffix: str,
    *,
    visible: bool = True,
    on_top: bool = False,
) -> Labels:
    """Show the phases of an image's planes; an untouched layer of that name makes way.

    They lie right above the image, or on top of all layers.
    """
    name = f"{image.name} {suffix}"
    remove_untouched(viewer, name)
    one = next(iter(found.values()))
    indices = _whole(image, {i: result.indices for i, result in found.items()}, UNLABELLED)
    stated = {"provenance": one.provenance, "field": one.measured.to_dict()}
    layer = labels_layer(image, indices, one.classes, name, stated)
    layer.opacity, layer.visible = _OPACITY, visible
    mark_computed(layer)
    if on_top:
        add_on_top(viewer, [layer])
    else:
        add_above(viewer, image, layer)
    return layer


def show_unsure(viewer: ViewerModel, image: Image, found: Mapping[Index, Segmentation]) -> Image:
    """Show where the network is unsure of an image's planes."""
    maps = {i: r.uncertainty for i, r in found.items() if r.uncertainty is not None}
    whole = _whole(image, maps, 0).astype(np.float32) / 255
    name = f"{image.name} {UNSURE}"
    remove_untouched(viewer, name)
    layer = Image(whole, name=name, **unsure_keywords(), **plane_placement(image, whole.ndim))
    mark_computed(layer)
    add_above(viewer, image, layer)
    return layer


def unsure_keywords() -> dict[str, Any]:
    """How a map of uncertainty is drawn."""
    return {
        "colormap": "magma",
        "blending": "additive",
        "contrast_limits": (0, 1),
        "opacity": 0.8,
    }


def visible_box(image: Image) -> Box:
    """The part of an image in view, at most 512 pixels a side around its middle."""
    corners = np.asarray(image.corner_pixels, float)[:, -2:]
    if image.multiscale:
        corners = corners * np.asarray(image.downsample_factors[image.data_level])[-2:]
    shape = plane_shape(image)
    # Never drawn yet: napari then tells of nothing in view.
    if (corners[1] <= corners[0]).any():
        corners = np.array([(0, 0), shape], float)
    spans = [_span(low, high, length) for (low, high), length in zip(corners.T, shape, strict=True)]
    return Box(spans[0][0], spans[1][0], spans[0][1], spans[1][1])


def scaled(box: Box, rows: float, columns: float) -> Box:
    """A box in an image of another pixel size; a pixel at least."""
    top, left = math.floor(box.top * rows), math.floor(box.left * columns)
    return Box(
        top,
        left,
        max(top + 1, math.floor(box.bottom * rows)),
        max(left + 1, math.floor(box.right * columns)),
    )


def placement_of_part(
    image: Image, index: Index, box: Box, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Where an array of `shape`, made of a box of one plane of an image, lies."""
    ratio = np.array([n / m for n, m in zip(box.shape, shape[-2:], strict=True)])
    placement = plane_placement(image, image.ndim)
    corner = (*index, *(np.array([box.top, box.left]) + (ratio - 1) / 2))
    moved = np.subtract(image.data_to_world(corner), image.data_to_world((0,) * image.ndim))
    return placement | {
        "scale": (*image.scale[:-2], *(np.asarray(image.scale[-2:]) * ratio)),
        "translate": image.translate + np.linalg.solve(image.affine.linear_matrix, moved),
    }


def _span(low: float, high: float, length: int) -> tuple[int, int]:
    start, stop = max(0, math.floor(low)), min(length, math.ceil(high) + 1)
    excess = max(0, stop - start - _LONGEST)
    return start + excess // 2, stop - (excess - excess // 2)


def _whole(
    image: Image, planes: Mapping[Index, NDArray[np.uint8]], empty: int
) -> NDArray[np.uint8]:
    whole = np.full(image_shape(image), empty, np.uint8)
    for index, plane in planes.items():
        whole[index] = plane
    return whole
