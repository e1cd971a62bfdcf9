"""Segmentation of a plane of any size by a network, window by window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from .. import regions
from ..classes import UNLABELLED
from ..devices import (
    device_errors,
    free_memory,
    is_out_of_memory,
    keep_freed_memory,
    return_freed_memory,
)
from ..events import Events, Notice, Progress
from ..models.card import Normalisation
from ..plane import Plane
from .folding import folded
from .networks import SegmentationNetwork, resized
from .tiling import ALIGNMENT, Window, haloed, overlapping

PAPER_SCALES = (0.75, 1.0, 1.25)

_HALO = 64
_SMALLEST_AREA = 256 * 256
_LARGEST_AREA = {"cpu": 1_750_000, "cuda": 4_500_000}
# Peak bytes of a forward pass per pixel of input, measured with U-Net, rounded up.
_BYTES_PER_PIXEL = 700
_PAPER_WINDOW = 256
_PAPER_BATCH = 8
# Rows decided together: little enough to stay in the processor's cache.
_STRIP = 64


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
    largest_window_area: int | None = Field(default=None, ge=_SMALLEST_AREA)


QUICK = PredictionParameters(flips=False, scales=(1.0,))
"""One look without averaging."""


@dataclass(frozen=True)
class Prediction:
    """Phases of a plane.

    Attributes
    ----------
    indices
        (Y, X) uint8, class indices; 255 outside the field.
    uncertainty
        (Y, X) uint8, entropy of the class probabilities, 255 = all classes equally likely, 0
        outside the field; None unless asked for.
    largest_window_area
        In pixels, part of the result's provenance.
    probability
        (Y, X) float32, of one class, 0 outside the field; None unless asked for.
    """

    indices: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8] | None
    largest_window_area: int
    probability: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Predictor:
    """A network on its device, with what it needs to look at a window.

    `factor` is the resampling of the image that brings its pixel size to that of the model.
    """

    network: SegmentationNetwork
    normalisation: Normalisation
    classes: int
    device: torch.device
    parameters: PredictionParameters = QUICK
    factor: float = 1.0
    _mean: Tensor = field(init=False)
    _std: Tensor = field(init=False)
    _ready: SegmentationNetwork = field(init=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.normalisation, name), device=self.device)
            object.__setattr__(self, f"_{name}", values.view(1, 3, 1, 1))
        if self.device.type == "cpu":
            keep_freed_memory()
        network = folded(self.network).to(self.device)
        object.__setattr__(self, "_ready", network.to(memory_format=torch.channels_last))

    @property
    def enlargement(self) -> float:
        """The largest factor by which a window's sides grow before the network sees them."""
        return self.factor * max(self.parameters.scales) * self.network.enlargement

    def logits(self, windows: NDArray[np.uint8]) -> Tensor:
        """Windows (B, h, w, 3) to logits (B, classes, h, w), averaged over scales and flips."""
        with torch.inference_mode():
            # Channels come last in memory as they do in the windows.
            images = torch.from_numpy(windows).to(self.device).permute(0, 3, 1, 2).float()
            images.sub_(self._mean).div_(self._std)
            views = [
                self._view(images, scale, axes)
                for scale in self.parameters.scales
                for axes in self._axes
            ]
            return views[0] if len(views) == 1 else torch.stack(views).mean(0)

    @property
    def _axes(self) -> list[list[int]]:
        return [[], [2], [3], [2, 3]] if self.parameters.flips else [[]]

    def _view(self, images: Tensor, scale: float, axes: list[int]) -> Tensor:
        height, width = images.shape[-2:]
        factor = self.factor * scale
        size = max(1, round(height * factor)), max(1, round(width * factor))
        logits = self._ready(_mirrored(resized(images, size), axes))
        return resized(_mirrored(logits, axes), (height, width))


def _mirrored(images: Tensor, axes: list[int]) -> Tensor:
    return images.flip(axes) if axes else images


