"""Scores of a model of surface defects, clean and in worse light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classification.defects import Answers, Classifier
from ..classification.images import (
    OUTSIDER,
    ClassifiedImages,
    read_classified,
    without_outsiders,
)
from ..errors import InputError
from ..events import Event, Events, Progress, relayed
from .classes import class_scores

Pixels = NDArray[np.uint8]

_SEED = 0
_BINS = 10


def evaluate_defects(
    classifier: Classifier,
    data: Path,
    *,
    files: Sequence[str] | None = None,
    robustness: bool = False,
) -> Events[dict[str, Any]]:
    """Name the images of a folder a class, and compare.

    Returns
    -------
    dict
        `accuracy`, `macro_f1`, `by_class` and `confusion` of the most probable classes; `answered`,
        the share that was answered, and `accuracy_of_answered`; `calibration_error` of the
        probabilities; `outsiders`, the number of images in `none`, and `outsiders_rejected`, the
        share of them answered "unsure" (None without any). With `robustness` also `robustness`: the
        accuracy under each of `CHANGES`.

    Yields
    ------
    Progress, Notice
        Images read and named; what was skipped.

    Raises
    ------
    InputError
        When the data cannot be used, or hold a class that the model does not know.
    """
    images = yield from _read(classifier, data, files)
    known = without_outsiders(images)
    if not len(known):
        raise InputError(f"{data}: holds no image of a class of the model")
    answers = yield from classifier.answers(known.pixels)
    result = {
        **class_scores(known.classes, answers.probable, known.names),
        **_selective(answers, known),
        "calibration_error": calibration_error(answers, known.classes),
        **(yield from _outsiders(classifier, images)),
        "skipped": list(images.skipped),
    }
    if robustness:
        result["robustness"] = yield from _robustness(classifier, data, files)
    return result


def calibration_error(answers: Answers, truth: NDArray[np.int64]) -> float:
    """Expected calibration error: |confidence − accuracy| over ten bins, by their shares."""
    confidence = answers.probabilities.max(1)
    right = answers.probable == truth
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    apart = [abs(float((confidence - right)[bins == b].sum())) for b in np.unique(bins)]
    return sum(apart) / len(truth)


def brighter(factor: float) -> Callable[[Pixels], Pixels]:
    """Grey values times a factor."""

    def change(rgb: Pixels) -> Pixels:
        return _eight_bit(rgb.astype(np.float32) * factor)

    return change


def out_of_focus(rgb: Pixels) -> Pixels:
    """A Gaussian blur of σ 1 px."""
    blurred: Pixels = cv2.GaussianBlur(rgb, (0, 0), 1.0).astype(np.uint8)
    return blurred


def noisy(rgb: Pixels) -> Pixels:
    """Gaussian noise of 5 % of the range, the same for all colours."""
    random = np.random.default_rng(_SEED)
    noise = random.normal(0, 0.05 * 255, rgb.shape[:2])[..., None]
    return _eight_bit(rgb + noise)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "brightness -30 %": brighter(0.7),
    "brightness +30 %": brighter(1.3),
    "blur sigma 1 px": out_of_focus,
    "noise 5 %": noisy,
}


def _eight_bit(values: NDArray[Any]) -> Pixels:
    clipped: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


def _read(
    classifier: Classifier,
    data: Path,
    files: Sequence[str] | None,
    change: Callable[[Pixels], Pixels] | None = None,
) -> Events[ClassifiedImages]:
    shown = classifier.shown
    return (
        yield from read_classified(
            data,
            side=shown.side,
            quality=shown.jpeg_quality,
            files=files,
            names=classifier.model.names,
            change=change,
        )
    )


def _selective(answers: Answers, known: ClassifiedImages) -> dict[str, Any]:
    sure = answers.sure
    right = (answers.probable == known.classes)[sure]
    return {
        "answered": float(sure.mean()),
        "accuracy_of_answered": float(right.mean()) if sure.any() else None,
    }


def _outsiders(classifier: Classifier, images: ClassifiedImages) -> Events[dict[str, Any]]:
    outsiders = images.where(images.classes == OUTSIDER)
    if not len(outsiders):
        return {"outsiders": 0, "outsiders_rejected": None}
    answers = yield from classifier.answers(outsiders.pixels)
    return {"outsiders": len(outsiders), "outsiders_rejected": float((~answers.sure).mean())}


def _robustness(
    classifier: Classifier, data: Path, files: Sequence[str] | None
) -> Events[dict[str, float]]:
    found = {}
    for name, change in CHANGES.items():
        events = _read(classifier, data, files, change)
        known = without_outsiders((yield from relayed(events, _progress_only)))
        answers = yield from classifier.answers(known.pixels)
        found[name] = float((answers.probable == known.classes).mean())
    return found


def _progress_only(event: Event) -> Event | None:
    """What was skipped has been told already."""
    return event if isinstance(event, Progress) else None
