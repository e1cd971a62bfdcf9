"""Training of segmentation networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..devices import device_errors
from ..errors import InputError
from ..evaluation.scores import confusion_matrix, intersection_over_union, mean_iou
from ..events import Events, Notice, Preview, Progress, relayed
from ..labelled import check_labels
from ..plane import as_plane
from ..regions import Field
from ..segmentation.networks import SegmentationNetwork
from ..segmentation.prediction import Predictor, predict
from .checkpoint import (
    Checkpoints,
    TrainingState,
    fingerprint,
    first_state,
    restore_checkpoint,
)
from .job import TrainingJob
from .loop import Row, keep_result, metrics_of, run
from .recipe import SegmentationRecipe
from .step import Step


@dataclass(frozen=True)
class TrainedNetwork:
    """The result of a training.

    Attributes
    ----------
    history
        A row a step.
    iteration
        The one after which the weights are kept.
    metrics
        Its validation results, or those of the last step before the held-out labels were learnt
        too; empty where it was not validated.
    batch_size
        Of the last step; smaller than the recipe's after memory ran out.
    """

    network: SegmentationNetwork
    history: list[dict[str, Any]]
    iteration: int
    metrics: dict[str, float]
    batch_size: int


def train(
    job: TrainingJob, *, resume: bool = False, fabric: Fabric | None = None
) -> Events[TrainedNetwork]:
    """Train a segmentation network; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the
    weights an uninterrupted one would have had.

    Parameters
    ----------
    fabric
        Of `several_devices`, where several processes share each batch; the first of them keeps
        the checkpoints and validates.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.
    Preview
        When the job has something to watch.
    Notice
        When memory ran out and batches became smaller, when no checkpoint could be written, or
        when the loss stopped being finite: then the last weights that worked are the result.

    Raises
    ------
    InputError
        When labels do not fit, the loss is not finite from the start, no checkpoint can be
        written, or the processes do not find the same one.
    DeviceError
        When the device fails.
    """
    check_labels(job.images, job.classes)
    if job.validation:
        check_labels(job.validation, job.classes)
    fabric = fabric or several_devices(job)
    settings = fingerprint(job.settings())
    with device_errors():
        state = initial_state(job)
        if resume:
            _resume(state, job.checkpoint, settings, fabric)
        step = Step(state, job, fabric)
    if not fabric.is_global_zero:
        job = replace(job, checkpoint=None, validation=(), watch=None)
    checkpoints = Checkpoints(job.checkpoint, settings)
    task = _Task(job, step)
    yield from run(state, task, checkpoints)
    return _result(state, task)


def _resume(state: TrainingState, checkpoint: Path | None, settings: str, fabric: Fabric) -> None:
    """Put the checkpoint, if there is one, into the state, in every process or in none."""
    refusal: InputError | None = None
    try:
        if checkpoint is not None and checkpoint.exists():
            restore_checkpoint(checkpoint, state, settings)
    except InputError as error:
        # The others would wait for this process for ever.
        refusal = error
    reached = -1 if refusal else state.iteration
    found = cast(Tensor, fabric.all_gather(torch.tensor(reached, device=fabric.device)))
    if refusal:
        raise refusal
    if len(set(found.flatten().tolist())) > 1:
        raise InputError(
            "the processes do not find the same checkpoint to go on from; write the model to a "
            "folder that all machines share"
        )


def _result(state: TrainingState, task: _Task) -> TrainedNetwork:
    row, job = keep_result(state, task), task.job
    judged = state.history[job.judged_until - 1] if row["iteration"] > job.judged_until else row
    return TrainedNetwork(
        _core(state), state.history, row["iteration"], metrics_of(judged), state.batch_size
    )


def several_devices(job: TrainingJob, devices: int = 1, nodes: int = 1) -> Fabric:
    """Processes that share each batch; starts the others by running the program again.

    Raises
    ------
    InputError
        When the processes would get unequal parts of a batch.
    """
    if devices * nodes == 1:
        return Fabric(accelerator=job.device.type, devices=1, precision=job.precision)
    if job.recipe.batch_size % (devices * nodes):
        raise InputError(
            f"{devices * nodes} processes cannot share batches of {job.recipe.batch_size} evenly; "
            f"choose a batch size that is a multiple of {devices * nodes}"
        )
    fabric = Fabric(
        accelerator=job.device.type,
        strategy="ddp",
        devices=devices,
        num_nodes=nodes,
        precision=job.precision,
    )
    fabric.launch()
    return fabric


@dataclass(frozen=True)
class _Task:
    """A segmentation training, as the loop sees it."""

    job: TrainingJob
    one_step: Step
    score: str = "miou"

    @property
    def iterations(self) -> int:
        return self.job.recipe.iterations

    @property
    def keep(self) -> Literal["best", "last"]:
        return self.job.recipe.keep

    def step(self, state: TrainingState) -> Events[Row]:
        return _step(self.one_step, state)

    def is_due(self, iteration: int) -> bool:
        return _is_due(iteration, self.job)

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        if not self.job.validation:
            return {}
        return (yield from validate(_core(state), self.job, state.iteration))

    def preview(self, state: TrainingState) -> Events[None]:
        return _preview(_core(state), self.job, state.iteration)


def _step(step: Step, state: TrainingState) -> Events[Row]:
    while True:
        try:
            return step.run(state)
        except (RuntimeError, MemoryError) as error:
            if not step.shrink(error, state):
                with device_errors():
                    raise
        yield Notice(f"memory ran out; going on with batches of {state.batch_size}")


def validate(
    network: SegmentationNetwork, job: TrainingJob, iteration: int = 0
) -> Events[dict[str, float]]:
    """Mean IoU and IoU by class over the validation images, in "fast" mode without averaging."""
    predictor = Predictor(network, job.start.normalisation, job.classes, job.device)
    waiting = Progress(iteration, job.recipe.iterations, "iterations")
    confusion = np.zeros((job.classes, job.classes), np.int64)
    for image in job.validation:
        plane = as_plane(image.pixels, image.name)
        events = predict(plane, image.field, predictor)
        prediction = yield from relayed(events, lambda _: waiting)
        confusion += confusion_matrix(image.labels, prediction.indices, job.classes)
    ious = intersection_over_union(confusion)
    by_class = {f"iou_{i}": iou for i, iou in enumerate(ious) if iou is not None}
    return {"miou": mean_iou(confusion), **by_class}


def _preview(network: SegmentationNetwork, job: TrainingJob, iteration: int) -> Events[None]:
    if job.watch is None or iteration % job.recipe.preview_every:
        return
    pixels = job.watch()
    if pixels is None:
        return
    predictor = Predictor(network, job.start.normalisation, job.classes, job.device)
    field = Field((pixels.shape[0], pixels.shape[1]))
    events = predict(as_plane(pixels), field, predictor, with_uncertainty=True)
    prediction = yield from relayed(events, lambda _: None)
    yield Preview(iteration, prediction.indices, prediction.uncertainty)


def initial_state(job: TrainingJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs."""
    recipe = job.recipe

    def make() -> SegmentationNetwork:
        network = SegmentationNetwork(job.start.network, job.classes)
        job.start.apply(network)
        return network

    return first_state(make, lambda network: _optimiser(network, recipe), recipe, job.device)


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


def _is_due(iteration: int, job: TrainingJob) -> bool:
    last = job.judged_until
    return iteration == last or (iteration < last and iteration % job.recipe.validate_every == 0)
