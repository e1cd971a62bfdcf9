"""A comparison chart beside a graded image, and over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Points
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray

from ..calibration import Calibration, micrometres
from ..grains.drawing import BOUNDARY
from ..regions import Box
from ..synthesis.chart import Plate
from .grain_layers import SHOWN
from .results import mark_computed

CHART = "comparison_chart_of"
"""Key of the metadata of the layers of a chart: the name of the image."""

_GAP = 0.04


def chart_field(box: Box, calibration: Calibration) -> tuple[tuple[int, int], float]:
    """Height and width of a box in square pixels as large as the smaller side of its own, in µm."""
    size = min(calibration.y_um, calibration.x_um)
    height, width = box.shape
    return (round(height * calibration.y_um / size), round(width * calibration.x_um / size)), size


def show_chart(
    viewer: ViewerModel, image: Image, box: Box, grain_size: float, plates: Sequence[Plate]
) -> None:
    """Add plates to the right of an image, at its scale, and the nearest one over it, hidden.

    An earlier chart of the image makes way, and the view stays as it is; without one, all is
    brought into view. The layer that was selected stays so.

    Parameters
    ----------
    box
        The part of the image that was graded, where the hidden one lies.
    grain_size
        That was measured.
    """
    earlier = [one for one in viewer.layers if one.metadata.get(CHART) == image.name]
    for layer in earlier:
        viewer.layers.remove(layer)
    active = viewer.layers.selection.active
    nearest = min(plates, key=lambda plate: abs(plate.grain_size - grain_size))
    beside = _beside(image, plates)
    titles = _titles(image, plates, beside)
    for layer in (_over(image, box, nearest), *beside, titles):
        layer.metadata = {**layer.metadata, SHOWN: CHART, CHART: image.name}
        mark_computed(layer)
        viewer.add_layer(layer)
    viewer.layers.selection.active = active
    if not earlier:
        viewer.reset_view()


def hide_charts(viewer: ViewerModel, but_of: Image) -> None:
    """Show the charts of other images no more."""
    for layer in viewer.layers:
        if layer.metadata.get(CHART, but_of.name) != but_of.name:
            layer.visible = False


def _beside(image: Image, plates: Sequence[Plate]) -> list[Image]:
    # Extents are those of pixels' centres.
    half = np.asarray(image.scale[-2:]) / 2
    (low, high) = image.extent.world[:, -2:]
    top, right = low[0] - half[0], high[1] + half[1]
    found: list[Image] = []
    for plate in plates:
        picture = np.where(plate.boundaries, np.uint8(0), np.uint8(255))
        scale = _scale(image, plate)
        width = scale * picture.shape[1]
        left = right + _GAP * width
        found.append(_layer(image, plate, picture, (top + scale / 2, left + scale / 2)))
        right = left + width
    return found


def _titles(image: Image, plates: Sequence[Plate], beside: Sequence[Image]) -> Points:
    """Text below the plates, as large on the screen whatever the magnification."""
    extents = [layer.extent.world for layer in beside]
    return Points(
        [(world[1, 0], world[0, 1]) for world in extents],
        name=f"chart titles · {image.name}",
        # Short lines, so that titles keep apart.
        features={"title": [plate.title.replace("intercept ", "intercept\n") for plate in plates]},
        text={"string": "{title}", "size": 9, "color": "white", "anchor": "lower_left"},
        opacity=1,
        face_color="transparent",
        border_width=0,
        size=1,
        units=image.units[-2:],
    )


def _over(image: Image, box: Box, plate: Plate) -> Image:
    corner = np.array([*np.zeros(image.ndim - 2), box.top - 0.5, box.left - 0.5])
    place = np.asarray(image.data_to_world(corner))[-2:] + _scale(image, plate) / 2
    lines = np.where(plate.boundaries, np.uint8(255), np.uint8(0))
    layer = _layer(image, plate, lines, place, " over the image")
    layer.colormap = Colormap([[0, 0, 0, 1], BOUNDARY.colour], name="chart")
    layer.blending, layer.visible = "additive", False
    return layer


def _layer(
    image: Image,
    plate: Plate,
    picture: NDArray[np.uint8],
    place: Sequence[float] | NDArray[np.float64],
    where: str = "",
) -> Image:
    scale = _scale(image, plate)
    size = Calibration.square(plate.pixel_um, "chart")
    return Image(
        picture,
        name=f"chart G {plate.grain_size:g}{where} · {image.name}",
        colormap="gray",
        contrast_limits=(0, 255),
        scale=(scale, scale),
        translate=tuple(place),
        units=image.units[-2:],
        metadata={"calibration": size.to_dict()},
    )


def _scale(image: Image, plate: Plate) -> float:
    return plate.pixel_um / micrometres(1, str(image.units[-1]))
