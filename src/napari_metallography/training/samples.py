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
            self._balanced_crop(self._sources[index], torch.Generator().manual_seed(seed))
            for index, seed in zip(chosen[part].tolist(), seeds[part].tolist(), strict=True)
        ]
        images = torch.stack([image for image, _ in crops])
        return images, torch.stack([label for _, label in crops])

    def _balanced_crop(self, source: _Source, random: torch.Generator) -> tuple[Tensor, Tensor]:
        for _ in range(_TRIES):
            grid = _grid(source, self._geometry, random)
            labels = _sampled(source.labels[None], grid, "nearest")[0].long()
            labels = torch.where(labels == 0, UNLABELLED, labels - 1)
            if _largest_share(labels) <= self._geometry.largest_share:
                break
        return _sampled(source.pixels, grid, "bilinear"), labels


@dataclass(frozen=True)
class _Source:
    """An image on the device.

    Attributes
    ----------
    pixels
        (3, Y, X) uint8.
    labels
        (Y, X) uint8, class index plus one, so that what lies outside the image is 0 = unlabelled.
    painted
        (n, 2) rows and columns of each class's labelled pixels; empty where most are labelled.
    """

    pixels: Tensor
    labels: Tensor
    painted: tuple[Tensor, ...]


def _source(image: LabelledImage, shortest: int, device: torch.device) -> _Source:
    pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)
    bottom, right = (max(0, shortest - length) for length in image.labels.shape)
    padded = reflect_pad(pixels[None].float(), bottom, right)[0].byte()
    # What reflection adds is seen but neither learnt nor scored.
    labels = pad(torch.from_numpy(image.labels + np.uint8(1)), (0, right, 0, bottom))
    return _Source(padded.to(device), labels.to(device), _painted(image.labels))


def _painted(labels: NDArray[np.uint8]) -> tuple[Tensor, ...]:
    known = labels != UNLABELLED
    if known.mean() > _MOSTLY_LABELLED:
        return ()
    return tuple(torch.from_numpy(np.argwhere(labels == i)) for i in np.unique(labels[known]))


def _grid(source: _Source, geometry: Geometry, random: torch.Generator) -> Tensor:
    """Positions (S, S, 2) of a random crop as x and y in pixels of the image."""
    draws = torch.rand(6, generator=random).tolist()
    scale = geometry.zoom ** (2 * draws[0] - 1)
    reach = _reach(geometry, scale)
    row, column = _centre(source, reach, draws[1:3], random)
    axis = torch.arange(geometry.crop) - (geometry.crop - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    offsets = torch.stack([x, y], -1) @ _transform(geometry, scale, draws[3:]).T
    return offsets + torch.tensor([column, row])


def _centre(
    source: _Source, reach: float, draws: Sequence[float], random: torch.Generator
) -> tuple[float, float]:
    """Row and column of a crop's centre, where the crop does not leave the image if it can."""
    height, width = source.labels.shape
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


def _sampled(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Values of (C, Y, X) at a grid of pixel positions; reflected pixels, labels 0 outside."""
    # Only the part the grid lies in: a whole micrograph would be converted for every crop.
    columns, rows = (_span(grid[..., axis], image.shape[-1 - axis]) for axis in (0, 1))
    part = image[:, rows, columns].float()
    size = torch.tensor([part.shape[-1], part.shape[-2]])
    inside = grid - torch.tensor([columns.start, rows.start])
    normalised = ((2 * inside + 1) / size - 1).to(image.device)
    padding = "zeros" if mode == "nearest" else "reflection"
    return grid_sample(part[None], normalised[None], mode, padding, align_corners=False)[0]


def _span(positions: Tensor, length: int) -> slice:
    """Pixels that positions need, neighbours included, cut at the image."""
    low, high = math.floor(float(positions.min())), math.ceil(float(positions.max()))
    return slice(max(0, low - 1), min(length, high + 2))


def _largest_share(labels: Tensor) -> float:
    counts = torch.bincount(labels.flatten(), minlength=UNLABELLED + 1)[:UNLABELLED]
    total = int(counts.sum())
    return float(counts.max()) / total if total else 1.0
