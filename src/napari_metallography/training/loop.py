"""The loop of every training: steps, validation, checkpoints, and what ends it early."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..devices import device_errors, keep_freed_memory
from ..errors import InputError
from ..events import Events, Notice, Progress, TrainingStep
from .checkpoint import Checkpoints, TrainingState, fingerprint, restore_checkpoint

CHECKPOINT_EVERY = 25

Row = dict[str, Any]
Weights = tuple[int, dict[str, Tensor]]


class Task(Protocol):
    """What one kind of training does in the loop."""

    @property
    def iterations(self) -> int:
        """Steps in all."""

    @property
    def keep(self) -> Literal["best", "last"]:
        """Which weights are the result: those of the best score, or of the last step."""

    @property
    def score(self) -> str:
        """The validation result by which weights are the best."""

    def step(self, state: TrainingState) -> Events[Row]:
        """One step of gradient descent; returns its row of history."""

    def is_due(self, iteration: int) -> bool:
        """Whether to validate after a step."""

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        """The validation results; empty where nothing is held out."""

    def preview(self, state: TrainingState) -> Events[None]:
        """Show what the network makes of something; nothing where there is nothing to show."""


def run(state: TrainingState, task: Task, checkpoints: Checkpoints) -> Events[None]:
    """Run the steps that are left; closing the generator stops after the step under way.

    Yields
    ------
    Progress, TrainingStep
        After each step.
    Notice
        When no checkpoint could be written, or when the loss stopped being finite: then the
        state has the last weights that worked.

    Raises
    ------
    InputError
        When the loss is not finite from the start.
    """
    try:
        yield from _steps(state, task, checkpoints)
    except GeneratorExit:
        checkpoints.keep(state)
        raise


class Job(Protocol):
    """What is trained, as far as it matters here."""

    @property
    def device(self) -> torch.device:
        """Where it is trained."""

    @property
    def checkpoint(self) -> Path | None:
        """File that lets the training go on after a stop."""

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""


def run_job(state: TrainingState, task: Task, job: Job, *, resume: bool) -> Events[Row]:
    """Run a job from its first state, or go on from its checkpoint, where there is one.

    Events as of `run`. Returns the step whose weights are the result; the network has them.

    Raises
    ------
    InputError
        When the loss is not finite from the start, or no checkpoint can be written or gone on
        from.
    """
    settings = fingerprint(job.settings())
    if job.device.type == "cpu":
        keep_freed_memory()
    if resume and job.checkpoint is not None and job.checkpoint.exists():
        with device_errors():
            restore_checkpoint(job.checkpoint, state, settings)
    yield from run(state, task, Checkpoints(job.checkpoint, settings))
    return keep_result(state, task)


def result_row(state: TrainingState, task: Task) -> Row:
    """The step whose weights are the result."""
    if task.keep == "best" and state.best is not None:
        return next(row for row in state.history if row.get(task.score) == state.best_score)
    return state.history[state.iteration - 1]


def keep_result(state: TrainingState, task: Task) -> Row:
    """Give the network the weights that are the result; the step they are of."""
    row = result_row(state, task)
    if row["iteration"] != state.iteration and state.best is not None:
        state.network.load_state_dict(state.best)
    return row


def metrics_of(row: Row) -> dict[str, float]:
    """The validation results in a row of history."""
    return {k: v for k, v in row.items() if k not in ("iteration", "loss", "learning_rate")}


def _steps(state: TrainingState, task: Task, checkpoints: Checkpoints) -> Events[None]:
    good = (state.iteration, _weights(state)) if state.iteration else None
    yield Progress(state.iteration, task.iterations, "iterations")
    # A training may have been stopped while it validated.
    yield from _validated(state, task)
    while state.iteration < task.iterations:
        row = yield from task.step(state)
        if not math.isfinite(row["loss"]):
            yield _restored(state, good, row["iteration"], task)
            return
        state.history.append(row)
        yield from _validated(state, task)
        checkpoint_is_due = _checkpoint_is_due(state.iteration, task)
        if checkpoint_is_due or state.iteration == 1 or task.is_due(state.iteration):
            good = state.iteration, _weights(state)
        yield from checkpoints.keep_when_due(state, is_due=checkpoint_is_due)
        yield TrainingStep(row["iteration"], row["loss"], row["learning_rate"], metrics_of(row))
        yield from task.preview(state)
        yield Progress(state.iteration, task.iterations, "iterations")


def _validated(state: TrainingState, task: Task) -> Events[None]:
    """Score the last step, if that is due, and remember the best."""
    if not (state.history and task.is_due(state.iteration)):
        return
    row = state.history[-1]
    if task.score in row:
        return
    row |= yield from task.validate(state)
    if row.get(task.score, -1.0) > state.best_score:
        state.best, state.best_score = _weights(state), row[task.score]


def _restored(state: TrainingState, good: Weights | None, iteration: int, task: Task) -> Notice:
    """Go back to weights that worked."""
    if good is None:
        raise InputError(
            f"the loss or its gradient is not finite at iteration {iteration}; start anew with a "
            "lower learning rate"
        )
    state.iteration, tensors = good
    state.network.load_state_dict(tensors)
    kept = result_row(state, task)["iteration"]
    return Notice(
        f"the loss or its gradient is not finite after iteration {iteration}: training stopped "
        f"with the weights of iteration {kept}; try a lower learning rate"
    )


def _weights(state: TrainingState) -> dict[str, Tensor]:
    """A copy on the CPU."""
    tensors = state.network.state_dict().items()
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors}


def _checkpoint_is_due(iteration: int, task: Task) -> bool:
    return iteration % CHECKPOINT_EVERY == 0 or iteration == task.iterations
