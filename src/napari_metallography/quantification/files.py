"""From label files to numbers: what the command line, the demo and recipes measure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..classes import PhaseClass, class_count, numbered_classes
from ..errors import InputError
from ..events import Events, Notice
from ..inputs import (
    PixelSizes,
    field_of_labels,
    image_files,
    image_of_labels,
    is_stated,
    read_image,
    same_pixel_size,
)
from ..io.images import Micrograph
from ..io.labels import LabelImage, is_label_image, read_labels
from ..io.overlays import overlay, with_legend, with_scale_bar
from ..plane import as_plane, planes_of
from ..regions import Box
from .measure import Quantification, quantify
from .parameters import QuantifyParameters
from .pixel_units import NO_PIXEL_SIZE, ONE_MICROMETRE, in_pixel_units
from .report import titled


@dataclass(frozen=True)
class MeasuredImage:
    """A measured label file, with its overlay when the image is at hand.

    `name` is the image's file name where it is known, else that of the labels without "_labels";
    `specimen` is empty where no index names it; `grey` holds the image's grey values, shaped like
    the labels, when they were asked for.
    """

    name: str
    labels: LabelImage
    result: Quantification
    picture: NDArray[np.uint8] | None
    specimen: str = ""
    grey: NDArray[np.float32] | None = None


def quantify_file(
    path: Path,
    parameters_for: Callable[[tuple[PhaseClass, ...]], QuantifyParameters],
    *,
    sizes: PixelSizes,
    images: Path | None = None,
    unnamed: Sequence[PhaseClass] = (),
    keep_data_bar: bool = False,
    region: Box | None = None,
    keep_grey: bool = False,
) -> Events[MeasuredImage]:
    """Measure a label file; without a pixel size in pixels, which a notice says.

    Parameters
    ----------
    parameters_for
        Called with the classes of the file.
    images
        Folder of the images, or the image: for grey values and overlays, for the pixel size where
        the labels have none, and for the data bar where they state no field.
    unnamed
        Classes of a file that names none, as `unnamed_classes` finds them for all files of a run;
        counted in this file alone when empty.
    keep_data_bar
        Measure the data bar too.
    region
        Measure this box only, instead of what the labels state.
    keep_grey
        Keep the grey values, for `threshold_comparisons`.

    Raises
    ------
    InputError
        When a file cannot be used, or the image's pixel size is another than that of its labels.
    """
    stored = with_classes(read_labels(path), unnamed)
    if stored.assumed:
        yield Notice(f"{path.name}: {stored.assumed}")
    micrograph = read_image(_image_in(images, path), sizes) if images is not None else None
    calibration = yield from _calibration(path, stored, micrograph, sizes)
    measured = field_of_labels(path, stored, micrograph, keep_data_bar=keep_data_bar, region=region)
    labels = replace(stored, calibration=calibration, measured=measured)
    if calibration is None:
        yield Notice(f"{path.name}: {NO_PIXEL_SIZE}")
    grey = grey_planes(micrograph, labels) if micrograph is not None else None
    result = yield from quantify(
        labels.indices,
        labels.classes,
        labels.calibration or ONE_MICROMETRE,
        labels.measured,
        parameters_for(labels.classes),
        intensity=grey,
        name=path.name,
        labels_provenance=labels.provenance,
    )
    picture = None
    if micrograph is not None:
        picture = overlay_picture(micrograph.planes[0], labels, result.ids)
    specimen = micrograph.metadata.get("specimen") if micrograph is not None else None
    return MeasuredImage(
        _image_name(path, labels, micrograph),
        labels,
        result if calibration is not None else in_pixel_units(result),
        picture,
        specimen or sizes.specimen_of_labels(path),
        grey if keep_grey else None,
    )


def provenance_table(images: Sequence[MeasuredImage]) -> pd.DataFrame:
    """Rows of (image, what, value): calibration, field, and how the labels were made."""
    rows = []
    for image in images:
        provenance = image.result.statistics["provenance"]
        rows += [(image.name, what, _cell(value)) for what, value in titled(provenance)]
    return pd.DataFrame(rows, columns=["image", "what", "value"], dtype=object)


def unnamed_classes(files: Iterable[Path]) -> tuple[PhaseClass, ...]:
    """Classes, by number, of all label files of a run that name none.

    A file in which the last phase does not occur has it all the same: otherwise the phase would
    be missing from the mean over fields where it is zero. Files that cannot be read are left to
    their turn.
    """
    unnamed = []
    for path in files:
        with suppress(InputError):
            if not is_label_image(path):
                unnamed.append(class_count([read_labels(path).indices]))
    return numbered_classes(max(unnamed, default=0)) if unnamed else ()


def with_classes(labels: LabelImage, unnamed: Sequence[PhaseClass] = ()) -> LabelImage:
    """Labels whose classes have names: those of a foreign file are numbered."""
    if labels.classes:
        return labels
    return replace(
        labels, classes=tuple(unnamed) or numbered_classes(class_count([labels.indices]))
    )


def grey_planes(micrograph: Micrograph, labels: LabelImage) -> NDArray[np.float32]:
    """Grey values shaped like the labels."""
    planes = planes_of(micrograph.pixels, rgb=micrograph.rgb, name=str(micrograph.source))
    grey = np.stack([plane.grey() for plane in planes])
    if grey.shape != labels.planes.shape:
        raise InputError(
            f"{micrograph.source}: {grey.shape} pixels, but its labels have {labels.planes.shape}"
        )
    return grey.reshape(labels.indices.shape)


def overlay_picture(
    pixels: NDArray[Any], labels: LabelImage, ids: NDArray[np.int32] | None = None
) -> NDArray[np.uint8]:
    """The first plane with its phases in colour, a scale bar when calibrated, and a legend.

    Parameters
    ----------
    ids
        Shaped like the labels: numbers of particles, whose contours are drawn where they were cut
        apart.
    """
    plane = as_plane(pixels, measured=labels.measured)
    picture = overlay(plane.rgb8(slice(None), slice(None)), labels.planes[0], labels.classes)
    if ids is not None:
        cuts = _cuts(labels.planes[0], ids.reshape(labels.planes.shape)[0])
        picture[cuts] = np.array([phase.rgb for phase in labels.classes], np.uint8)[
            labels.planes[0][cuts]
        ]
    if labels.calibration is not None:
        picture = with_scale_bar(picture, labels.calibration)
    return with_legend(picture, labels.classes)


def _cuts(indices: NDArray[np.uint8], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of a particle beside another of the same class, to the right or below."""
    cuts = np.zeros(ids.shape, bool)
    cuts[:-1] = (ids[1:] != ids[:-1]) & (indices[1:] == indices[:-1])
    cuts[:, :-1] |= (ids[:, 1:] != ids[:, :-1]) & (indices[:, 1:] == indices[:, :-1])
    return cuts


def _calibration(
    path: Path, labels: LabelImage, micrograph: Micrograph | None, sizes: PixelSizes
) -> Events[Calibration | None]:
    """Pixel size of a label file; never another than it was made with unless that is said."""
    known = sizes.of_labels(path, labels)
    shown = micrograph.calibration if micrograph else None
    if sizes.stated_um is None and not same_pixel_size(labels.calibration, known):
        yield Notice(
            f"{path.name}: made at {_size(labels.calibration)}, measured at {_size(known)}"
        )
    if micrograph is not None and not same_pixel_size(known, shown):
        differing = f"{path}: has {_size(known)}, but {micrograph.source} has {_size(shown)}"
        if not is_stated(known):
            raise InputError(f"{differing}; choose with --pixel-size or --index, or segment anew")
        yield Notice(f"{differing}; what the user stated is taken")
    return known or shown


def _size(calibration: Calibration | None) -> str:
    known = require(calibration, "pixel size")
    return f"{known.mean_um:.4g} µm a pixel ({known.source})"


def _cell(value: object) -> object:
    """A number or a text as it is, so that it is a number in a spreadsheet; all else as JSON."""
    return value if isinstance(value, str | float | int) else json.dumps(value, ensure_ascii=False)


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
