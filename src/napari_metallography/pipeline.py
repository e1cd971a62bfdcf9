"""From files to files: what the command line, the demo and recipes do for each image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from .calibration import Calibration, require
from .classes import UNLABELLED, PhaseClass, named_classes
from .errors import InputError
from .events import Events
from .inputs import (
    PixelSizes,
    image_files,
    image_of_labels,
    measured_field,
    read_image,
    require_grey_values,
)
from .io.files import replacing
from .io.images import Micrograph
from .io.labels import LabelImage, labels_path, read_labels, write_labels
from .io.overlays import overlay, with_legend, with_scale_bar
from .io.tables import write_csv, write_json, write_xlsx
from .plane import as_plane
from .quantification.measure import Quantification, quantify
from .quantification.parameters import QuantifyParameters
from .quantification.report import ReportField, ReportHead, titled, write_report
from .quantification.study import combine
from .regions import Box
from .segmentation.model import SegmentationModel
from .segmentation.segment import SegmentParameters, segment


def segment_file(
    path: Path,
    folder: Path,
    parameters: SegmentParameters,
    *,
    sizes: PixelSizes,
    keep_data_bar: bool = False,
    region: Box | None = None,
    model: SegmentationModel | None = None,
) -> Events[LabelImage]:
    """Segment a file and write `<stem>_labels.tif` (and `<stem>_uncertainty.tif` if asked for)."""
    target = labels_path(folder, path)
    if target.resolve() == path.resolve():
        raise InputError(f"{path}: the result would overwrite its input; choose another folder")
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


@dataclass(frozen=True)
class MeasuredImage:
    """A measured label file, with its overlay when the image is at hand.

    `name` is the image's file name where it is known, else that of the labels without "_labels".
    """

    name: str
    labels: LabelImage
    result: Quantification
    picture: NDArray[np.uint8] | None


def quantify_file(
    path: Path,
    parameters_for: Callable[[tuple[PhaseClass, ...]], QuantifyParameters],
    *,
    sizes: PixelSizes,
    images: Path | None = None,
) -> Events[MeasuredImage]:
    """Measure a label file.

    Parameters
    ----------
    parameters_for
        Called with the classes of the file.
    images
        Folder of the images, or the image: for grey values and overlays, and for the pixel size
        where the labels have none.
    """
    labels = with_classes(read_labels(path))
    micrograph = read_image(_image_in(images, path), sizes) if images is not None else None
    known = sizes.of_labels(path, labels) or (micrograph.calibration if micrograph else None)
    labels = replace(labels, calibration=known)
    result = yield from quantify(
        labels.indices,
        labels.classes,
        labels.calibration,
        labels.measured,
        parameters_for(labels.classes),
        intensity=grey_planes(micrograph, labels) if micrograph is not None else None,
        name=path.name,
        labels_provenance=labels.provenance,
    )
    picture = None
    if micrograph is not None:
        picture = overlay_picture(
            micrograph.planes[0], labels.planes[0], labels.classes, labels.calibration
        )
    return MeasuredImage(_image_name(path, labels, micrograph), labels, result, picture)


def write_study(
    folder: Path,
    images: Sequence[MeasuredImage],
    *,
    head: ReportHead | None = None,
    decimal: str = ".",
    separator: str = ",",
) -> None:
    """Write phases.csv, particles.csv, statistics.json, study.xlsx and report.html."""
    study = combine([(image.name, image.result) for image in images])
    write_csv(folder / "phases.csv", study.phases, decimal=decimal, separator=separator)
    write_csv(folder / "particles.csv", study.particles, decimal=decimal, separator=separator)
    write_json(folder / "statistics.json", study.statistics)
    write_xlsx(
        folder / "study.xlsx",
        {
            "phases": study.phases,
            "particles": study.particles,
            "provenance": provenance_table(images),
        },
    )
    head = head or ReportHead("Phases and particles")
    write_report(folder / "report.html", head, [_report_field(image) for image in images], study)


def provenance_table(images: Sequence[MeasuredImage]) -> pd.DataFrame:
    """Rows of (image, what, value): calibration, field, and how the labels were made."""
    rows = []
    for image in images:
        provenance = image.result.statistics["provenance"]
        rows += [(image.name, what, _as_text(value)) for what, value in titled(provenance)]
    return pd.DataFrame(rows, columns=["image", "what", "value"])


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _report_field(image: MeasuredImage) -> ReportField:
    provenance = image.labels.provenance
    calibration = require(image.labels.calibration, image.name)
    return ReportField(image.name, image.picture, calibration, provenance)


def _image_name(path: Path, labels: LabelImage, micrograph: Micrograph | None) -> str:
    beside = image_of_labels(path)
    known = micrograph.source.name if micrograph else str(labels.provenance.get("image", ""))
    # Renamed label files, such as two results of one image, are told apart by their own names.
    return known if Path(known).stem == beside.stem else beside.name


def _image_in(folder: Path, labels: Path) -> Path:
    stem = image_of_labels(labels).stem
    if folder.is_file():
        return folder
    found = [path for path in image_files([folder]) if path.stem == stem]
    if not found:
        raise InputError(f"{folder}: holds no image '{stem}' for {labels}")
    if len(found) > 1:
        raise InputError(f"{found[0]} or {found[1]} for {labels}? Name one with --images")
    return found[0]


def with_classes(labels: LabelImage) -> LabelImage:
    """Labels whose classes have names: those of a foreign file are numbered."""
    if labels.classes:
        return labels
    known = labels.indices[labels.indices != UNLABELLED]
    names = ["matrix", *(f"class {i}" for i in range(1, int(known.max(initial=1)) + 1))]
    return LabelImage(
        labels.indices, named_classes(names), labels.calibration, labels.measured, labels.provenance
    )


def grey_planes(micrograph: Micrograph, labels: LabelImage) -> NDArray[np.float32]:
    """Grey values shaped like the labels."""
    axes = 3 if micrograph.rgb else 2
    planes = micrograph.pixels.reshape(-1, *micrograph.pixels.shape[-axes:])
    grey = np.stack([as_plane(p, str(micrograph.source)).grey() for p in planes])
    if grey.shape != labels.planes.shape:
        raise InputError(
            f"{micrograph.source}: {grey.shape} pixels, but its labels have {labels.planes.shape}"
        )
    return grey.reshape(labels.indices.shape)


def overlay_picture(
    pixels: NDArray[Any],
    indices: NDArray[np.uint8],
    classes: Sequence[PhaseClass],
    calibration: Calibration | None,
) -> NDArray[np.uint8]:
    """One plane with its phases in colour, a scale bar when calibrated, and a legend."""
    plane = as_plane(pixels)
    picture = overlay(plane.rgb8(slice(None), slice(None)), indices, classes)
    if calibration is not None:
        picture = with_scale_bar(picture, calibration)
    return with_legend(picture, classes)


def _write_uncertainty(
    path: Path, uncertainty: NDArray[np.uint8], calibration: Calibration | None
) -> None:
    resolution: dict[str, Any] = {}
    if calibration is not None:
        per_cm = (1e4 / calibration.x_um, 1e4 / calibration.y_um)
        resolution = {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
    with replacing(path) as beside:
        tifffile.imwrite(
            beside, uncertainty, compression="zlib", photometric="minisblack", **resolution
        )
