"""Opening micrographs and label images as calibrated layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error

from ..calibration import Calibration
from ..errors import InputError
from ..io.images import Micrograph, is_image_file, read_micrograph
from ..io.labels import LabelImage, is_label_image, read_labels
from .layers import class_labels_keywords

LayerData = tuple[Any, ...]
ReadPaths = Callable[[str | Sequence[str]], list[LayerData]]

_NOTHING_TO_ADD: list[LayerData] = [(None,)]


def get_reader(path: str | Sequence[str]) -> ReadPaths | None:
    """The function that reads `path`, or None when it is no micrograph by its suffix.

    Several paths are taken when all are images; folders are left to other plugins.
    """
    paths = _paths(path)
    if paths and all(is_image_file(one) and not one.is_dir() for one in paths):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Layers of one file; several files make one stack, in the order given.

    What cannot be read is told to the user in one line, and no layer is added.
    """
    try:
        return [_layer(_paths(path))]
    except InputError as error:
        show_error(str(error))
        return _NOTHING_TO_ADD


def image_layer(micrograph: Micrograph, name: str | None = None) -> LayerData:
    """A micrograph as a layer that knows its pixel size and its microscope."""
    keywords = {
        "name": name or micrograph.source.stem,
        "rgb": micrograph.rgb,
        "metadata": {"microscope": micrograph.metadata},
    }
    ndim = micrograph.pixels.ndim - int(micrograph.rgb)
    return micrograph.pixels, _calibrated(keywords, micrograph.calibration, ndim), "image"


def labels_layer(labels: LabelImage, name: str) -> LayerData:
    """Our own label image as a Labels layer in the colours of its classes."""
    metadata = {"provenance": labels.provenance, "field": labels.measured.to_dict()}
    values, keywords = class_labels_keywords(labels.indices, labels.classes, metadata)
    keywords["name"] = name
    return values, _calibrated(keywords, labels.calibration, labels.indices.ndim), "labels"


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]


def _layer(paths: list[Path]) -> LayerData:
    if len(paths) > 1:
        return image_layer(_stacked([read_micrograph(path) for path in paths]))
    if is_label_image(paths[0]):
        return labels_layer(read_labels(paths[0]), paths[0].stem)
    return image_layer(read_micrograph(paths[0]))


def _stacked(micrographs: Sequence[Micrograph]) -> Micrograph:
    first = micrographs[0]
    for other in micrographs[1:]:
        if other.pixels.shape != first.pixels.shape or other.rgb != first.rgb:
            raise InputError(
                f"{other.source}: its size differs from that of {first.source.name}; "
                "open the files one by one instead of as a stack"
            )
        if _sizes(other.calibration) != _sizes(first.calibration):
            raise InputError(
                f"{other.source}: its pixel size differs from that of {first.source.name}; "
                "open the files one by one instead of as a stack"
            )
    pixels = np.stack([np.asarray(one.pixels) for one in micrographs])
    return Micrograph(pixels, first.rgb, first.calibration, first.metadata, first.source)


def _sizes(calibration: Calibration | None) -> tuple[float, float] | None:
    return (calibration.x_um, calibration.y_um) if calibration else None


def _calibrated(
    keywords: dict[str, Any], calibration: Calibration | None, ndim: int
) -> dict[str, Any]:
    if calibration is None:
        return keywords
    leading = ndim - 2
    return keywords | {
        "scale": (*[1.0] * leading, calibration.y_um, calibration.x_um),
        "units": (*["pixel"] * leading, "um", "um"),
        "metadata": keywords["metadata"] | {"calibration": calibration.to_dict()},
    }
