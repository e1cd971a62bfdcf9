"""Training of networks of surface defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..classification.familiarity import components_of, limit_of, of_unseen
from ..classification.images import OUTSIDER, ClassifiedImages, without_outsiders
from ..classification.inference import pooled_and_logits
from ..classification.model import DefectNetwork, design_of, normalised
from ..classification.probabilities import risk_points, temperature
from ..devices import device_errors
from ..errors import InputError
from ..evaluation.classes import class_scores
from ..events import Events, Notice
from ..models.card import DefectInput, Network, Normalisation, RiskPoint
from .checkpoint import TrainingState, first_state
from .defect_start import DefectStart
from .descent import Descent
from .image_samples import ImageSampler, class_weights, varied
from .loop import Row, metrics_of, run_job
from .recipe import DefectRecipe

_FAMILIAR_SHARE = 0.99
_SLACK = 1.1


@dataclass(frozen=True)
class DefectJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    images, validation
        Both brought to the side and quality of `shown`; without outsiders in the latter.
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    start
        A model of `network` to go on from; None starts a new one.
    """

    images: ClassifiedImages
    validation: ClassifiedImages | None
    network: Network
    shown: DefectInput
    recipe: DefectRecipe
    device: torch.device
    checkpoint: Path | None = None
    start: DefectStart | None = None

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and deviation of the training images, the same for all colours; or the parent's."""
        if self.start is not None:
            return self.start.normalisation
        values = self.images.pixels[:, ::4, ::4].astype(np.float32)
        return Normalisation.grey(values)

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": self.images.digest(),
            "validation": self.validation.digest() if self.validation else "",
            "network": self.network.model_dump(),
            "shown": self.shown.model_dump(mode="json"),
            "recipe": self.recipe.model_dump(),
            "device": self.device.type,
            "parent": self.start.parent if self.start else None,
        }


@dataclass(frozen=True)
class TrainedDefects:
    """The result of a training.

    Attributes
    ----------
    history
        A row a step.
    iteration
        The one whose weights are kept.
    metrics
        Its validation results; empty where nothing was held out.
    temperature, risks, most_strange
        As of `DefectInput`.
    """

    network: DefectNetwork
    history: list[Row]
    iteration: int
    metrics: dict[str, float]
    temperature: float
    risks: tuple[RiskPoint, ...]
    most_strange: float | None


def shown_of(shown: DefectInput, images: ClassifiedImages) -> DefectInput:
    """What a network is shown, with the size and shape of the images of classes."""
    known = without_outsiders(images)
    update = {"window_px": known.usual_side_px, "square": known.square}
    return shown.model_copy(update=update)


def train_defects(job: DefectJob, *, resume: bool = False) -> Events[TrainedDefects]:
    """Train a network; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the weights
    an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.
    Notice
        When the images have no common scale; when no checkpoint could be written, or the loss
        stopped being finite: then the last weights that worked are the result; when there are too
        few images to tell what is unlike them.

    Raises
    ------
    InputError
        When a class has no image, the loss is not finite from the start, or no checkpoint can be
        written or gone on from.
    DeviceError
        When the device fails.
    """
    _require_members(job.images)
    if not job.shown.square:
        yield Notice(
            "the images are no squares of one size, and are squashed to such: the model will have "
            "no scale, so that no pixel size helps it, and it should not scan by windows"
        )
    with device_errors():
        state, task = initial_state(job), _Task(job)
    row = yield from run_job(state, task, job, resume=resume)
    with device_errors():
        return (yield from _finished(job, state, row))


def _require_members(images: ClassifiedImages) -> None:
    counts = np.bincount(images.classes[images.classes != OUTSIDER], minlength=len(images.names))
    if not counts.all():
        raise InputError(
            f"there is no image of the class '{images.names[int(counts.argmin())]}' to learn from"
        )


