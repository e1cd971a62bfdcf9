"""Square parts of images at any scale, angle and place, cut out by the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FEWEST_PX = 16
"""No crop is brought to a smaller side."""


@dataclass(frozen=True)
class Crops:
    """Where crops lie.

    Attributes
    ----------
    images
        (B,) numbers of the images they are of.
    centres
        (B, 2) y and x in pixels; the first pixel reaches from 0 to 1.
    sides
        (B,) in pixels of the image.
    angles
        (B,) by which they are turned, in radians.
    mirrored
        (B,) bool.
    """

    images: Tensor
    centres: Tensor
    sides: Tensor
    angles: Tensor
    mirrored: Tensor


class Atlas:
    """Grey images of any shape in one tensor on the device, each also shrunk by 2, 4, 8 and so on.

    A crop is interpolated in the two of them whose scales its own lies between, and between these
    by the logarithm of the scale: it hardly aliases at any, and changes with it smoothly.

    Source: Williams, Pyramidal parametrics, SIGGRAPH 1983.

    Parameters
    ----------
    planes
        Grey values (Y, X), uint8.
    """

    def __init__(self, planes: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        count = _levels(max(min(plane.shape) for plane in planes))
        levels = [_shrunk(plane, count) for plane in planes]
        flat = np.concatenate([one.ravel() for pyramid in levels for one in pyramid])
        shapes = np.array([[one.shape for one in pyramid] for pyramid in levels])
        lengths = shapes.prod(2).ravel()
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).reshape(-1, count)
        self.values = torch.from_numpy(flat).to(device)
        self.shapes = torch.from_numpy(shapes[:, 0])
        self._shapes = torch.from_numpy(shapes).to(device)
        self._starts = torch.from_numpy(starts).to(device)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.values.device

    def cut(self, crops: Crops, size: int, warp: Tensor | None = None) -> Tensor:
        """The crops (B, 1, size, size), float, 0 to 255; beyond its edge an image is mirrored.

        Parameters
        ----------
        warp
            (B, 2, size, size): displacement of each point, y and x, relative to the crop's side.
        """
        last = self._shapes[crops.images.to(self.device), 0] - 1
        places = _mirrored(self._places(crops, size, warp) - 0.5, last.view(-1, 2, 1, 1))
        level = torch.log2(crops.sides / size).clamp(0, self._shapes.shape[1] - 1)
        finer = level.floor().long()
        found = self._at_level(places, crops.images, finer)
        between = (level > finer).nonzero()[:, 0]
        if len(between):
            coarser = self._at_level(places[between], crops.images[between], finer[between] + 1)
            part = (level - finer)[between].to(self.device).view(-1, 1, 1)
            found[between] = torch.lerp(found[between], coarser, part)
        return found[:, None]

    def _places(self, crops: Crops, size: int, warp: Tensor | None) -> Tensor:
        """y and x (B, 2, size, size) of the crops' points, in pixels of the images."""
        line = (torch.arange(size, device=self.device) + 0.5) / size - 0.5
        y, x = (
            v.expand(len(crops.sides), -1, -1) for v in torch.meshgrid(line, line, indexing="ij")
        )
        if warp is not None:
            y, x = y + warp[:, 0], x + warp[:, 1]
        sides, angles, mirrored = (
            values.to(self.device).view(-1, 1, 1)
            for values in (crops.sides, crops.angles, crops.mirrored)
        )
        x = torch.where(mirrored, -x, x)
        sine, cosine = sides * angles.sin(), sides * angles.cos()
        turned = torch.stack([y * cosine + x * sine, x * cosine - y * sine], 1)
        return turned + crops.centres.to(self.device)[:, :, None, None]

    def _at_level(self, places: Tensor, images: Tensor, level: Tensor) -> Tensor:
        """Grey values (B, S, S) at places (B, 2, S, S) of images (B,), shrunk so many times (B,).

        Bilinear; the places are counted from the middle of the first pixel of the image itself.
        """
        images, level = images.to(self.device), level.to(self.device)
        shape = self._shapes[images, level]
        relative = (shape / self._shapes[images, 0]).view(-1, 2, 1, 1)
        last = (shape - 1).view(-1, 2, 1, 1)
        places = torch.addcmul((relative - 1) / 2, places, relative)
        first = torch.minimum(places.floor(), last - 1).clamp_(min=0)
        part_y, part_x = (places - first).clamp_(0, 1).unbind(1)
        y, x = first.long().unbind(1)
        columns = shape[:, 1].view(-1, 1, 1)
        corner = y.mul(columns).add_(x).add_(self._starts[images, level].view(-1, 1, 1))
        # Of a single row or column the neighbour is itself.
        down = torch.where(last[:, 0] > 0, columns, 0)
        right = torch.where(last[:, 1] > 0, 1, 0)
        above, below = (
            torch.lerp(self.values[at].float(), self.values[at + right].float(), part_x)
            for at in (corner, corner + down)
        )
        return torch.lerp(above, below, part_y)


def drawn_crops(
    images: Tensor, shapes: Tensor, sides: Tensor, random: torch.Generator, *, turned: bool
) -> Crops:
    """Crops of images (B,) at random places within them.

    Parameters
    ----------
    shapes
        (B, 2) of the images, on the CPU.
    sides
        (B,) in pixels, none larger than its image.
    random
        Generator on the CPU: the same draws on every device.
    turned
        By random angles, and half of them mirrored; their corners may then lie outside.
    """
    count = len(images)
    room = shapes - sides[:, None]
    centres = sides[:, None] / 2 + room * torch.rand(count, 2, generator=random)
    angles = 2 * math.pi * torch.rand(count, generator=random)
    mirrored = torch.rand(count, generator=random) < 0.5
    return Crops(images, centres, sides, angles * turned, mirrored & turned)


def drawn_sides(smallest: Tensor, largest: Tensor, random: torch.Generator) -> Tensor:
    """Sides (B,), their logarithm uniform between the smallest and the largest (B,)."""
    low, high = smallest.log(), torch.maximum(smallest, largest).log()
    return (low + (high - low) * torch.rand(len(low), generator=random)).exp()


def _levels(side: int) -> int:
    """How often an image of a shorter side is there: until all of that side are one crop."""
    return 1 + max(0, math.ceil(math.log2(side / _FEWEST_PX)))


def _shrunk(plane: NDArray[np.uint8], count: int) -> list[NDArray[np.uint8]]:
    found = [plane]
    for _ in range(count - 1):
        rows, columns = ((length + 1) // 2 for length in found[-1].shape)
        found.append(
            np.asarray(
                cv2.resize(found[-1], (columns, rows), interpolation=cv2.INTER_AREA), np.uint8
            )
        )
    return found


def _mirrored(places: Tensor, last: Tensor) -> Tensor:
    """Places beyond 0 and `last` mirrored there, as often as needed."""
    period = (2 * last).clamp(min=1)
    within = torch.remainder(places, period)
    return torch.minimum(torch.minimum(within, period - within), last)
