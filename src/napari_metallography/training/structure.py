"""Training of triplet networks of structures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..calibration import HOW_TO_CALIBRATE
from ..classification.backbone import grey_normalisation
from ..classification.crops import Atlas
from ..classification.descriptors import ClassGaussians
from ..classification.familiarity import components_of, limit_of
from ..classification.images import OUTSIDER
from ..classification.micrographs import ClassifiedMicrographs
from ..classification.structure import DescribedCrops, described_crops
from ..classification.structure_model import CropReader, StructureNetwork, magnification_scale
from ..classification.texture_familiarity import of_unseen_textures
from ..classification.triplets import LOSSES, TripletNetwork
from ..devices import device_errors
from ..errors import InputError
from ..evaluation.classes import class_scores
from ..events import Events, Notice, Progress
from ..models.card import Normalisation, StructureInput
from .checkpoint import TrainingState, first_state
from .descent import Descent
from .loop import Row, metrics_of, run_job
from .recipe import StructureRecipe
from .structure_samples import TripletSampler

_BATCH = 40
_ENOUGH_SHARED = 0.25
_FITTED_WHILE_TRAINING = 4
_JUDGED_CROPS = 8
_FAMILIAR_SHARE = 0.95
_SLACK = 1.2


@dataclass(frozen=True)
class StructureJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    images, validation
        Of other specimens each; without outsiders.
    shown
        Size and range of the crops; the scale of the magnification is found from the images.
    encoder
        State of a ResNet18 to start from, None for random weights; `encoder_name` says which.
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    """

    images: ClassifiedMicrographs
    validation: ClassifiedMicrographs | None
    shown: StructureInput
    recipe: StructureRecipe
    device: torch.device
    encoder: dict[str, Tensor] | None = None
    encoder_name: str = "random"
    checkpoint: Path | None = None

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the training images' grey values."""
        return grey_normalisation(self.images.planes)

    @property
    def fitted(self) -> ClassifiedMicrographs:
        """All images that the Gaussians are learnt from: those held out too."""
        return self.images.joined(self.validation)

    @cached_property
    def scaled(self) -> StructureInput:
        """What is shown, with the scale of the training's magnifications."""
        shorter = torch.tensor([min(plane.shape) for plane in self.images.planes])
        return magnification_scale(self.shown, shorter, _sizes(self.images))

    def reader(self, images: ClassifiedMicrographs) -> CropReader:
        """Crops of images, which then lie on the device."""
        grey = self.normalisation
        return CropReader(
            Atlas(images.planes, self.device),
            _sizes(images),
            self.scaled,
            grey.mean[0],
            grey.std[0],
        )

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": self.images.digest(),
            "specimens": list(self.images.specimens),
            "validation": self.validation.digest() if self.validation else "",
            "validation_specimens": list(self.validation.specimens) if self.validation else [],
            "shown": self.scaled.model_dump(mode="json"),
            "encoder_weights": self.encoder_name,
            "recipe": self.recipe.model_dump(),
            "device": self.device.type,
        }


@dataclass(frozen=True)
class TrainedStructure:
    """The result of a training.

    Attributes
    ----------
    shown
        As the network needs it, with the number of crops that the Gaussians were learnt from.
    history
        A row a step.
    iteration
        The one whose weights are kept.
    metrics
        Its validation results; empty where nothing was held out.
    refused
        Share of the crops, by class, that the threshold of "none" refuses: of the held-out images
        of a class where it has any, else of all its images.
    """

    network: StructureNetwork
    shown: StructureInput
    history: list[Row]
    iteration: int
    metrics: dict[str, float]
    refused: dict[str, float]


def train_structure(job: StructureJob, *, resume: bool = False) -> Events[TrainedStructure]:
    """Train a network; closing the generator stops it after the step under way.

    Deterministic under the recipe's seed on one device; a resumed training ends with the weights
    an uninterrupted one would have had.

    Yields
    ------
    Progress, TrainingStep
        After each step; validation results on every `validate_every`-th and the last.
    Notice
        Of what the data cannot teach: a class of one image, classes at disjoint magnifications;
        when no checkpoint could be written, or the loss stopped being finite.

    Raises
    ------
    InputError
        When there are fewer than two classes, a pixel size is needed and not known, the loss is
        not finite from the start, or no checkpoint can be written or gone on from.
    DeviceError
        When the device fails.
    """
    require_learnable(job)
    for words in doubts(job.images, job.shown):
        yield Notice(words)
    with device_errors():
        state, task = initial_state(job), _Task(job)
    row = yield from run_job(state, task, job, resume=resume)
    return (yield from _finished(job, state, row, task))


