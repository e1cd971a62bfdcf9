"""Scores of a model of surface defects, clean and in worse light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classification.defects import Answers, Classifier, whole
from ..classification.images import OUTSIDER, OUTSIDERS, chosen_images, read_each, read_plane
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..inputs import PixelSizes
from ..io.index import find_index
from .classes import class_scores, learnt_images, learnt_words

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
    """Name the images of a folder a class, each as it would be named alone, and compare.

    Returns
    -------
    dict
        `accuracy`, `macro_f1`, `by_class` and `confusion` of the most probable classes; `answered`,
        the share that was answered, and `accuracy_of_answered`; `calibration_error` of the
        probabilities; `outsiders`, the number of images in `none`, and `outsiders_rejected`, the
        share of them answered "unsure" (None without any); `images`, a row each; `learnt_from`, the
        number of those that bear the name of an image that the model learnt from. With `robustness`
        also `robustness`: the accuracy under each of `CHANGES`, and `robustness_answered`, the
        share that is answered then.

    Yields
    ------
    Progress, Notice
        Images read and named; what was skipped, and how many the model has learnt from.

    Raises
    ------
    InputError
        When the data cannot be used, or hold a class that the model does not know.
    """
    images = yield from _shown(classifier, data, files)
    if not images.known.any():
        raise InputError(f"{data}: holds no image of a class of the model")
    answers = yield from _answers(classifier, images.shown)
    known, truth = answers.where(images.known), images.classes[images.known]
    result = {
        **class_scores(truth, known.probable, classifier.model.names),
        **_selective(known, truth),
        "calibration_error": calibration_error(known, truth),
        **_outsiders(answers.where(~images.known)),
        "skipped": images.skipped,
        "images": _rows(images, answers, classifier.model.names),
    }
    learnt = learnt_images(classifier.model.card, images.files)
    result["learnt_from"] = len(learnt)
    if learnt:
        yield Notice(learnt_words(len(learnt), len(images.files)))
    if robustness:
        result |= yield from _robustness(classifier, data, files)
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


@dataclass(frozen=True)
class _Images:
    """What the network is shown of images (rows, columns, 3) of known class, or of none."""

    files: list[str]
    shown: list[Pixels]
    classes: NDArray[np.int64]
    skipped: list[str]

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.classes != OUTSIDER)


def _shown(
    classifier: Classifier,
    data: Path,
    files: Sequence[str] | None,
    change: Callable[[Pixels], Pixels] | None = None,
) -> Events[_Images]:
    """Each image as the classification of it alone would show it."""
    names = classifier.model.names
    listed, _ = chosen_images(data, files, names)
    numbers = {name: number for number, name in enumerate(names)} | {OUTSIDERS: OUTSIDER}
    sizes = PixelSizes(index=find_index(data))

    def work(path: Path, name: str) -> tuple[str, Pixels, int]:
        plane, calibration = read_plane(path, name, sizes)
        pixels = whole(plane, classifier.model, calibration, change)
        return path.relative_to(data).as_posix(), pixels, numbers[name]

    read, skipped = yield from read_each(data, listed, (), work)
    paths, shown, classes = zip(*read, strict=True)
    return _Images([*paths], [*shown], np.array(classes, np.int64), skipped)


def _answers(classifier: Classifier, shown: Sequence[Pixels]) -> Events[Answers]:
    """Answers for images of any shape, in their order."""
    shapes = [image.shape for image in shown]
    order, found = [], []
    for shape in sorted(set(shapes)):
        places = [place for place, own in enumerate(shapes) if own == shape]
        found.append((yield from classifier.answers([shown[place] for place in places])))
        order += places
    back = np.argsort(order)
    return replace(
        found[0],
        probabilities=np.concatenate([one.probabilities for one in found])[back],
        strangeness=np.concatenate([one.strangeness for one in found])[back],
    )


def _selective(answers: Answers, truth: NDArray[np.int64]) -> dict[str, Any]:
    sure = answers.sure
    right = (answers.probable == truth)[sure]
    return {
        "answered": float(sure.mean()),
        "accuracy_of_answered": float(right.mean()) if sure.any() else None,
    }


def _outsiders(answers: Answers) -> dict[str, Any]:
    count = len(answers.sure)
    rejected = float((~answers.sure).mean()) if count else None
    return {"outsiders": count, "outsiders_rejected": rejected}


def _rows(images: _Images, answers: Answers, names: Sequence[str]) -> list[dict[str, Any]]:
    """What each image is, and what was answered."""
    return [
        {
            "image": file,
            "class": OUTSIDERS if number == OUTSIDER else names[number],
            **answers.row(place, names),
            "probability": float(answers.probabilities[place].max()),
        }
        for place, (file, number) in enumerate(zip(images.files, images.classes, strict=True))
    ]


def _robustness(
    classifier: Classifier, data: Path, files: Sequence[str] | None
) -> Events[dict[str, Any]]:
    accuracies, answered = {}, {}
    for name, change in CHANGES.items():
        events = _shown(classifier, data, files, change)
        images = yield from relayed(events, _progress_only)
        shown = [*compress(images.shown, images.known)]
        answers = yield from _answers(classifier, shown)
        accuracies[name] = float((answers.probable == images.classes[images.known]).mean())
        answered[name] = float(answers.sure.mean())
    return {"robustness": accuracies, "robustness_answered": answered}


def _progress_only(event: Event) -> Event | None:
    """What was skipped has been told already."""
    return event if isinstance(event, Progress) else None
