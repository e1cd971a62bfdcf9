"""Which images of known class are held out: a share of each class, near-duplicates together."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from .images import OUTSIDER, ClassifiedImages

_THUMBNAIL = 24
_ALIKE = 0.97
_FLAT = 1e-3
_VIEWS = ((), (1,), (2,), (1, 2))
_ROWS = 1024

Floats = NDArray[np.float32]


def split_off(
    images: ClassifiedImages, share: float, seed: int
) -> tuple[ClassifiedImages, ClassifiedImages | None]:
    """Images to learn from, and those held out to validate on; None where none can be spared.

    Outsiders are all learnt from: they have no answer to be validated by.
    """
    chosen = held_out(images, share, seed)
    return images.where(~chosen), images.where(chosen) if chosen.any() else None


def held_out(images: ClassifiedImages, share: float, seed: int) -> NDArray[np.bool_]:
    """Which images are held out, (n,): about `share` of each class, one of each at least.

    Images that show nearly the same, also mirrored, are on the same side; groups of them that are
    larger than what is still wanted are passed over. Every class keeps something to learn from: a
    class of one image, or of one such group, is not held out, and no outsider is.
    """
    random = np.random.default_rng(seed)
    groups = near_duplicates(images.pixels)
    sizes = np.bincount(groups)
    # Those of several classes, or with outsiders, would take from others what these may need.
    pure = np.array([np.ptp(images.classes[groups == group]) == 0 for group in range(len(sizes))])
    chosen = np.zeros(len(images), bool)
    for number in set(images.classes.tolist()) - {OUTSIDER}:
        own = groups[images.classes == number]
        free = [group for group in random.permutation(np.unique(own)) if pure[group]]
        smallest = min((int(sizes[group]) for group in free), default=0)
        wanted = max(smallest, round(share * len(own))) if share else 0
        left = len(own)
        for group in free:
            if sizes[group] <= wanted and sizes[group] <= left / 2:
                chosen |= groups == group
                wanted -= sizes[group]
                left -= sizes[group]
    return chosen


def near_duplicates(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A number (n,) for each image of (n, S, S, 3), shared by those that show nearly the same.

    Images are alike when their thumbnails, with the mean removed and mirrored or not, correlate by
    more than 0.97, or are so by way of others.
    """
    thumbnails = _thumbnails(pixels)
    pairs = _pairs(thumbnails, thumbnails)
    links = csr_array((np.ones(len(pairs), bool), pairs.T), shape=(len(pixels), len(pixels)))
    _, numbers = connected_components(links, directed=False)
    return np.asarray(numbers, np.int64)


def shown_in_both(some: ClassifiedImages, others: ClassifiedImages) -> list[tuple[str, str]]:
    """Files of images that show nearly the same as one of the others, and of that one."""
    pairs = _pairs(_thumbnails(some.pixels), _thumbnails(others.pixels))
    return [(some.files[a], others.files[b]) for a, b in np.unique(pairs, axis=0)]


def _pairs(some: Floats, others: Floats) -> NDArray[np.int64]:
    """Places (p, 2) of thumbnails (n, T, T) and (m, T, T) that are alike."""
    views = [np.flip(others, view) for view in _VIEWS]
    flat = [view.reshape(len(others), _THUMBNAIL**2).T for view in views]
    found = [
        np.add(np.argwhere(part.reshape(len(part), _THUMBNAIL**2) @ view > _ALIKE), (start, 0))
        for start in range(0, len(some), _ROWS)
        for part in [some[start : start + _ROWS]]
        for view in flat
    ]
    return np.concatenate([np.zeros((0, 2), np.int64), *found])


def _thumbnails(pixels: NDArray[np.uint8]) -> Floats:
    """Small images (n, T, T) of mean 0 and length 1; zeros where there is one grey value."""
    small = [_thumbnail(image) for image in pixels]
    return np.array(small, np.float32).reshape(-1, _THUMBNAIL, _THUMBNAIL)


def _thumbnail(image: NDArray[np.uint8]) -> Floats:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    small = small - small.mean()
    thumbnail: Floats = small / np.float32(max(float(np.linalg.norm(small)), _FLAT))
    return thumbnail
