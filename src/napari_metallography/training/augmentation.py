"""Random changes to a batch of crops, on the device they lie on.

The strong augmentation of Ma and Yu, Processes 11 (2023) 3298, section 2.3.2; the ranges of
brightness and contrast are those of the library the paper used. Images are float, 0 to 255.
"""

from __future__ import annotations

import torch
from torch import Tensor

_HOLES = 5
_HOLE_SIDE = 5
_BRIGHTNESS = 32.0
_CONTRAST = (0.5, 1.5)


def turned(images: Tensor, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror rows, mirror columns and turn by 90°, each with probability ½.

    Parameters
    ----------
    images
        (B, 3, S, S).
    labels
        (B, S, S).
    random
        Generator on the CPU: the same draws on every device.
    """
    pairs = [_turned(*pair, random) for pair in zip(images, labels, strict=True)]
    return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])


def photometric_(images: Tensor, random: torch.Generator) -> Tensor:
    """Add a brightness in ±32 and multiply by a contrast in 0.5–1.5, each to half the images.

    In place.
    """
    count = len(images)
    shift = (torch.rand(count, generator=random) * 2 - 1) * _BRIGHTNESS
    shift *= torch.rand(count, generator=random) < 0.5
    low, high = _CONTRAST
    gain = low + (high - low) * torch.rand(count, generator=random)
    gain = torch.where(torch.rand(count, generator=random) < 0.5, gain, torch.ones(count))
    gain, shift = (each.view(count, 1, 1, 1).to(images.device) for each in (gain, shift))
    return images.mul_(gain).add_(shift).clamp_(0, 255)


def cutout_(images: Tensor, random: torch.Generator) -> Tensor:
    """Set five 5×5 holes to zero in half the images, in place."""
    size = images.shape[-1]
    chosen = torch.rand(len(images), generator=random) < 0.5
    corners = torch.randint(0, size - _HOLE_SIDE + 1, (len(images), _HOLES, 2), generator=random)
    for image, holes, is_chosen in zip(images, corners.tolist(), chosen.tolist(), strict=True):
        for row, column in holes if is_chosen else ():
            image[:, row : row + _HOLE_SIDE, column : column + _HOLE_SIDE] = 0
    return images


def _turned(image: Tensor, label: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    mirror_rows, mirror_columns, turn = (torch.rand(3, generator=random) < 0.5).tolist()
    axes = [axis for axis, chosen in ((-2, mirror_rows), (-1, mirror_columns)) if chosen]
    image, label = image.flip(axes), label.flip(axes)
    if turn:
        image, label = image.rot90(-1, (-2, -1)), label.rot90(-1, (-2, -1))
    return image, label
