"""Answers of *Classify defects* on layers: their metadata, the defect map, the heat map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..classes import UNLABELLED, indices_to_layer
from ..classification.confirmed import Confirmed
from ..classification.defect_parameters import UNSURE_NAME
from ..classification.stacks import Named, NamedPlane
from ..plane import ArrayLike
from ..regions import Box
from .layer_answers import LayerAnswers
from .layers import (
    labels_layer,
    layer_calibration,
    pixels_of,
    plane_placement,
    plane_shape,
)
from .looked_at import index_of, place_of
from .painting import image_shape
from .results import is_computed, is_untouched, mark_computed, remove_untouched
from .training_layers import add_above, placement_of_part

DEFECTS = LayerAnswers("defects")
"""What is noted of images."""

_HEAT, _HEAT_OF = "heat", "heat_of"
_MAP_OF, _COUNTS = "defects_of", "counts_by_plane"
_OPACITY = 0.5


def confirmed_planes(viewer: ViewerModel) -> list[Confirmed]:
    """All planes whose class is confirmed, in the layers' own memory; call on the GUI thread."""
    return [one for image in DEFECTS.confirmed_layers(viewer) for one in _confirmed(image)]


def show_defects(
    viewer: ViewerModel, image: Image, planes: Sequence[NamedPlane], named: Named
) -> Labels:
    """Show what scanned planes have where, beside the planes that were scanned alike before.

    A map that was edited stays; another is begun. Row *i* of the features belongs to label *i*:
    its class, the share of the area, and the number of windows so answered.
    """
    layer = _map_to_go_on(viewer, image, named.provenance) or _new_map(viewer, image, named)
    counts = dict(layer.metadata[_COUNTS])
    for one in planes:
        if one.defects is not None and one.windows is not None:
            layer.data[index_of(image, one.number)] = indices_to_layer(one.defects)
            counts[one.number] = map_counts(one.defects, one.windows.given, len(named.classes))
    layer.metadata = {**layer.metadata, _COUNTS: counts}
    layer.features = map_features(counts.values(), [one.name for one in named.classes])
    mark_computed(layer)
    if layer in viewer.layers:
        layer.refresh()
    else:
        add_above(viewer, image, layer)
    return layer


def map_counts(
    defects: NDArray[np.uint8], given: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Pixels and windows of a scanned plane (2, classes + 1), of what is unsure first."""
    # 255 becomes 0, and class 0 becomes 1.
    pixels = (defects + np.uint8(1)).ravel()
    return np.stack([np.bincount(x, minlength=classes + 1) for x in (pixels, given + 1)])


def map_features(counts: Iterable[NDArray[np.int64]], names: Sequence[str]) -> pd.DataFrame:
    """A row for what is unsure and one a class: share of the area, and windows."""
    areas, windows = sum(counts, np.zeros((2, len(names) + 1), np.int64))
    return pd.DataFrame(
        {
            "class": [UNSURE_NAME, *names],
            "area_fraction": areas / max(1, areas.sum()),
            "windows": windows,
        }
    )


def add_heat(
    viewer: ViewerModel,
    image: Image,
    number: int,
    name: str,
    heat: NDArray[np.float32],
    brightest: float,
) -> Image:
    """Show what speaks for a class on a plane of an image, over that plane only.

    Parameters
    ----------
    brightest
        The value that is drawn brightest, so that maps can be compared.
    """
    remove_heat(viewer)
    index = index_of(image, number)
    layer = Image(
        heat[(None,) * len(index)],
        name=f"{image.name} {_HEAT}",
        colormap="inferno",
        contrast_limits=(0, max(brightest, 1e-6)),
        opacity=_OPACITY,
        blending="translucent",
        metadata={_HEAT: name, _HEAT_OF: (image.unique_id, number)},
        **placement_of_part(image, index, Box(0, 0, *plane_shape(image)), heat.shape),
    )
    mark_computed(layer)
    add_above(viewer, image, layer)
    return layer


def remove_heat(viewer: ViewerModel, *, but_of: tuple[Image, int] | None = None) -> None:
    """Take heat maps away, which belong to one plane each; but that of a plane of an image."""
    kept = (but_of[0].unique_id, but_of[1]) if but_of else None
    for layer in [x for x in viewer.layers if is_computed(x) and _HEAT_OF in x.metadata]:
        if layer.metadata[_HEAT_OF] != kept:
            viewer.layers.remove(layer)


def _map_to_go_on(viewer: ViewerModel, image: Image, provenance: dict[str, Any]) -> Labels | None:
    """The map of an image that was had alike and not edited; None where there is none."""
    for layer in viewer.layers:
        if layer.metadata.get(_MAP_OF) != image.unique_id or not is_untouched(layer):
            continue
        if layer.metadata["provenance"] == provenance and layer.data.shape == image_shape(image):
            for name, value in plane_placement(image, layer.ndim).items():
                setattr(layer, name, value)
            return layer
    return None


def _new_map(viewer: ViewerModel, image: Image, named: Named) -> Labels:
    name = f"{image.name} defects"
    remove_untouched(viewer, name)
    nothing = np.full(image_shape(image), UNLABELLED, np.uint8)
    noted = {"provenance": named.provenance, _MAP_OF: image.unique_id, _COUNTS: {}}
    layer = labels_layer(image, nothing, named.classes, name, noted)
    layer.opacity = _OPACITY
    return layer


def _confirmed(image: Image) -> Iterator[Confirmed]:
    array: ArrayLike = pixels_of(image)[0]
    calibration = layer_calibration(image)
    for number, name in sorted(DEFECTS.confirmed(image).items()):
        index = index_of(image, number)
        plane = array[index] if index else array
        yield Confirmed(place_of(image, number), plane, name, calibration)
