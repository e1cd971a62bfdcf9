"""Opening micrographs and label images as calibrated layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from napari.utils.notifications import show_error, show_info
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PALETTE, class_count, numbered_classes
from ..errors import InputError
from ..io.images import Micrograph, is_image_file, read_micrograph
from ..io.labels import LabelImage, is_label_image, looks_like_labels, read_labels
from ..io.ome_zarr import ZarrPlanes, coarser_levels, is_zarr
from ..plane import leading_shape
from ..windowed import LARGE_BYTES
from .layers import class_labels_keywords
from .wording import in_window

LayerData = tuple[Any, ...]
ReadPaths = Callable[[str | Sequence[str]], list[LayerData]]

_NOTHING_TO_ADD: list[LayerData] = [(None,)]
_SAMPLES_A_SIDE = 256
_THINNED = 4
_PALETTE = np.array([int(colour[1:], 16) for colour in (*PALETTE, "#ffffff")], np.uint32)


def get_reader(path: str | Sequence[str]) -> ReadPaths | None:
    """The function that reads `path`, or None when it is no micrograph by its suffix.

    Several paths are taken when all are images; folders but those of Zarr images are left to other
    plugins.
    """
    paths = _paths(path)
    if paths and all(is_image_file(one) and (is_zarr(one) or not one.is_dir()) for one in paths):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Layers of one file; several files make one stack, in the order given.

    What cannot be read is told to the user in one line, and no layer is added.
    """
    try:
        return [_layer(_paths(path))]
    except InputError as error:
        show_error(in_window(str(error)))
        return _NOTHING_TO_ADD


def image_layer(micrograph: Micrograph, name: str | None = None) -> LayerData:
    """A micrograph as a layer that knows its pixel size and its microscope.

    A Zarr image stays in its folder, and is read as far as it is shown.
    """
    keywords = {
        "name": name or micrograph.source.stem,
        "rgb": micrograph.rgb,
        "metadata": {"microscope": micrograph.metadata},
    }
    pixels = micrograph.pixels
    ndim = len(pixels.shape) - int(micrograph.rgb)
    keywords = _calibrated(keywords, micrograph.calibration, ndim)
    if not isinstance(pixels, ZarrPlanes):
        # In memory, as what other plugins take for granted; a mapped file stays mapped.
        return np.asanyarray(pixels), keywords, "image"
    levels = _resolutions(pixels, micrograph.source)
    several = len(levels) > 1
    return levels if several else levels[0], keywords | {"multiscale": several}, "image"


def labels_layer(labels: LabelImage, name: str) -> LayerData:
    """Our own label image as a Labels layer in the colours of its classes."""
    metadata = {"provenance": labels.provenance, "field": labels.measured.to_dict()}
    indices = np.asarray(labels.indices)
    values, keywords = class_labels_keywords(indices, labels.classes, metadata)
    keywords["name"] = name
    return values, _calibrated(keywords, labels.calibration, indices.ndim), "labels"


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]


def _layer(paths: list[Path]) -> LayerData:
    if len(paths) > 1:
        return image_layer(_stacked([read_micrograph(path) for path in paths]))
    if is_label_image(paths[0]):
        return labels_layer(read_labels(paths[0]), paths[0].stem)
    micrograph = read_micrograph(paths[0])
    # Of a Zarr image all would have to be read to tell.
    if not is_zarr(paths[0]) and _is_of_classes(micrograph):
        return labels_layer(_foreign_labels(paths[0], micrograph.calibration), paths[0].stem)
    return image_layer(micrograph)


def _resolutions(planes: ZarrPlanes, source: Path) -> list[Any]:
    """What napari shows of a Zarr image from near to far, so that no large plane is read whole."""
    coarser: list[Any] = [_read_when_shown(level) for level in coarser_levels(source)]
    is_stack = bool(leading_shape(planes, rgb=planes.rgb))
    if not coarser and not is_stack and planes.nbytes >= LARGE_BYTES:
        # Read but once: it takes all that is stored.
        thinned = planes[::_THINNED, ::_THINNED]
        coarser = [thinned, thinned[::_THINNED, ::_THINNED]]
    return [_read_when_shown(planes), *coarser]


def _read_when_shown(planes: ZarrPlanes) -> Any:
    """An array as napari and other plugins know it, of which a part is read when it is used."""
    leading = leading_shape(planes, rgb=planes.rgb)
    chunks = (*[1] * len(leading), "auto", "auto", *[-1] * planes.rgb)
    return da.from_array(planes, chunks, name=False, fancy=False)


def _is_of_classes(micrograph: Micrograph) -> bool:
    """Whether an image can only be one of classes: by index, or in the palette's colours."""
    leading = leading_shape(micrograph.pixels, rgb=micrograph.rgb)
    plane = np.asarray(micrograph.pixels[(0,) * len(leading)])
    if not micrograph.rgb:
        return looks_like_labels(plane)
    step = max(1, max(plane.shape[:2]) // _SAMPLES_A_SIDE)
    return not leading and _in_palette(plane[::step, ::step]) and _in_palette(plane)


def _in_palette(pixels: NDArray[Any]) -> bool:
    """Whether colours (Y, X, 3 or 4) are classes' own, two of them at least."""
    if pixels.dtype != np.uint8:
        return False
    packed = pixels[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours = np.unique(packed)
    return len(colours) > 1 and bool(np.isin(colours, _PALETTE).all())


def _foreign_labels(path: Path, calibration: Calibration | None) -> LabelImage:
    """Labels that do not say what their values mean; what is assumed is told."""
    labels = read_labels(path)
    classes = labels.classes or numbered_classes(class_count([np.asarray(labels.indices)]))
    show_info(f"{path.name}: {labels.assumed}; the layer shows each value plus 1, 0 = unlabelled")
    return replace(labels, classes=classes, calibration=labels.calibration or calibration)


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