def predict(
    plane: Plane,
    measured: regions.Field,
    predictor: Predictor,
    *,
    with_uncertainty: bool = False,
    probability_of: int | None = None,
) -> Events[Prediction]:
    """Segment a plane.

    Windows lie on a grid fixed to the image, so the result does not depend on how the image is
    stored. When memory runs out, windows of half the area are tried in "fast" mode, down to
    256×256 pixels, and half as many at a time in "paper" mode.

    Parameters
    ----------
    with_uncertainty
        Also tell where the network is unsure.
    probability_of
        The class whose probability is told as well; None tells none.

    Yields
    ------
    Progress
        Windows done; Notice when less was computed at a time.

    Raises
    ------
    DeviceError
        When the device fails or even the smallest window does not fit.
    """
    extras = _Extras(with_uncertainty, probability_of)
    effort = _first_effort(predictor)
    if predictor.parameters.mode == "fast" and effort.area < _wanted_area(predictor):
        yield Notice(
            f"little memory is free: {effort}; a few pixels may differ from those found with "
            "larger windows"
        )
    while True:
        try:
            return (yield from _predict_tiled(plane, measured, predictor, effort, extras))
        except (RuntimeError, MemoryError) as error:
            less = effort.halved(predictor.parameters.mode) if is_out_of_memory(error) else None
            if less is None:
                with device_errors():
                    raise
        if predictor.device.type == "cuda":
            torch.cuda.empty_cache()
        effort = less
        yield Notice(f"memory ran out; going on with {effort}")


@dataclass(frozen=True)
class _Extras:
    """What is asked for beside the classes; as the parameters of `predict`."""

    with_uncertainty: bool
    probability_of: int | None


