"""Classes learnt from a few examples of each, and images named by them.

A network that tells classes it has never seen (Snell, Swersky and Zemel, Prototypical networks for
few-shot learning, NeurIPS 2017) is tuned to the examples (Hu et al., Pushing the limits of simple
pipelines for few-shot learning, CVPR 2022); each class is the mean of what it sees in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .. import __version__
from ..calibration import HOW_TO_CALIBRATE
from ..classification.crops import drawn_crops
from ..classification.few_shot_model import (
    FewShotModel,
    FewShotNetwork,
    SquareReader,
    common_pixel_um,
    load_few_shot_model,
    spread_features,
    square_reader,
)
from ..classification.images import OUTSIDER, OUTSIDERS
from ..classification.library import Library
from ..classification.micrographs import ClassifiedMicrographs, Grey
from ..classification.prototypes import cosines, prototypes
from ..devices import device_errors
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..models.card import FewShotInput
from .episodes import augmented
from .task_tuning import Tuning, tuned

_COPIES = 8
_FEWEST_COPIES = 2
_BATCH = 32


@dataclass(frozen=True)
class FewShotAnswer:
    """What an image shows.

    Attributes
    ----------
    answer
        The most probable class; "none" where the image is not familiar.
    probabilities
        (m,) of the classes.
    similarity
        Cosine, −1 to 1, of the most probable class's prototype and what the network sees.
    familiar
        Whether that is at least what the examples themselves reach.
    """

    answer: str
    probabilities: NDArray[np.float64]
    similarity: float
    familiar: bool


@dataclass(frozen=True)
class LearntClasses:
    """Classes learnt from a library.

    Tensors lie on the device that they were learnt on.

    Attributes
    ----------
    names
        Of the classes.
    model
        What was started from.
    network
        It, or a copy tuned to the examples.
    shown
        What it is shown of images, at the examples' common pixel size if they have one.
    features, classes
        (n, d) of the examples, and their classes (n,).
    outsiders
        (k, d) of examples of no class: an image that is more like one of them is none, too.
    least_similarity
        (m,) cosines below which an image is none of a class.
    """

    names: tuple[str, ...]
    model: FewShotModel
    network: FewShotNetwork
    shown: FewShotInput
    features: Tensor
    classes: Tensor
    outsiders: Tensor
    least_similarity: tuple[float, ...]
    examples: ClassifiedMicrographs
    tuning: Tuning

    @property
    def needs_pixel_size(self) -> bool:
        """Whether images can be named only where their pixel size is known."""
        return self.shown.pixel_um is not None

    def provenance(self) -> dict[str, Any]:
        """How answers come about: JSON."""
        counts = np.bincount(self.examples.classes[self.examples.classes != OUTSIDER])
        return {
            "model": self.model.card.name,
            "model_digest": self.model.digest,
            "examples": dict(zip(self.names, counts.tolist(), strict=True)),
            "examples_of_none": int((self.examples.classes == OUTSIDER).sum()),
            "examples_digest": self.examples.digest(),
            "skipped": list(self.examples.skipped),
            "parameters": {
                "steps": self.tuning.steps,
                "learning_rate": self.tuning.learning_rate,
                "pixel_um": self.shown.pixel_um,
                "least_similarity": dict(zip(self.names, self.least_similarity, strict=True)),
            },
            "version": __version__,
        }


def learn(
    model_name_or_file: str,
    library: Library,
    device: torch.device,
    *,
    steps: int | None = None,
    rate: float | None = None,
) -> Events[LearntClasses]:
    """Learn the classes of a library; the model itself stays as it is.

    Parameters
    ----------
    model_name_or_file
        A few-shot model, or a backbone that learnt without classes.
    steps, rate
        Of the tuning, where they are not to be the model's; a rate of 0 tunes nothing.

    Yields
    ------
    Progress
        Of the steps.
    Notice
        What makes the answers doubtful.

    Raises
    ------
    InputError
        When there is no such model, no example of a class, or a pixel size is missing that the
        model needs.
    DeviceError
        When the device fails.
    """
    model = load_few_shot_model(model_name_or_file)
    examples = library.micrographs()
    if not examples.names:
        raise InputError("the library holds no example of a class; name a structure first")
    shown = _shown(model, examples)
    tuning = _tuning(shown, steps, rate, len(examples.names))
    for words in _doubts(library, examples, shown):
        yield Notice(words)
    with device_errors():
        grey = model.card.normalisation
        reader = square_reader(examples.planes, examples.pixel_sizes_um, shown, grey, device)
        model.network.to(device)
    known = torch.from_numpy(np.flatnonzero(examples.classes != OUTSIDER))
    strange = torch.from_numpy(np.flatnonzero(examples.classes == OUTSIDER))
    classes = torch.from_numpy(examples.classes)[known]
    network = model.network
    if tuning.learning_rate:
        network = yield from tuned(network, reader, known, classes, tuning)
    with device_errors():
        features = spread_features(network, reader, known)
        outsiders = spread_features(network, reader, strange)
    least = yield from _least_similarity(network, reader, known, classes, features)
    classes = classes.to(device)
    return LearntClasses(
        examples.names, model, network, shown, features, classes, outsiders, least, examples, tuning
    )


def name_planes(
    learnt: LearntClasses, planes: Sequence[Grey], pixel_sizes_um: Sequence[float | None]
) -> Events[list[FewShotAnswer]]:
    """Name planes (Y, X) of grey values, uint8.

    Yields
    ------
    Progress
        Of the planes.

    Raises
    ------
    InputError
        When the pixel size of one is needed and not known.
    DeviceError
        When the device fails.
    """
    _require_sizes(learnt, pixel_sizes_um)
    found = []
    for number, (plane, size) in enumerate(zip(planes, pixel_sizes_um, strict=True)):
        yield Progress(number, len(planes), "planes")
        with device_errors():
            found.append(_answer(learnt, _features(learnt, plane, size)))
    yield Progress(len(planes), len(planes), "planes")
    return found


@torch.no_grad()
def _answer(learnt: LearntClasses, features: Tensor) -> FewShotAnswer:
    """What features (1, d) of an image say."""
    names = learnt.names
    logits = learnt.network.logits(learnt.features, learnt.classes, features, len(names))
    probabilities = logits.softmax(1)[0].double().cpu().numpy()
    best = int(probabilities.argmax())
    centres = prototypes(learnt.features, learnt.classes, len(names))
    similarity = float(cosines(features, centres)[0, best])
    stranger = max(cosines(features, learnt.outsiders)[0].tolist(), default=-1.0)
    familiar = similarity >= max(learnt.least_similarity[best], stranger)
    return FewShotAnswer(
        names[best] if familiar else OUTSIDERS, probabilities, similarity, familiar
    )


def _features(learnt: LearntClasses, plane: Grey, size: float | None) -> Tensor:
    """Features (1, d) of a plane."""
    grey = learnt.model.card.normalisation
    device = learnt.features.device
    reader = square_reader([plane], [size], learnt.shown, grey, device)
    return spread_features(learnt.network, reader, torch.tensor([0]))


def _least_similarity(
    network: FewShotNetwork, reader: SquareReader, images: Tensor, classes: Tensor, features: Tensor
) -> Events[tuple[float, ...]]:
    """The cosine (m,) that the examples of each class reach at least.

    Each is left out in turn: it, and turned and mirrored copies of it, are compared with the mean
    of the others. The copies of an only example are varied in light and sharpness too, and compared
    with itself.

    Parameters
    ----------
    features
        (n, d) of the examples' images (n,) of classes (n,).
    """
    random = torch.Generator().manual_seed(0)
    least = []
    count = int(classes.max()) + 1
    for number in range(count):
        yield Progress(number, count, "classes")
        own = torch.nonzero(classes == number).flatten()
        with device_errors():
            seen = features[own.to(features.device)]
            copies = _copies(network, reader, images[own], random)
            least.append(_reached(seen, copies))
    yield Progress(count, count, "classes")
    return tuple(least)


def _reached(seen: Tensor, copies: Tensor) -> float:
    """The lowest cosine of examples (n, d), and of copies (n, k, d), with the others' mean."""
    if len(seen) == 1:
        return float(cosines(copies[0], seen).min())
    others = (seen.sum(0) - seen) / (len(seen) - 1)
    views = torch.cat([seen[:, None], copies], 1)
    return float(functional.cosine_similarity(views, others[:, None], dim=2).min())


