"""How phases are found, for those that must not wait for torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..classes import named_classes
from .thresholding import ThresholdParameters

PAPER_SCALES = (0.75, 1.0, 1.25)

SMALLEST_WINDOW_AREA = 256 * 256
"""Of a network's windows, in pixels."""

THRESHOLD_CLASSES = named_classes(["matrix", "phase"])


class PredictionParameters(BaseModel):
    """How a network is applied.

    Attributes
    ----------
    mode
        "fast": the largest windows the free memory allows, each with a halo. "paper": 256 px
        windows at a stride of 128 px, overlapping logits averaged
        (Ma and Yu, Processes 11 (2023) 3298).
    flips
        Average over the image and its three mirror images.
    scales
        Average over the image resized by each of these factors.
    largest_window_area
        Upper limit of a window's area in pixels in "fast"; None chooses it from free memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["fast", "paper"] = "fast"
    flips: bool = True
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=PAPER_SCALES, min_length=1)
    largest_window_area: int | None = Field(default=None, ge=SMALLEST_WINDOW_AREA)


class SegmentParameters(BaseModel):
    """How phases are found.

    Attributes
    ----------
    method
        "model": by a network. "threshold": by grey value.
    model
        Name or file of a segmentation model.
    device
        "auto", "cpu" or "cuda".
    resample
        Bring the image to the pixel sizes the model was trained on.
    uncertainty
        Also compute where the network is unsure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["model", "threshold"] = "model"
    model: str = "uhcs-carbides"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resample: bool = False
    uncertainty: bool = False
    prediction: PredictionParameters = PredictionParameters()
    threshold: ThresholdParameters = ThresholdParameters()
