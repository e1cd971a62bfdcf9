"""Training of few-shot networks: each step is a task of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..calibration import HOW_TO_CALIBRATE
from ..classification.backbone import EncoderName, grey_normalisation
from ..classification.few_shot_model import (
    FewShotNetwork,
    SquareReader,
    common_pixel_um,
    narrowest_words,
    square_reader,
)
from ..classification.micrographs import ClassifiedMicrographs
from ..devices import device_errors
from ..errors import InputError
from ..events import Events, Notice
from ..models.card import FewShotInput, Normalisation
from .checkpoint import TrainingState, first_state
from .descent import Descent
from .episodes import Episode, Episodes, augmented
from .loop import Row, run_job
from .recipe import FewShotRecipe
from .task_tuning import LEARNING_RATES
from .tasks import Tasks, task_accuracies

_JUDGED_BY, _CHOSEN_BY = 0, 1
"""Seeds of the validation tasks: by the first weights are chosen, by the second the tuning."""


@dataclass(frozen=True)
class FewShotJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    images, validation
        Of other classes each; without outsiders.
    side
        Rows and columns that images are brought to.
    scale_free
        Whether images are shown whole although the pixel sizes of all are known.
    weights
        Tensors to start the encoder from, None for random ones; `weights_name` says which.
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    """

    images: ClassifiedMicrographs
    validation: ClassifiedMicrographs
    encoder: EncoderName
    recipe: FewShotRecipe
    device: torch.device
    side: int = 224
    scale_free: bool = False
    weights: dict[str, Tensor] | None = None
    weights_name: str = "random"
    checkpoint: Path | None = None

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images' grey values."""
        return grey_normalisation(self.images.planes)

    @cached_property
    def shown(self) -> FewShotInput:
        """What the network is shown: squares of one pixel size, where all are known."""
        recipe = self.recipe
        parts = self.images, self.validation
        planes = [plane for images in parts for plane in images.planes]
        sizes = [size for images in parts for size in images.pixel_sizes_um]
        return FewShotInput(
            side=self.side,
            pixel_um=None if self.scale_free else common_pixel_um(planes, sizes, self.side),
            metric=recipe.metric,
            ways=recipe.ways,
            shots=recipe.shots,
            tuning_steps=recipe.tuning_steps,
        )

    def reader(self, images: ClassifiedMicrographs) -> SquareReader:
        """Squares of images, which then lie on the device."""
        sizes = images.pixel_sizes_um
        return square_reader(images.planes, sizes, self.shown, self.normalisation, self.device)

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": self.images.digest(),
            "specimens": list(self.images.specimens),
            "validation": self.validation.digest(),
            "validation_specimens": list(self.validation.specimens),
            "shown": self.shown.model_dump(mode="json"),
            "encoder": self.encoder,
            "encoder_weights": self.weights_name,
            "recipe": self.recipe.model_dump(),
            "device": self.device.type,
        }


@dataclass(frozen=True)
class TrainedFewShot:
    """The result of a training.

    Attributes
    ----------
    shown
        With the scale of the logits and the learning rate of the tuning.
    history
        A row a step.
    iteration
        The one whose weights are kept.
    by_rate
        Mean accuracy over the validation tasks by the learning rate of the tuning, 0 for none.
    """

    network: FewShotNetwork
    shown: FewShotInput
    history: list[Row]
    iteration: int
    by_rate: dict[float, float]


def train_few_shot(job: FewShotJob, *, resume: bool = False) -> Events[TrainedFewShot]:
    """Train a network, and choose the learning rate of its tuning on the validation's classes.

    Closing the generator stops it after the step under way. Deterministic under the recipe's seed
    on one device; a resumed training ends with the weights an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.
    Notice
        When images are shown whole because pixel sizes are missing; when classes are in no task,
        no checkpoint could be written, or the loss stopped being finite.

    Raises
    ------
    InputError
        When classes or images are too few for the tasks, a class is in both sets, the given
        weights do not fit, the loss is not finite from the start, or no checkpoint can be written
        or gone on from.
    DeviceError
        When the device fails.
    """
    _require_other_classes(job)
    for words in doubts(job):
        yield Notice(words)
    with device_errors():
        task, state = _Task(job), initial_state(job)
    for words in task.left_out():
        yield Notice(words)
    row = yield from run_job(state, task, job, resume=resume)
    return (yield from _finished(job, state, row, task))


