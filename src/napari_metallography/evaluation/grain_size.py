"""Scores of a line network against known grain sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..events import Event, Events, Progress, relayed
from ..graded import GradedImage
from ..grains.grades import GRADES, STEP
from ..grains.image_lines import LineParameters
from ..grains.line_grading import grade, probabilities
from ..grains.line_model import LineModel, Preparation
from ..grains.line_network import LineNetwork

Floats = NDArray[np.float64]
Votes = tuple[Floats, Floats]
"""G of the classes (m,), and probabilities (lines, m) of an image's lines."""

LINE_COUNTS = (1, 8, 32, 128)

_SEED = 0


def graded_lines(
    network: LineNetwork, prepare: Preparation, values: NDArray[np.uint8]
) -> Events[list[Votes]]:
    """Votes on lines (images, lines, 1376) that lie at the reference pixel size."""
    images, lines = values.shape[:2]
    device = next(network.parameters()).device
    flat = np.ascontiguousarray(values).reshape(images * lines, -1)
    events = probabilities(network, prepare, flat, device)
    found = yield from relayed(events, lambda _: Progress(0, 0, "validating"))
    grades = np.array(GRADES)
    return [(grades, votes) for votes in found.reshape(images, lines, -1)]


def scores(
    votes: Sequence[Votes], grain_sizes: Sequence[float] | Floats, counts: Sequence[int]
) -> dict[str, Any]:
    """Accuracy of the class and error of G, over as many lines as there are, and over fewer.

    Parameters
    ----------
    grain_sizes
        True intercept G of each image; its class is the nearest half number.
    counts
        Of lines to be averaged; those of an image are dealt into as many such hands as it has.
        Images with fewer lines are left out of that score.

    Returns
    -------
    dict
        `accuracy` (exact class, of the half number nearest to the expected G),
        `accuracy_most_probable` (of the most probable class instead), `within_one_class`,
        `mean_abs_error_G`, `bias_G`, `n`; the first ones again `by_lines` (with the number of
        `images` that have as many) and `by_grade`; and
        `confusion`, counts by true and found class.
    """
    truth = np.asarray(grain_sizes, float)
    most_lines = max(len(of_lines) for _, of_lines in votes)
    whole = [_answer(grades, votes.mean(0)) for grades, votes in votes]
    probable, expected = (np.array(values) for values in zip(*whole, strict=True))
    classes = nearest_grade(truth)
    return {
        **_summary(classes, truth, probable, expected),
        "bias_G": float((expected - truth).mean()),
        "n": len(truth),
        "by_lines": {str(n): _with_lines(votes, truth, n) for n in counts if n <= most_lines},
        "by_grade": {
            f"{g:g}": {
                **_summary(
                    *(values[classes == g] for values in (classes, truth, probable, expected))
                ),
                "n": int((classes == g).sum()),
            }
            for g in np.unique(classes)
        },
        "confusion": _confusion(classes, nearest_grade(expected)),
    }


def nearest_grade(grain_sizes: Floats) -> Floats:
    """The nearest half numbers."""
    return np.asarray(np.round(np.asarray(grain_sizes) / STEP) * STEP)


def _answer(grades: Floats, mean: Floats) -> tuple[float, float]:
    """The most probable and the expected G."""
    return float(grades[mean.argmax()]), float(mean @ grades)


def _summary(
    classes: Floats, truth: Floats, probable: Floats, expected: Floats
) -> dict[str, float]:
    off = np.abs(nearest_grade(expected) - classes)
    return {
        "accuracy": float((off < STEP / 2).mean()),
        "accuracy_most_probable": float((np.abs(probable - classes) < STEP / 2).mean()),
        "within_one_class": float((off < 1.5 * STEP).mean()),
        "mean_abs_error_G": float(np.abs(expected - truth).mean()),
    }


def _with_lines(votes: Sequence[Votes], truth: Floats, count: int) -> dict[str, float]:
    """The same with this many lines, over all hands of all images that have as many."""
    random = np.random.default_rng(_SEED)
    rows: list[tuple[float, float, float]] = []
    enough = [(*vote, g) for vote, g in zip(votes, truth, strict=True) if len(vote[1]) >= count]
    for grades, of_lines, g in enough:
        order = random.permutation(len(of_lines))
        hands = len(order) // count
        dealt = np.array_split(order[: hands * count], hands)
        rows += [(float(g), *_answer(grades, of_lines[hand].mean(0))) for hand in dealt]
    known, probable, expected = np.array(rows).T
    return {**_summary(nearest_grade(known), known, probable, expected), "images": len(enough)}


def _confusion(classes: Floats, found: Floats) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for true, answered in zip(classes, found, strict=True):
        row = table.setdefault(f"{true:g}", {})
        row[f"{answered:g}"] = row.get(f"{answered:g}", 0) + 1
    return {grade: table[grade] for grade in sorted(table, key=float)}


def evaluate_images(
    model: LineModel,
    images: Sequence[GradedImage],
    parameters: LineParameters,
    device: torch.device,
    counts: Sequence[int] = LINE_COUNTS,
) -> Events[dict[str, Any]]:
    """Grade images of known grain size.

    Returns
    -------
    dict
        `scores`, and `outside`: how many answers lie at an end of the classes.

    Yields
    ------
    Progress
        Of the images.
    Notice
        As of `line_grading.grade`.

    Raises
    ------
    InputError
        When an image cannot be used or has no pixel size.
    """
    votes, outside = [], 0
    for number, image in enumerate(images):
        yield Progress(number, len(images), "images")
        pixels, calibration, field = image.read()
        events = grade(
            pixels, calibration, model, parameters, field=field, name=str(image.path), device=device
        )
        found = yield from relayed(events, _unless_progress)
        votes.append((found.votes.grades, found.votes.probabilities))
        outside += found.outside
    yield Progress(len(images), len(images), "images")
    truth = [image.grain_size for image in images]
    return {**scores(votes, truth, counts), "outside": outside}


def _unless_progress(event: Event) -> Event | None:
    return None if isinstance(event, Progress) else event
