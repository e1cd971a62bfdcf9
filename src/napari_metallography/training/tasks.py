"""Tasks of few examples, and how many of their queries a network names rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..classification.few_shot_model import FewShotNetwork, SquareReader, features_of
from ..devices import device_errors, keep_freed_memory
from ..events import Event, Events, Progress, relayed
from .episodes import Episode, Episodes
from .task_tuning import Tuning, tuned


@dataclass(frozen=True)
class Tasks:
    """Which tasks a model is scored on."""

    ways: int
    shots: int
    count: int
    seed: int = 0


def task_accuracies(
    network: FewShotNetwork,
    reader: SquareReader,
    episodes: Episodes,
    tasks: Tasks,
    rates: Sequence[float],
    steps: int,
) -> Events[NDArray[np.float64]]:
    """Share of the queries that are named rightly, (tasks, rates).

    The network stays as it is: each task tunes a copy.

    Parameters
    ----------
    rates, steps
        Learning rates of the tuning, 0 for none, and its number of steps.

    Yields
    ------
    Progress
        Of the tasks.
    """
    if reader.atlas.device.type == "cpu":
        keep_freed_memory()
    random = torch.Generator().manual_seed(tasks.seed)
    found = np.empty((tasks.count, len(rates)))
    for number in range(tasks.count):
        yield Progress(number, tasks.count, "tasks")
        task = episodes.draw(random)
        for column, rate in enumerate(rates):
            tuning = Tuning(steps, rate, seed=number)
            running = _accuracy(network, reader, task, tuning)
            found[number, column] = yield from relayed(running, _kept_back)
    yield Progress(tasks.count, tasks.count, "tasks")
    return found


def _accuracy(
    network: FewShotNetwork, reader: SquareReader, task: Episode, tuning: Tuning
) -> Events[float]:
    fitted = network
    if tuning.learning_rate:
        fitted = yield from tuned(network, reader, task.support, task.support_classes, tuning)
    with device_errors(), torch.no_grad():
        features = features_of(fitted, reader, task.images)
        known, seen = features[: len(task.support)], features[len(task.support) :]
        classes = task.support_classes.to(features.device)
        logits = fitted.logits(known, classes, seen, int(classes.max()) + 1)
        answers = logits.argmax(1).cpu()
    return float((answers == task.query_classes).double().mean())


def _kept_back(event: Event) -> Event | None:
    """Of the steps of a task; the tasks tell how far it is."""
    return None