def initial_state(job: FewShotJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs.

    Raises
    ------
    InputError
        When the given weights do not fit.
    """
    recipe = job.recipe

    def make() -> FewShotNetwork:
        network = FewShotNetwork(job.encoder, recipe.metric)
        if job.weights is not None:
            network.backbone.take(job.weights, job.weights_name)
        return network

    return first_state(
        make,
        # Not fused: that takes a restored state for one of the weights' memory layout.
        lambda network: torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        ),
        recipe,
        job.device,
    )


def doubts(job: FewShotJob) -> list[str]:
    """What the user should know of the images, each in one line."""
    if job.scale_free:
        return []
    if job.shown.pixel_um is not None:
        return _narrow(job)
    sizes = [*job.images.pixel_sizes_um, *job.validation.pixel_sizes_um]
    unknown = sum(size is None for size in sizes)
    return [
        f"{unknown} of {len(sizes)} images have no pixel size: all are shown whole, whatever their "
        f"magnification; to compare at one scale {HOW_TO_CALIBRATE}"
    ]


def _narrow(job: FewShotJob) -> list[str]:
    """Whether an image shows so little that of most others little is seen either."""
    both = job.images, job.validation
    words = narrowest_words(
        [file for images in both for file in images.files],
        [plane for images in both for plane in images.planes],
        [size for images in both for size in images.pixel_sizes_um],
    )
    return [f"{words}; leave it out, or show images whole with --scale-free"] if words else []


class _Task(Descent):
    """A few-shot training, as the loop sees it."""

    def __init__(self, job: FewShotJob) -> None:
        super().__init__(job.recipe)
        self._job = job
        self._episodes = _episodes(job.images, job.recipe, "the training")
        self.judged_episodes = _episodes(job.validation, job.recipe, "the validation")
        self._reader = job.reader(job.images)
        self.judged = job.reader(job.validation)

    def left_out(self) -> list[str]:
        """Of which classes too few images make no task, a line a set."""
        sets = {"training": self._episodes, "validation": self.judged_episodes}
        return [
            f"too few images of {', '.join(names)}: in no task of the {what}"
            for what, episodes in sets.items()
            if (names := episodes.left_out)
        ]

    def loss(self, state: TrainingState) -> Tensor:
        """How well the queries of a task are named."""
        network = cast(FewShotNetwork, state.network)
        task = self._episodes.draw(state.random)
        features = network(self._squares(task, state.random))
        classes, targets = (
            numbers.to(features.device) for numbers in (task.support_classes, task.query_classes)
        )
        known, seen = features[: len(classes)], features[len(classes) :]
        logits = network.logits(known, classes, seen, self._job.recipe.ways)
        return functional.cross_entropy(logits, targets)

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        """Mean accuracy of the prototypes over tasks of other classes."""
        found = yield from self.judge(state, (0.0,), _JUDGED_BY)
        return {"accuracy": float(found.mean())}

    def judge(
        self, state: TrainingState, rates: tuple[float, ...], seed: int
    ) -> Events[np.ndarray[Any, np.dtype[np.float64]]]:
        """Accuracies (tasks, rates) on the validation's tasks."""
        recipe = self._job.recipe
        tasks = Tasks(recipe.ways, recipe.shots, recipe.validation_tasks, seed)
        network = cast(FewShotNetwork, state.network)
        return (
            yield from task_accuracies(
                network, self.judged, self.judged_episodes, tasks, rates, recipe.tuning_steps
            )
        )

    def _squares(self, task: Episode, random: torch.Generator) -> Tensor:
        if self._job.recipe.augmentation == "none":
            return self._reader.clean(task.images)
        return augmented(self._reader, task.images, random)


def _finished(
    job: FewShotJob, state: TrainingState, row: Row, task: _Task
) -> Events[TrainedFewShot]:
    """Choose how the network is tuned to a task."""
    found = yield from task.judge(state, LEARNING_RATES, _CHOSEN_BY)
    by_rate = dict(zip(LEARNING_RATES, found.mean(0).tolist(), strict=True))
    network = cast(FewShotNetwork, state.network).eval()
    scale = network.head.scale
    shown = job.shown.model_copy(
        update={
            "scale": None if scale is None else float(scale.detach()),
            # Of several that are as good, the smallest.
            "tuning_rate": max(by_rate, key=lambda rate: (by_rate[rate], -rate)),
        }
    )
    return TrainedFewShot(network, shown, state.history, row["iteration"], by_rate)


def _episodes(images: ClassifiedMicrographs, recipe: FewShotRecipe, what: str) -> Episodes:
    try:
        return Episodes(images, recipe.ways, recipe.shots, recipe.queries)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _require_other_classes(job: FewShotJob) -> None:
    folded = {name.casefold() for name in job.validation.names}
    both = sorted(name for name in job.images.names if name.casefold() in folded)
    if both:
        raise InputError(
            f"the class '{both[0]}' is in the training and in the validation, which is to tell how "
            "classes never seen are named; leave it out of one"
        )
