"""Answers of *Classify defects* on layers: their metadata, the defect map, the heat map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..classification.confirmed import Confirmed
from ..classification.defects import UNSURE_NAME
from ..classification.named import Named, NamedPlane, Stack
from ..regions import Box
from .layers import labels_layer, layer_calibration, pixels_of, plane_shape, snapshot
from .painting import image_shape
from .results import is_computed, mark_computed, remove_untouched
from .training_layers import add_above, placement_of_part

ANSWERS = "defects"
"""Key of an image layer's metadata: `provenance`, `answers` and `confirmed`, by plane."""

_HEAT = "heat"
_OPACITY = 0.5


def stack_of(image: Image, planes: tuple[int, ...] | None = None) -> Stack:
    """The pixels of a layer as they are now; call on the GUI thread.

    Raises
    ------
    InputError
        When the layer is sheared, so that its pixels have no one size.
    """
    array, rgb = snapshot(image)
    return Stack(image.name, array, rgb, layer_calibration(image), planes)


def index_of(image: Image, number: int) -> tuple[int, ...]:
    """Where a plane lies along the axes before the rows."""
    array, rgb = pixels_of(image)
    return Stack(image.name, array, rgb, None).index(number)


def place_of(image: Image, number: int) -> str:
    """The layer's name, and the plane where there are several."""
    index = index_of(image, number)
    return f"{image.name}, plane {', '.join(map(str, index))}" if index else image.name


def note_answers(image: Image, planes: Iterable[NamedPlane], provenance: dict[str, Any]) -> None:
    """Keep answers in the layer's metadata; those of other planes stay if they were had alike."""
    before = image.metadata.get(ANSWERS, {})
    kept = before.get("answers", {}) if before.get("provenance") == provenance else {}
    rows = {one.number: {k: v for k, v in one.row.items() if k != "image"} for one in planes}
    _note(image, provenance=provenance, answers={**kept, **rows})


def confirm(image: Image, number: int, name: str) -> None:
    """Note the class of a plane that somebody confirmed; "" takes it back."""
    others = {plane: one for plane, one in confirmed_in(image).items() if plane != number}
    _note(image, confirmed={**others, number: name} if name else others)


def confirmed_in(image: Image) -> dict[int, str]:
    """Classes by plane that somebody confirmed."""
    found: dict[int, str] = image.metadata.get(ANSWERS, {}).get("confirmed", {})
    return found


def confirmed_layers(viewer: ViewerModel) -> list[Image]:
    """The micrographs with confirmed answers."""
    images = [x for x in viewer.layers if isinstance(x, Image) and not is_computed(x)]
    return [image for image in images if confirmed_in(image)]


def confirmed_planes(viewer: ViewerModel) -> list[Confirmed]:
    """All planes whose class is confirmed, as they are now; call on the GUI thread."""
    return [
        _confirmed(image, number, name)
        for image in confirmed_layers(viewer)
        for number, name in sorted(confirmed_in(image).items())
    ]


def add_defect_map(
    viewer: ViewerModel, image: Image, planes: Sequence[NamedPlane], named: Named
) -> Labels:
    """Show what scanned planes have where; an untouched map of the image makes way.

    Row *i* of the features belongs to label *i*: its class, the share of the area, and the number
    of windows so answered.
    """
    name = f"{image.name} defects"
    remove_untouched(viewer, name)
    indices = np.full(image_shape(image), UNLABELLED, np.uint8)
    for one in planes:
        if one.defects is not None:
            indices[index_of(image, one.number)] = one.defects
    layer = labels_layer(image, indices, named.classes, name, {"provenance": named.provenance})
    layer.features = map_features(planes, [one.name for one in named.classes])
    layer.opacity = _OPACITY
    mark_computed(layer)
    add_above(viewer, image, layer)
    return layer


def map_features(planes: Sequence[NamedPlane], names: Sequence[str]) -> pd.DataFrame:
    """A row for what is unsure and one a class: share of the area, and windows."""
    areas, windows = np.zeros((2, len(names) + 1))
    for one in planes:
        if one.defects is not None and one.windows is not None:
            # 255 becomes 0, and class 0 becomes 1.
            areas += np.bincount((one.defects + np.uint8(1)).ravel(), minlength=len(areas))
            windows += np.bincount(one.windows.given + 1, minlength=len(windows))
    return pd.DataFrame(
        {
            "class": [UNSURE_NAME, *names],
            "area_fraction": areas / max(1, areas.sum()),
            "windows": windows.astype(int),
        }
    )


def add_heat(
    viewer: ViewerModel, image: Image, number: int, name: str, heat: NDArray[np.float32]
) -> Image:
    """Show what speaks for a class on a plane of an image, over that plane only."""
    remove_heat(viewer)
    index = index_of(image, number)
    layer = Image(
        heat[(None,) * len(index)],
        name=f"{image.name} {_HEAT}",
        colormap="inferno",
        contrast_limits=(0, max(float(heat.max()), 1e-6)),
        opacity=_OPACITY,
        blending="translucent",
        metadata={_HEAT: name},
        **placement_of_part(image, index, Box(0, 0, *plane_shape(image)), heat.shape),
    )
    mark_computed(layer)
    add_above(viewer, image, layer)
    return layer


def remove_heat(viewer: ViewerModel) -> None:
    """Take heat maps away, which belong to one plane each."""
    for layer in [x for x in viewer.layers if is_computed(x) and _HEAT in x.metadata]:
        viewer.layers.remove(layer)


def _note(image: Image, **values: Any) -> None:
    noted = {**image.metadata.get(ANSWERS, {}), **values}
    image.metadata = {**image.metadata, ANSWERS: noted}


def _confirmed(image: Image, number: int, name: str) -> Confirmed:
    array, _ = pixels_of(image)
    index = index_of(image, number)
    plane = array[index] if index else array
    # What is read when needed stays so.
    pixels = plane.copy() if isinstance(plane, np.ndarray) else plane
    return Confirmed(place_of(image, number), pixels, name, layer_calibration(image))
