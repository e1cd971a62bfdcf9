"""Steps of gradient descent, and the random numbers that a network draws in them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from ..devices import device_errors
from ..events import Events
from .checkpoint import TrainingState
from .loop import Row
from .recipe import SteppedRecipe


class Descent(ABC):
    """A task of the loop whose steps each learn from one batch."""

    score = "accuracy"

    def __init__(self, recipe: SteppedRecipe) -> None:
        self._recipe = recipe

    @property
    def iterations(self) -> int:
        """Steps in all."""
        return self._recipe.iterations

    @property
    def keep(self) -> Literal["best", "last"]:
        """Which weights are the result."""
        return self._recipe.keep

    def is_due(self, iteration: int) -> bool:
        """Whether to validate after a step."""
        return iteration % self._recipe.validate_every == 0 or iteration == self.iterations

    def step(self, state: TrainingState) -> Events[Row]:
        """One step; weights stay, and the loss is NaN, when it or its gradient was not finite."""
        yield from ()
        with device_errors():
            return self._descended(state)

    def _descended(self, state: TrainingState) -> Row:
        rate = self._recipe.learning_rate_at(state.iteration)
        set_rate(state.optimiser, rate)
        state.network.train()
        state.optimiser.zero_grad()
        with own_randomness(state):
            loss = self.loss(state)
        torch.autograd.backward(loss)
        value = float(loss.detach())
        if math.isfinite(value) and math.isfinite(gradient_norm(state.network)):
            state.optimiser.step()
            state.iteration += 1
        else:
            value = math.nan
        return {"iteration": state.iteration, "loss": value, "learning_rate": rate}

    @abstractmethod
    def loss(self, state: TrainingState) -> Tensor:
        """The loss of the next batch; the network is in training mode."""

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        """Nothing is held out."""
        yield from ()
        return {}

    def preview(self, state: TrainingState) -> Events[None]:
        """Nothing is shown."""
        yield from ()


def set_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Let the next step of all weights be of this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def gradient_norm(network: nn.Module) -> float:
    """Euclidean norm of the gradient; not finite where a part of it is not."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


@contextmanager
def own_randomness(state: TrainingState) -> Iterator[None]:
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
