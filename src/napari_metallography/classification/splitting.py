"""Which images of known class are held out: a share of each class, near-duplicates together."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import ClassifiedImages

_THUMBNAIL = 24
_ALIKE = 0.97
_FLAT = 1e-3

Floats = NDArray[np.float32]


def held_out(images: ClassifiedImages, share: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out, (n,): about `share` of each class, one of each at least.

    Images that show nearly the same are on the same side. A class of one image, or of such a
    group, is not held out.
    """
    random = np.random.default_rng(seed)
    groups = near_duplicates(images.pixels)
    chosen = np.zeros(len(images), bool)
    for number in np.unique(images.classes):
        members = np.flatnonzero((images.classes == number) & ~chosen)
        wanted = max(1, round(share * int((images.classes == number).sum())))
        own = groups[members]
        for group in random.permutation(np.unique(own))[:-1]:
            if (chosen & (images.classes == number)).sum() >= wanted:
                break
            chosen |= groups == group
    return chosen


def near_duplicates(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A number (n,) for each image of (n, S, S, 3), shared by those that show nearly the same.

    Images are alike when their thumbnails, with the mean removed, correlate by more than 0.97, or
    are so by way of others.
    """
    thumbnails = np.stack([_thumbnail(image) for image in pixels])
    alike = thumbnails @ thumbnails.T > _ALIKE
    numbers = np.arange(len(pixels))
    # The smallest number spreads over each group.
    while True:
        spread = np.where(alike, numbers[None, :], len(numbers)).min(1)
        spread = np.minimum(spread, numbers)
        if np.array_equal(spread, numbers):
            return numbers
        numbers = spread


def _thumbnail(image: NDArray[np.uint8]) -> Floats:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small: Floats = cv2.resize(  # type: ignore[assignment]
        grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    flat: Floats = (small / max(length, _FLAT)).ravel()
    return flat
