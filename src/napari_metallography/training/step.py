"""One step of gradient descent, on one device or a part of it on each of several."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..devices import is_out_of_memory
from ..labelled import joined
from . import augmentation
from .checkpoint import TrainingState
from .descent import gradient_norm, own_randomness, set_rate
from .job import TrainingJob
from .losses import LOSSES, disagreement
from .samples import CropSampler, Geometry

_STRETCH = 1.25
_LARGEST_GREY = 255
_SMALLEST_BATCH = 2


class Step:
    """Makes a batch, learns from it, and tells how it went.

    Parameters
    ----------
    state
        Its network and optimiser are set up on the job's device; its scale of gradients, where
        there is one, is taken over.
    fabric
        The processes that share each batch.
    """

    def __init__(self, state: TrainingState, job: TrainingJob, fabric: Fabric) -> None:
        self._fabric = fabric
        self._recipe = job.recipe
        self._precision = job.precision
        wrapped = fabric.setup(state.network, state.optimiser)
        self._network: nn.Module = wrapped[0]
        self._optimiser: Any = wrapped[1]
        if state.scale:
            fabric.strategy.precision.load_state_dict(state.scale)
        self._judged_until = job.judged_until
        self._sampler = CropSampler(job.images, _geometry(job), job.device)
        self._of_all_labels = self._sampler
        if job.all_labels_from is not None:
            images = joined([*job.images, *job.validation])
            self._of_all_labels = CropSampler(images, _geometry(job), job.device)
        self._loss = LOSSES[job.recipe.loss]
        self._mean, self._std = (
            torch.tensor(values, device=job.device).view(1, 3, 1, 1)
            for values in (job.start.normalisation.mean, job.start.normalisation.std)
        )

    def run(self, state: TrainingState) -> dict[str, Any]:
        """One step; returns its row of history.

        Weights stay, and the loss is not finite, when it or its gradient was not.
        """
        return self.learn(*self.batch(state), state)

    def learn(self, images: Tensor, labels: Tensor, state: TrainingState) -> dict[str, Any]:
        """Learn from a batch; returns as `run`."""
        rate = self._recipe.learning_rate_at(state.iteration)
        set_rate(self._optimiser, rate)
        self._network.train()
        if self._recipe.freeze_normalisation:
            _freeze_normalisation(self._network)
        self._optimiser.zero_grad()
        with own_randomness(state):
            logits = self._network(images.contiguous(memory_format=torch.channels_last))
        loss = self._loss(logits.float(), labels, self._across)
        loss = loss + self._disagreement(logits, images, labels)
        value = float(cast(Tensor, self._fabric.all_reduce(loss.detach())))
        if math.isfinite(value):
            self._fabric.backward(loss)
            value += self._spoilt_gradient()
        if math.isfinite(value):
            self._optimiser.step()
            state.scale = self._fabric.strategy.precision.state_dict()
            state.iteration += 1
        return {"iteration": state.iteration, "loss": value, "learning_rate": rate}

    def _across(self, total: Tensor) -> Tensor:
        """The mean over the processes; its gradient is that of this process's part."""
        if self._fabric.world_size == 1:
            return total
        # In place: of a copy.
        mean = self._fabric.all_reduce(total.detach().clone(), reduce_op="mean")
        return total + (cast(Tensor, mean) - total.detach())

    def _disagreement(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor | float:
        weight = self._recipe.agreement
        if weight == 0:
            return 0.0
        greys = (images * self._std + self._mean) / _LARGEST_GREY
        return weight * disagreement(logits.float(), greys, labels)

    def _spoilt_gradient(self) -> float:
        """NaN when a gradient is not finite, else 0."""
        # In 16 bits the scaler meets such gradients, and leaves the step out.
        if self._precision == "16-mixed":
            return 0.0
        return 0.0 if math.isfinite(gradient_norm(self._network)) else math.nan

    def shrink(self, error: BaseException, state: TrainingState) -> bool:
        """Halve the batch after memory ran out; False when that is not what happened or helps."""
        too_small = state.batch_size // 2 < _SMALLEST_BATCH
        # Several processes would have to agree on it.
        if not is_out_of_memory(error) or too_small or self._fabric.world_size > 1:
            return False
        state.batch_size //= 2
        self._optimiser.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return True

    def batch(self, state: TrainingState) -> tuple[Tensor, Tensor]:
        """Normalised images (B, 3, S, S) and labels (B, S, S): this process's part."""
        rank, ranks = self._fabric.global_rank, self._fabric.world_size
        size = state.batch_size
        part = slice(rank * size // ranks, (rank + 1) * size // ranks)
        is_judged = state.iteration < self._judged_until
        sampler = self._sampler if is_judged else self._of_all_labels
        images, labels = sampler.batch(size, state.random, part)
        if self._recipe.augmentation == "strong":
            images, labels = augmentation.turned(images, labels, state.random)
        if self._recipe.augmentation != "weak":
            augmentation.photometric_(images, state.random)
            augmentation.cutout_(images, state.random)
        return images.sub_(self._mean).div_(self._std), labels


def _geometry(job: TrainingJob) -> Geometry:
    return Geometry(
        crop=job.recipe.crop,
        zoom=job.recipe.zoom,
        stretch=_STRETCH,
        rotate=job.recipe.augmentation == "any-angle",
        largest_share=job.recipe.largest_share,
    )


def _freeze_normalisation(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
