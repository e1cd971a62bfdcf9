"""Backbones that learn from micrographs without classes: DINO.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski and Joulin, Emerging properties in self-supervised
vision transformers, ICCV (2021), with its settings for a ResNet. A student that sees any part of an
image is to answer as a teacher does that sees a large part of it; the teacher is the student's mean
over time.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..classification.backbone import Backbone, EncoderName, grey_normalisation
from ..classification.crops import drawn_crops
from ..classification.few_shot_model import SquareReader, square_reader
from ..classification.whitening import Whitening
from ..devices import device_errors
from ..errors import InputError
from ..events import Events, Progress
from ..models.card import FewShotInput, Normalisation
from ..models.file import ModelFile
from .checkpoint import TrainingState, first_state
from .descent import Descent
from .loop import Row, run_job
from .recipe import BackboneRecipe
from .structure_samples import varied
from .unlabelled import Micrographs
from .views import learnt_whitening

FEWEST_IMAGES = 2

_LARGE = (0.14, 1.0)
_SMALL = (0.05, 0.14)
_LARGE_CROPS = 2
_SMALL_SIDE = 96 / 224
_STRIDE = 32
_HIDDEN = 1024
_BOTTLENECK = 256
_MOMENTUM = 0.9
_JUDGED = 256
_BATCH = 32


class Projected(nn.Module):
    """A backbone and the layers that turn its features into outputs to compare."""

    def __init__(self, encoder: EncoderName, outputs: int) -> None:
        super().__init__()
        self.backbone = Backbone(encoder)
        self.layers = nn.Sequential(
            nn.Linear(self.backbone.features, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, _BOTTLENECK),
        )
        self.directions = nn.Parameter(torch.randn(outputs, _BOTTLENECK))

    def forward(self, *crops: Tensor) -> Tensor:
        """Outputs (B, outputs) of crops (b, 1, S, S) of any sizes, one after the other."""
        features = torch.cat([self.backbone(part) for part in crops])
        points = functional.normalize(self.layers(features), dim=1)
        return functional.linear(points, functional.normalize(self.directions, dim=1))


class SelfTaught(nn.Module):
    """A student, its teacher, and the centre of the teacher's outputs."""

    centre: Tensor

    def __init__(self, encoder: EncoderName, outputs: int) -> None:
        super().__init__()
        self.student = Projected(encoder, outputs)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(outputs))

    def loss(self, large: Tensor, small: Tensor, recipe: BackboneRecipe) -> Tensor:
        """How far the student's answers to each part are from the teacher's to the other large one.

        Moves the centre too.

        Parameters
        ----------
        large, small
            Parts (2·B, 1, S, S) and (n·B, 1, s, s) of B images, first one of each, then another.
        """
        count = len(large) // _LARGE_CROPS
        with torch.no_grad():
            taught = self.teacher(large)
            targets = ((taught - self.centre) / recipe.teacher_temperature).softmax(1)
            self.centre.lerp_(taught.mean(0), 1 - recipe.centre_momentum)
        answered = self.student(large, small) if len(small) else self.student(large)
        answers = (answered / recipe.temperature).log_softmax(1)
        outputs = targets.shape[1]
        return cross_views(targets.view(-1, count, outputs), answers.view(-1, count, outputs))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the teacher towards the student."""
        for own, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            own.lerp_(other, 1 - momentum)


def cross_views(targets: Tensor, answers: Tensor) -> Tensor:
    """Mean cross-entropy of answers to one part with targets of another part of the same image.

    Parameters
    ----------
    targets, answers
        Probabilities (V, B, K) and logarithms of probabilities (W, B, K); the first V parts of the
        W are those of the targets.
    """
    entropies = -torch.einsum("vbk,wbk->vw", targets, answers) / targets.shape[1]
    others = ~torch.eye(len(targets), len(answers), dtype=torch.bool, device=targets.device)
    return entropies[others].mean()


@dataclass(frozen=True)
class BackboneJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    side
        Of the large parts; the small ones are 3/7 of it.
    weights
        Tensors to start the encoder from, None for random ones; `weights_name` says which.
    parent
        The model that they are of, if it is one of this package.
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    """

    images: Micrographs
    encoder: EncoderName
    recipe: BackboneRecipe
    device: torch.device
    side: int = 224
    weights: dict[str, Tensor] | None = None
    weights_name: str = "random"
    parent: ModelFile | None = None
    checkpoint: Path | None = None

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the grey values; the parent's, where its weights stay."""
        if self.parent is not None and not self.recipe.iterations:
            return self.parent.card.normalisation
        return grey_normalisation(self.images.planes)

    def settings(self) -> dict[str, Any]:
        """All that determines the weights."""
        return {
            "data": self.images.digest(),
            "encoder": self.encoder,
            "encoder_weights": self.weights_name,
            "side": self.side,
            "recipe": self.recipe.model_dump(exclude={"views"}),
            "device": self.device.type,
        }


@dataclass(frozen=True)
class TrainedBackbone:
    """The result of a training: the teacher's backbone.

    Attributes
    ----------
    whitening
        Of its textures.
    history
        A row a step; `spread` of the features where it was judged.
    iteration
        The one whose weights are kept.
    """

    backbone: Backbone
    whitening: Whitening
    history: list[Row]
    iteration: int


