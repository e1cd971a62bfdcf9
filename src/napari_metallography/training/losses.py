"""Losses over labelled pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, one_hot

from ..classes import UNLABELLED

Across = Callable[[Tensor], Tensor]
"""The mean of a sum over the processes that share a batch, each with the gradient of its own."""


def alone(total: Tensor) -> Tensor:
    """As one process takes it."""
    return total


Loss = Callable[[Tensor, Tensor, Across], Tensor]

_NONE = 1e-6
_REACH_PX = 3
_ALIKE = 0.1
# What lies outside a crop is not black.
_SMOOTHING: dict[str, Any] = {
    "kernel_size": 3,
    "stride": 1,
    "padding": 1,
    "count_include_pad": False,
}


def focal(
    logits: Tensor,
    labels: Tensor,
    across: Across = alone,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Mean of α (1 − p)^γ (−log p) over labelled pixels.

    Lin et al., ICCV 2017, in its softmax form, with the constants of Ma and Yu.

    Parameters
    ----------
    logits
        (B, C, H, W).
    labels
        (B, H, W) int64, 255 = unlabelled.
    across
        Makes the sums those of the whole batch, of which this process has a part.
    """
    surprise = cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none")
    weighted = alpha * (1 - torch.exp(-surprise)) ** gamma * surprise
    known = labels != UNLABELLED
    return across(weighted.sum()) / across(known.sum().to(logits.dtype)).clamp(min=_NONE)


def cross_entropy_and_dice(logits: Tensor, labels: Tensor, across: Across = alone) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the classes among the labels.

    Parameters as of `focal`. Dice counters the imbalance between matrix and fine particles. Zero
    where nothing is labelled, as `focal` is.
    """
    known = labels != UNLABELLED
    total = cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none").sum()
    count = across(known.sum().to(logits.dtype)).clamp(min=_NONE)
    return across(total) / count + _dice_loss(logits, labels, known, across)


def disagreement(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """How often near and similar pixels are taken for different phases where labels are missing.

    The mean over pairs of pixels up to 3 px apart of their likeness, which falls with distance
    and difference in grey, times the probability that their classes differ; 0 for pairs of which
    both are labelled. The gated CRF loss of Obukhov et al., arXiv 1906.04651 (2019): it lets a few
    strokes tell about the pixels around them.

    Parameters
    ----------
    logits
        (B, C, H, W).
    images
        (B, 3, H, W), grey values from 0 to 1.
    labels
        (B, H, W) int64, 255 = unlabelled.
    """
    grey = avg_pool2d(images.mean(1, keepdim=True), **_SMOOTHING)[:, 0]
    probabilities = logits.softmax(1)
    unknown = labels == UNLABELLED
    total = logits.new_zeros(())
    for down, right in _OFFSETS:
        first, second = _apart(down, right, labels.shape)
        nearness = math.exp(-(down**2 + right**2) / (2 * _REACH_PX**2))
        alike = torch.exp(-((grey[first] - grey[second]) ** 2) / (2 * _ALIKE**2)) * nearness
        told = unknown[first] | unknown[second]
        same = (probabilities[_of_classes(first)] * probabilities[_of_classes(second)]).sum(1)
        total = total + (alike * told * (1 - same)).mean()
    return total / len(_OFFSETS)


_OFFSETS = [
    (down, right)
    for down in range(_REACH_PX + 1)
    for right in range(-_REACH_PX if down else 1, _REACH_PX + 1)
    if down**2 + right**2 <= _REACH_PX**2
]
"""Each pair of neighbours once."""

Window = tuple[slice, slice, slice]


def _apart(down: int, right: int, shape: torch.Size) -> tuple[Window, Window]:
    """Windows of (B, H, W) whose pixels lie `down` rows and `right` columns apart."""
    height, width = shape[-2:]
    every = slice(None)
    columns = slice(max(0, -right), width - max(0, right))
    first = (every, slice(0, height - down), columns)
    return first, (every, slice(down, height), slice(columns.start + right, columns.stop + right))


def _of_classes(window: Window) -> tuple[slice, slice, slice, slice]:
    images, rows, columns = window
    return images, slice(None), rows, columns


def _dice_loss(logits: Tensor, labels: Tensor, known: Tensor, across: Across) -> Tensor:
    classes = logits.shape[1]
    probabilities = logits.softmax(1) * known[:, None]
    truth = one_hot(torch.where(known, labels, 0), classes).movedim(-1, 1) * known[:, None]
    axes = (0, 2, 3)
    sizes = across(truth.sum(axes).to(logits.dtype))
    overlap, found = across((probabilities * truth).sum(axes)), across(probabilities.sum(axes))
    dice = 2 * overlap / (found + sizes).clamp(min=_NONE)
    present = sizes > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


LOSSES: dict[str, Loss] = {
    "focal": focal,
    "cross-entropy+dice": cross_entropy_and_dice,
}
