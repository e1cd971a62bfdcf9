"""What the form *Grade grain size* measures, with all that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..grains.etched import EtchedParameters, grains_of_etched
from ..grains.files import MASK, GradedImage, by_methods, grains_given, picture
from ..grains.grading import FieldGrade, GradingParameters, Method
from ..grains.partition import Partition, from_boundaries
from ..grains.study import GradedField
from ..io.files import digest
from ..io.labels import looks_like_mask
from ..plane import ArrayLike, as_plane
from ..regions import Box, Field


@dataclass(frozen=True)
class PlaneSource:
    """A plane of an image, as it was when the measurement was asked for.

    Attributes
    ----------
    pixels
        (Y, X), or (Y, X, 3 or 4).
    measured
        Says where the data bar is.
    box
        The rectangle that is measured.
    file
        Of the image; None where there is none.
    """

    name: str
    pixels: ArrayLike
    calibration: Calibration
    measured: Field
    box: Box
    file: Path | None = None
    specimen: str = ""

    @property
    def rgb(self) -> bool:
        """Whether it has colours."""
        return len(self.pixels.shape) == 3


@dataclass(frozen=True)
class GivenGrains:
    """Boundaries or numbered grains (Y, X) from a layer.

    Attributes
    ----------
    all_values
        Whether every value but 0 is boundary, as in a layer made by this form.
    """

    name: str
    values: NDArray[Any]
    all_values: bool = False


@dataclass(frozen=True)
class GradedPlane:
    """The result, and what is needed to write it.

    Attributes
    ----------
    pixels
        (Y, X, 3) uint8 of the box.
    are_found
        Whether the boundaries were found in the image, not given.
    """

    source: PlaneSource
    pixels: NDArray[np.uint8]
    by_method: Mapping[Method, FieldGrade]
    provenance: Mapping[str, Any]
    are_found: bool
    notes: tuple[str, ...] = field(default=())


def graded_events(
    source: PlaneSource,
    given: GivenGrains | None,
    methods: tuple[Method, ...],
    parameters: GradingParameters,
    etched: EtchedParameters,
) -> Events[GradedPlane]:
    """Find or take the grains of a plane, and measure them by each method.

    Errors as for `grains.files.grade_file`.
    """
    steps = len(methods) + 1
    yield Progress(0, steps, "boundaries")
    plane = as_plane(source.pixels, source.name, source.measured)
    pixels = plane.rgb8(*source.box.slices)
    notes: tuple[str, ...] = ()
    if given is None and not source.rgb and looks_like_mask(np.asarray(source.pixels)):
        given, notes = GivenGrains(source.name, np.asarray(source.pixels)), (MASK,)
        yield Notice(f"{source.name}: {MASK}")
    if given is None:
        # Grey planes come as three equal channels.
        grains = grains_of_etched(pixels if source.rgb else pixels[..., 0], etched)
    else:
        grains = _grains_given(given, source.box)
    graded: dict[Method, FieldGrade] = {}
    for number, method in enumerate(methods, start=1):
        yield Progress(number, steps, method)
        graded |= by_methods(grains, (method,), parameters, source.calibration)
    provenance = {
        **(
            {"boundaries": given.name}
            if given
            else {"boundaries": "etched", "etched": etched.model_dump()}
        ),
        **({"image_sha256": digest(source.file)} if source.file else {}),
        "calibration": source.calibration.to_dict(),
        "box": source.box.to_list(),
        "grading": parameters.model_dump(),
    }
    return GradedPlane(source, pixels, graded, provenance, given is None, notes)


def graded_field(
    plane: GradedPlane,
    by_method: Mapping[Method, FieldGrade],
    corrections: Mapping[Method, int],
) -> GradedField:
    """The field with its numbers as they are now, and how many corrections led to them."""
    made = {method: count for method, count in corrections.items() if count}
    notes = [
        f"{method}: {count} correction{'s' * (count != 1)} of intersections by hand"
        for method, count in made.items()
    ]
    provenance = {**plane.provenance, **({"corrections_by_hand": made} if made else {})}
    source = plane.source
    return GradedField(source.name, by_method, source.specimen, provenance, (*plane.notes, *notes))


def graded_image(name: str, plane: GradedPlane, field: GradedField) -> GradedImage:
    """For the files: a field with its pictures."""
    pictures = {method: picture(plane.pixels, one) for method, one in field.by_method.items()}
    # A layer may be called anything.
    stem = "".join(c if c.isalnum() or c in " -_.()," else "_" for c in name)
    return GradedImage(Path(f"{stem}.png"), (field,), pictures)


def _grains_given(given: GivenGrains, box: Box) -> Partition:
    """What is given is measured as it is, also where grains are small."""
    values = given.values[box.slices]
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if not given.all_values:
        return grains_given(values, 1, given.name)
    if not values.any():
        raise InputError(f"{given.name}: holds no boundary; paint some, or find them in the image")
    return from_boundaries(values > 0)