def train_backbone(job: BackboneJob, *, resume: bool = False) -> Events[TrainedBackbone]:
    """Train a backbone; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the weights
    an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; the `spread` of the features on every `validate_every`-th and the last.
        Of the views that whiten the textures.
    Notice
        When no checkpoint could be written, or the loss stopped being finite.

    Raises
    ------
    InputError
        When there are fewer than two images, the given weights do not fit or there are none to
        keep, the loss is not finite from the start, or no checkpoint can be written or gone on
        from.
    DeviceError
        When the device fails.
    """
    if len(job.images) < FEWEST_IMAGES:
        raise InputError("a backbone learns from two images at least; name a folder with more")
    if not job.recipe.iterations:
        _require_kept(job, resume=resume)
    with device_errors():
        task, state = _Task(job), initial_state(job)
    iteration, recipe = 0, job.recipe
    if recipe.iterations:
        row = yield from run_job(state, task, job, resume=resume)
        iteration = row["iteration"]
    backbone = cast(SelfTaught, state.network).teacher.backbone.eval()
    whitening = yield from learnt_whitening(backbone, task.reader, recipe.views, recipe.seed)
    return TrainedBackbone(backbone, whitening, state.history, iteration)


def _require_kept(job: BackboneJob, *, resume: bool) -> None:
    """Refuse, where no iteration is asked for, what only a training can do."""
    if job.weights is None:
        raise InputError("without an iteration random weights stay: give --encoder-weights")
    if resume:
        raise InputError("without an iteration there is no training to go on with: leave --resume")


def initial_state(job: BackboneJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs.

    Raises
    ------
    InputError
        When the given weights do not fit.
    """
    recipe = job.recipe

    def make() -> SelfTaught:
        network = SelfTaught(job.encoder, recipe.outputs)
        if job.weights is not None:
            for part in (network.student, network.teacher):
                part.backbone.take(job.weights, job.weights_name)
        return network

    return first_state(
        make,
        lambda network: torch.optim.SGD(
            [one for one in network.parameters() if one.requires_grad],
            recipe.learning_rate,
            momentum=_MOMENTUM,
            weight_decay=recipe.weight_decay,
        ),
        recipe,
        job.device,
    )


def spread(features: Tensor) -> float:
    """How far the directions of features (n, d) differ: 0 where all agree, 1 where any occurs."""
    points = functional.normalize(features, dim=1)
    return float(points.std(0, correction=0).mean()) * math.sqrt(features.shape[1])


class _Task(Descent):
    """A training of a backbone, as the loop sees it."""

    score = "spread"

    def __init__(self, job: BackboneJob) -> None:
        super().__init__(job.recipe)
        self._job = job
        images = job.images
        shown = FewShotInput(side=job.side)
        self.reader = square_reader(
            images.planes, images.pixel_sizes_um, shown, job.normalisation, job.device
        )

    def step(self, state: TrainingState) -> Events[Row]:
        """One step of the student, after which the teacher follows."""
        before = state.iteration
        row = yield from super().step(state)
        if state.iteration > before:
            cast(SelfTaught, state.network).follow(self._job.recipe.momentum_at(before))
        return row

    def loss(self, state: TrainingState) -> Tensor:
        """Of the parts of some images."""
        recipe = self._job.recipe
        images = _turns(len(self._job.images), recipe.batch_size, state.random)
        side, small_side = self._job.side, _small_side(self._job.side)
        large = _parts(self.reader, images.repeat(_LARGE_CROPS), _LARGE, side, state.random)
        small = large[:0]
        if several := recipe.local_crops:
            small = _parts(self.reader, images.repeat(several), _SMALL, small_side, state.random)
        return cast(SelfTaught, state.network).loss(large, small, recipe)

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        """How far the features differ from image to image: when they collapse, the loss is low."""
        backbone = cast(SelfTaught, state.network).teacher.backbone.eval()
        count = min(len(self._job.images), _JUDGED)
        found = []
        for part in torch.split(torch.arange(count), _BATCH):
            yield Progress(int(part[0]), count, "images")
            with device_errors(), torch.no_grad():
                found.append(backbone(self.reader.clean(part)).cpu())
        return {"spread": spread(torch.cat(found))}


def _turns(count: int, wanted: int, random: torch.Generator) -> Tensor:
    """Numbers of images: each once before one comes again."""
    rounds = -(-wanted // count)
    return torch.cat([torch.randperm(count, generator=random) for _ in range(rounds)])[:wanted]


def _small_side(side: int) -> int:
    return max(_STRIDE, _STRIDE * round(side * _SMALL_SIDE / _STRIDE))


def _parts(
    reader: SquareReader,
    images: Tensor,
    areas: tuple[float, float],
    side: int,
    random: torch.Generator,
) -> Tensor:
    """Normalised parts (B, 1, side, side) of shares of the areas of images (B,), varied."""
    low, high = areas
    shares = low + (high - low) * torch.rand(len(images), generator=random)
    sides = reader.sides_px[images] * shares.sqrt()
    crops = drawn_crops(images, reader.atlas.shapes[images], sides, random, turned=True)
    return reader.normalised(varied(reader.atlas.cut(crops, side), random))
