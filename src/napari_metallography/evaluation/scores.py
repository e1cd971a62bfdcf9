"""Scores of a segmentation against truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED

MATCH_IOU = 0.5
"""Particles match one to one when the intersection over union is at least this."""

GOOD_SHARE = 0.75
"""A network is good for particles of a size when it finds this share of them."""

_DIAMETER_EDGES_PX = (0, 4, 6, 8, 12, 16, 24, math.inf)


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels by (true class, predicted class).

    Pixels that are 255 in either array, the unlabelled ones, are left out.
    """
    known = (truth != UNLABELLED) & (prediction != UNLABELLED)
    pairs = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(confusion: NDArray[np.int64]) -> list[float | None]:
    """IoU by class; None for a class absent from truth and prediction."""
    hits = np.diag(confusion)
    unions = confusion.sum(0) + confusion.sum(1) - hits
    return [float(hit / union) if union else None for hit, union in zip(hits, unions, strict=True)]


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean IoU over the classes that occur in truth or prediction."""
    present = [iou for iou in intersection_over_union(confusion) if iou is not None]
    return float(np.mean(present)) if present else float("nan")


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Fraction of pixels classified rightly."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.any() else float("nan")


@dataclass(frozen=True)
class ParticleMatch:
    """How predicted particles of one class meet the true ones, over any number of images.

    Attributes
    ----------
    true_areas, predicted_areas
        In pixels.
    true_ious
        IoU of each true particle with the predicted one it meets best; 0 where it meets none.
    matched
        Number of pairs.
    """

    true_areas: tuple[int, ...] = ()
    predicted_areas: tuple[int, ...] = ()
    true_ious: tuple[float, ...] = ()
    matched: int = 0

    def __add__(self, other: ParticleMatch) -> ParticleMatch:
        return ParticleMatch(
            self.true_areas + other.true_areas,
            self.predicted_areas + other.predicted_areas,
            self.true_ious + other.true_ious,
            self.matched + other.matched,
        )

    @property
    def precision(self) -> float | None:
        """Matched fraction of the predicted particles; None without any."""
        return self.matched / len(self.predicted_areas) if self.predicted_areas else None

    @property
    def recall(self) -> float | None:
        """Matched fraction of the true particles; None without any."""
        return self.matched / len(self.true_areas) if self.true_areas else None

    @property
    def count_error(self) -> int:
        """Predicted less true number of particles."""
        return len(self.predicted_areas) - len(self.true_areas)

    @property
    def mean_radius_error_px(self) -> float | None:
        """Predicted less true mean equivalent-circle radius; None when either has no particle."""
        if not (self.true_areas and self.predicted_areas):
            return None
        return mean_radius_px(self.predicted_areas) - mean_radius_px(self.true_areas)


def mean_radius_px(areas: Sequence[int]) -> float:
    """Mean of √(area/π)."""
    return float(np.sqrt(np.asarray(areas) / np.pi).mean())


def match_particles(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], class_index: int
) -> ParticleMatch:
    """Match the 8-connected particles of a class one to one at IoU ≥ 0.5.

    Pixels that are 255 in either array, the unlabelled ones, are left out of both.
    """
    known = (truth != UNLABELLED) & (prediction != UNLABELLED)
    true_ids, true_areas = _particles((truth == class_index) & known)
    predicted_ids, predicted_areas = _particles((prediction == class_index) & known)
    ious = pair_ious(true_ids, true_areas, predicted_ids, predicted_areas)
    # At IoU > 0.5 a particle has one partner at most; exactly 0.5 may tie, so pairs are taken
    # best first.
    matched_true: set[int] = set()
    matched_predicted: set[int] = set()
    best = np.zeros(len(true_areas))
    for (t, p), iou in sorted(ious.items(), key=lambda item: -item[1]):
        best[t] = max(best[t], iou)
        if iou >= MATCH_IOU and t not in matched_true and p not in matched_predicted:
            matched_true.add(t)
            matched_predicted.add(p)
    return ParticleMatch(
        true_areas=tuple(true_areas[1:].tolist()),
        predicted_areas=tuple(predicted_areas[1:].tolist()),
        true_ious=tuple(best[1:].tolist()),
        matched=len(matched_true),
    )


def found_by_diameter(match: ParticleMatch) -> list[dict[str, Any]]:
    """How well true particles are met, in bins of their equivalent diameter in pixels.

    Returns
    -------
    list of dict
        `from_px`, `to_px` (None for the last), `n`, `mean_iou` with the predicted particle each
        meets best, and `found`, the fraction met at IoU ≥ 0.5; empty bins are left out.
    """
    diameters = np.sqrt(4 * np.asarray(match.true_areas, float) / np.pi)
    ious = np.asarray(match.true_ious, float)
    rows = []
    for low, high in pairwise(_DIAMETER_EDGES_PX):
        inside = (diameters >= low) & (diameters < high)
        if inside.any():
            rows.append(
                {
                    "from_px": low,
                    "to_px": high if np.isfinite(high) else None,
                    "n": int(inside.sum()),
                    "mean_iou": float(ious[inside].mean()),
                    "found": float((ious[inside] >= MATCH_IOU).mean()),
                }
            )
    return rows


def good_from_px(match: ParticleMatch) -> float | None:
    """The diameter in pixels from which on three in four particles are found in every bin.

    None when even the largest are found less often.
    """
    good = None
    for row in reversed(found_by_diameter(match)):
        if row["found"] < GOOD_SHARE:
            break
        good = float(row["from_px"])
    return good


def pair_ious(
    true_ids: NDArray[np.int32],
    true_areas: NDArray[np.int64],
    predicted_ids: NDArray[np.int32],
    predicted_areas: NDArray[np.int64],
) -> dict[tuple[int, int], float]:
    """IoU of every pair of (true, predicted) particles that overlap; areas are indexed by id."""
    both = (true_ids > 0) & (predicted_ids > 0)
    pairs = true_ids[both].astype(np.int64) * len(predicted_areas) + predicted_ids[both]
    keys, overlaps = np.unique(pairs, return_counts=True)
    result = {}
    for key, overlap in zip(keys.tolist(), overlaps.tolist(), strict=True):
        t, p = divmod(key, len(predicted_areas))
        result[t, p] = overlap / float(true_areas[t] + predicted_areas[p] - overlap)
    return result


def _particles(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    _, ids, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return ids.astype(np.int32, copy=False), stats[:, cv2.CC_STAT_AREA].astype(np.int64)
