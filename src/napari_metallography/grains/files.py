"""The grain size of image files: boundaries found in the image, or given in files of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..inputs import PixelSizes, measured_field, read_image
from ..io.files import digest, write_bytes
from ..io.images import IMAGE_SUFFIXES, Micrograph, read_micrograph
from ..io.labels import looks_like_mask
from ..io.overlays import png_bytes, with_legend, with_scale_bar
from ..io.tables import write_json
from ..plane import LUMA, planes_of
from ..regions import Box
from .drawing import drawn, legend
from .etched import EtchedParameters, grains_of_etched
from .grading import FieldGrade, GradingParameters, Method, grade
from .partition import Partition, from_boundaries, from_labels
from .study import GradedField, grain_size_of

_MOST_PIECES_A_GRAIN = 2
_LEAST_WITHIN = 0.5
_ENDINGS = ("_boundaries", "_grains", "_labels", "")
MASK = "black and white only: taken for a mask, its white for grain boundaries"
"""What is said of an image that is measured as a mask."""


@dataclass(frozen=True)
class GradedImage:
    """The fields of an image file, and the first of them drawn by each method, as PNG files."""

    path: Path
    fields: tuple[GradedField, ...]
    pictures: Mapping[Method, bytes]


@dataclass(frozen=True)
class _Source:
    """Where the grains of an image come from: of a plane by its number, its pixels and the box."""

    grains: Callable[[int, NDArray[np.uint8], Box], Partition]
    provenance: Mapping[str, Any]
    note: str = ""


def grade_file(
    path: Path,
    methods: Sequence[Method],
    parameters: GradingParameters,
    *,
    sizes: PixelSizes,
    boundaries: Path | None = None,
    smallest_area_px: int | None = None,
    etched: EtchedParameters | None = None,
    keep_data_bar: bool = False,
    region: Box | None = None,
) -> Events[GradedImage]:
    """Grade an image, or each plane of a stack, as a field.

    Parameters
    ----------
    methods
        One or more; each measures the same grains.
    boundaries
        A mask of boundaries or an image of numbered grains, or a folder with one for each image by
        its name, with or without "_boundaries", "_grains" or "_labels"; None finds boundaries in
        the image, or takes it for a mask where it is black and white.
    smallest_area_px
        Of a grain; None: 1 pixel where boundaries are given, and the rule of `etched` else.
    etched
        How boundaries are found in the image.

    Raises
    ------
    InputError
        Without a pixel size, when a file cannot be used, or no boundary is found.
    """
    micrograph = read_image(path, sizes)
    calibration = require(micrograph.calibration, str(path))
    field = measured_field(micrograph, keep_data_bar=keep_data_bar, region=region)
    box = region or field.frame()
    source = _source(micrograph, boundaries, smallest_area_px, etched or EtchedParameters())
    if source.note:
        yield Notice(f"{path.name}: {source.note}")
    count = len(micrograph.planes)
    graded: list[dict[Method, FieldGrade]] = []
    pictures: dict[Method, bytes] = {}
    planes = planes_of(micrograph.pixels, rgb=micrograph.rgb, name=path.name, measured=field)
    for index, plane in enumerate(planes):
        yield Progress(index, count, "fields")
        pixels = plane.rgb8(*box.slices)
        graded.append(
            by_methods(source.grains(index, pixels, box), methods, parameters, calibration)
        )
        pictures = pictures or {m: picture(pixels, one) for m, one in graded[0].items()}
    provenance = {
        **source.provenance,
        "image_sha256": digest(path),
        "calibration": calibration.to_dict(),
        "box": box.to_list(),
        "grading": parameters.model_dump(),
    }
    specimen = str(micrograph.metadata.get("specimen") or "")
    return GradedImage(
        path,
        tuple(
            GradedField(_name(path, index, count), by_method, specimen, provenance)
            for index, by_method in enumerate(graded)
        ),
        pictures,
    )


def write_grain_sizes(
    folder: Path, images: Sequence[GradedImage], wanted_accuracy_percent: float
) -> dict[str, Any]:
    """Write grain_size.json and `<stem>_<method>.png` of each image; return what the JSON holds.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    fields = [field for image in images for field in image.fields]
    found = grain_size_of(fields, wanted_accuracy_percent)
    for image in images:
        for method, picture in image.pictures.items():
            write_bytes(folder / f"{image.path.stem}_{method}.png", picture)
    write_json(folder / "grain_size.json", found)
    return found


