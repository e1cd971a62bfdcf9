"""From image files to label files: what the command line, the demo and recipes do for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import UNLABELLED
from ..errors import InputError
from ..events import Events
from ..inputs import (
    PixelSizes,
    measured_field,
    read_image,
    require_grey_values,
    require_new_labels,
)
from ..io.images import Micrograph
from ..io.labels import LabelImage, labels_path, read_labels, write_labels
from ..io.mark import PICTURE
from ..io.scratch import ScratchPlanes
from ..io.tiff import resolution_tags
from ..io.tiff_writing import write_planes
from ..plane import ArrayLike, row_blocks
from ..regions import Box
from ..windowed import LARGE_BYTES
from .model import SegmentationModel
from .prediction import Receivers
from .segment import SegmentParameters, segment_into


def segment_file(
    path: Path,
    folder: Path,
    parameters: SegmentParameters,
    *,
    sizes: PixelSizes,
    keep_data_bar: bool = False,
    region: Box | None = None,
    model: SegmentationModel | None = None,
    overwrite: bool = False,
    plane: int | None = None,
) -> Events[LabelImage]:
    """Segment a file and write `<stem>_labels.tif` (and `<stem>_uncertainty.tif` if asked for).

    Neither the image nor its labels need fit into memory: large ones are read by windows, go row
    by row to a scratch file in the folder, and from there to the label file.

    Parameters
    ----------
    plane
        Segment that plane of a stack alone, by its number from 0, and write (Y, X) labels to
        `<stem>_plane0000_labels.tif`. The data bar is that of the first plane, as for the whole
        stack.

    Returns
    -------
    The labels; large ones are read from the label file when they are used.

    Raises
    ------
    InputError
        When the image cannot be used, or its labels exist and `overwrite` is not set.
    """
    target = labels_path(folder, path, plane)
    if target.resolve() == path.resolve():
        raise InputError(f"{path}: the result would overwrite its input; choose another folder")
    if not overwrite:
        require_new_labels([target])
    return (
        yield from segment_micrograph(
            read_image(path, sizes),
            folder,
            parameters,
            keep_data_bar=keep_data_bar,
            region=region,
            model=model,
            plane=plane,
        )
    )


def segment_micrograph(
    micrograph: Micrograph,
    folder: Path,
    parameters: SegmentParameters,
    *,
    keep_data_bar: bool = False,
    region: Box | None = None,
    model: SegmentationModel | None = None,
    plane: int | None = None,
) -> Events[LabelImage]:
    """Segment what was read; as `segment_file`, but labels that are there are replaced."""
    path = micrograph.source
    target = labels_path(folder, path, plane)
    if parameters.method == "model":
        require_grey_values(micrograph)
    measured = measured_field(micrograph, keep_data_bar=keep_data_bar, region=region)
    pixels = micrograph.pixels if plane is None else micrograph.plane(plane)
    with_uncertainty = parameters.uncertainty and parameters.method == "model"
    with ExitStack() as scratch:
        shape = pixels.shape[: len(pixels.shape) - micrograph.rgb]
        indices = _room(folder, shape, scratch)
        uncertainty = _room(folder, shape, scratch) if with_uncertainty else None
        made = yield from segment_into(
            pixels,
            Receivers(indices, uncertainty),
            rgb=micrograph.rgb,
            calibration=micrograph.calibration,
            measured=measured,
            parameters=parameters,
            name=str(path) if plane is None else f"{path}, plane {plane}",
            model=model,
        )
        of_plane = {} if plane is None else {"plane": plane}
        provenance = {**made.provenance, "image": path.name, **of_plane}
        labels = LabelImage(indices, made.classes, micrograph.calibration, measured, provenance)
        write_labels(target, labels)
        if uncertainty is not None:
            _write_uncertainty(target, uncertainty, labels.calibration)
    return read_labels(target) if isinstance(indices, ScratchPlanes) else labels


def _room(
    folder: Path, shape: Sequence[int], scratch: ExitStack
) -> NDArray[np.uint8] | ScratchPlanes:
    """Room for a result: in memory, or for a large one in a file that vanishes with `scratch`."""
    if math.prod(shape) < LARGE_BYTES:
        return np.empty(shape, np.uint8)
    return scratch.enter_context(ScratchPlanes(folder, shape))


def phase_rows(name: str, labels: LabelImage) -> list[dict[str, Any]]:
    """A row for each plane and phase: its share of the labelled pixels."""
    rows = []
    size = labels.calibration.mean_um if labels.calibration else None
    for number, plane in enumerate(labels.planes):
        counts = np.zeros(UNLABELLED + 1, np.int64)
        for block in row_blocks(plane):
            counts += np.bincount(np.ravel(plane[block]), minlength=UNLABELLED + 1)
        known = int(counts[:UNLABELLED].sum())
        for index, phase in enumerate(labels.classes):
            pixels = int(counts[index])
            rows.append(
                {
                    "image": name,
                    "plane": number,
                    "phase": phase.name,
                    "area_px": pixels,
                    "area_fraction": pixels / known if known else None,
                    "labelled_px": known,
                    "pixel_size_um": size,
                    "model_digest": labels.provenance.get("model_digest"),
                }
            )
    return rows


def _write_uncertainty(
    labels: Path, uncertainty: ArrayLike, calibration: Calibration | None
) -> None:
    stem = labels.stem.removesuffix("_labels")
    write_planes(
        labels.with_name(f"{stem}_uncertainty.tif"),
        uncertainty,
        photometric="minisblack",
        software=PICTURE,
        **resolution_tags(calibration),
    )
