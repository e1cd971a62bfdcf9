"""Training recipes."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SegmentationRecipe(BaseModel):
    """How a segmentation network is trained.

    Attributes
    ----------
    crop
        Side of the random square crops in pixels of the network's input.
    largest_share
        A crop in which one class takes more than this share is drawn again, up to ten times.
    loss
        "focal" (α 0.25, γ 2) or "cross-entropy+dice".
    schedule
        "poly": to zero with power 0.9. "one-cycle": warm-up over a tenth, then cosine to zero.
    augmentation
        "weak": crops only. "strong": flips, quarter turns, cutout, brightness, contrast.
        "any-angle": as strong, but mirrored and turned by any angle, and stretched; a
        micrograph's structure has no preferred direction.
    keep
        Which weights are the result: those of the best mIoU in validation (the last ones, where
        there are no validation images), or those of the last step. Scores on images that chose
        the weights flatter the model.
    preview_every
        Iterations between predictions of what the job watches.
    freeze_normalisation
        Keep the batch statistics of the start; for few images, or several processes.
    agreement
        Weight of `losses.disagreement`, which makes similar neighbours without labels agree.
    zoom
        Crops are taken at a random scale between 1/zoom and zoom (log-uniform) and resized.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=600, ge=1)
    batch_size: int = Field(default=4, ge=2)
    crop: int = Field(default=384, ge=32, multiple_of=32)
    largest_share: float = Field(default=0.75, gt=0, le=1)
    loss: Literal["focal", "cross-entropy+dice"] = "cross-entropy+dice"
    optimiser: Literal["sgd", "adamw"] = "adamw"
    schedule: Literal["poly", "one-cycle"] = "one-cycle"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    augmentation: Literal["weak", "strong", "any-angle"] = "any-angle"
    zoom: float = Field(default=1.5, ge=1)
    validate_every: int = Field(default=100, ge=1)
    preview_every: int = Field(default=10, ge=1)
    freeze_normalisation: bool = False
    agreement: float = Field(default=0.0, ge=0)
    keep: Literal["best", "last"] = "best"
    seed: int = 0

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step from `iteration` (counted from 0) to the next."""
        part = iteration / self.iterations
        if self.schedule == "poly":
            return float(self.learning_rate * (1 - part) ** 0.9)
        return self.learning_rate * _one_cycle(part)


class GrainSizeRecipe(BaseModel):
    """How a line network is trained.

    Attributes
    ----------
    batch_size
        Lines a step, one of an image; every image has its turn before one comes again.
    loss
        "cross-entropy" or "focal" (γ 1, no α).
    labels
        "nearest": an image's class is the nearest half number. "shared": a G between two classes
        counts as so much of either.
    schedule
        "one-cycle": warm-up over a tenth, then cosine to zero. "steps": × 0.7 after each tenth.
    normalise_by
        Mean and standard deviation of the "data set", or of each "line", so that brightness and
        contrast do not matter.
    augmentation
        "none", or "strong": brightness, contrast, noise, mirrored and shortened lines.
    keep
        Which weights are the result: those of the best accuracy in validation (the last ones,
        where there is none), or those of the last step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=64, ge=2)
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    labels: Literal["nearest", "shared"] = "shared"
    normalise_by: Literal["data set", "line"] = "line"
    optimiser: Literal["sgd", "adamw"] = "adamw"
    schedule: Literal["one-cycle", "steps"] = "one-cycle"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    augmentation: Literal["none", "strong"] = "strong"
    validate_every: int = Field(default=200, ge=1)
    keep: Literal["best", "last"] = "last"
    seed: int = 0

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step from `iteration` (counted from 0) to the next."""
        part = iteration / self.iterations
        if self.schedule == "steps":
            return float(self.learning_rate * 0.7 ** int(10 * part))
        return self.learning_rate * _one_cycle(part)


class DefectRecipe(BaseModel):
    """How a network of surface defects is trained.

    Attributes
    ----------
    balance
        Whether the classes count alike: "sampling" shows each equally often, "weights" weighs
        their losses; "none" takes the images as they come.
    augmentation
        "flips", as the paper has it; "mild": also brightness, contrast, noise and blur; "strong":
        also a random part of the image, of which sides are 0.7 to 1 of the whole.
    label_smoothing
        Share of the target that is spread over all classes.
    keep
        Which weights are the result: those of the best accuracy in validation (the last ones,
        where there is none), or those of the last step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=4000, ge=1)
    batch_size: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    balance: Literal["none", "weights", "sampling"] = "sampling"
    augmentation: Literal["flips", "mild", "strong"] = "mild"
    validate_every: int = Field(default=200, ge=1)
    keep: Literal["best", "last"] = "last"
    seed: int = 0

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step from `iteration` (counted from 0) to the next: a cosine."""
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations))


class StructureRecipe(BaseModel):
    """How a triplet network is trained.

    Attributes
    ----------
    classes_per_batch, crops_per_class
        A batch has so many crops of each of so many classes, drawn at random.
    margin
        α: how much farther crops of other classes shall be than those of the same.
    triplets
        "all": the mean over all that do not fulfil the margin yet. "hardest": for each crop the
        farthest of its class and the nearest of another; it may draw all points together.
    augmentation
        "full": turned, mirrored, warped, of other brightness, blurred in places like under dust,
        at times reduced to its edges. "none": parts at random places and scales only.
    keep
        Which weights are the result: those of the best accuracy in validation (the last ones,
        where there is none), or those of the last step.
    fitted_crops
        Crops an image from which the Gaussians and the textures are learnt in the end.
    quantile
        Share of the crops of known classes that the threshold of "none" may refuse: of the
        held-out images, where a class has any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=2000, ge=1)
    classes_per_batch: int = Field(default=5, ge=2)
    crops_per_class: int = Field(default=8, ge=2)
    margin: float = Field(default=1.0, gt=0)
    triplets: Literal["hardest", "all"] = "all"
    learning_rate: float = Field(default=1e-4, gt=0)
    augmentation: Literal["full", "none"] = "full"
    validate_every: int = Field(default=250, ge=1)
    keep: Literal["best", "last"] = "last"
    fitted_crops: int = Field(default=80, ge=8)
    quantile: float = Field(default=0.01, ge=0, lt=1)
    seed: int = 0

    @property
    def batch_size(self) -> int:
        """Crops a step."""
        return self.classes_per_batch * self.crops_per_class

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of any step."""
        return self.learning_rate


class FewShotRecipe(BaseModel):
    """How a few-shot network is trained.

    Attributes
    ----------
    iterations
        Tasks, of one step each; the paper has 100 epochs of 100.
    ways, shots, queries
        Classes of a task, images of each to learn from, and to name, at most.
    warm_up
        Share of the training over which the learning rate rises; then it falls by a cosine.
    augmentation
        "full": turned, mirrored, warped, of other brightness, blurred in places. "none".
    validation_tasks
        By which the weights, and in the end the learning rate of the tuning, are chosen.
    tuning_steps
        Of the tuning to a task.
    keep
        Which weights are the result: those of the best accuracy in validation, or the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=10_000, ge=1)
    ways: int = Field(default=5, ge=2)
    shots: int = Field(default=1, ge=1)
    queries: int = Field(default=15, ge=1)
    metric: Literal["cosine", "euclidean"] = "cosine"
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    augmentation: Literal["full", "none"] = "full"
    validate_every: int = Field(default=500, ge=1)
    validation_tasks: int = Field(default=30, ge=1)
    tuning_steps: int = Field(default=50, ge=1)
    keep: Literal["best", "last"] = "best"
    seed: int = 0

    @property
    def batch_size(self) -> int:
        """Images a step, at most."""
        return self.ways * (self.shots + self.queries)

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step from `iteration` (counted from 0) to the next."""
        return self.learning_rate * _rise_and_cosine(iteration, self.iterations, self.warm_up)


class BackboneRecipe(BaseModel):
    """How a backbone learns from images without classes.

    Attributes
    ----------
    iterations
        0 keeps the weights that the training starts from, and whitens their textures only.
    batch_size
        Images a step.
    local_crops
        Small parts of each image, beside two large ones.
    warm_up
        Share of the training over which the learning rate rises; then it falls by a cosine.
    teacher_momentum
        Share of the teacher's weights that stays in a step; by a cosine it becomes 1.
    temperature, teacher_temperature
        What the outputs of student and teacher are divided by.
    centre_momentum
        Share of the centre of the teacher's outputs that stays in a step.
    outputs
        Number of outputs that student and teacher compare.
    views
        Of the images, by which the textures are whitened in the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(default=5000, ge=0)
    batch_size: int = Field(default=32, ge=2)
    local_crops: int = Field(default=6, ge=0)
    learning_rate: float = Field(default=0.03, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    teacher_momentum: float = Field(default=0.996, ge=0, le=1)
    temperature: float = Field(default=0.1, gt=0)
    teacher_temperature: float = Field(default=0.04, gt=0)
    centre_momentum: float = Field(default=0.9, ge=0, lt=1)
    outputs: int = Field(default=4096, ge=2)
    views: int = Field(default=4000, ge=4)
    validate_every: int = Field(default=500, ge=1)
    keep: Literal["best", "last"] = "last"
    seed: int = 0

    def learning_rate_at(self, iteration: int) -> float:
        """Learning rate of the step from `iteration` (counted from 0) to the next."""
        return self.learning_rate * _rise_and_cosine(iteration, self.iterations, self.warm_up)

    def momentum_at(self, iteration: int) -> float:
        """The teacher's momentum in a step."""
        left = 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))
        return 1 - (1 - self.teacher_momentum) * left


