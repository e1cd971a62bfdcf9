"""Scores of a few-shot model over tasks drawn from images of known class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from ..classification.few_shot_model import FewShotModel, square_reader
from ..classification.images import OUTSIDER
from ..classification.library import SMALLEST_PX
from ..classification.micrographs import ClassifiedMicrographs, read_micrographs
from ..devices import device_errors
from ..events import Events, Notice
from ..inputs import PixelSizes
from ..training.episodes import Episodes
from ..training.tasks import Tasks, task_accuracies

_CONFIDENCE = 0.975
_FEWEST = 2


def evaluate_few_shot(
    model: FewShotModel,
    data: Path,
    device: torch.device,
    tasks: Tasks,
    *,
    sizes: PixelSizes | None = None,
    steps: int | None = None,
    rate: float | None = None,
) -> Events[dict[str, Any]]:
    """Name the queries of tasks drawn from a folder a class, with and without tuning.

    Parameters
    ----------
    steps, rate
        Of the tuning, where they are not to be the model's; a rate of 0 tunes nothing.

    Returns
    -------
    dict
        `accuracy_prototypes` and `accuracy_finetuned`, each with `mean`, `s`, `ci95` and
        `n_tasks`, and their difference task by task, `gain`, likewise; `learning_rate` and
        `steps` of the tuning, and whether anything was `tuned`; `classes`, those `left_out` for
        want of images, and `known`: those whose names are also among the training's.

    Yields
    ------
    Progress, Notice
        Images read and tasks done; what was skipped or is doubtful.

    Raises
    ------
    InputError
        When the data cannot be used, a pixel size is missing that the model needs, or classes or
        images are too few for the tasks.
    """
    found = yield from read_micrographs(data, smallest_px=SMALLEST_PX, sizes=sizes)
    images = found.where(found.classes != OUTSIDER)
    episodes = Episodes(images, tasks.ways, tasks.shots)
    known = sorted({*images.names} & {one.name for one in model.card.classes})
    for words in _doubts(model, images, episodes, known):
        yield Notice(words)
    shown, grey = model.shown, model.card.normalisation
    with device_errors():
        reader = square_reader(images.planes, images.pixel_sizes_um, shown, grey, device)
        model.network.to(device)
    steps = shown.tuning_steps if steps is None else steps
    rate = shown.tuning_rate if rate is None else rate
    rates = (0.0, rate) if steps and rate else (0.0,)
    accuracies = yield from task_accuracies(model.network, reader, episodes, tasks, rates, steps)
    plain, finetuned = accuracies[:, 0], accuracies[:, -1]
    return {
        "ways": tasks.ways,
        "shots": tasks.shots,
        "tasks": tasks.count,
        "seed": tasks.seed,
        "accuracy_prototypes": interval(plain, 0, 1),
        "accuracy_finetuned": interval(finetuned, 0, 1),
        "gain": interval(finetuned - plain, -1, 1),
        "learning_rate": rate,
        "steps": steps,
        "tuned": len(rates) > 1,
        "classes": list(images.names),
        "left_out": episodes.left_out,
        "known": known,
        "skipped": list(images.skipped),
    }


def interval(values: NDArray[np.float64], smallest: float, largest: float) -> dict[str, Any]:
    """Mean over tasks (n,), standard deviation and 95 % confidence interval, cut at the limits.

    The interval is mean ± t·s/√n; None for a single task.
    """
    n, mean = len(values), float(values.mean())
    if n < _FEWEST:
        return {"mean": mean, "s": None, "ci95": None, "n_tasks": n}
    s = float(values.std(ddof=1))
    half = float(student.ppf(_CONFIDENCE, n - 1)) * s / math.sqrt(n)
    limits = [max(smallest, mean - half), min(largest, mean + half)]
    return {"mean": mean, "s": s, "ci95": limits, "n_tasks": n}


def _doubts(
    model: FewShotModel, images: ClassifiedMicrographs, episodes: Episodes, known: Sequence[str]
) -> list[str]:
    """What the user should know of the data, each in one line."""
    said = []
    if episodes.left_out:
        said.append(f"too few images of {', '.join(episodes.left_out)}: in no task")
    if known:
        said.append(
            f"{', '.join(known)}: names of classes that the model learnt from; the score tells how "
            "it does on new ones only where they are others"
        )
    side_um = model.shown.side * (model.shown.pixel_um or 0.0)
    fields = zip(images.planes, images.pixel_sizes_um, strict=True)
    narrow = sum(min(plane.shape) * size < side_um * 0.999 for plane, size in fields if size)
    if narrow:
        said.append(
            f"{narrow} images show less than the {side_um:.3g} µm that the model looks at, and are "
            "mirrored at their edges; take larger parts of the specimen"
        )
    return said
