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
        Smaller spots are no grains; of pixels as the model sees them, which are others than those
        of the image where it is resampled.

    The defaults are those by which the shipped model scores best on the TBM pairs that it learnt
    from; it gives a faint boundary little probability, and what is none hardly any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(default=0.15, gt=0, lt=1)
    shown: float = Field(default=0.7, gt=0, le=1)
    smallest_area_px: int = Field(default=60, ge=1)
