"""Scores of answers that name a class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.card import ModelCard

Indices = NDArray[np.int64]


def confusion_of(truth: Indices, answers: Indices, classes: int) -> Indices:
    """Counts (classes, classes) by true (rows) and answered class."""
    flat = np.bincount(truth * classes + answers, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def class_scores(truth: Indices, answers: Indices, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-averaged F1 and, by class, precision, recall, F1 and number.

    Precision is None where a class was never answered, recall where it does not occur. Classes
    that do neither are left out of the mean F1.

    Parameters
    ----------
    truth, answers
        (n,) indices in `names`.
    """
    counts = confusion_of(truth, answers, len(names))
    by_class = {name: _of_class(counts, number) for number, name in enumerate(names)}
    f1 = [one["f1"] for one in by_class.values() if one["f1"] is not None]
    return {
        "accuracy": float((truth == answers).mean()),
        "macro_f1": float(np.mean(f1)),
        "n": len(truth),
        "by_class": by_class,
        "confusion": {
            name: dict(zip(names, row, strict=True))
            for name, row in zip(names, counts.tolist(), strict=True)
        },
    }


def _of_class(counts: Indices, number: int) -> dict[str, Any]:
    right = int(counts[number, number])
    true, answered = int(counts[number].sum()), int(counts[:, number].sum())
    return {
        "precision": right / answered if answered else None,
        "recall": right / true if true else None,
        "f1": 2 * right / (true + answered) if true + answered else None,
        "n": true,
    }


def learnt_images(card: ModelCard, files: Iterable[str]) -> list[str]:
    """Of the files, those that bear the name of an image that a model learnt from."""
    known = set(card.data.images)
    return [file for file in files if file in known]


def learnt_words(learnt: int, count: int) -> str:
    """What the user should know of scores on so many images, some of them learnt from."""
    return (
        f"{learnt} of {count} images bear the names of images that the model learnt from: these "
        "scores do not tell how it does on others"
    )
