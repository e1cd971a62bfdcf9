"""Batches of crops for triplets: so many classes, so many crops each, varied on the device.

The variations are those of Larmuseau et al., Scripta Materialia 193 (2021) 33; turning, mirroring
and the random scale happen where the crops are cut.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..classification.crops import drawn_crops
from ..classification.structure_model import CropReader
from .image_samples import blurred

_WARP = 0.03
_WARP_POINTS = 5
_GAIN = (0.75, 1.3)
_SHIFT = 25.0
_LARGEST_BLUR = 1.6
_DUST = (0.1, 0.4)
_OFTEN = 0.5
_SELDOM = 0.1
_WHITE = 255.0


class TripletSampler:
    """Crops of classes drawn anew for each step.

    Parameters
    ----------
    classes
        (n,) of the images of the reader's atlas.
    """

    def __init__(self, reader: CropReader, classes: NDArray[np.int64], *, varied: bool) -> None:
        self._reader = reader
        self._members = [
            torch.from_numpy(np.flatnonzero(classes == number)) for number in np.unique(classes)
        ]
        self._varied = varied

    def batch(
        self, classes: int, crops: int, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised crops (B, 1, S, S), magnification (B,) and classes (B,), on the device.

        Parameters
        ----------
        classes, crops
            Number of classes, all where there are fewer, and of crops of each.
        random
            Generator on the CPU: the same draws on every device.
        """
        chosen = torch.randperm(len(self._members), generator=random)[:classes]
        images = torch.cat([self._images(int(number), crops, random) for number in chosen])
        pixels, magnifications = self._crops(images, random)
        targets = chosen.repeat_interleave(crops).to(pixels.device)
        return self._reader.normalised(pixels), magnifications, targets

    def _images(self, number: int, crops: int, random: torch.Generator) -> Tensor:
        """Images of a class: each once before one comes again."""
        members = self._members[number]
        rounds = -(-crops // len(members))
        turns = [torch.randperm(len(members), generator=random) for _ in range(rounds)]
        return members[torch.cat(turns)[:crops]]

    def _crops(self, images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        reader = self._reader
        if not self._varied:
            pixels, magnifications, _ = reader.draw(images, random, turned=False)
            return pixels, magnifications
        sides = reader.sides(images, random)
        shapes = reader.atlas.shapes[images]
        crops = drawn_crops(images, shapes, sides, random, turned=True)
        warp = drawn_warp(len(images), reader.shown.side, random, reader.atlas.device)
        pixels = varied(reader.atlas.cut(crops, reader.shown.side, warp), random)
        return pixels, reader.magnifications(images, sides).to(pixels.device)


def drawn_warp(count: int, size: int, random: torch.Generator, device: torch.device) -> Tensor:
    """Smooth displacements (B, 2, S, S) relative to the side; half of the crops have none."""
    shape = (count, 2, _WARP_POINTS, _WARP_POINTS)
    coarse = _WARP * torch.randn(shape, generator=random)
    coarse = coarse * (torch.rand(count, 1, 1, 1, generator=random) < _OFTEN)
    return functional.interpolate(
        coarse.to(device), size=(size, size), mode="bicubic", align_corners=True
    )


def varied(crops: Tensor, random: torch.Generator) -> Tensor:
    """Crops (B, 1, S, S), 0 to 255: blurred in places, some only edges, lit differently."""
    crops = dusted(crops, random)
    crops = torch.where(_chosen(crops, _SELDOM, random), edges(crops), crops)
    return relit(crops, random)


def relit(crops: Tensor, random: torch.Generator) -> Tensor:
    """Crops (B, 1, S, S), 0 to 255, of other brightness and contrast."""
    mean = crops.mean((1, 2, 3), keepdim=True)
    gain, shift = _drawn(crops, *_GAIN, random), _drawn(crops, -_SHIFT, _SHIFT, random)
    return ((crops - mean) * gain + mean + shift).clamp(0, _WHITE)


def dusted(crops: Tensor, random: torch.Generator) -> Tensor:
    """Half of the crops blurred within a round spot of soft rim, as by dust out of focus."""
    size = crops.shape[-1]
    line = torch.linspace(-1, 1, size, device=crops.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    cy, cx = _drawn(crops, -1, 1, random), _drawn(crops, -1, 1, random)
    radius = 2 * _drawn(crops, *_DUST, random)
    spot = (1.5 - ((y - cy).square() + (x - cx).square()).sqrt() / radius).mul(2).clamp(0, 1)
    spot = spot * _chosen(crops, _OFTEN, random)
    soft = blurred(crops, _drawn(crops, 0.5, _LARGEST_BLUR, random))
    return torch.lerp(crops, soft, spot)


def edges(crops: Tensor) -> Tensor:
    """Length of the grey values' gradient (Sobel), stretched to 0 to 255 in each crop."""
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernels = torch.stack([sobel, sobel.T])[:, None].to(crops.device)
    slopes = functional.conv2d(functional.pad(crops, [1] * 4, mode="replicate"), kernels)
    length = slopes.square().sum(1, keepdim=True).sqrt()
    return length * (_WHITE / length.amax((1, 2, 3), keepdim=True).clamp(min=1))


def _drawn(crops: Tensor, low: float, high: float, random: torch.Generator) -> Tensor:
    values = low + (high - low) * torch.rand(len(crops), generator=random)
    return values.view(-1, 1, 1, 1).to(crops.device)


def _chosen(crops: Tensor, share: float, random: torch.Generator) -> Tensor:
    return _drawn(crops, 0, 1, random) < share
