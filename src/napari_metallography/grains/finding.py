"""Where the grains of a field come from, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events
from .etched import EtchedParameters, etched_grains
from .partition import Partition, from_boundaries, from_labels

Pixels = NDArray[np.uint8]

MASK = "black and white only: taken for a mask, its white for grain boundaries"
"""What is said of an image that is measured as a mask."""

_MOST_PIECES_A_GRAIN = 2
_LEAST_WITHIN = 0.5


def takes_masks(finding: object) -> bool:
    """Whether nothing was asked for of how grains are found, less the smallest.

    A black and white image may then be measured as a mask itself; it never takes the place of a
    model or of rules that somebody chose.
    """
    if not isinstance(finding, ByEtching):
        return False
    usual = EtchedParameters(smallest_area_px=finding.parameters.smallest_area_px)
    return finding.parameters == usual


class Finding(Protocol):
    """A way to the grains of a field."""

    def grains(self, pixels: Pixels, calibration: Calibration | None) -> Events[Partition]:
        """The grains of a field (Y, X, 3); `InputError` where there are none."""

    def provenance(self) -> dict[str, Any]:
        """JSON form: the way, and all that it depends on."""


@dataclass(frozen=True)
class ByEtching:
    """Boundaries found in the image, without a network."""

    parameters: EtchedParameters = field(default_factory=EtchedParameters)

    def grains(self, pixels: Pixels, calibration: Calibration | None) -> Events[Partition]:
        """As `etched_grains`."""
        return etched_grains(pixels, self.parameters)

    def provenance(self) -> dict[str, Any]:
        """The parameters."""
        return {"boundaries": "etched", "etched": self.parameters.model_dump()}


@dataclass(frozen=True)
class Given:
    """Boundaries that somebody drew or another program found.

    Attributes
    ----------
    name
        Of the file or layer.
    values
        (Y, X) of the field: as for `grains_given`.
    all_values
        Every value but 0 is boundary, however many there are.
    smallest_area_px
        Smaller grains are given to their neighbours.
    digest
        SHA-256 of the file; empty where there is none.
    """

    name: str
    values: NDArray[Any]
    all_values: bool = False
    smallest_area_px: int = 1
    digest: str = ""

    def grains(self, pixels: Pixels, calibration: Calibration | None) -> Events[Partition]:
        """The grains given, whatever the image shows."""
        yield from ()
        if not self.all_values:
            return grains_given(self.values, self.smallest_area_px, self.name)
        if not self.values.any():
            raise InputError(
                f"{self.name}: holds no boundary; paint some, or find them in the image"
            )
        return from_boundaries(self.values > 0, self.smallest_area_px)

    def provenance(self) -> dict[str, Any]:
        """Name and digest."""
        known = {"boundaries_sha256": self.digest} if self.digest else {}
        return {"boundaries": self.name, **known}


def grains_given(values: NDArray[Any], smallest_area_px: int, name: str) -> Partition:
    """Grains of a mask of boundaries (two values, the lower are grains) or of numbered grains.

    Two numbers other than 0, each of one connected region, are two grains.

    Parameters
    ----------
    values
        (Y, X).
    name
        What a refusal calls it.

    Raises
    ------
    InputError
        When the image is neither, or shows no boundary.
    """
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    numbers = np.unique(values)
    if len(numbers) == 1:
        raise InputError(f"{name}: every pixel is {numbers[0]:g}; there is no boundary in it")
    if len(numbers) == 2 and not _are_two_grains(values, numbers):
        return _of_mask(values == numbers[1], smallest_area_px, name)
    if values.dtype.kind not in "ui" or not _are_pieces(values, len(numbers)):
        raise InputError(
            f"{name}: {len(numbers)} grey values, neither a mask of boundaries (two values) nor "
            "grains with a number each; threshold it first"
        )
    return from_labels(values.astype(np.int32))


def _of_mask(boundaries: NDArray[np.bool_], smallest_area_px: int, name: str) -> Partition:
    try:
        return from_boundaries(boundaries, smallest_area_px)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _are_two_grains(values: NDArray[Any], numbers: NDArray[Any]) -> bool:
    """Whether two values are two grains, not boundaries and the several grains between them."""
    if not numbers[0] or values.dtype.kind not in "ui":
        return False
    # Each count has the rest of the field as one more.
    return all(
        cv2.connectedComponents((values == number).astype(np.uint8), connectivity=4)[0] == 2
        for number in numbers
    )


def _are_pieces(values: NDArray[Any], count: int) -> bool:
    """Whether each value is one connected grain, or little more."""
    within = np.ones(values.shape, np.uint8)
    within[:, 1:] &= values[:, 1:] == values[:, :-1]
    within[1:] &= values[1:] == values[:-1]
    if within.mean() < _LEAST_WITHIN:
        return False
    pieces = cv2.connectedComponents(within, connectivity=4)[0]
    return bool(pieces <= _MOST_PIECES_A_GRAIN * count)
