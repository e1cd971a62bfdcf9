"""Random crops of labelled images that lie on the training device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from ..classes import UNLABELLED
from ..labelled import LabelledImage
from ..segmentation.networks import reflect_pad

_TRIES = 10
_MOSTLY_LABELLED = 0.5
_EVERY = 4
_BORDER = 1


@dataclass(frozen=True)
class Geometry:
    """How crops are taken from images.

    Attributes
    ----------
    crop
        Side of a crop in pixels.
    zoom
        Crops show the image enlarged or reduced by up to this factor (log-uniform).
    stretch
        And stretched along a random direction by up to this factor.
    rotate
        At any angle; mirrored half the time.
    largest_share
        A crop in which one class takes more than this share is drawn again, up to ten times.
    """

    crop: int
    zoom: float = 1.0
    stretch: float = 1.0
    rotate: bool = False
    largest_share: float = 0.75


class CropSampler:
    """Draws batches of crops from images that lie on the device.

    Crops of an image with few labels are taken around labelled pixels, each of its classes
    equally often; those of other images anywhere.
    """

    def __init__(
        self, images: Sequence[LabelledImage], geometry: Geometry, device: torch.device
    ) -> None:
        self._geometry = geometry
        shortest = math.ceil(geometry.crop * geometry.zoom)
        labelled = [image for image in images if (image.labels != UNLABELLED).any()]
        self._sources = [_source(image, shortest, device) for image in labelled]
        self._areas = torch.tensor([float(i.labels.size) for i in labelled])
        self._offsets = _offsets(geometry.crop).to(device)
        self._few_offsets = _offsets(geometry.crop, _EVERY)

    def batch(
        self, size: int, random: torch.Generator, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float 0–255 and labels (B, S, S) int64 with 255 = unlabelled.

        Images are chosen in proportion to their area. `part` of the batch is all that is made
        of it, for one of several processes; the generator advances as for the whole.
        """
        chosen = torch.multinomial(self._areas, size, replacement=True, generator=random)
        # A seed a crop: what one crop needs does not depend on how often another was redrawn.
        seeds = torch.randint(2**62, (size,), generator=random)
        crops = [
            self._crop(self._sources[index], torch.Generator().manual_seed(seed))
            for index, seed in zip(chosen[part].tolist(), seeds[part].tolist(), strict=True)
        ]
        images = torch.stack([image for image, _ in crops])
        return images, torch.stack([label for _, label in crops])

    def _crop(self, source: _Source, random: torch.Generator) -> tuple[Tensor, Tensor]:
        crop = self._balanced(source, random)
        side = self._geometry.crop
        image = _interpolated(source.pixels, crop, self._offsets).view(-1, side, side)
        return image, _nearest(source.labels, crop, self._offsets).view(side, side)

    def _balanced(self, source: _Source, random: torch.Generator) -> _Crop:
        """A crop that no class fills, judged by every fourth pixel of every fourth row."""
        for _ in range(_TRIES):
            crop = _drawn(source, self._geometry, random)
            labels = _nearest(source.labels_at_hand, crop, self._few_offsets)
            if _largest_share(labels) <= self._geometry.largest_share:
                break
        return crop


@dataclass(frozen=True)
class _Source:
    """An image on the device.

    Attributes
    ----------
    pixels
        (3, Y, X) uint8.
    labels, labels_at_hand
        (Y + 2, X + 2) uint8 with an unlabelled border, on the device and, for what must be known
        before a crop is made, on the CPU.
    painted
        (n, 2) rows and columns of each class's labelled pixels; empty where most are labelled.
    """

    pixels: Tensor
    labels: Tensor
    labels_at_hand: Tensor
    painted: tuple[Tensor, ...]


@dataclass(frozen=True)
class _Crop:
    """Where a crop lies: what is `offset` from its centre lies at `turn @ offset + centre`.

    Attributes
    ----------
    centre
        (2, 1), x and y in pixels of the image.
    turn
        (2, 2).
    """

    centre: Tensor
    turn: Tensor


def _source(image: LabelledImage, shortest: int, device: torch.device) -> _Source:
    pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)
    bottom, right = (max(0, shortest - length) for length in image.labels.shape)
    padded = reflect_pad(pixels[None].float(), bottom, right)[0].byte()
    # What reflection adds is seen but neither learnt nor scored.
    border = (_BORDER, right + _BORDER, _BORDER, bottom + _BORDER)
    labels = pad(torch.from_numpy(image.labels), border, value=UNLABELLED)
    return _Source(padded.to(device), labels.to(device), labels, _painted(image.labels))


def _offsets(side: int, every: int = 1) -> Tensor:
    """x and y (2, n) of the pixels of a crop from its centre, row by row."""
    axis = torch.arange(0, side, every) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()])


def _painted(labels: NDArray[np.uint8]) -> tuple[Tensor, ...]:
    known = labels != UNLABELLED
    if known.mean() > _MOSTLY_LABELLED:
        return ()
    return tuple(torch.from_numpy(np.argwhere(labels == i)) for i in np.unique(labels[known]))


