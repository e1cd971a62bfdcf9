"""Surface defects of images in memory: layers and stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PhaseClass
from ..databar import find_data_bar
from ..devices import choose_device
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..plane import ArrayLike, Plane, as_plane, leading_shape, plane_shape
from ..regions import Field
from .defects import (
    Answers,
    Classifier,
    DefectParameters,
    defect_map,
    heat_map,
    name_plane,
    pixel_size_notices,
    provenance,
)
from .files import Row, answer_row
from .model import load_defect_model

THUMBNAIL = 64
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class Stack:
    """An image or a stack, and which of its planes to look at.

    Attributes
    ----------
    array
        (Y, X), (N, Y, X), or more axes before these; with `rgb` colours come last.
    planes
        Numbers of the planes, counted over all axes before the rows; None for every plane.
    """

    name: str
    array: ArrayLike
    rgb: bool
    calibration: Calibration | None
    planes: tuple[int, ...] | None = None

    @property
    def leading(self) -> tuple[int, ...]:
        """Lengths of the axes before the rows."""
        return leading_shape(self.array, rgb=self.rgb)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The planes to look at; `InputError` where there are none."""
        count = int(np.prod(self.leading))
        if not count or 0 in plane_shape(self.array, rgb=self.rgb):
            raise InputError(f"{self.name}: the image is empty")
        return tuple(range(count)) if self.planes is None else self.planes

    def index(self, number: int) -> tuple[int, ...]:
        """Where a plane lies along the axes before the rows; () in a single image."""
        return tuple(int(at) for at in np.unravel_index(number, self.leading))

    def plane(self, number: int) -> Plane:
        """A plane, checked; errors as for `plane.as_plane`, but it may be of one grey value."""
        index = self.index(number)
        called = f"{self.name}, plane {', '.join(map(str, index))}" if index else self.name
        pixels = np.asarray(self.array[index] if index else self.array)
        measured = Field(plane_shape(pixels, rgb=self.rgb), find_data_bar(pixels))
        return as_plane(pixels, called, measured, may_be_constant=True)


@dataclass(frozen=True)
class NamedPlane:
    """The answer for a plane.

    Attributes
    ----------
    row
        As of `classes.csv`.
    probability
        Of the most probable class.
    thumbnail
        (≤ 64, ≤ 64, 3) uint8.
    windows
        The answers of the windows of a scanned plane, else None.
    defects
        Class indices (Y, X), 255 where unsure, of a scanned plane, else None.
    """

    stack: str
    number: int
    row: Row
    probability: float
    thumbnail: NDArray[np.uint8]
    windows: Answers | None = None
    defects: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Named:
    """Answers for the planes of stacks, in order, and how they came about."""

    planes: tuple[NamedPlane, ...]
    classes: tuple[PhaseClass, ...]
    provenance: dict[str, Any]


def name_stacks(stacks: Sequence[Stack], parameters: DefectParameters) -> Events[Named]:
    """Name the planes of images or stacks.

    Yields
    ------
    Progress
        Of the planes; of the windows where there is one plane only.
    Notice
        What the user should know of a pixel size.

    Raises
    ------
    InputError
        When there is no such model, or an image cannot be used.
    DeviceError
        When the device fails.
    """
    todo = [(stack, number) for stack in stacks for number in stack.numbers]
    classifier = _classifier(parameters)
    for stack in stacks:
        for notice in pixel_size_notices(classifier.model.card, stack.calibration):
            yield Notice(f"{stack.name}: {notice.message}")
    found = []
    for place, (stack, number) in enumerate(todo):
        progress = Progress(place, len(todo), "planes")
        events = _named(stack, number, classifier, scan=parameters.scan)
        found.append((yield from _told(events, progress)))
    told = provenance(classifier.model, parameters, classifier.least_probability)
    return Named(tuple(found), classifier.model.card.classes, told)


def heat_of_plane(
    stack: Stack, number: int, name: str, parameters: DefectParameters
) -> Events[NDArray[np.float32]]:
    """What speaks for a class of the model at each pixel of a plane; as `defects.heat_map`.

    Raises
    ------
    InputError
        When the model does not know the class, or the image cannot be used.
    """
    classifier = _classifier(parameters)
    names = classifier.model.names
    if name not in names:
        raise InputError(
            f"the model does not know the class '{name}', so nothing shows what speaks for it; "
            f"it knows {', '.join(names)}"
        )
    return (
        yield from heat_map(
            stack.plane(number),
            classifier,
            stack.calibration,
            names.index(name),
            scan=parameters.scan,
        )
    )


def _classifier(parameters: DefectParameters) -> Classifier:
    model = load_defect_model(parameters.model)
    return Classifier(model, choose_device(parameters.device), parameters.risk)


def _told(events: Events[NamedPlane], progress: Progress) -> Events[NamedPlane]:
    """Tell of the planes, and of the windows only where there is but one plane."""

    def change(event: Event) -> Event:
        return progress if isinstance(event, Progress) and progress.total > 1 else event

    return (yield from relayed(events, change))


def _named(stack: Stack, number: int, classifier: Classifier, *, scan: bool) -> Events[NamedPlane]:
    plane = stack.plane(number)
    found = yield from name_plane(plane, classifier, stack.calibration, scan=scan)
    return NamedPlane(
        stack.name,
        number,
        answer_row(stack.name, number, found.answer, 0, classifier.model.names),
        float(found.answer.probabilities.max()),
        thumbnail(plane),
        found.by_window if scan else None,
        defect_map(found, plane.shape) if scan else None,
    )


def thumbnail(plane: Plane) -> NDArray[np.uint8]:
    """A plane reduced so that its longer side has `THUMBNAIL` pixels: (rows, columns, 3)."""
    rows, columns = plane.shape
    # Every so many rows and columns first: a strip may be long.
    step = max(1, max(rows, columns) // (4 * THUMBNAIL))
    rgb = plane.rgb8(slice(0, rows, step), slice(0, columns, step))
    size = tuple(max(1, round(THUMBNAIL * n / max(rows, columns))) for n in (columns, rows))
    reduced = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(reduced, np.uint8)
