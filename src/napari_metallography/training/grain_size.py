"""Training of line networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..devices import device_errors
from ..errors import InputError
from ..evaluation.grain_size import graded_lines, scores
from ..events import Events
from ..grains.grades import GRADES, STEP
from ..grains.line_model import Preparation
from ..grains.line_network import LineNetwork
from ..models.card import Normalisation
from .checkpoint import TrainingState, first_state
from .descent import Descent
from .grain_lines import Lines
from .line_samples import LineSampler, varied
from .loop import Row, metrics_of, run_job
from .recipe import GrainSizeRecipe

_VALIDATION_LINES = 8


@dataclass(frozen=True)
class GrainSizeJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    lines, validation
        Lines of images; those of validation from other specimens, or none.
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    """

    lines: Lines
    validation: Lines | None
    recipe: GrainSizeRecipe
    device: torch.device
    checkpoint: Path | None = None

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training lines' grey values."""
        values = self.lines.values[:, :: max(1, self.lines.values.shape[1] // 8)]
        return Normalisation.grey(values)

    @property
    def prepare(self) -> Preparation:
        """What is done to lines before the network."""
        return Preparation(self.normalisation, self.recipe.normalise_by == "line")

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": self.lines.digest(),
            "validation": self.validation.digest() if self.validation else "",
            "recipe": self.recipe.model_dump(),
            "device": self.device.type,
        }


@dataclass(frozen=True)
class TrainedLines:
    """The result of a training.

    Attributes
    ----------
    history
        A row a step.
    iteration
        The one whose weights are kept.
    metrics
        Its validation results; empty where nothing was held out.
    """

    network: LineNetwork
    history: list[Row]
    iteration: int
    metrics: dict[str, float]


def train_lines(job: GrainSizeJob, *, resume: bool = False) -> Events[TrainedLines]:
    """Train a line network; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the weights
    an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.
    Notice
        When no checkpoint could be written, or when the loss stopped being finite: then the last
        weights that worked are the result.

    Raises
    ------
    InputError
        When there are no lines, the loss is not finite from the start, or no checkpoint can be
        written or gone on from.
    DeviceError
        When the device fails.
    """
    if not len(job.lines):
        raise InputError("there is no image to learn from")
    with device_errors():
        state, task = initial_state(job), _Task(job)
    row = yield from run_job(state, task, job, resume=resume)
    return TrainedLines(_core(state).eval(), state.history, row["iteration"], metrics_of(row))


def initial_state(job: GrainSizeJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs."""
    recipe = job.recipe
    return first_state(
        lambda: LineNetwork(len(GRADES)),
        lambda network: _optimiser(network, recipe),
        recipe,
        job.device,
    )


class _Task(Descent):
    """A grain-size training, as the loop sees it."""

    def __init__(self, job: GrainSizeJob) -> None:
        super().__init__(job.recipe)
        self._job = job
        self._sampler = LineSampler(job.lines, job.recipe.seed)
        self._prepare = job.prepare

    def loss(self, state: TrainingState) -> Tensor:
        lines, targets = self._batch(state)
        return LOSSES[self._job.recipe.loss](state.network(lines), targets)

    def _batch(self, state: TrainingState) -> tuple[Tensor, Tensor]:
        """Normalised lines (B, 1376) and shares of the classes (B, classes)."""
        recipe = self._job.recipe
        lines, sizes = self._sampler.batch(state.iteration, recipe.batch_size, state.random)
        if recipe.augmentation == "strong":
            lines = varied(lines, state.random)
        targets = class_shares(sizes, shared=recipe.labels == "shared")
        return self._prepare(lines).to(self._job.device), targets.to(self._job.device)

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        held_out = self._job.validation
        if held_out is None:
            return {}
        with device_errors():
            votes = yield from graded_lines(
                _core(state), self._prepare, held_out.values[:, :_VALIDATION_LINES]
            )
        found = scores(votes, held_out.grain_sizes, (_VALIDATION_LINES,))
        wanted = ("accuracy", "within_one_class", "mean_abs_error_G")
        return {name: found[name] for name in wanted}


def class_shares(grain_sizes: Tensor, *, shared: bool) -> Tensor:
    """Shares (B, classes) of the classes in grain sizes (B,): of the nearest one, or two."""
    places = ((grain_sizes - GRADES[0]) / STEP).clamp(0, len(GRADES) - 1)
    if not shared:
        places = places.round()
    return (1 - (places[:, None] - torch.arange(len(GRADES))).abs()).clamp(min=0)


def cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, classes) and shares of the classes."""
    return functional.cross_entropy(logits, shares)


def focal(logits: Tensor, shares: Tensor) -> Tensor:
    """Mean focal loss with γ 1 and no α.

    Source: Lin et al., Focal loss for dense object detection, ICCV 2017.
    """
    logarithms = functional.log_softmax(logits, 1)
    weights = shares * (1 - logarithms.exp())
    return -(weights * logarithms).sum(1).mean()


LOSSES = {"cross-entropy": cross_entropy, "focal": focal}


def _optimiser(network: nn.Module, recipe: GrainSizeRecipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay, fused=True)


def _core(state: TrainingState) -> LineNetwork:
    if not isinstance(state.network, LineNetwork):
        raise TypeError("a grain-size training holds a line network")
    return state.network