@dataclass(frozen=True)
class _Effort:
    """How much is computed at a time: windows of at most `area` pixels, `batch` together."""

    area: int
    batch: int

    def halved(self, mode: str) -> _Effort | None:
        """Half of it; None when there is no less."""
        if mode == "paper":
            return _Effort(self.area, self.batch // 2) if self.batch > 1 else None
        return _Effort(self.area // 2, 1) if self.area // 2 >= _SMALLEST_AREA else None

    def __str__(self) -> str:
        return f"windows of {self.area:,} pixels, {self.batch} at a time"


def _wanted_area(predictor: Predictor) -> int:
    return predictor.parameters.largest_window_area or _usual_area(predictor)


def _first_effort(predictor: Predictor) -> _Effort:
    if predictor.parameters.mode == "paper":
        return _Effort(_PAPER_WINDOW**2, _PAPER_BATCH)
    return _Effort(predictor.parameters.largest_window_area or _affordable_area(predictor), 1)


def _affordable_area(predictor: Predictor) -> int:
    """The usual area, halved until it fits into half of the free memory."""
    area = _usual_area(predictor)
    per_pixel = predictor.enlargement**2 * _BYTES_PER_PIXEL
    if area * per_pixel > free_memory(predictor.device) // 2:
        # What an earlier image left for this one is free too.
        return_freed_memory()
    while area > _SMALLEST_AREA and area * per_pixel > free_memory(predictor.device) // 2:
        area //= 2
    return max(area, _SMALLEST_AREA)


def _usual_area(predictor: Predictor) -> int:
    """The largest area that pays on the device; enlarged input takes as much less."""
    area = _LARGEST_AREA[predictor.device.type]
    return max(_SMALLEST_AREA, int(area / max(1.0, predictor.enlargement**2)))


def _windows(frame: regions.Box, predictor: Predictor, area: int) -> list[list[Window]]:
    if predictor.parameters.mode == "paper":
        return overlapping(frame, _PAPER_WINDOW, _PAPER_WINDOW // 2)
    # A network that sees the image reduced looks further in pixels of the image.
    reduction = min(1.0, predictor.factor * predictor.network.enlargement)
    return haloed(frame, area, math.ceil(_HALO / reduction), math.ceil(ALIGNMENT / reduction))


def _predict_tiled(
    plane: Plane,
    measured: regions.Field,
    predictor: Predictor,
    effort: _Effort,
    extras: _Extras,
) -> Events[Prediction]:
    frame = measured.frame()
    rows, batch = _windows(frame, predictor, effort.area), effort.batch
    canvas = _Canvas(measured, predictor, max(map(_height, rows)), extras)
    total = sum(len(row) for row in rows)
    done = 0
    yield Progress(0, total, "windows")
    for index, row in enumerate(rows):
        for start in range(0, len(row), batch):
            windows = [w for w in row[start : start + batch] if _touches(measured, w)]
            _predict_windows(plane, predictor, windows, canvas)
            done += len(row[start : start + batch])
            yield Progress(done, total, "windows")
        canvas.finish_rows(rows[index + 1][0].used.top if index + 1 < len(rows) else frame.bottom)
    return Prediction(canvas.indices, canvas.uncertainty, effort.area, canvas.probability)


def _height(row: Sequence[Window]) -> int:
    return row[0].used.shape[0]


def _touches(measured: regions.Field, window: Window) -> bool:
    return not measured.region or bool(measured.mask(window.used).any())


def _predict_windows(
    plane: Plane, predictor: Predictor, windows: Sequence[Window], canvas: _Canvas
) -> None:
    if not windows:
        return
    pixels = np.stack([plane.rgb8(*window.seen.slices) for window in windows])
    logits = predictor.logits(pixels).float()
    for window, answer in zip(windows, logits, strict=True):
        canvas.add(window.used, answer[(slice(None), *window.inner)])


class _Canvas:
    """Sums of logits of the rows under way, and the finished rows' classes.

    Only as many rows of logits are kept, on the network's device, as a row of windows is high, so
    that memory grows with the width of an image, not with its area.
    """

    def __init__(
        self, measured: regions.Field, predictor: Predictor, height: int, extras: _Extras
    ) -> None:
        shape, self._class = measured.shape, extras.probability_of
        self.indices = np.full(shape, UNLABELLED, np.uint8)
        self.uncertainty = np.zeros(shape, np.uint8) if extras.with_uncertainty else None
        self.probability = None if self._class is None else np.zeros(shape, np.float32)
        self._measured = measured
        self._frame = measured.frame()
        self._top = self._frame.top
        width, device = self._frame.shape[1], predictor.device
        self._sums = torch.zeros(predictor.classes, height, width, device=device)
        self._counts = torch.zeros(height, width, device=device)

    def add(self, box: regions.Box, logits: Tensor) -> None:
        """Add the logits (classes, h, w) of a box."""
        rows = slice(box.top - self._top, box.bottom - self._top)
        columns = slice(box.left - self._frame.left, box.right - self._frame.left)
        self._sums[:, rows, columns] += logits
        self._counts[rows, columns] += 1

    def finish_rows(self, bottom: int) -> None:
        """Decide the rows above `bottom`, which no further window touches."""
        for top in range(self._top, bottom, _STRIP):
            self._decide(top, min(top + _STRIP, bottom))
        done = bottom - self._top
        for sums in (self._sums, self._counts):
            kept = sums[..., done:, :].clone()
            sums[..., : kept.shape[-2], :] = kept
            sums[..., kept.shape[-2] :, :] = 0
        self._top = bottom

    def _decide(self, top: int, bottom: int) -> None:
        box = regions.Box(top, self._frame.left, bottom, self._frame.right)
        rows = slice(top - self._top, bottom - self._top)
        outside = ~self._measured.mask(box)
        # The largest sum is the largest mean; several times as fast as `argmax` over axis 0.
        indices = self._sums[:, rows].max(0).indices.byte().cpu().numpy()
        self.indices[box.slices] = np.where(outside, UNLABELLED, indices)
        if self.uncertainty is not None:
            entropy = _entropy(self._mean(rows))
            self.uncertainty[box.slices] = np.where(outside, 0, entropy.cpu().numpy())
        if self.probability is not None:
            share = self._mean(rows).softmax(0)[self._class]
            self.probability[box.slices] = np.where(outside, 0, share.cpu().numpy())

    def _mean(self, rows: slice) -> Tensor:
        return self._sums[:, rows] / self._counts[rows].clamp(min=1)


def _entropy(logits: Tensor) -> Tensor:
    """Entropy over axis 0 of the softmax as uint8, 0 to 255 = certain to even."""
    log_probabilities = logits.log_softmax(0)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(0) / math.log(len(logits))
    return (entropy.clamp(0, 1) * 255).round().byte()
