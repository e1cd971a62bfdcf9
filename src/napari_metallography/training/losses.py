"""Losses over labelled pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ..classes import UNLABELLED

Loss = Callable[[Tensor, Tensor], Tensor]


def focal(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Mean of α (1 − p)^γ (−log p) over labelled pixels.

    Lin et al., ICCV 2017, in its softmax form, with the constants of Ma and Yu.

    Parameters
    ----------
    logits
        (B, C, H, W).
    labels
        (B, H, W) int64, 255 = unlabelled.
    """
    surprise = cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none")
    weighted = alpha * (1 - torch.exp(-surprise)) ** gamma * surprise
    return weighted.sum() / (labels != UNLABELLED).sum().clamp(min=1)


def cross_entropy_and_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus one minus the mean soft Dice of the classes among the labels.

    Shapes as in `focal`. Dice counters the imbalance between matrix and fine particles. Zero
    where nothing is labelled, as `focal` is.
    """
    known = labels != UNLABELLED
    total = cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="none").sum()
    return total / known.sum().clamp(min=1) + _dice_loss(logits, labels, known)


def _dice_loss(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    classes = logits.shape[1]
    probabilities = logits.softmax(1) * known[:, None]
    truth = one_hot(torch.where(known, labels, 0), classes).movedim(-1, 1) * known[:, None]
    axes = (0, 2, 3)
    sizes = truth.sum(axes)
    dice = 2 * (probabilities * truth).sum(axes) / (probabilities.sum(axes) + sizes).clamp(min=1)
    present = sizes > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


LOSSES: dict[str, Loss] = {
    "focal": focal,
    "cross-entropy+dice": cross_entropy_and_dice,
}
