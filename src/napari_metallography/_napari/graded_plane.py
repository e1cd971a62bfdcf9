"""What the form *Grade grain size* measures, with all that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..events import Events, Notice, Progress
from ..grains.choice import GradingChoice
from ..grains.files import GradedFile, picture
from ..grains.finding import MASK, Given, takes_masks
from ..grains.grading import FieldGrade, Method
from ..grains.plan import graded, needs_grains
from ..grains.study import GradedField
from ..io.files import digest
from ..io.labels import looks_like_mask
from ..plane import ArrayLike, as_plane
from ..regions import Box, Field
from .worker import leave_the_window_a_core


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
    notes
        What is to be said of the rectangle.
    """

    name: str
    pixels: ArrayLike
    calibration: Calibration
    measured: Field
    box: Box
    file: Path | None = None
    specimen: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rgb(self) -> bool:
        """Whether it has colours."""
        return len(self.pixels.shape) == 3


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


def graded_events(source: PlaneSource, choice: GradingChoice) -> Events[GradedPlane]:
    """Measure the grains of a plane by each method chosen; those given are (Y, X) of the plane.

    Errors as for `grains.files.grade_file`, and as for the loading of models.
    """
    yield Progress(0, 0, "image")
    plane = as_plane(source.pixels, source.name, source.measured)
    pixels = plane.rgb8(*source.box.slices)
    notes = source.notes
    given = choice.finding if isinstance(choice.finding, Given) else None
    if needs_grains(choice.methods) and takes_masks(choice.finding) and _is_mask(source):
        given, notes = Given(source.name, np.asarray(source.pixels)), (*notes, MASK)
    yield from (Notice(f"{source.name}: {note}") for note in notes)
    if given is not None:
        choice = replace(choice, finding=replace(given, values=given.values[source.box.slices]))
    if choice.needs_model:
        yield Progress(0, 0, "model")
    plan = choice.plan()
    # Which may have imported torch.
    leave_the_window_a_core()
    by_method = yield from graded(plan, pixels, source.calibration, source.name)
    provenance = {
        **plan.provenance(),
        **({"image_sha256": digest(source.file)} if source.file else {}),
        "calibration": source.calibration.to_dict(),
        "box": source.box.to_list(),
    }
    are_found = given is None and needs_grains(plan.methods)
    return GradedPlane(source, pixels, by_method, provenance, are_found, notes)


def _is_mask(source: PlaneSource) -> bool:
    return not source.rgb and looks_like_mask(np.asarray(source.pixels))


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


def graded_image(name: str, plane: GradedPlane, field: GradedField) -> GradedFile:
    """For the files: a field with its pictures."""
    pictures = {
        method: picture(plane.pixels, one)
        for method, one in field.by_method.items()
        if isinstance(one, FieldGrade)
    }
    # A layer may be called anything.
    stem = "".join(c if c.isalnum() or c in " -_.()," else "_" for c in name)
    return GradedFile(Path(f"{stem}.png"), (field,), pictures)
