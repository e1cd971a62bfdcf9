"""From image files to label files: what the command line, the demo and recipes do for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
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
from ..io.files import replacing
from ..io.labels import LabelImage, labels_path, write_labels
from ..io.mark import PICTURE
from ..io.tiff import resolution_tags
from ..regions import Box
from .model import SegmentationModel
from .segment import SegmentParameters, segment


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
) -> Events[LabelImage]:
    """Segment a file and write `<stem>_labels.tif` (and `<stem>_uncertainty.tif` if asked for).

    Raises
    ------
    InputError
        When the image cannot be used, or its labels exist and `overwrite` is not set.
    """
    target = labels_path(folder, path)
    if target.resolve() == path.resolve():
        raise InputError(f"{path}: the result would overwrite its input; choose another folder")
    if not overwrite:
        require_new_labels(folder, [path])
    micrograph = read_image(path, sizes)
    if parameters.method == "model":
        require_grey_values(micrograph)
    measured = measured_field(micrograph, keep_data_bar=keep_data_bar, region=region)
    result = yield from segment(
        micrograph.pixels,
        rgb=micrograph.rgb,
        calibration=micrograph.calibration,
        measured=measured,
        parameters=parameters,
        name=str(path),
        model=model,
    )
    provenance = {**result.provenance, "image": path.name}
    labels = LabelImage(
        result.indices, result.classes, micrograph.calibration, measured, provenance
    )
    write_labels(target, labels)
    if result.uncertainty is not None:
        beside = folder / f"{path.stem}_uncertainty.tif"
        _write_uncertainty(beside, result.uncertainty, labels.calibration)
    return labels


def phase_rows(name: str, labels: LabelImage) -> list[dict[str, Any]]:
    """A row for each plane and phase: its share of the labelled pixels."""
    rows = []
    size = labels.calibration.mean_um if labels.calibration else None
    for number, plane in enumerate(labels.planes):
        known = int((plane != UNLABELLED).sum())
        for index, phase in enumerate(labels.classes):
            pixels = int((plane == index).sum())
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
    path: Path, uncertainty: NDArray[np.uint8], calibration: Calibration | None
) -> None:
    with replacing(path) as beside:
        tifffile.imwrite(
            beside,
            uncertainty,
            compression="zlib",
            photometric="minisblack",
            software=PICTURE,
            **resolution_tags(calibration),
        )
