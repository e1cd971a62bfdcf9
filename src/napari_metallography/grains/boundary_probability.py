"""How grains are made of the probability that a network gives to boundaries."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

BOUNDARY_CLASS = "boundary"
"""The class that a segmentation model must have for its boundaries to be used."""


class ModelBoundaryParameters(BaseModel):
    """How grains are made of the probability that a network gives to boundaries.

    Attributes
    ----------
    threshold
        From which probability on a boundary shows.
    shown
        Part of a boundary between two triple points that must show; the rest is closed.
    smallest_area_px
        Smaller spots are no grains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(default=0.5, gt=0, lt=1)
    shown: float = Field(default=0.5, gt=0, le=1)
    smallest_area_px: int = Field(default=60, ge=1)