def _name(path: Path, index: int, count: int) -> str:
    return path.name if count == 1 else f"{path.name}, plane {index}"


def by_methods(
    grains: Partition,
    methods: Sequence[Method],
    parameters: GradingParameters,
    calibration: Calibration,
) -> dict[Method, FieldGrade]:
    """The same grains measured by each method; errors as for `grade`."""
    return {
        method: grade(grains, calibration, parameters.model_copy(update={"method": method}))
        for method in methods
    }


def picture(pixels: NDArray[np.uint8], found: FieldGrade) -> bytes:
    """A PNG file of an image (Y, X, 3) with what was counted, a scale bar and a legend."""
    size = Calibration.square(found.pixel_um, "drawn")
    return png_bytes(with_legend(with_scale_bar(drawn(pixels, found), size), legend(found)), size)


def _source(
    micrograph: Micrograph, boundaries: Path | None, smallest: int | None, rules: EtchedParameters
) -> _Source:
    path = micrograph.source
    if boundaries is not None:
        file = _beside(boundaries, path) if boundaries.is_dir() else boundaries
        given = read_micrograph(file)
        if given.shape != micrograph.shape or len(given.planes) != len(micrograph.planes):
            raise InputError(
                f"{file}: {_size(given)} pixels, but {path.name} has {_size(micrograph)}; "
                "boundaries must be drawn on the image they belong to"
            )
        return _given(file, given, smallest or 1)
    if not micrograph.rgb and looks_like_mask(micrograph.planes[0]):
        return _given(path, micrograph, smallest or 1, MASK)
    if smallest is not None:
        rules = rules.model_copy(update={"smallest_area_px": smallest})

    def found(index: int, pixels: NDArray[np.uint8], box: Box) -> Partition:
        # Grey planes come as three equal channels.
        return grains_of_etched(pixels if micrograph.rgb else pixels[..., 0], rules)

    return _Source(found, {"boundaries": "etched", "etched": rules.model_dump()})


def _given(file: Path, given: Micrograph, smallest: int, note: str = "") -> _Source:
    def cut(index: int, pixels: NDArray[np.uint8], box: Box) -> Partition:
        plane = np.asarray(given.planes[index])
        grey = (plane[..., :3] @ LUMA).round() if given.rgb else plane
        return grains_given(np.asarray(grey)[box.slices], smallest, str(file))

    return _Source(cut, {"boundaries": file.name, "boundaries_sha256": digest(file)}, note)


def grains_given(values: NDArray[Any], smallest_area_px: int, name: str) -> Partition:
    """Grains of a mask of boundaries (two values, the lower are grains) or of numbered grains.

    Raises
    ------
    InputError
        When the image is neither, or shows no boundary.
    """
    numbers = np.unique(values)
    if len(numbers) == 1:
        raise InputError(f"{name}: every pixel is {numbers[0]:g}; there is no boundary in it")
    if len(numbers) == 2:
        return from_boundaries(values == numbers[1], smallest_area_px)
    if values.dtype.kind not in "ui" or not _are_pieces(values, len(numbers)):
        raise InputError(
            f"{name}: {len(numbers)} grey values, neither a mask of boundaries (two values) nor "
            "grains with a number each; threshold it first"
        )
    return from_labels(values.astype(np.int32))


def _are_pieces(values: NDArray[Any], count: int) -> bool:
    """Whether each value is one connected grain, or little more."""
    within = np.ones(values.shape, np.uint8)
    within[:, 1:] &= values[:, 1:] == values[:, :-1]
    within[1:] &= values[1:] == values[:-1]
    if within.mean() < _LEAST_WITHIN:
        return False
    pieces = cv2.connectedComponents(within, connectivity=4)[0]
    return bool(pieces <= _MOST_PIECES_A_GRAIN * count)


def _beside(folder: Path, image: Path) -> Path:
    for ending in _ENDINGS:
        for suffix in IMAGE_SUFFIXES:
            file = folder / f"{image.stem}{ending}{suffix}"
            if file.is_file() and file.resolve() != image.resolve():
                return file
    raise InputError(f"{folder}: holds no boundaries of {image.name}, such as {image.stem}.png")


def _size(micrograph: Micrograph) -> str:
    rows, columns = micrograph.shape
    planes = len(micrograph.planes)
    return f"{rows} x {columns}" + (f" x {planes} planes" if planes > 1 else "")
