"""Training of segmentation networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from ..devices import device_errors
from ..errors import InputError
from ..evaluation.scores import confusion_matrix, intersection_over_union, mean_iou
from ..events import Events, Progress, TrainingStep, relayed
from ..labelled import LabelledImage, check_labels, digest
from ..plane import as_plane
from ..segmentation.networks import SegmentationNetwork
from ..segmentation.prediction import PredictionParameters, Predictor, predict
from . import augmentation
from .checkpoint import TrainingState, fingerprint, restore_checkpoint, write_checkpoint
from .losses import LOSSES
from .recipe import SegmentationRecipe
from .samples import CropSampler, Geometry
from .start import Start

_CHECKPOINT_EVERY = 25
_STRETCH = 1.25


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    """

    images: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    start: Start
    classes: int
    recipe: SegmentationRecipe
    device: torch.device
    checkpoint: Path | None = None

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": digest(self.images),
            "network": self.start.network.model_dump(),
            "classes": self.classes,
            "normalisation": self.start.normalisation.model_dump(),
            "encoder_weights": self.start.encoder_weights,
            "device": self.device.type,
            "recipe": self.recipe.model_dump(),
            "parent": self.start.parent,
        }


@dataclass(frozen=True)
class TrainedNetwork:
    """The network, one row of history a step, and the validation results of the last step."""

    network: SegmentationNetwork
    history: list[dict[str, Any]]
    metrics: dict[str, float]


def train(job: TrainingJob, *, resume: bool = False) -> Events[TrainedNetwork]:
    """Train a segmentation network; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the
    weights an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.

    Raises
    ------
    InputError
        When labels do not fit, or the loss stops being finite.
    DeviceError
        When the device fails.
    """
    check_labels(job.images, job.classes)
    if job.validation:
        check_labels(job.validation, job.classes)
    settings = fingerprint(job.settings())
    with device_errors():
        state = _initial_state(job)
        if resume and job.checkpoint is not None and job.checkpoint.exists():
            restore_checkpoint(job.checkpoint, state, settings)
        step = _Step(state, job)
    try:
        yield from _run(state, step, job, settings)
    except GeneratorExit:
        _keep(job.checkpoint, state, settings)
        raise
    network = _core(state)
    if job.recipe.keep == "best" and state.best is not None:
        network.load_state_dict(state.best)
    return TrainedNetwork(network, state.history, metrics_of(state.history[-1]))


def _run(state: TrainingState, step: _Step, job: TrainingJob, settings: str) -> Events[None]:
    recipe = job.recipe
    yield Progress(state.iteration, recipe.iterations, "iterations")
    while state.iteration < recipe.iterations:
        with device_errors():
            row = step.run(state)
        if not math.isfinite(row["loss"]):
            raise InputError(
                f"the loss is not finite at iteration {row['iteration']}; delete the checkpoint "
                "and start anew with a lower learning rate"
            )
        state.history.append(row)
        if job.validation and _is_due(state.iteration, recipe):
            row |= yield from validate(_core(state), job, state.iteration)
            _remember_best(state, row["miou"])
        if _checkpoint_is_due(state.iteration, recipe):
            _keep(job.checkpoint, state, settings)
        yield TrainingStep(row["iteration"], row["loss"], row["learning_rate"], metrics_of(row))
        yield Progress(state.iteration, recipe.iterations, "iterations")


def _remember_best(state: TrainingState, miou: float) -> None:
    if miou > state.best_miou:
        tensors = state.network.state_dict().items()
        state.best = {name: tensor.detach().cpu().clone() for name, tensor in tensors}
        state.best_miou = miou


def _keep(checkpoint: Path | None, state: TrainingState, settings: str) -> None:
    if checkpoint is not None:
        write_checkpoint(checkpoint, state, settings)


def validate(
    network: SegmentationNetwork, job: TrainingJob, iteration: int = 0
) -> Events[dict[str, float]]:
    """Mean IoU and IoU by class over the validation images, in "fast" mode without averaging."""
    predictor = Predictor(network, job.start.normalisation, job.classes, job.device)
    waiting = Progress(iteration, job.recipe.iterations, "iterations")
    confusion = np.zeros((job.classes, job.classes), np.int64)
    for image in job.validation:
        plane = as_plane(image.pixels, image.name)
        events = predict(plane, image.field, predictor, PredictionParameters())
        prediction = yield from relayed(events, lambda _: waiting)
        confusion += confusion_matrix(image.labels, prediction.indices, job.classes)
    ious = intersection_over_union(confusion)
    by_class = {f"iou_{i}": iou for i, iou in enumerate(ious) if iou is not None}
    return {"miou": mean_iou(confusion), **by_class}


