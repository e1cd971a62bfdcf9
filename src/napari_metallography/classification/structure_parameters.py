"""How structures are named and mapped, for those that must not wait for torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..classes import PhaseClass
from ..regions import Box


class StructureParameters(BaseModel):
    """How structures are named.

    Attributes
    ----------
    model
        Name or file of a structure model.
    device
        "auto", "cpu" or "cuda".
    crops
        Crops of an image to look at; None adds crops until the answer settles, up to 1000.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    device: Literal["auto", "cpu", "cuda"] = "auto"
    crops: int | None = Field(default=None, ge=1)


class SaliencyParameters(BaseModel):
    """Which windows of an image are looked at.

    Attributes
    ----------
    window_px
        Their side. None takes twice the smallest crop of the training, or what comes closest to
        it at magnifications that the model knows.
    stride_px
        How far apart they are, at most.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_px: float | None = Field(default=None, ge=16)
    stride_px: float = Field(default=20, ge=1)


@dataclass(frozen=True)
class NamedStructure:
    """The answer for a plane.

    Attributes
    ----------
    stack, number
        The layer's name, and the plane counted over all axes before the rows.
    row
        As of `classes.csv`.
    descriptors
        (crops, 2) of the crops that were looked at.
    """

    stack: str
    number: int
    row: dict[str, Any]
    descriptors: NDArray[np.float32]

    @property
    def note(self) -> str:
        """What the user should know of the answer; "" where that is nothing."""
        outside = float(self.row["outside"])
        return f"extrapolation: {outside:.0%} of the crops" if outside else ""


@dataclass(frozen=True)
class NamedStructures:
    """Answers for planes of stacks, in order, and how they came about."""

    planes: tuple[NamedStructure, ...]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class SaliencyPicture:
    """What lies where on a plane.

    Attributes
    ----------
    rgb
        (Y, X, 3) uint8: the colour of the most probable class, as bright as 1 − P(none).
    box
        The part of the plane that it shows: all but the data bar.
    window_px
        Side of the windows.
    provenance
        How it was had: JSON.
    """

    rgb: NDArray[np.uint8]
    box: Box
    classes: tuple[PhaseClass, ...]
    window_px: float
    provenance: dict[str, Any]
