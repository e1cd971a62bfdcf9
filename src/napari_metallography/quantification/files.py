"""From label files to numbers: what the command line, the demo and recipes measure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..classes import UNLABELLED, PhaseClass, classes_of_values
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
from ..io.files import digest
from ..io.images import Micrograph
from ..io.labels import LabelImage, read_labels
from ..io.overlays import overlay, png_bytes, reduced, with_frame, with_legend, with_scale_bar
from ..plane import ArrayLike, as_plane, planes_of
from ..regions import Box
from ..reports import titled
from .coloured import are_colours, matrix_first, pixels_by_colour, with_colours
from .correctable import CORRECTIONS, without_corrections
from .measure import Quantification
from .parameters import QuantifyParameters
from .pixel_units import measure_labels
from .point_count import PointGrid, count_points
from .strips import LabelledPlane, stretches_of
from .study import require_one_scale, scale_note

_LONGEST_IN_REPORT_PX = 1400


@dataclass(frozen=True)
class Picture:
    """An overlay as PNG files: one as large as the image, and one for a report.

    The pixels of many large fields would not fit into memory. `png` is empty where only the small
    one is at hand.
    """

    png: bytes
    small: bytes

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], calibration: Calibration | None) -> Picture:
        """Of pixels (Y, X, 3)."""
        return cls(png_bytes(rgb, calibration), png_bytes(reduced(rgb, _LONGEST_IN_REPORT_PX)))


@dataclass(frozen=True)
class MeasuredImage:
    """A measured label file, with its overlay when the image is at hand.

    `name` is the image's file name where it is known, else that of the labels without "_labels";
    `specimen` is empty where no index names it; `grey` holds the image's grey values, shaped like
    the labels, when they were asked for; `points` are those of the simulated point count, once
    they are counted.
    """

    name: str
    labels: LabelImage
    result: Quantification
    picture: Picture | None
    specimen: str = ""
    grey: NDArray[np.float32] | None = None
    points: pd.DataFrame | None = None


@dataclass(frozen=True)
class Survey:
    """What is known of label files before any of them is measured.

    Attributes
    ----------
    values
        Class indices, ascending, that occur in files which name no classes; 0, the matrix, and
        one other at least. Empty when all files name theirs.
    notes
        What the reader should know, in sentences.
    colours
        Those of all files whose classes are the colours of an image, the matrix first.
    """

    values: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


def quantify_file(
    path: Path,
    parameters_for: Callable[[tuple[PhaseClass, ...]], QuantifyParameters],
    *,
    sizes: PixelSizes,
    images: Path | None = None,
    values: Sequence[int] = (),
    colours: Sequence[str] = (),
    keep_data_bar: bool = False,
    region: Box | None = None,
    keep_grey: bool = False,
) -> Events[MeasuredImage]:
    """Measure a label file; without a pixel size in pixels, which a notice says.

    The result has `ids` only where the overlay shows by them how particles were cut apart.

    Parameters
    ----------
    parameters_for
        Called with the classes of the file.
    images
        Folder of the images, or the image: for grey values and overlays, for the pixel size where
        the labels have none, and for the data bar where they state no field.
    values
        Class indices of files that name no classes, as `survey` finds them in all files of a run.
    colours
        The same of files whose classes are the colours of an image.
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
    read = read_labels(path)
    stored = with_classes(read, values)
    if are_colours(read):
        stored = with_colours(read, colours or matrix_first(pixels_by_colour(read)))
    if stored.assumed:
        yield Notice(f"{path.name}: {stored.assumed}")
    micrograph = read_image(_image_in(images, path), sizes) if images is not None else None
    calibration = yield from _calibration(path, stored, micrograph, sizes)
    measured = field_of_labels(path, stored, micrograph, keep_data_bar=keep_data_bar, region=region)
    labels = replace(stored, calibration=calibration, measured=measured)
    grey = grey_planes(micrograph, labels) if micrograph is not None else None
    parameters = parameters_for(labels.classes)
    shows_cuts = micrograph is not None and parameters.split != "none"
    result = yield from measure_labels(
        without_corrections(labels),
        parameters,
        grey,
        path.name,
        label_values=None if read.classes else _values_of(read, values),
        paint=shows_cuts,
    )
    picture = None
    if micrograph is not None:
        ids = result.ids if shows_cuts else None
        shown = overlay_picture(micrograph.planes[0], labels, ids)
        picture = Picture.of(shown, calibration)
    specimen = micrograph.metadata.get("specimen") if micrograph is not None else None
    read_from = {"labels": path} | ({"image": micrograph.source} if micrograph else {})
    sources = {what: source_of(one, digest(one)) for what, one in read_from.items()}
    return MeasuredImage(
        _image_name(path, labels, micrograph),
        labels,
        stating(result, labels, sources),
        picture,
        specimen or sizes.specimen_of_labels(path),
        grey if keep_grey else None,
    )


def source_of(path: Path, sha256: str) -> dict[str, str]:
    """What the provenance says of a file that was measured."""
    return {"file": path.name, "sha256": sha256}


def with_provenance(result: Quantification, **entries: Any) -> Quantification:
    """A result with more entries in its provenance."""
    provenance = {**result.statistics["provenance"], **entries}
    return replace(result, statistics={**result.statistics, "provenance": provenance})


