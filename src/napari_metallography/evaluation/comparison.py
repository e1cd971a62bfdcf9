"""One segmentation against another of the same image, plane by plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import PhaseClass
from ..errors import InputError
from ..events import Events, Progress
from ..io.overlays import error_map
from .segmentation import ImageScore, score_image, summary


@dataclass(frozen=True)
class Comparison:
    """A prediction against the truth.

    Attributes
    ----------
    errors
        (…, Y, X, 3) uint8, error maps as `io.overlays.error_map` draws them.
    scores
        As `evaluation.segmentation.summary`, over all planes.
    """

    errors: NDArray[np.uint8]
    scores: dict[str, Any]


def compare(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    classes: tuple[PhaseClass, ...],
    *,
    class_index: int | None = None,
    pixel_size_um: float | None = None,
    name: str,
) -> Events[Comparison]:
    """Score a prediction plane by plane and draw where it errs.

    Parameters
    ----------
    prediction, truth
        (…, Y, X) class indices; 255 = unlabelled, and left out.
    class_index
        The class that the error maps are of; None takes all but the matrix together.
    pixel_size_um
        For errors of particle radii in µm, where it is known.
    name
        Of the prediction, for messages.

    Yields
    ------
    Progress
        The planes done.

    Raises
    ------
    InputError
        When the shapes differ or no pixel is labelled in both.
    """
    if prediction.shape != truth.shape:
        raise InputError(
            f"{name}: has shape {prediction.shape}, the truth {truth.shape}; "
            "choose labels of the same image"
        )
    planes = list(np.ndindex(prediction.shape[:-2]))
    scores: list[ImageScore] = []
    for done, plane in enumerate(planes):
        yield Progress(done, len(planes), "planes")
        scores.append(
            score_image(name, truth[plane], prediction[plane], len(classes), pixel_size_um)
        )
    if not any(score.confusion.any() for score in scores):
        raise InputError(f"{name}: no pixel is labelled in both layers")
    yield Progress(len(planes), len(planes), "planes")
    maps = [error_map(truth[plane], prediction[plane], class_index) for plane in planes]
    return Comparison(np.stack(maps).reshape(*prediction.shape, 3), summary(scores, classes))
