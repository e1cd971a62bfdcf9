"""Scores of a segmentation against truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import UNLABELLED

MATCH_IOU = 0.5
"""Particles match one to one when the intersection over union is at least this."""


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

    `true_areas` and `predicted_areas` are in pixels.
    """

    true_areas: tuple[int, ...]
    predicted_areas: tuple[int, ...]
    matched: int

    def __add__(self, other: ParticleMatch) -> ParticleMatch:
        return ParticleMatch(
            self.true_areas + other.true_areas,
            self.predicted_areas + other.predicted_areas,
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

    Pixels unlabelled in the truth are left out of both.
    """
    known = truth != UNLABELLED
    true_ids, true_areas = _particles((truth == class_index) & known)
    predicted_ids, predicted_areas = _particles((prediction == class_index) & known)
    ious = pair_ious(true_ids, true_areas, predicted_ids, predicted_areas)
    # At IoU > 0.5 a particle has one partner at most; exactly 0.5 may tie, so pairs are taken
    # best first.
    matched_true: set[int] = set()
    matched_predicted: set[int] = set()
    for (t, p), iou in sorted(ious.items(), key=lambda item: -item[1]):
        if iou >= MATCH_IOU and t not in matched_true and p not in matched_predicted:
            matched_true.add(t)
            matched_predicted.add(p)
    return ParticleMatch(
        tuple(true_areas[1:].tolist()), tuple(predicted_areas[1:].tolist()), len(matched_true)
    )


def best_ious(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], class_index: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Area in pixels of each true particle, and its IoU with the predicted one it meets best.

    0 where it meets none. Shows from which size on a network finds particles.
    """
    known = truth != UNLABELLED
    true_ids, true_areas = _particles((truth == class_index) & known)
    predicted_ids, predicted_areas = _particles((prediction == class_index) & known)
    best = np.zeros(len(true_areas))
    for (t, _), iou in pair_ious(true_ids, true_areas, predicted_ids, predicted_areas).items():
        best[t] = max(best[t], iou)
    return true_areas[1:], best[1:]


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
