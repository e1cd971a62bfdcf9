"""Tuning of a few-shot network to the examples of one task.

Hu et al., Pushing the limits of simple pipelines for few-shot learning, CVPR (2022), section 3.3:
the examples, varied, are named by the prototypes of the examples as they are.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..classification.few_shot_model import FewShotNetwork, SquareReader
from ..devices import device_errors
from ..events import Events, Progress
from .episodes import augmented

LEARNING_RATES = (0.0, 1e-4, 1e-3, 1e-2)
"""Among which the one of a model is chosen; with 0 the network stays as it is."""

_AT_MOST = 8


@dataclass(frozen=True)
class Tuning:
    """How a network is tuned; `seed` is that of the variations."""

    steps: int
    learning_rate: float
    seed: int = 0


def tuned(
    network: FewShotNetwork, reader: SquareReader, support: Tensor, classes: Tensor, tuning: Tuning
) -> Events[FewShotNetwork]:
    """A copy of the network, its whole backbone tuned to the examples; the network itself stays.

    The statistics of its normalisation stay too: those of a few examples tell little. Of a class
    of more than eight examples each step draws eight: gradients of all at once would fill the
    memory.

    Parameters
    ----------
    support, classes
        (n,) numbers of the examples among the reader's images, and their classes from 0 on.

    Yields
    ------
    Progress
        Of the steps.

    Raises
    ------
    DeviceError
        When the device fails.
    """
    with device_errors():
        copied = copy.deepcopy(network).eval()
        optimiser = torch.optim.Adam(copied.backbone.parameters(), tuning.learning_rate)
    random = torch.Generator().manual_seed(tuning.seed)
    for number in range(tuning.steps if tuning.learning_rate else 0):
        yield Progress(number, tuning.steps, "steps")
        with device_errors():
            some = _drawn(classes, random)
            clean = reader.clean(support[some])
            varied = augmented(reader, support[some], random)
            optimiser.zero_grad()
            targets = classes[some].to(clean.device)
            torch.autograd.backward(_loss(copied, clean, varied, targets))
            optimiser.step()
    return copied


def _drawn(classes: Tensor, random: torch.Generator) -> Tensor:
    """Places of some examples of each class (n,); of all where there are few."""
    own = [torch.nonzero(classes == one).flatten() for one in range(int(classes.max()) + 1)]
    return torch.cat([_some(places, random) for places in own])


def _some(places: Tensor, random: torch.Generator) -> Tensor:
    if len(places) <= _AT_MOST:
        return places
    return places[torch.randperm(len(places), generator=random)[:_AT_MOST]]


def _loss(network: FewShotNetwork, clean: Tensor, varied: Tensor, targets: Tensor) -> Tensor:
    """How well the varied examples are named by prototypes of the clean ones."""
    known, seen = network(torch.cat([clean, varied])).chunk(2)
    ways = int(targets.max()) + 1
    return functional.cross_entropy(network.logits(known, targets, seen, ways), targets)