SteppedRecipe = GrainSizeRecipe | DefectRecipe | StructureRecipe | FewShotRecipe | BackboneRecipe
"""Those of the trainings whose steps each learn from one batch."""


def _rise_and_cosine(iteration: int, iterations: int, warm_up: float) -> float:
    """Share of the largest learning rate at a step."""
    rising = round(warm_up * iterations)
    if iteration < rising:
        return (iteration + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (iteration - rising) / (iterations - rising)))


def _one_cycle(part: float) -> float:
    """Share of the largest learning rate after a part of the training."""
    warm_up = 0.1
    if part < warm_up:
        return 0.04 + 0.96 * part / warm_up
    return 0.5 * (1 + math.cos(math.pi * (part - warm_up) / (1 - warm_up)))


PAPER = SegmentationRecipe(
    iterations=8000,
    batch_size=8,
    crop=256,
    loss="focal",
    optimiser="sgd",
    schedule="poly",
    learning_rate=1e-2,
    weight_decay=5e-4,
    augmentation="weak",
    zoom=1.0,
    validate_every=500,
    keep="last",
)
"""The baseline of Ma and Yu, Processes 11 (2023) 3298, section 2.2."""

FINE_TUNE = SegmentationRecipe(
    iterations=60,
    crop=192,
    learning_rate=3e-3,
    validate_every=20,
    zoom=1.25,
    agreement=2.0,
    keep="last",
)
"""A minute's training on a few strokes, on a processor of two cores."""

RECIPES = {"adamw": SegmentationRecipe(), "fine-tune": FINE_TUNE, "paper": PAPER}

GRAIN_SIZE_PAPER = GrainSizeRecipe(
    iterations=12_000,
    batch_size=32,
    loss="focal",
    labels="nearest",
    normalise_by="data set",
    optimiser="sgd",
    schedule="steps",
    learning_rate=1e-3,
    weight_decay=1e-4,
    augmentation="none",
    validate_every=600,
)
"""The paper's: 100 epochs of its 3817 images, × 0.7 every 10 epochs."""

GRAIN_SIZE_RECIPES = {"adamw": GrainSizeRecipe(), "paper": GRAIN_SIZE_PAPER}

DEFECT_TUNING = DefectRecipe(iterations=150, batch_size=16, learning_rate=3e-4, validate_every=50)
"""A gentle one: few images, and a network that knows most of what it needs."""
