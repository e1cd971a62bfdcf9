"""Labelled images on the training device, and random crops of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..classes import UNLABELLED
from ..errors import InputError
from ..segmentation.networks import reflect_pad

_TRIES = 10


@dataclass(frozen=True)
class LabelledImage:
    """An image with its truth.

    Attributes
    ----------
    name
        For messages and the model card.
    pixels
        (Y, X, 3) uint8.
    labels
        (Y, X) uint8 class indices, 255 where unlabelled (the data bar included).
    pixel_size_um
        None when unknown.
    specimen
        Images of one specimen belong on one side of a split; empty when unknown.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    pixel_size_um: float | None = None
    specimen: str = ""


def check_labels(images: Sequence[LabelledImage], classes: int) -> None:
    """Refuse labels that do not fit their image or name a class that does not exist."""
    if not images:
        raise InputError("there is no image to train on")
    for image in images:
        if image.labels.shape != image.pixels.shape[:2]:
            raise InputError(
                f"{image.name}: image {image.pixels.shape[:2]} and labels {image.labels.shape} "
                "differ in size"
            )
        known = image.labels[image.labels != UNLABELLED]
        if known.size and int(known.max()) >= classes:
            raise InputError(
                f"{image.name}: label {int(known.max())}, but the {classes} classes are "
                f"0 to {classes - 1}"
            )
    if all((image.labels == UNLABELLED).all() for image in images):
        raise InputError("no pixel is labelled")


def digest(images: Sequence[LabelledImage]) -> str:
    """SHA-256 over pixels and labels, independent of the order of the images."""
    parts = sorted(
        hashlib.sha256(image.pixels.tobytes() + image.labels.tobytes()).digest() for image in images
    )
    return hashlib.sha256(b"".join(parts)).hexdigest()


class CropSampler:
    """Draws batches of crops from images that lie on the device."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        crop: int,
        zoom: float,
        largest_share: float,
        device: torch.device,
    ) -> None:
        self._crop = crop
        self._zoom = zoom
        self._largest_share = largest_share
        shortest = math.ceil(crop * zoom)
        self._pairs = [_on_device(image, shortest, device) for image in images]
        self._areas = torch.tensor([float(i.labels.size) for i in images])

    def batch(self, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, 3, S, S) float 0–255 and labels (B, S, S) int64 with 255 = unlabelled.

        Images are chosen in proportion to their area.
        """
        chosen = torch.multinomial(self._areas, size, replacement=True, generator=random)
        crops = [self._balanced_crop(index, random) for index in chosen.tolist()]
        images = torch.stack([image for image, _ in crops])
        return images, torch.stack([label for _, label in crops])

    def _balanced_crop(self, index: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        image, labels = self._pairs[index]
        side = self._random_side(random)
        for _ in range(_TRIES):
            rows, columns = (_random_span(length, side, random) for length in labels.shape)
            crop = labels[rows, columns]
            if _largest_share(crop) <= self._largest_share:
                break
        return self._resized(image[:, rows, columns], crop)

    def _random_side(self, random: torch.Generator) -> int:
        exponent = float(torch.rand(1, generator=random)) * 2 - 1
        side: int = round(self._crop * self._zoom**exponent)
        return side

    def _resized(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        size = (self._crop, self._crop)
        pixels = image[None].float()
        if labels.shape != size:
            pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
            labels = interpolate(labels[None, None].float(), size, mode="nearest-exact")[0, 0]
        return pixels[0], labels.long()


def _on_device(image: LabelledImage, shortest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)
    labels = torch.from_numpy(image.labels.copy())
    bottom, right = (max(0, shortest - length) for length in labels.shape)
    padded = reflect_pad(pixels[None].float(), bottom, right)[0].byte()
    # What reflection adds is seen but neither learnt nor scored.
    return padded.to(device), pad(labels, (0, right, 0, bottom), value=UNLABELLED).to(device)


def _random_span(length: int, side: int, random: torch.Generator) -> slice:
    start = int(torch.randint(0, length - side + 1, (1,), generator=random))
    return slice(start, start + side)


def _largest_share(labels: Tensor) -> float:
    counts = torch.bincount(labels.flatten().int(), minlength=UNLABELLED + 1)[:UNLABELLED]
    total = int(counts.sum())
    return float(counts.max()) / total if total else 1.0