def _drawn(source: _Source, geometry: Geometry, random: torch.Generator) -> _Crop:
    draws = torch.rand(6, generator=random).tolist()
    scale = geometry.zoom ** (2 * draws[0] - 1)
    row, column = _centre(source, _reach(geometry, scale), draws[1:3], random)
    return _Crop(torch.tensor([[column], [row]]), _transform(geometry, scale, draws[3:]))


def _centre(
    source: _Source, reach: float, draws: Sequence[float], random: torch.Generator
) -> tuple[float, float]:
    """Row and column of a crop's centre, where the crop does not leave the image if it can."""
    height, width = source.pixels.shape[1:]
    if source.painted:
        row, column = _around_paint(source, reach, draws, random)
        return _inside(row, reach, height), _inside(column, reach, width)
    return _between(reach, height - reach, draws[0]), _between(reach, width - reach, draws[1])


def _around_paint(
    source: _Source, reach: float, draws: Sequence[float], random: torch.Generator
) -> tuple[float, float]:
    """A centre at most half a crop's reach from a painted pixel, so that the crop shows it."""
    pick = torch.rand(2, generator=random).tolist()
    pixels = source.painted[int(pick[0] * len(source.painted))]
    row, column = pixels[int(pick[1] * len(pixels))].tolist()
    return row + (draws[0] - 0.5) * reach, column + (draws[1] - 0.5) * reach


def _inside(position: float, reach: float, length: int) -> float:
    """The nearest place, between two pixels, where the crop does not leave the image."""
    return math.floor(min(max(position, reach), max(reach, length - reach))) - 0.5


def _reach(geometry: Geometry, scale: float) -> float:
    # Rotated crops may show a little of the outside: keeping them in would starve the corners.
    reach = geometry.crop * scale / 2
    return reach if geometry.rotate else math.ceil(reach)


def _between(low: float, high: float, draw: float) -> float:
    """A whole pixel between the two, or half a pixel, as an unrotated crop of even side needs."""
    return math.floor(low + draw * (max(0.0, high - low) + 1)) - 0.5


def _transform(geometry: Geometry, scale: float, draws: list[float]) -> Tensor:
    if not geometry.rotate:
        return torch.eye(2) * scale
    angle = 2 * math.pi * draws[0]
    stretch = geometry.stretch ** (2 * draws[1] - 1)
    mirror = -1.0 if draws[2] < 0.5 else 1.0
    sine, cosine = math.sin(angle), math.cos(angle)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]])
    return turn @ torch.diag(torch.tensor([mirror * stretch, 1 / stretch])) * scale


def _interpolated(pixels: Tensor, crop: _Crop, offsets: Tensor) -> Tensor:
    """Values (C, n) of (C, Y, X) uint8 at the offsets, bilinear, reflected outside."""
    # Only the part the crop lies in: a whole micrograph would be converted for every crop.
    reach = crop.turn.abs().sum(1) * (float(offsets[0].max()) + 0.5)
    spans = zip(crop.centre[:, 0].tolist(), reach.tolist(), pixels.shape[:0:-1], strict=True)
    columns, rows = (_span(centre, reach, length) for centre, reach, length in spans)
    part = pixels[:, rows, columns].float()
    size = torch.tensor([[part.shape[-1]], [part.shape[-2]]])
    corner = torch.tensor([[columns.start], [rows.start]])
    # Where -1 and 1 are the edges of the part.
    centre = (2 * (crop.centre - corner) + 1) / size - 1
    positions = _positions(_Crop(centre, 2 * crop.turn / size), offsets)
    grid = positions.T[None, None]
    return grid_sample(part[None], grid, "bilinear", "reflection", align_corners=False)[0, :, 0]


def _nearest(labels: Tensor, crop: _Crop, offsets: Tensor) -> Tensor:
    """Labels (n,) int64 of bordered (Y + 2, X + 2) uint8 at the offsets; unlabelled outside."""
    height, width = labels.shape
    x, y = _positions(crop, offsets).round_()
    column = x.add_(_BORDER).clamp_(0, width - 1).long()
    row = y.add_(_BORDER).clamp_(0, height - 1).long()
    return labels.flatten().index_select(0, row.mul_(width).add_(column)).long()


def _positions(crop: _Crop, offsets: Tensor) -> Tensor:
    """x and y (2, n) of offsets in the image."""
    return torch.addmm(crop.centre.to(offsets.device), crop.turn.to(offsets.device), offsets)


def _span(centre: float, reach: float, length: int) -> slice:
    """Pixels that positions up to `reach` away need, neighbours included, cut at the image."""
    low, high = math.floor(centre - reach), math.ceil(centre + reach)
    return slice(max(0, low - 1), min(length, high + 2))


def _largest_share(labels: Tensor) -> float:
    counts = torch.bincount(labels.flatten(), minlength=UNLABELLED + 1)[:UNLABELLED]
    total = int(counts.sum())
    return float(counts.max()) / total if total else 1.0
