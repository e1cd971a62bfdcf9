"""Scores of grain boundaries against those drawn by people; no pixel size is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..errors import InputError
from ..events import Events, Notice, drain
from ..grains.drawing import boundary_pixels
from ..grains.files import boundaries_given
from ..grains.finding import Finding, Pixels
from ..grains.intersections import intersect, straight_lines
from ..grains.partition import Partition
from ..grains.stages import staged
from ..inputs import PixelSizes, measured_field, read_image
from ..plane import planes_of

TOLERANCE_PX = 2.0
"""Boundaries this near to one another are one."""

_SPACING_PX = 8.0


@dataclass(frozen=True)
class BoundaryScore:
    """How the grains found in an image compare with the true ones.

    Attributes
    ----------
    found_px, true_px
        Length of boundary, in pixels next to one.
    right_px
        Of those found, how many lie near a true boundary.
    recovered_px
        Of the true ones, how many lie near one that was found.
    test_line_px
        Length of the same test lines laid over both.
    found_intersections, true_intersections
        What they count.
    """

    name: str
    found_px: int
    true_px: int
    right_px: int
    recovered_px: int
    test_line_px: float
    found_intersections: float
    true_intersections: float


def evaluate_files(
    images: Sequence[Path], boundaries: Path, finding: Finding, sizes: PixelSizes
) -> Events[dict[str, Any]]:
    """Find the grains of images and compare them with those of masks, all planes of stacks.

    Parameters
    ----------
    boundaries
        A folder with a mask of boundaries, or an image of numbered grains, for each image.
    sizes
        Pixel sizes, which matter to models of a known scale only.

    Yields
    ------
    Progress, Notice
        Of all images; where no boundary is found, which scores nothing.

    Raises
    ------
    InputError
        When a file cannot be used.
    DeviceError
        When the device fails.

    Returns
    -------
    As `summary`.
    """
    scores: list[BoundaryScore] = []
    for number, path in enumerate(images):
        running = _scores_of(path, boundaries, finding, sizes)
        scores += yield from staged(running, number, len(images))
    return summary(scores)


def _scores_of(
    path: Path, boundaries: Path, finding: Finding, sizes: PixelSizes
) -> Events[list[BoundaryScore]]:
    image = read_image(path, sizes)
    given, field = boundaries_given(image, boundaries), measured_field(image)
    box = field.frame()
    scores = []
    planes = planes_of(image.pixels, rgb=image.rgb, name=path.name, measured=field)
    for index, plane in enumerate(planes):
        pixels = plane.rgb8(*box.slices)
        truth = drain(given.of(index, box).grains(pixels, None))
        running = _found(finding, pixels, image.calibration, path.name)
        found = yield from staged(running, index, len(image.planes))
        scores.append(score(path.stem, found, truth))
    return scores


def _found(
    finding: Finding, pixels: Pixels, calibration: Calibration | None, name: str
) -> Events[Partition]:
    """The grains found; where none are, the whole field as one."""
    try:
        return (yield from finding.grains(pixels, calibration))
    except InputError as error:
        yield Notice(f"{name}: {error}")
        return Partition(np.ones(pixels.shape[:2], np.int32), 1)


def score(
    name: str, found: Partition, truth: Partition, tolerance_px: float = TOLERANCE_PX
) -> BoundaryScore:
    """Compare the grains found in a field with its true ones, of the same shape.

    Source: boundary F-measure as by Martin, Fowlkes and Malik, IEEE PAMI 26 (2004) 530, with
    nearness in place of one-to-one matching; lines as ASTM E112 (Heyn) has them.
    """
    own, true = boundary_pixels(found.grains), boundary_pixels(truth.grains)
    lines = straight_lines(truth.shape, _SPACING_PX)
    crossed, expected = intersect(found, lines), intersect(truth, lines)
    return BoundaryScore(
        name,
        int(own.sum()),
        int(true.sum()),
        int((own & (_distance(true) <= tolerance_px)).sum()),
        int((true & (_distance(own) <= tolerance_px)).sum()),
        expected.length_px,
        crossed.count,
        expected.count,
    )


def summary(scores: Sequence[BoundaryScore]) -> dict[str, Any]:
    """Scores over all images, pixels and intersections of all taken together.

    Returns
    -------
    JSON form: `boundary_f1`, `precision`, `recall`, `mean_intercept_px`,
    `true_mean_intercept_px`, `mean_intercept_error_percent`, `n`; and the same of each of
    `images`. What is undefined (no boundary at all) is null.
    """
    whole = _numbers(scores)
    images = [{"image": one.name, **_numbers([one])} for one in scores]
    return {**whole, "n": len(scores), "images": images}


def _numbers(scores: Sequence[BoundaryScore]) -> dict[str, float | None]:
    precision = _ratio(sum(s.right_px for s in scores), sum(s.found_px for s in scores))
    recall = _ratio(sum(s.recovered_px for s in scores), sum(s.true_px for s in scores))
    length = sum(s.test_line_px for s in scores)
    own = _ratio(length, sum(s.found_intersections for s in scores))
    true = _ratio(length, sum(s.true_intersections for s in scores))
    return {
        "boundary_f1": _harmonic(precision, recall),
        "precision": precision,
        "recall": recall,
        "mean_intercept_px": own,
        "true_mean_intercept_px": true,
        "mean_intercept_error_percent": 100 * (own / true - 1) if own and true else None,
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _harmonic(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return 2 * one * other / (one + other) if one + other else 0.0


def _distance(lines: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel to the nearest line; infinite where there is none."""
    if not lines.any():
        return np.full(lines.shape, np.inf, np.float32)
    away = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away, np.float32)
