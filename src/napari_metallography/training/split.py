"""Which labels train and which are held out to choose the weights and judge the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED
from ..labelled import LabelledImage

HeldOut = Literal["specimens", "images", "strokes", "blocks", "nothing"]

_BLOCK_SIDE = 64
_TRIES = 10
_FEWEST_STROKES = 3
# Above this labelled share an image is a truth, not strokes: its classes are held out together.
_DENSE = 0.2


@dataclass(frozen=True)
class Split:
    """Training and validation data.

    Attributes
    ----------
    held_out
        What validation consists of. "strokes" and "blocks" are of the same images as the
        training, and flatter the model.
    """

    training: tuple[LabelledImage, ...]
    validation: tuple[LabelledImage, ...]
    held_out: HeldOut


def are_strokes(images: Sequence[LabelledImage]) -> bool:
    """Whether only a small part of every image is labelled, as painting does, and no truth is."""
    return all(_labelled_share(image.labels) <= _DENSE for image in images)


def split(images: Sequence[LabelledImage], share: float = 0.25, seed: int = 0) -> Split:
    """Hold out a share of the labels, as independent of the others as the images allow.

    Whole specimens where two or more are named, else whole images, the planes of a stack being
    one; where one side would lack a class, or there is one image, whole strokes of each class
    that has three or more, else what is painted in blocks of 64×64 pixels; nothing, where one
    side would lack a class even so.

    Parameters
    ----------
    share
        Of the images, or of each class's labelled pixels in each image.
    seed
        The same seed holds out the same labels.
    """
    random = np.random.default_rng(seed)
    for held_out, group in _GROUPINGS.items():
        found = _by_group(images, [group(image) for image in images], share, random)
        if found is not None:
            return Split(*found, held_out)
    return _within_images(images, share, random)


_GROUPINGS: dict[HeldOut, Callable[[LabelledImage], str]] = {
    "specimens": lambda image: image.specimen,
    "images": lambda image: image.group or image.name,
}

Parts = tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]


def _by_group(
    images: Sequence[LabelledImage], groups: list[str], share: float, random: np.random.Generator
) -> Parts | None:
    names = sorted(set(groups))
    if len(names) < 2 or "" in names:
        return None
    held_out = set(random.permutation(names)[: max(1, round(share * len(names)))].tolist())
    training = tuple(i for i, g in zip(images, groups, strict=True) if g not in held_out)
    validation = tuple(i for i, g in zip(images, groups, strict=True) if g in held_out)
    # Every class must be learnt, and the score must not rest on some of them only.
    return (training, validation) if _classes(training) == _classes(validation) else None


def _classes(images: Sequence[LabelledImage]) -> set[int]:
    return {int(c) for image in images for c in np.unique(image.labels)} - {UNLABELLED}


def _within_images(
    images: Sequence[LabelledImage], share: float, random: np.random.Generator
) -> Split:
    for _ in range(_TRIES):
        held_out = [_held_out(image.labels, share, random) for image in images]
        training = _labelled_where(images, [~mask for mask, _ in held_out])
        validation = _labelled_where(images, [mask for mask, _ in held_out])
        # As with whole images: every class must be learnt, and the score rest on all of them.
        if _classes(training) == _classes(validation) == _classes(images):
            is_by_stroke = any(strokes for _, strokes in held_out)
            return Split(training, validation, "strokes" if is_by_stroke else "blocks")
    return Split(tuple(images), (), "nothing")


def _held_out(
    labels: NDArray[np.uint8], share: float, random: np.random.Generator
) -> tuple[NDArray[np.bool_], bool]:
    """Where the held-out labels lie, and whether whole strokes were taken."""
    known = labels != UNLABELLED
    if _labelled_share(labels) > _DENSE:
        return _chosen(_blocks(known), share, random), False
    mask, any_strokes = np.zeros(labels.shape, bool), False
    for index in np.unique(labels[known]):
        strokes = _strokes(labels == index)
        is_painted_often = int(strokes.max()) >= _FEWEST_STROKES
        pieces = strokes if is_painted_often else _blocks(labels == index)
        mask |= _chosen(pieces, share, random)
        any_strokes |= is_painted_often
    return mask, any_strokes


def _labelled_share(labels: NDArray[np.uint8]) -> float:
    return float((labels != UNLABELLED).mean())


def _strokes(painted: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected strokes numbered from 1; 0 = not painted."""
    return cv2.connectedComponents(painted.astype(np.uint8), connectivity=8)[1].astype(np.int32)


def _blocks(painted: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Squares that hold paint, numbered from 1; 0 = not painted."""
    rows, columns = np.indices(painted.shape, np.int32) // _BLOCK_SIDE
    numbers = rows * (columns.max() + 1) + columns + 1
    return np.where(painted, numbers, 0).astype(np.int32)


def _chosen(
    pieces: NDArray[np.int32], share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Pieces that hold about the share of the pixels, and never all of them."""
    numbers, sizes = np.unique(pieces[pieces > 0], return_counts=True)
    order = random.permutation(len(numbers))
    before = np.cumsum(sizes[order]) - sizes[order]
    taken = numbers[order[before < share * sizes.sum()]]
    return np.isin(pieces, taken[: len(numbers) - 1])


def _labelled_where(
    images: Sequence[LabelledImage], masks: Sequence[NDArray[np.bool_]]
) -> tuple[LabelledImage, ...]:
    parts = [
        replace(image, labels=np.where(mask, image.labels, UNLABELLED).astype(np.uint8))
        for image, mask in zip(images, masks, strict=True)
    ]
    return tuple(part for part in parts if (part.labels != UNLABELLED).any())
