"""Scores of a model of structures on images of known class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..calibration import Calibration, require
from ..classification.images import OUTSIDER
from ..classification.micrographs import ClassifiedMicrographs, read_micrographs
from ..classification.structure import StructureAnswer, classify_plane
from ..classification.structure_model import StructureModel
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..inputs import PixelSizes
from .classes import class_scores, confusion_of, learnt_images, learnt_words

_DIGITS = 6


def evaluate_structure(
    model: StructureModel,
    data: Path,
    device: torch.device,
    *,
    crops: int | None = None,
    outsiders: Sequence[str] = (),
    sizes: PixelSizes | None = None,
) -> Events[dict[str, Any]]:
    """Name the images of a folder a class, and compare.

    Parameters
    ----------
    crops
        An image; None adds crops until the answer settles.
    outsiders
        Classes of the data to be taken as outsiders, beside the folder `none`.

    Returns
    -------
    dict
        `accuracy`, `macro_f1`, `by_class` and `confusion` with "none" as an answer that is wrong
        for every image of a class; `falsely_rejected`, the share answered so;
        `accuracy_without_none` where it is not allowed; `outsiders`, their number, and
        `outsiders_rejected`, the share of them answered "none" (None without any); `mean_crops`;
        `outside`, the number of images at magnifications the model was not trained on; `images`, a
        row each; `learnt_from`, those that bear the name of an image that the model learnt from;
        `notes`, what the user should know; `folder`, `data_digest` and `options`.

    Yields
    ------
    Progress, Notice
        Images read and named; what was skipped, what the model has learnt from, and which outsiders
        are none to it.

    Raises
    ------
    InputError
        When the data cannot be used, hold a class that the model does not know, or a pixel size is
        needed and not known.
    """
    images = yield from read_micrographs(
        data,
        smallest_px=model.shown.smallest_px,
        names=model.names[:-1],
        outsiders=outsiders,
        sizes=sizes,
    )
    is_known = images.classes != OUTSIDER
    if not is_known.any():
        raise InputError(f"{data}: holds no image of a class of the model")
    _require_sizes(images, model)
    learnt = learnt_images(model.card, images.files)
    notes = [learnt_words(len(learnt), len(images))] if learnt else []
    notes += [
        f"the model knows {name}: it is no outsider to this model"
        for name in outsiders
        if name in model.names[:-1]
    ]
    for words in notes:
        yield Notice(words)
    answers = yield from _answers(model, images, device, crops)
    given = np.array([one.answer for one in answers], np.int64)
    probabilities = np.stack([one.probabilities for one in answers])
    return {
        **known_scores(images.classes[is_known], given[is_known], model.names),
        "accuracy_without_none": _without_none(images.classes, probabilities, is_known),
        **_outsider_scores(given[~is_known], len(model.names) - 1),
        "mean_crops": float(np.mean([one.crops for one in answers])),
        "outside": sum(one.outside > 0 for one in answers),
        "notes": notes,
        "learnt_from": learnt,
        "skipped": list(images.skipped),
        "folder": data.resolve().name,
        "data_digest": images.digest(),
        "options": {
            "crops": crops,
            "outsiders": list(outsiders),
            "pixel_size_um": sizes.stated_um if sizes else None,
        },
        "images": _rows(images, answers, model.names),
    }


def known_scores(
    truth: NDArray[np.int64], answers: NDArray[np.int64], names: Sequence[str]
) -> dict[str, Any]:
    """Scores of images of known class, where the last of the names, "none", may be answered.

    The mean F1 is over the classes that have images, whose number is `classes`; "none" is no class.
    `classes_without_images` names the others.
    """
    found = class_scores(truth, answers, names)
    present = [name for number, name in enumerate(names[:-1]) if (truth == number).any()]
    f1 = [found["by_class"][name]["f1"] for name in present]
    counts = confusion_of(truth, answers, len(names))
    return {
        **found,
        "macro_f1": float(np.mean([value or 0.0 for value in f1])),
        "classes": len(present),
        "classes_without_images": [name for name in names[:-1] if name not in present],
        "falsely_rejected": float(counts[:, -1].sum() / counts.sum()),
    }


def _require_sizes(images: ClassifiedMicrographs, model: StructureModel) -> None:
    """Refuse before the first crop what would be refused after many."""
    for file, size in zip(images.files, images.pixel_sizes_um, strict=True):
        if model.shown.magnification and size is None:
            require(None, file)


def _rows(
    images: ClassifiedMicrographs, answers: Sequence[StructureAnswer], names: Sequence[str]
) -> list[dict[str, Any]]:
    """What each image is, and what was answered."""
    return [
        {
            "image": file,
            # Outsiders have the number -1, and "none" is the last name.
            "truth": names[number],
            "answer": names[one.answer],
            "probability": round(float(one.probabilities.max()), _DIGITS),
            "p_none": round(float(one.probabilities[-1]), _DIGITS),
            "strangeness": round(one.strangeness, _DIGITS),
        }
        for file, number, one in zip(images.files, images.classes, answers, strict=True)
    ]


def _without_none(
    truth: NDArray[np.int64], probabilities: NDArray[np.float64], is_known: NDArray[np.bool_]
) -> float:
    answers = probabilities[is_known, :-1].argmax(1)
    return float((answers == truth[is_known]).mean())


def _outsider_scores(given: NDArray[np.int64], none: int) -> dict[str, Any]:
    rejected = float((given == none).mean()) if len(given) else None
    return {"outsiders": len(given), "outsiders_rejected": rejected}


def _answers(
    model: StructureModel,
    images: ClassifiedMicrographs,
    device: torch.device,
    crops: int | None,
) -> Events[list[StructureAnswer]]:
    """Of each image; the notices of single images are left to the number of those outside."""
    model.network.core.to(device)
    answers = []
    for number, plane in enumerate(images.planes):
        yield Progress(number, len(images), "images")
        size = images.pixel_sizes_um[number]
        calibration = Calibration.square(size, "data") if size else None
        running = classify_plane(
            plane, calibration, model, device, name=images.files[number], crops=crops
        )
        answers.append((yield from relayed(running, _kept_back)))
    yield Progress(len(images), len(images), "images")
    outside = sum(one.outside > 0 for one in answers)
    if outside:
        yield Notice(f"{outside} images are at magnifications that the model was not trained on")
    return answers


def _kept_back(event: Event) -> Event | None:
    return None
