"""Scores of a model of structures on images of known class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..calibration import Calibration
from ..classification.images import OUTSIDER
from ..classification.micrographs import ClassifiedMicrographs, read_micrographs
from ..classification.structure import StructureAnswer, classify_plane
from ..classification.structure_model import StructureModel
from ..errors import InputError
from ..events import Event, Events, Notice, Progress, relayed
from ..inputs import PixelSizes
from .classes import class_scores, confusion_of


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
        `outside`, the number of images at magnifications the model was not trained on.

    Yields
    ------
    Progress, Notice
        Images read and named; what was skipped.

    Raises
    ------
    InputError
        When the data cannot be used, or hold a class that the model does not know.
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
    answers = yield from _answers(model, images, device, crops)
    given = np.array([one.answer for one in answers], np.int64)
    probabilities = np.stack([one.probabilities for one in answers])
    return {
        **known_scores(images.classes[is_known], given[is_known], model.names),
        "accuracy_without_none": _without_none(images.classes, probabilities, is_known),
        **_outsider_scores(given[~is_known], len(model.names) - 1),
        "mean_crops": float(np.mean([one.crops for one in answers])),
        "outside": sum(one.outside > 0 for one in answers),
        "skipped": list(images.skipped),
    }


def known_scores(
    truth: NDArray[np.int64], answers: NDArray[np.int64], names: Sequence[str]
) -> dict[str, Any]:
    """Scores of images of known class, where the last of the names, "none", may be answered.

    The mean F1 is over the classes; "none" is none of them.
    """
    found = class_scores(truth, answers, names)
    f1 = [found["by_class"][name]["f1"] for name in names[:-1]]
    counts = confusion_of(truth, answers, len(names))
    return {
        **found,
        "macro_f1": float(np.mean([value for value in f1 if value is not None])),
        "falsely_rejected": float(counts[:, -1].sum() / counts.sum()),
    }


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
