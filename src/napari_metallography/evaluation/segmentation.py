"""A segmentation model against labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classes import PhaseClass
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..labelled import LabelledImage, check_labels
from ..segmentation.model import SegmentationModel
from ..segmentation.segment import Segmentation, SegmentParameters, segment
from .scores import (
    ParticleMatch,
    accuracy,
    confusion_matrix,
    found_by_diameter,
    good_from_px,
    intersection_over_union,
    match_particles,
    mean_iou,
)


@dataclass(frozen=True)
class ImageScore:
    """One image's part in the score.

    Attributes
    ----------
    confusion
        Pixels by (true class, predicted class).
    particles
        By class index, for every class but 0, the matrix.
    prediction
        (Y, X) class indices, for error maps.
    """

    name: str
    confusion: NDArray[np.int64]
    particles: dict[int, ParticleMatch]
    pixel_size_um: float | None
    prediction: NDArray[np.uint8]


def score_image(
    name: str,
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    pixel_size_um: float | None,
) -> ImageScore:
    """Compare a prediction with the truth; pixels unlabelled in either are left out."""
    if truth.shape != prediction.shape:
        raise InputError(
            f"{name}: prediction {prediction.shape} and truth {truth.shape} differ in size"
        )
    return ImageScore(
        name=name,
        confusion=confusion_matrix(truth, prediction, classes),
        particles={c: match_particles(truth, prediction, c) for c in range(1, classes)},
        pixel_size_um=pixel_size_um,
        prediction=prediction,
    )


def evaluate(
    model: SegmentationModel,
    images: Sequence[LabelledImage],
    parameters: SegmentParameters,
    keep: Callable[[LabelledImage, ImageScore], None] | None = None,
) -> Events[dict[str, Any]]:
    """Segment labelled images and score the result.

    Parameters
    ----------
    keep
        Called for each image; error maps are written there.

    Returns
    -------
    dict
        As `summary`.
    """
    classes = model.card.classes
    check_labels(images, len(classes))
    scores = []
    for done, image in enumerate(images):
        yield Progress(done, len(images), "images")
        score = yield from _score(model, image, parameters)
        if keep is not None:
            keep(image, score)
        scores.append(score)
    yield Progress(len(images), len(images), "images")
    return summary(scores, classes)


def summary(scores: Sequence[ImageScore], classes: Sequence[PhaseClass]) -> dict[str, Any]:
    """Scores over all images, from one pooled confusion matrix, as JSON.

    `particles` holds, for each class but the matrix, precision, recall, the error in count and
    in mean equivalent-circle radius (in pixels, and in µm when every pixel size is known), and
    how well particles of each size are found.
    """
    confusion = np.sum([score.confusion for score in scores], axis=0)
    ious = intersection_over_union(confusion)
    names = [phase.name for phase in classes]
    return {
        "miou": mean_iou(confusion),
        "iou": dict(zip(names, ious, strict=True)),
        "absent_classes": [n for n, iou in zip(names, ious, strict=True) if iou is None],
        "accuracy": accuracy(confusion),
        "confusion": confusion.tolist(),
        "particles": {
            phase.name: _particle_summary(scores, index)
            for index, phase in enumerate(classes)
            if index
        },
        "images": [{"name": s.name, "miou": mean_iou(s.confusion)} for s in scores],
        "n_images": len(scores),
    }


def _particle_summary(scores: Sequence[ImageScore], index: int) -> dict[str, Any]:
    pooled = sum((s.particles[index] for s in scores), ParticleMatch())
    return {
        "precision": pooled.precision,
        "recall": pooled.recall,
        "n_true": len(pooled.true_areas),
        "n_predicted": len(pooled.predicted_areas),
        "count_error": pooled.count_error,
        "mean_radius_error_px": pooled.mean_radius_error_px,
        "found_by_diameter": found_by_diameter(pooled),
        "good_from_px": good_from_px(pooled),
        "mean_radius_error_um": _mean_radius_error_um(scores, index),
    }


def _mean_radius_error_um(scores: Sequence[ImageScore], index: int) -> float | None:
    true: list[float] = []
    predicted: list[float] = []
    for score in scores:
        if score.pixel_size_um is None:
            return None
        match = score.particles[index]
        true.extend(_radii(match.true_areas, score.pixel_size_um))
        predicted.extend(_radii(match.predicted_areas, score.pixel_size_um))
    return float(np.mean(predicted) - np.mean(true)) if true and predicted else None


def _radii(areas: Sequence[int], pixel_size_um: float) -> list[float]:
    radii: list[float] = (np.sqrt(np.asarray(areas) / np.pi) * pixel_size_um).tolist()
    return radii


def segment_labelled(
    model: SegmentationModel, image: LabelledImage, parameters: SegmentParameters
) -> Events[Segmentation]:
    """The image by the model, at the pixel size its labels are known at."""
    size = image.pixel_size_um
    return segment(
        image.pixels,
        rgb=True,
        calibration=Calibration.square(size, "index") if size else None,
        measured=image.field,
        parameters=parameters,
        name=image.name,
        model=model,
    )


def _score(
    model: SegmentationModel, image: LabelledImage, parameters: SegmentParameters
) -> Events[ImageScore]:
    events = segment_labelled(model, image, parameters)
    result = yield from relayed(events, lambda event: _notice_of(image.name, event))
    classes = len(model.card.classes)
    return score_image(image.name, image.labels, result.indices, classes, image.pixel_size_um)


def _notice_of(name: str, event: Event) -> Event | None:
    # The bar counts images; the windows of each would only confuse it.
    return Notice(f"{name}: {event.message}") if isinstance(event, Notice) else None