def require_learnable(job: StructureJob) -> None:
    """Refuse images that no triplets can be made of.

    Raises
    ------
    InputError
        When a class has no image, an outsider is among them, or a pixel size is missing.
    """
    counts = np.bincount(job.images.classes[job.images.classes != OUTSIDER], minlength=2)
    if len(job.images.names) < 2 or not counts.all() or len(counts) < len(job.images.names):
        raise InputError("triplets need images of two classes at least, and one of each class")
    if (job.images.classes == OUTSIDER).any():
        raise InputError("outsiders teach nothing here; leave them out")
    for images in (job.images, job.validation) if job.shown.magnification else ():
        _require_scale(images)


def doubts(images: ClassifiedMicrographs, shown: StructureInput) -> list[str]:
    """What the user should know of the training images, each in one line."""
    specimens = {*zip(images.classes.tolist(), images.specimens, strict=True)}
    counts = np.bincount([number for number, _ in specimens], minlength=len(images.names))
    alone = [name for name, count in zip(images.names, counts, strict=True) if count == 1]
    said = []
    if alone:
        said.append(
            f"one specimen only of {', '.join(alone)}: how far another may differ is not known, so "
            "that good images of this class may be answered 'none'; add images of a second one"
        )
    if shown.magnification and (pair := _apart(images, shown)) is not None:
        said.append(
            f"{pair}: classes could be told apart by the magnification alone; train the control "
            "with --scale-free and compare"
        )
    return said


def initial_state(job: StructureJob) -> TrainingState:
    """The network with its first weights on the job's device, and all else a training needs.

    Raises
    ------
    InputError
        When the given weights do not fit.
    """
    recipe = job.recipe

    def make() -> TripletNetwork:
        network = TripletNetwork(magnification=job.shown.magnification)
        if job.encoder is not None:
            network.encoder.take(job.encoder, job.encoder_name)
        return network

    return first_state(
        make,
        # Not fused: that takes a restored state for one of the weights' memory layout.
        lambda network: torch.optim.Adam(network.parameters(), recipe.learning_rate),
        recipe,
        job.device,
    )


class _Task(Descent):
    """A training of structures, as the loop sees it."""

    def __init__(self, job: StructureJob) -> None:
        super().__init__(job.recipe)
        self._job = job
        self.reader = job.reader(job.images)
        self.judged = job.reader(job.validation) if job.validation else None
        varied = job.recipe.augmentation == "full"
        self._sampler = TripletSampler(self.reader, job.images.classes, varied=varied)

    def loss(self, state: TrainingState) -> Tensor:
        recipe = self._job.recipe
        crops, magnifications, classes = self._sampler.batch(
            recipe.classes_per_batch, recipe.crops_per_class, state.random
        )
        descriptors = state.network(crops, magnifications)
        return LOSSES[recipe.triplets](descriptors, classes, recipe.margin)

    def validate(self, state: TrainingState) -> Events[dict[str, float]]:
        """Scores of a few crops of each held-out image, under Gaussians of a few crops each."""
        held_out = self._job.validation
        if held_out is None or self.judged is None:
            return {}
        images = self._job.images
        known = yield from described(state.network, self.reader, _FITTED_WHILE_TRAINING)
        gaussians = ClassGaussians(len(images.names))
        of = torch.arange(len(images)).repeat_interleave(_FITTED_WHILE_TRAINING)
        classes = torch.from_numpy(images.classes)[of]
        gaussians.fit(known.descriptors, classes, of, self._job.recipe.quantile)
        seen = yield from described(state.network, self.judged, _JUDGED_CROPS)
        mean = (
            gaussians.probabilities(seen.descriptors).view(len(held_out), _JUDGED_CROPS, -1).mean(1)
        )
        answers = mean[:, : len(images.names)].argmax(1).numpy()
        found = class_scores(held_out.classes, answers, held_out.names)
        return {name: found[name] for name in ("accuracy", "macro_f1")}


def described(network: nn.Module, reader: CropReader, crops: int) -> Events[DescribedCrops]:
    """So many random crops of each image, one image after the other, the same at every call."""
    network.eval()
    random = torch.Generator().manual_seed(0)
    images = torch.arange(len(reader.atlas.shapes)).repeat_interleave(crops)
    found = []
    for start in range(0, len(images), _BATCH):
        yield Progress(start, len(images), "crops")
        some = images[start : start + _BATCH]
        found.append(described_crops(reader, cast(TripletNetwork, network), some, random))
    return DescribedCrops.joined(found)