def metrics_of(row: dict[str, Any]) -> dict[str, float]:
    """The validation results in a row of history."""
    return {k: v for k, v in row.items() if k not in ("iteration", "loss", "learning_rate")}


class _Step:
    def __init__(self, state: TrainingState, job: TrainingJob) -> None:
        recipe = job.recipe
        self._fabric = Fabric(accelerator=job.device.type, devices=1)
        wrapped = self._fabric.setup(state.network, state.optimiser)
        self._network: nn.Module = wrapped[0]
        self._optimiser: Any = wrapped[1]
        geometry = Geometry(
            crop=recipe.crop,
            zoom=recipe.zoom,
            stretch=_STRETCH,
            rotate=recipe.augmentation == "any-angle",
            largest_share=recipe.largest_share,
        )
        self._sampler = CropSampler(job.images, geometry, job.device)
        self._recipe = recipe
        self._loss = LOSSES[job.recipe.loss]
        self._mean = torch.tensor(job.start.normalisation.mean, device=job.device).view(1, 3, 1, 1)
        self._std = torch.tensor(job.start.normalisation.std, device=job.device).view(1, 3, 1, 1)

    def run(self, state: TrainingState) -> dict[str, Any]:
        """One step of gradient descent; returns its row of history."""
        rate = self._recipe.learning_rate_at(state.iteration)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        images, labels = self._sampler.batch(self._recipe.batch_size, state.random)
        if self._recipe.augmentation == "strong":
            images, labels = augmentation.turned(images, labels, state.random)
        if self._recipe.augmentation != "weak":
            images = augmentation.cutout(
                augmentation.photometric(images, state.random), state.random
            )
        normalised = (images - self._mean) / self._std
        self._network.train()
        self._optimiser.zero_grad()
        with _own_randomness(state):
            logits = self._network(normalised.contiguous(memory_format=torch.channels_last))
        loss = self._loss(logits, labels)
        value = float(loss.detach())
        if math.isfinite(value):
            self._fabric.backward(loss)
            self._optimiser.step()
            state.iteration += 1
        return {"iteration": state.iteration, "loss": value, "learning_rate": rate}


@contextmanager
def _own_randomness(state: TrainingState) -> Iterator[None]:
    """Let dropout draw from the training's own state, whatever else draws between the steps."""
    caller = torch.get_rng_state()
    torch.set_rng_state(state.global_random)
    device = torch.cuda.get_rng_state() if state.device_random is not None else None
    if state.device_random is not None:
        torch.cuda.set_rng_state(state.device_random)
    try:
        yield
    finally:
        state.global_random = torch.get_rng_state()
        torch.set_rng_state(caller)
        if device is not None:
            state.device_random = torch.cuda.get_rng_state()
            torch.cuda.set_rng_state(device)


def _initial_state(job: TrainingJob) -> TrainingState:
    on_gpu = job.device.type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        torch.manual_seed(job.recipe.seed)
        network = SegmentationNetwork(job.start.network, job.classes)
        global_random = torch.get_rng_state()
        device_random = torch.cuda.get_rng_state() if on_gpu else None
    job.start.apply(network)
    network.to(job.device).to(memory_format=torch.channels_last)
    return TrainingState(
        network=network,
        optimiser=_optimiser(network, job.recipe),
        random=torch.Generator().manual_seed(job.recipe.seed),
        global_random=global_random,
        device_random=device_random,
        history=[],
    )


def _optimiser(network: nn.Module, recipe: SegmentationRecipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            recipe.learning_rate,
            momentum=0.9,
            weight_decay=recipe.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )


def _core(state: TrainingState) -> SegmentationNetwork:
    if not isinstance(state.network, SegmentationNetwork):
        raise TypeError("a segmentation training holds a segmentation network")
    return state.network


def _is_due(iteration: int, recipe: SegmentationRecipe) -> bool:
    return iteration % recipe.validate_every == 0 or iteration == recipe.iterations


def _checkpoint_is_due(iteration: int, recipe: SegmentationRecipe) -> bool:
    return iteration % _CHECKPOINT_EVERY == 0 or iteration == recipe.iterations