def initial_state(job: DefectJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs."""
    recipe = job.recipe

    def make() -> DefectNetwork:
        network = DefectNetwork(len(job.images.names), design_of(job.network, job.shown))
        if job.start is not None:
            job.start.apply(network)
        return network

    return first_state(
        make,
        lambda network: torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        ),
        recipe,
        job.device,
    )


class _Task(Descent):
    """A training of surface defects, as the loop sees it."""

    def __init__(self, job: DefectJob) -> None:
        super().__init__(recipe := job.recipe)
        self._job = job
        self._sampler = ImageSampler(job.images, recipe.balance, recipe.seed, job.device)
        self._mean, self._std = (
            torch.tensor(values, device=job.device).view(1, 3, 1, 1)
            for values in (job.normalisation.mean, job.normalisation.std)
        )
        weighted = recipe.balance == "weights"
        self._weights = class_weights(job.images).to(job.device) if weighted else None

    def loss(self, state: TrainingState) -> Tensor:
        images, shares = self._batch(state)
        smoothing = self._job.recipe.label_smoothing
        return functional.cross_entropy(
            state.network(images), shares, self._weights, label_smoothing=smoothing
        )

    def _batch(self, state: TrainingState) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, S, S), channels last, and shares of the classes (B, m)."""
        images, shares = self._sampler.batch(state.iteration, self._job.recipe.batch_size)
        images = varied(images, self._job.recipe.augmentation, state.random)
        images = (images - self._mean) / self._std
        return images.contiguous(memory_format=torch.channels_last), shares

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        yield from ()
        held_out = self._job.validation
        if held_out is None:
            return {}
        with device_errors():
            _, logits = _seen(_core(state), self._job, held_out)
        found = class_scores(held_out.classes, logits.argmax(1).numpy(), held_out.names)
        return {name: found[name] for name in ("accuracy", "macro_f1")}


def _finished(job: DefectJob, state: TrainingState, row: Row) -> Events[TrainedDefects]:
    """Calibrate the probabilities, and learn what is familiar."""
    network = _core(state).eval()
    strange = [_learn_familiarity(network, job)]
    divisor, points = 1.0, tuple[RiskPoint, ...]()
    if job.validation is not None:
        pooled, logits = _seen(network, job, job.validation)
        divisor, points = _calibrated(logits, job.validation)
        strange.append(network.familiarity.strangeness(pooled))
    found = (limit_of(values, _FAMILIAR_SHARE, _SLACK) for values in strange)
    limits = [limit for limit in found if limit is not None]
    if not limits:
        yield Notice(
            "too few images to tell how far those of a class differ: no image will be answered "
            "'unsure' for being unlike them"
        )
    return TrainedDefects(
        network.cpu(),
        state.history,
        row["iteration"],
        metrics_of(row),
        divisor,
        points,
        max(limits, default=None),
    )


def _calibrated(logits: Tensor, judged: ClassifiedImages) -> tuple[float, tuple[RiskPoint, ...]]:
    divisor = temperature(logits, torch.from_numpy(judged.classes))
    confidences, answers = (logits.double() / divisor).softmax(1).max(1)
    return divisor, risk_points(confidences.numpy(), answers.numpy() == judged.classes)


def _learn_familiarity(network: DefectNetwork, job: DefectJob) -> Tensor:
    """From the training images as they are, and as light and focus may change them.

    Returns how strange such images are that were not learnt from.
    """
    known = without_outsiders(job.images)
    random = torch.Generator().manual_seed(job.recipe.seed)
    views = [_seen(network, job, known)[0], _seen(network, job, known, random)[0]]
    classes, images = torch.from_numpy(known.classes), torch.arange(len(known))
    features, classes, images = torch.cat(views), classes.repeat(2), images.repeat(2)
    network.familiarity.cpu().fit(features, classes, components_of(images))
    return of_unseen(features, classes, images)


def _seen(
    network: DefectNetwork,
    job: DefectJob,
    images: ClassifiedImages,
    random: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Pooled features (n, 512) and logits (n, m), on the CPU; varied where there is a generator."""
    network.eval()
    found = []
    for start in range(0, len(images), job.recipe.batch_size):
        batch = images.pixels[start : start + job.recipe.batch_size]
        pixels = torch.from_numpy(batch)
        if random is not None:
            planes = pixels.permute(0, 3, 1, 2).float()
            changed = varied(planes, job.recipe.augmentation, random)
            pixels = changed.permute(0, 2, 3, 1)
        ready = normalised(pixels, job.normalisation, job.device)
        found.append(pooled_and_logits(network.core, ready))
    pooled, logits = zip(*found, strict=True)
    return torch.cat(pooled), torch.cat(logits)


def _core(state: TrainingState) -> DefectNetwork:
    if not isinstance(state.network, DefectNetwork):
        raise TypeError("a training of surface defects holds their network")
    return state.network
