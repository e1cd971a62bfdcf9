"""What a threshold would give, while its slider moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from ..plane import ArrayLike, as_plane
from ..regions import Field
from ..segmentation.segment import THRESHOLD_CLASSES
from ..segmentation.thresholding import ThresholdParameters, otsu, prepared, split
from .layers import plane_placement

_PHASE = 1
NAME = "threshold preview"


@dataclass(frozen=True)
class PreparedPlane:
    """Grey values a threshold applies to: computed once, compared at each move of the slider.

    Attributes
    ----------
    grey, inside
        (Y, X) grey values, and where the field is.
    low, high
        Range of the grey values in the field.
    otsu
        Otsu's threshold.
    """

    grey: NDArray[np.float32]
    inside: NDArray[np.bool_]
    low: float
    high: float
    otsu: float

    def phase(self, parameters: ThresholdParameters) -> NDArray[np.uint8]:
        """(Y, X) label values: 1 in the phase, 0 elsewhere."""
        value = self.otsu if parameters.value is None else parameters.value
        indices = split(self.grey, self.inside, value, parameters)
        return np.asarray(indices == _PHASE, np.uint8)


def prepare(
    array: ArrayLike, measured: Field, parameters: ThresholdParameters, name: str
) -> PreparedPlane:
    """Prepare a plane (Y, X) or (Y, X, 3 or 4); errors as for `thresholding.threshold`."""
    measured.require_pixels()
    inside = measured.mask()
    grey = prepared(as_plane(array, name, measured), inside, parameters)
    values = grey[inside]
    return PreparedPlane(grey, inside, float(values.min()), float(values.max()), otsu(grey, inside))


class PreviewLayer:
    """The Labels layer that shows it; two-dimensional, so that it shows on the plane in view."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None

    def show(self, labels: NDArray[np.uint8], image: Image) -> None:
        """Show label values over an image."""
        if self._layer is None or self._layer not in self._viewer.layers:
            self._layer = self._added(labels, image)
        elif self._layer.data.shape != labels.shape:
            self.remove()
            self._layer = self._added(labels, image)
        else:
            self._layer.data = labels

    def remove(self) -> None:
        """Take the layer away."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None

    def _added(self, labels: NDArray[np.uint8], image: Image) -> Labels:
        colours = {None: "transparent", 0: "transparent", _PHASE: THRESHOLD_CLASSES[_PHASE].colour}
        layer = Labels(
            labels,
            name=NAME,
            colormap=DirectLabelColormap(color_dict=colours),
            opacity=0.5,
            **plane_placement(image, labels.ndim),
        )
        layer.editable = False
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        # The preview must not take the place of the layer the user works on.
        if active is not None:
            self._viewer.layers.selection.active = active
        return layer
