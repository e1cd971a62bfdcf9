"""A step of gradient descent, and the random numbers that a network draws in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .checkpoint import TrainingState
from .loop import Row


def descended(state: TrainingState, learning_rate: float, loss: Callable[[], Tensor]) -> Row:
    """One step; returns its row of history.

    Weights stay, and the loss is NaN, when it or its gradient was not finite.

    Parameters
    ----------
    loss
        Computes it, with the network in training mode.
    """
    set_rate(state.optimiser, learning_rate)
    state.network.train()
    state.optimiser.zero_grad()
    with own_randomness(state):
        found = loss()
    torch.autograd.backward(found)
    value = float(found.detach())
    if math.isfinite(value) and math.isfinite(gradient_norm(state.network)):
        state.optimiser.step()
        state.iteration += 1
    else:
        value = math.nan
    return {"iteration": state.iteration, "loss": value, "learning_rate": learning_rate}


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
