"""Probabilities that mean what they say, and from which of them on to answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..models.card import RiskPoint

Floats = NDArray[np.float64]

_TEMPERATURES = torch.logspace(-1.5, 1.5, 601, dtype=torch.float64)
_MOST_POINTS = 50


def temperature(logits: Tensor, classes: Tensor) -> float:
    """What logits (n, m) are best divided by: the likelihood of classes (n,) is then largest.

    Between 1/32 and 32. Where every answer is right, the likelihood would grow for ever; targets
    are therefore softened by half an image in all, as Platt's are.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    smoothing = 0.5 / (len(logits) + 1)
    losses = torch.stack(
        [
            functional.cross_entropy(logits.double() / t, classes, label_smoothing=smoothing)
            for t in _TEMPERATURES
        ]
    )
    return float(_TEMPERATURES[losses.argmin()])


def risk_points(confidences: Floats, correct: NDArray[np.bool_]) -> tuple[RiskPoint, ...]:
    """From which probability on how many answers are wrong, and how many images are answered.

    Each point answers as many images as can be at its risk; a smaller risk answers fewer. Of many
    points, some are left out, never the first or the last, which answers all.

    Parameters
    ----------
    confidences, correct
        (n,) of the validation images: the largest probability, and whether its class is right.
    """
    order = np.argsort(-confidences, kind="stable")
    levels = confidences[order]
    wrong = np.cumsum(~correct[order])
    # Answers of one probability are given together.
    ends = np.flatnonzero(np.append(levels[1:] < levels[:-1], True))
    points: list[RiskPoint] = []
    for end in ends[::-1]:
        risk = float(wrong[end] / (end + 1))
        if not points or risk < points[-1].risk:
            share = float((end + 1) / len(levels))
            points.append(RiskPoint(probability=float(levels[end]), risk=risk, answered=share))
    kept = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(int)
    return tuple(points[::-1][number] for number in kept)


def least_probability(points: Sequence[RiskPoint], risk: float) -> float:
    """The probability from which on at most this share of the answers was wrong in validation.

    Infinite where no answers were right so often; 0 where nothing was validated, and where every
    answer may be wrong.
    """
    if not points or risk >= 1:
        return 0.0
    allowed = [point.probability for point in points if point.risk <= risk]
    return min(allowed, default=math.inf)
