"""Rows and columns of an image, as the line network is shown them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from pydantic import Field as Limits

from ..calibration import Calibration
from ..plane import LUMA, ArrayLike, as_plane
from ..regions import Field
from .grades import LINE_LENGTH, Lines, Scale, at_reference, fitted, scale_of

Direction = Literal["row", "column"]

SHORTEST_PX = 16

_TURN = (math.sqrt(5) - 1) / 2


class LineParameters(BaseModel):
    """How many lines are graded.

    Attributes
    ----------
    rows, columns
        Evenly spread over the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Limits(default=64, ge=0, le=2048)
    columns: int = Limits(default=64, ge=0, le=2048)


@dataclass(frozen=True, order=True)
class Line:
    """A graded line: a row or column of the image, from its first to its last pixel's place."""

    direction: Direction
    place: int
    first: int
    last: int


def grey_values(image: ArrayLike, name: str = "image", field: Field | None = None) -> Lines:
    """Grey values (Y, X) on the scale 0 to 255, of colours their luminance.

    Raises
    ------
    InputError
        As `plane.as_plane`.
    """
    plane = as_plane(image, name, field)
    return np.asarray(plane.rgb8(slice(None), slice(None)) @ LUMA, np.float32)


def lines_in(field: Field, wanted: LineParameters) -> Iterator[Line]:
    """Lines evenly spread over the field, each the longest stretch inside it."""
    mask = field.mask()
    sets: tuple[tuple[Direction, NDArray[np.bool_], int], ...] = (
        ("row", mask, wanted.rows),
        ("column", mask.T, wanted.columns),
    )
    for direction, inside, count in sets:
        usable = np.flatnonzero(inside.any(1))
        chosen = (np.arange(count) + 0.5) * len(usable) / max(count, 1)
        for place in np.unique(usable[chosen.astype(int)]) if len(usable) else ():
            first, last = _longest(inside[place])
            if last - first >= SHORTEST_PX:
                yield Line(direction, int(place), first, last)


def _longest(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """First place and end of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    best = int((ends - starts).argmax())
    return int(starts[best]), int(ends[best])


def cut_lines(
    grey: Lines,
    calibration: Calibration,
    places: Sequence[Line],
    pixel_um: float,
    enlarged: Sequence[int],
) -> tuple[tuple[Line, ...], Lines, tuple[Scale, ...]]:
    """The lines' grey values (n, 1376) at the network's pixel size, and their scales.

    Parameters
    ----------
    enlarged
        Of each line, as of `grades.scale_of`.
    """
    sizes = {"row": calibration.x_um, "column": calibration.y_um}
    values, scales = [], []
    for number, (line, steps) in enumerate(zip(places, enlarged, strict=True)):
        scale = scale_of(sizes[line.direction], pixel_um, steps)
        along = grey[line.place] if line.direction == "row" else grey[:, line.place]
        stretch = np.ascontiguousarray(along[line.first : line.last])[None]
        shown = at_reference(stretch, scale.ratio)
        # Windows of long lines lie at other places on each, so that all of the field is seen.
        values.append(fitted(shown, LINE_LENGTH, (number * _TURN) % 1)[0])
        scales.append(scale)
    return tuple(places), np.stack(values), tuple(scales)


def paper_lines(
    grey: Lines, field: Field, wanted: LineParameters
) -> tuple[tuple[Line, ...], Lines, tuple[Scale, ...]]:
    """Rows and columns of the field's frame resized to 1376 × 1376."""
    rows, columns = field.frame().slices
    resized = paper_image(grey[rows, columns])
    places = tuple(lines_in(Field(resized.shape), wanted))
    picked = [resized[p.place] if p.direction == "row" else resized[:, p.place] for p in places]
    return places, np.stack(picked), tuple(Scale(0, 1.0) for _ in places)


def paper_image(grey: Lines) -> NDArray[np.float32]:
    """An image (Y, X) resized to 1376 × 1376, whatever its shape."""
    shrunk = min(grey.shape) >= LINE_LENGTH
    way = cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (LINE_LENGTH, LINE_LENGTH), interpolation=way), np.float32)