def survey(files: Iterable[Path], *, sizes: PixelSizes, images: Path | None = None) -> Survey:
    """Look at the label files of a study before the first is measured.

    A class that one file of several lacks is zero there: otherwise it would be missing from the
    mean over fields. Files that cannot be read are left to their turn.

    Parameters
    ----------
    images
        As of `quantify_file`.

    Raises
    ------
    InputError
        When some files have a pixel size and others none, or two are not of one magnitude.
    """
    values: set[int] = set()
    pixels: Counter[str] = Counter()
    known: dict[str, float | None] = {}
    for path in files:
        with suppress(InputError):
            labels = read_labels(path)
            if not labels.classes:
                values.update(np.unique(np.asarray(labels.indices)).tolist())
            if are_colours(labels):
                pixels.update(pixels_by_colour(labels))
            size = sizes.of_labels(path, labels)
            if size is None and images is not None:
                size = read_image(_image_in(images, path), sizes).calibration
            known[path.name] = size.mean_um if size else None
    require_one_scale(known)
    note = scale_note(known)
    occurring = foreign_values(values) if values else ()
    return Survey(occurring, (note,) if note else (), matrix_first(pixels))


def points_of(image: MeasuredImage, grid: PointGrid, first_plane: int = 0) -> pd.DataFrame:
    """Points counted in every plane; each has a start of the grid of its own.

    By its number, of which the first may be another than 0, and by the name of the file.
    """
    if image.points is not None:
        return image.points
    labels = image.labels
    field, n_classes = stretches_of(labels.measured), len(labels.classes)
    name = PurePath(image.name).name
    planes = [LabelledPlane(plane, field, n_classes, name) for plane in labels.planes]
    return pd.concat(
        [
            count_points(plane, labels.classes, grid, n)
            for n, plane in enumerate(planes, first_plane)
        ],
        ignore_index=True,
    )


def without_pixels(
    image: MeasuredImage, grid: PointGrid, *, keep_labels: bool = False, plane: int = 0
) -> MeasuredImage:
    """The tables of an image, so that a study of many takes no memory for their pixels.

    The points of a grid are counted; particle numbers, labels and grey values are gone, the latter
    two unless `threshold_comparisons` is to have them.

    Parameters
    ----------
    plane
        Number of the first plane there is.
    """
    counted = replace(
        image,
        result=replace(image.result, ids=np.zeros((0, 0), np.int32)),
        points=points_of(image, grid, plane),
    )
    if keep_labels:
        return counted
    nothing = replace(image.labels, indices=np.zeros((0, 0), np.uint8))
    return replace(counted, labels=nothing, grey=None)


def provenance_table(images: Sequence[MeasuredImage]) -> pd.DataFrame:
    """Rows of (image, what, value): digests, calibration, field, and what made the labels.

    Corrections by hand have a table of their own, `study.correction_table`.
    """
    rows = []
    for image in images:
        stated = image.result.statistics["provenance"]
        provenance = {what: value for what, value in stated.items() if what != CORRECTIONS}
        rows += [(image.name, what, _cell(value)) for what, value in titled(provenance)]
    return pd.DataFrame(rows, columns=["image", "what", "value"], dtype=object)


def foreign_values(values: Iterable[int]) -> tuple[int, ...]:
    """Class indices of files that name no classes: those that occur, 0, and one other at least."""
    occurring = sorted({0, *values} - {UNLABELLED})
    return tuple(occurring) if len(occurring) > 1 else (0, 1)


def with_classes(labels: LabelImage, values: Sequence[int] = ()) -> LabelImage:
    """Labels whose classes have names: those of a foreign file are named by their values.

    Only what occurs, there or among `values`, is a class: with the values 0, 77 and 200 there are
    three, of the indices 0, 1 and 2.
    """
    if labels.classes:
        return labels
    known = _values_of(labels, values)
    table = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
    table[list(known)] = range(len(known))
    indices = table[np.asarray(labels.indices)]
    return replace(labels, indices=indices, classes=classes_of_values(known))


def _values_of(labels: LabelImage, values: Sequence[int]) -> tuple[int, ...]:
    """What stands for each class in a foreign file, by class index."""
    return foreign_values([*values, *np.unique(np.asarray(labels.indices)).tolist()])


def grey_planes(micrograph: Micrograph, labels: LabelImage) -> NDArray[np.float32]:
    """Grey values shaped like the labels."""
    planes = planes_of(micrograph.pixels, rgb=micrograph.rgb, name=str(micrograph.source))
    grey = np.stack([plane.grey() for plane in planes])
    shape = labels.indices.shape
    if grey.shape != (len(labels.planes), *shape[-2:]):
        raise InputError(f"{micrograph.source}: {grey.shape} pixels, but its labels have {shape}")
    return grey.reshape(shape)


def overlay_picture(
    pixels: ArrayLike, labels: LabelImage, ids: NDArray[np.int32] | None = None
) -> NDArray[np.uint8]:
    """The first plane with its phases in colour, a frame around the region of interest, a scale bar
    when calibrated, and a legend.

    Parameters
    ----------
    ids
        Shaped like the labels: numbers of particles, whose contours are drawn where they were cut
        apart.
    """
    plane = as_plane(pixels, measured=labels.measured)
    indices = np.asarray(labels.planes[0])
    picture = overlay(plane.rgb8(slice(None), slice(None)), indices, labels.classes)
    if ids is not None:
        cuts = _cuts(indices, ids.reshape(-1, *indices.shape)[0])
        colours = np.array([phase.rgb for phase in labels.classes], np.uint8)
        picture[cuts] = colours[indices[cuts]]
    if labels.measured.region:
        picture = with_frame(picture, labels.measured.region)
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


def stating(
    result: Quantification, labels: LabelImage, sources: Mapping[str, Mapping[str, str]]
) -> Quantification:
    """With the files it comes from, as `source_of` gives them, and the labels' corrections."""
    stated = with_provenance(result, sources=dict(sources))
    corrections = labels.provenance.get(CORRECTIONS)
    return with_provenance(stated, corrections=corrections) if corrections else stated


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
