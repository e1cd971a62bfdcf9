"""Segmentation of a plane of any size by a network, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
from ..plane import Plane, PlaneReceiver, RowReceiver
from .folding import folded
from .networks import SegmentationNetwork, resized
from .overlapped import Written, read_ahead
from .parameters import PAPER_SCALES as PAPER_SCALES
from .parameters import SMALLEST_WINDOW_AREA
from .parameters import PredictionParameters as PredictionParameters
from .tiling import ALIGNMENT, Window, haloed, overlapping

_HALO = 64
_LARGEST_AREA = {"cpu": 1_750_000, "cuda": 4_500_000}
# Peak bytes of a forward pass per pixel of input, measured with U-Net, rounded up.
_BYTES_PER_PIXEL = 700
_PAPER_WINDOW = 256
_PAPER_BATCH = 8
# Rows decided together: little enough to stay in the processor's cache.
_STRIP = 64


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
class Receivers:
    """Where the finished rows of a plane (Y, X) or a stack (N, Y, X) go.

    Attributes
    ----------
    indices
        Of uint8: class indices; 255 outside the field.
    uncertainty
        Of uint8: entropy of the class probabilities, 255 = all classes equally likely, 0 outside
        the field; None when it is not asked for.
    probability
        Of float32: of the class `probability_of`, 0 outside the field; None when not asked for.
    """

    indices: RowReceiver
    uncertainty: RowReceiver | None = None
    probability: RowReceiver | None = None
    probability_of: int = 0

    def of_plane(self, place: tuple[int, ...]) -> Receivers:
        """Those of one plane, by its place in the leading axes."""
        return Receivers(
            PlaneReceiver(self.indices, place),
            None if self.uncertainty is None else PlaneReceiver(self.uncertainty, place),
            None if self.probability is None else PlaneReceiver(self.probability, place),
            self.probability_of,
        )


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
    """Segment a plane into arrays in memory; otherwise as `predict_into`.

    Parameters
    ----------
    with_uncertainty
        Also tell where the network is unsure.
    probability_of
        The class whose probability is told as well; None tells none.
    """
    shape = measured.shape
    indices = np.empty(shape, np.uint8)
    uncertainty = np.empty(shape, np.uint8) if with_uncertainty else None
    probability = None if probability_of is None else np.empty(shape, np.float32)
    out = Receivers(indices, uncertainty, probability, probability_of or 0)
    area = yield from predict_into(plane, measured, predictor, out)
    return Prediction(indices, uncertainty, area, probability)


def predict_into(
    plane: Plane, measured: regions.Field, predictor: Predictor, out: Receivers
) -> Events[int]:
    """Segment a plane, and hand the rows to where they go as they are finished.

    While the network computes, the next window is read and finished rows are written, each in a
    thread of its own. Neither an image nor a result need fit into memory: what is kept grows with
    the width of an image, not with its area.

    Windows lie on a grid fixed to the image, so the result does not depend on how the image is
    stored. When memory runs out, windows of half the area are tried in "fast" mode, down to
    256×256 pixels, and half as many at a time in "paper" mode.

    Yields
    ------
    Progress
        Windows done; Notice when less was computed at a time.

    Returns
    -------
    The largest area of a window in pixels, part of the result's provenance.

    Raises
    ------
    DeviceError
        When the device fails or even the smallest window does not fit.
    """
    effort = _first_effort(predictor)
    if predictor.parameters.mode == "fast" and effort.area < _wanted_area(predictor):
        yield Notice(
            f"little memory is free: {effort}; a few pixels may differ from those found with "
            "larger windows"
        )
    while True:
        try:
            yield from _predict_tiled(plane, measured, predictor, effort, out)
            return effort.area
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
class _Effort:
    """How much is computed at a time: windows of at most `area` pixels, `batch` together."""

    area: int
    batch: int

    def halved(self, mode: str) -> _Effort | None:
        """Half of it; None when there is no less."""
        if mode == "paper":
            return _Effort(self.area, self.batch // 2) if self.batch > 1 else None
        return _Effort(self.area // 2, 1) if self.area // 2 >= SMALLEST_WINDOW_AREA else None

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
    while area > SMALLEST_WINDOW_AREA and area * per_pixel > free_memory(predictor.device) // 2:
        area //= 2
    return max(area, SMALLEST_WINDOW_AREA)


def _usual_area(predictor: Predictor) -> int:
    """The largest area that pays on the device; enlarged input takes as much less."""
    area = _LARGEST_AREA[predictor.device.type]
    return max(SMALLEST_WINDOW_AREA, int(area / max(1.0, predictor.enlargement**2)))


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
    out: Receivers,
) -> Events[None]:
    frame = measured.frame()
    rows = _windows(frame, predictor, effort.area)
    batches = [*_batches(rows, measured, effort.batch)]
    total = sum(len(row) for row in rows)
    done = 0
    yield Progress(0, total, "windows")
    reading = read_ahead((batch.windows for batch in batches), lambda seen: _pixels(plane, seen))
    with closing(reading), Written() as written:
        canvas = _Canvas(measured, predictor, max(map(_height, rows)), out, written)
        for batch, pixels in zip(batches, reading, strict=True):
            if pixels is not None:
                _predict_windows(pixels, predictor, batch.windows, canvas)
            if batch.finished is not None:
                canvas.finish_rows(batch.finished)
            done += batch.count
            yield Progress(done, total, "windows")


@dataclass(frozen=True)
class _Batch:
    """Windows that are computed together.

    Attributes
    ----------
    windows
        Those of them that touch the field.
    count
        How many there are.
    finished
        The rows above this are finished with the last batch of a row of windows; else None.
    """

    windows: Sequence[Window]
    count: int
    finished: int | None


def _batches(
    rows: Sequence[Sequence[Window]], measured: regions.Field, size: int
) -> Iterator[_Batch]:
    edges = [*(row[0].used.top for row in rows[1:]), measured.frame().bottom]
    for row, bottom in zip(rows, edges, strict=True):
        for start in range(0, len(row), size):
            some = row[start : start + size]
            touching = [window for window in some if _touches(measured, window)]
            yield _Batch(touching, len(some), bottom if start + size >= len(row) else None)


def _pixels(plane: Plane, windows: Sequence[Window]) -> NDArray[np.uint8] | None:
    """(B, h, w, 3) that the network sees of windows; None of none."""
    return np.stack([plane.rgb8(*one.seen.slices) for one in windows]) if windows else None


def _height(row: Sequence[Window]) -> int:
    return row[0].used.shape[0]


def _touches(measured: regions.Field, window: Window) -> bool:
    return not measured.region or bool(measured.mask(window.used).any())


def _predict_windows(
    pixels: NDArray[np.uint8], predictor: Predictor, windows: Sequence[Window], canvas: _Canvas
) -> None:
    logits = predictor.logits(pixels).float()
    for window, answer in zip(windows, logits, strict=True):
        canvas.add(window.used, answer[(slice(None), *window.inner)])


class _Canvas:
    """Sums of logits of the rows under way; the finished rows' classes go to their receivers.

    Only as many rows of logits are kept, on the network's device, as a row of windows is high, so
    that memory grows with the width of an image, not with its area.
    """

    def __init__(
        self,
        measured: regions.Field,
        predictor: Predictor,
        height: int,
        out: Receivers,
        written: Written,
    ) -> None:
        self._out, self._written = out, written
        every = (out.indices, out.uncertainty, out.probability)
        self._receivers = [receiver for receiver in every if receiver is not None]
        self._nothing = [UNLABELLED, *[0] * (len(self._receivers) - 1)]
        self._measured = measured
        self._frame = measured.frame()
        self._top = self._frame.top
        width, device = self._frame.shape[1], predictor.device
        self._sums = torch.zeros(predictor.classes, height, width, device=device)
        self._counts = torch.zeros(height, width, device=device)
        self._leave_out(0, self._frame.top)
        self._leave_out(self._frame.bottom, measured.shape[0])

    def add(self, box: regions.Box, logits: Tensor) -> None:
        """Add the logits (classes, h, w) of a box."""
        rows = slice(box.top - self._top, box.bottom - self._top)
        columns = slice(box.left - self._frame.left, box.right - self._frame.left)
        self._sums[:, rows, columns] += logits
        self._counts[rows, columns] += 1

    def finish_rows(self, bottom: int) -> None:
        """Decide the rows above `bottom`, which no further window touches, and hand them over."""
        # The rows before these have been written: no more than a row of windows waits.
        self._written.wait()
        box = regions.Box(self._top, self._frame.left, bottom, self._frame.right)
        decided = [np.empty(box.shape, receiver.dtype) for receiver in self._receivers]
        for top in range(self._top, bottom, _STRIP):
            rows = slice(top - self._top, min(top + _STRIP, bottom) - self._top)
            self._decide(rows, [values[rows] for values in decided])
        for receiver, values in zip(self._receivers, decided, strict=True):
            self._written.write(receiver, box.slices[0], values)
        done = bottom - self._top
        for sums in (self._sums, self._counts):
            kept = sums[..., done:, :].clone()
            sums[..., : kept.shape[-2], :] = kept
            sums[..., kept.shape[-2] :, :] = 0
        self._top = bottom

    def _decide(self, rows: slice, into: Sequence[NDArray[Any]]) -> None:
        """Fill rows, counted from the first of those under way, for each receiver."""
        box = regions.Box(
            self._top + rows.start, self._frame.left, self._top + rows.stop, self._frame.right
        )
        outside = ~self._measured.mask(box)
        # The largest sum is the largest mean; several times as fast as `argmax` over axis 0.
        values = [self._sums[:, rows].max(0).indices.byte()]
        if self._out.uncertainty is not None:
            values.append(_entropy(self._mean(rows)))
        if self._out.probability is not None:
            values.append(self._mean(rows).softmax(0)[self._out.probability_of])
        for decided, found, nothing in zip(into, values, self._nothing, strict=True):
            decided[:] = found.cpu().numpy()
            decided[outside] = nothing

    def _leave_out(self, top: int, bottom: int) -> None:
        """Hand over rows that lie outside the frame."""
        for start in range(top, bottom, _STRIP):
            rows = slice(start, min(start + _STRIP, bottom))
            shape = rows.stop - rows.start, self._measured.shape[1]
            for receiver, nothing in zip(self._receivers, self._nothing, strict=True):
                self._written.write(receiver, rows, np.full(shape, nothing, receiver.dtype))

    def _mean(self, rows: slice) -> Tensor:
        return self._sums[:, rows] / self._counts[rows].clamp(min=1)


def _entropy(logits: Tensor) -> Tensor:
    """Entropy over axis 0 of the softmax as uint8, 0 to 255 = certain to even."""
    log_probabilities = logits.log_softmax(0)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(0) / math.log(len(logits))
    return (entropy.clamp(0, 1) * 255).round().byte()
