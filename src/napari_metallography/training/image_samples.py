"""Batches of whole images of known class, drawn and varied on the device they lie on."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..classification.images import OUTSIDER, ClassifiedImages

Augmentation = Literal["flips", "mild", "strong"]
Balance = Literal["none", "weights", "sampling"]

_GAIN = (0.65, 1.35)
_CONTRAST = (0.75, 1.25)
_LARGEST_NOISE = 16.0
_LARGEST_BLUR = 1.2
_SMALLEST_PART = 0.7
_VARIED = 0.5
_TAPS = 7
_LARGEST_GREY = 255


class ImageSampler:
    """Every image has its turn before one comes again, or every class as often as any other.

    Parameters
    ----------
    images
        Kept on the device as uint8.
    seed
        Of the order of the images.
    """

    def __init__(
        self, images: ClassifiedImages, balance: Balance, seed: int, device: torch.device
    ) -> None:
        pixels = torch.from_numpy(images.pixels).to(device)
        self._pixels = pixels.permute(0, 3, 1, 2)
        self._targets = targets(images).to(device)
        self._balance = balance
        self._seed = seed
        self._members = [
            np.flatnonzero(images.classes == number) for number in np.unique(images.classes)
        ]
        self._orders: dict[tuple[int, int], Tensor] = {}

    def batch(self, iteration: int, size: int) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float, 0 to 255, and shares (B, m) of the classes, of a step."""
        turns = range(iteration * size, (iteration + 1) * size)
        chosen = torch.tensor([self._image_of(turn) for turn in turns], device=self._pixels.device)
        return self._pixels[chosen].float(), self._targets[chosen]

    def _image_of(self, turn: int) -> int:
        if self._balance != "sampling":
            return self._nth(-1, turn)
        round_, place = divmod(turn, len(self._members))
        return self._nth(int(self._order(-2, round_, len(self._members))[place]), round_)

    def _nth(self, number: int, turn: int) -> int:
        """The image of a turn among those of one class, or, with -1, of all."""
        members = self._members[number] if number >= 0 else None
        count = len(self._pixels) if members is None else len(members)
        epoch, place = divmod(turn, count)
        position = int(self._order(number, epoch, count)[place])
        return position if members is None else int(members[position])

    def _order(self, number: int, epoch: int, count: int) -> Tensor:
        key = (number, epoch)
        if key not in self._orders:
            seed = self._seed + 1_000_003 * epoch + 7_919 * (number + 2)
            random = torch.Generator().manual_seed(seed)
            # A batch reaches into two epochs at times, never back into a third.
            self._orders.pop((number, epoch - 2), None)
            self._orders[key] = torch.randperm(count, generator=random)
        return self._orders[key]


def targets(images: ClassifiedImages) -> Tensor:
    """Shares (n, m) of the classes: all of its own for an image, equal ones for an outsider."""
    classes = torch.from_numpy(images.classes)
    shares = functional.one_hot(classes.clamp(min=0), len(images.names)).float()
    shares[classes == OUTSIDER] = 1 / len(images.names)
    return shares


def class_weights(images: ClassifiedImages) -> Tensor:
    """Weights (m,) by which the classes count alike; their mean over the images is 1."""
    known = images.classes[images.classes != OUTSIDER]
    counts = np.bincount(known, minlength=len(images.names))
    return torch.from_numpy(len(known) / (len(counts) * np.maximum(counts, 1))).float()


def varied(images: Tensor, augmentation: Augmentation, random: torch.Generator) -> Tensor:
    """Images (B, 3, S, S), 0 to 255, mirrored, and lit, focused and cut out differently.

    Parameters
    ----------
    random
        Generator on the CPU: the same draws on every device.
    """

    def draw(low: float, high: float) -> Tensor:
        values = low + (high - low) * torch.rand(len(images), generator=random)
        return values.view(-1, 1, 1, 1).to(images.device)

    def sometimes(values: Tensor, otherwise: float) -> Tensor:
        return torch.where(draw(0, 1) < _VARIED, values, otherwise)

    for axis in (2, 3):
        images = torch.where(draw(0, 1) < 0.5, images.flip(axis), images)
    if augmentation == "flips":
        return images
    if augmentation == "strong":
        images = parts(images, draw(_SMALLEST_PART, 1), draw(-1, 1), draw(-1, 1))
    images = blurred(images, sometimes(draw(0, _LARGEST_BLUR), 0.0))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * sometimes(draw(*_CONTRAST), 1.0) + mean
    images = images * sometimes(draw(*_GAIN), 1.0)
    noise = torch.randn(images[:, :1].shape, generator=random).to(images.device)
    return (images + noise * sometimes(draw(0, _LARGEST_NOISE), 0.0)).clamp(0, _LARGEST_GREY)


def parts(images: Tensor, shares: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Parts of a share (B, 1, 1, 1) of the sides, placed from -1 to 1, enlarged to the whole."""
    zero = torch.zeros_like(shares)
    rows = [[shares, zero, x * (1 - shares)], [zero, shares, y * (1 - shares)]]
    maps = torch.stack([torch.stack(row, -1) for row in rows], -2).view(-1, 2, 3)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Images (B, 3, S, S) blurred by Gaussians of σ (B, 1, 1, 1) in pixels, up to about 2."""
    places = torch.arange(_TAPS, device=images.device) - _TAPS // 2
    taps = torch.exp(-places.square() / (2 * sigmas.view(-1, 1).clamp(min=0.05).square()))
    taps = taps / taps.sum(1, keepdim=True)
    count, colours = images.shape[:2]
    kernels = taps.repeat_interleave(colours, 0)
    flat = images.reshape(1, count * colours, *images.shape[2:])
    padded = functional.pad(flat, [_TAPS // 2] * 4, mode="replicate")
    down = functional.conv2d(padded, kernels[:, None, :, None], groups=len(kernels))
    across = functional.conv2d(down, kernels[:, None, None, :], groups=len(kernels))
    return across.view_as(images)
