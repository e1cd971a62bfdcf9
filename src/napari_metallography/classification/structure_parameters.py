"""How structures are named and mapped, for those that must not wait for torch."""

from __future__ import annotations

from collections.abc import Mapping
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


def extrapolation_note(row: Mapping[str, Any]) -> str:
    """What the user should know of an answer, a row of `classes.csv`; "" where that is nothing."""
    outside = float(row["outside"])
    return f"extrapolation: {outside:.0%} of the crops" if outside else ""