def _finished(
    job: StructureJob, state: TrainingState, row: Row, task: _Task
) -> Events[TrainedStructure]:
    """Learn the Gaussians from all images, and the threshold from those held out.

    On what it learnt from, the network is too sure.
    """
    fitted, recipe = job.fitted, job.recipe
    parts = [(yield from described(state.network, task.reader, recipe.fitted_crops))]
    if task.judged is not None:
        parts.append((yield from described(state.network, task.judged, recipe.fitted_crops)))
    crops = DescribedCrops.joined(parts)
    of = torch.arange(len(fitted)).repeat_interleave(recipe.fitted_crops)
    specimens = torch.from_numpy(np.unique(np.array(fitted.specimens), return_inverse=True)[1])
    classes = torch.from_numpy(fitted.classes)
    textures = crops.textures.view(len(fitted), recipe.fitted_crops, -1)
    magnifications = crops.magnifications.view(len(fitted), recipe.fitted_crops)
    most = most_strange(of_unseen_textures(textures, magnifications, classes, specimens))
    if most is None:
        yield Notice(
            "too few specimens to tell how far those of a class differ: no image will be answered "
            "'none' for textures unlike theirs"
        )
    shown = job.scaled.model_copy(update={"crops": len(of), "most_strange": most})
    network = StructureNetwork(len(fitted.names), shown)
    network.core.load_state_dict(state.network.state_dict())
    refused = network.gaussians.fit(
        crops.descriptors,
        classes[of],
        specimens[of],
        recipe.quantile,
        of >= len(job.images),
    )
    network.familiarity.fit(textures, magnifications, classes, components_of(specimens))
    return TrainedStructure(
        network.eval(),
        shown,
        state.history,
        row["iteration"],
        metrics_of(row),
        dict(zip(fitted.names, refused.tolist(), strict=True)),
    )


def most_strange(found: Tensor) -> float | None:
    """The limit of strangeness: 1.2 times what one image in twenty exceeds.

    None for fewer than ten images, that tell too little.

    Parameters
    ----------
    found
        Strangeness (n,) of images to what was learnt without their specimens; NaN where that is
        not known.
    """
    return limit_of(found[~found.isnan()], _FAMILIAR_SHARE, _SLACK)


def _sizes(images: ClassifiedMicrographs) -> Tensor:
    return torch.tensor([size or math.nan for size in images.pixel_sizes_um], dtype=torch.float64)


def _require_scale(images: ClassifiedMicrographs | None) -> None:
    for file, size in zip(images.files, images.pixel_sizes_um, strict=True) if images else ():
        if size is None:
            raise InputError(
                f"{file}: no pixel size is known; {HOW_TO_CALIBRATE}, or train a model that needs "
                "none with --scale-free"
            )


def _apart(images: ClassifiedMicrographs, shown: StructureInput) -> str | None:
    """The two classes whose crops share the fewest magnifications, in words; None if many."""
    ranges = [_px_per_um(images, number, shown) for number in range(len(images.names))]
    pairs = [*combinations(range(len(ranges)), 2)]
    shares = [overlap(ranges[one], ranges[other]) for one, other in pairs]
    least = min(shares, default=1.0)
    if least >= _ENOUGH_SHARED:
        return None
    one, other = (
        f"{images.names[n]} ({ranges[n][0]:.3g} to {ranges[n][1]:.3g} px/µm)"
        for n in pairs[shares.index(least)]
    )
    return f"crops of {one} and {other} share {least:.0%} of their magnifications"


def _px_per_um(
    images: ClassifiedMicrographs, number: int, shown: StructureInput
) -> tuple[float, float]:
    """Smallest and largest magnification of the crops of a class."""
    own = images.where(images.classes == number)
    shorter = torch.tensor([min(plane.shape) for plane in own.planes])
    found = magnification_scale(shown, shorter, _sizes(own)).px_per_um
    return found or (math.nan, math.nan)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Share of the narrower of two ranges of scales that lies in both, in octaves."""
    low, high = max(one[0], other[0]), min(one[1], other[1])
    if high < low:
        return 0.0
    narrower = min(math.log2(end / start) for start, end in (one, other))
    return min(1.0, math.log2(high / low) / narrower) if narrower > 0 else 1.0