@torch.no_grad()
def _copies(
    network: FewShotNetwork, reader: SquareReader, images: Tensor, random: torch.Generator
) -> Tensor:
    """Features (n, k, d) of copies of a class's examples: eight in all, two of each at least."""
    vary = augmented if len(images) == 1 else _turned
    copies = max(_FEWEST_COPIES, -(-_COPIES // len(images)))
    parts = torch.split(images.repeat_interleave(copies), _BATCH)
    seen = torch.cat([network(vary(reader, part, random)) for part in parts])
    return seen.view(len(images), copies, -1)


def _turned(reader: SquareReader, images: Tensor, random: torch.Generator) -> Tensor:
    """Squares (B, 1, S, S) of images (B,), turned and mirrored, as the network takes them."""
    shapes, sides = reader.atlas.shapes[images], reader.sides_px[images]
    crops = drawn_crops(images, shapes, sides, random, turned=True)
    return reader.normalised(reader.atlas.cut(crops, reader.shown.side))


def _shown(model: FewShotModel, examples: ClassifiedMicrographs) -> FewShotInput:
    """What the network is shown: at the model's scale, else at the examples' common one."""
    shown = model.shown
    if shown.pixel_um is not None:
        return shown
    common = common_pixel_um(examples.planes, examples.pixel_sizes_um, shown.side)
    return shown.model_copy(update={"pixel_um": common})


def _tuning(shown: FewShotInput, steps: int | None, rate: float | None, classes: int) -> Tuning:
    """As stated, else as the model's card says; there is nothing to tell apart in one class."""
    found = Tuning(
        shown.tuning_steps if steps is None else steps,
        shown.tuning_rate if rate is None else rate,
    )
    useful = found.steps and found.learning_rate and classes > 1
    return found if useful else Tuning(0, 0.0)


def _require_sizes(learnt: LearntClasses, sizes: Sequence[float | None]) -> None:
    unknown = sum(size is None for size in sizes)
    if learnt.needs_pixel_size and unknown:
        raise InputError(
            f"{unknown} of {len(sizes)} images have no pixel size, and the examples are compared "
            f"at one scale; {HOW_TO_CALIBRATE}"
        )


def _doubts(library: Library, examples: ClassifiedMicrographs, shown: FewShotInput) -> list[str]:
    """What makes the answers doubtful, each in one line."""
    said = []
    single = [name for name in library.names if library.counts[name] == 1]
    if len(library.names) == 1:
        said.append(f"one class only: every answer is {library.names[0]} or none")
    if single:
        said.append(
            f"one example only of {', '.join(single)}: add more; one tells little of how much its "
            "class varies, and thus of what is none"
        )
    unknown = sum(size is None for size in examples.pixel_sizes_um)
    if shown.pixel_um is None:
        said.append(
            f"{unknown} of {len(examples)} examples have no pixel size: whole squares are "
            "compared, and magnification is not taken into account"
        )
    return said
