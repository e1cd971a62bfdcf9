"""Classes learnt from a few examples of each, and images named by them.

A network that tells classes it has never seen (Snell, Swersky and Zemel, Prototypical networks for
few-shot learning, NeurIPS 2017) is tuned to the examples (Hu et al., Pushing the limits of simple
pipelines for few-shot learning, CVPR 2022); each class is the mean of what it sees in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional

from .. import __version__
from ..calibration import HOW_TO_CALIBRATE
from ..classification.few_shot_model import (
    FewShotModel,
    FewShotNetwork,
    SquareReader,
    common_pixel_um,
    load_few_shot_model,
    narrowest_words,
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
from .structure_samples import varied
from .task_tuning import Tuning, tuned

_ABOVE = 0.9
_FEWEST_WITNESSES = 3
_COPIES = 8
_FEWEST_COPIES = 2
_OTHER_TURNS = 7
_WIDE_ENOUGH = 0.999
_HALF = 0.5


@dataclass(frozen=True)
class FewShotAnswer:
    """What an image shows.

    Attributes
    ----------
    answer
        The most probable class, or "none".
    probabilities
        (m,) of the classes.
    similarity
        Cosine, −1 to 1, of the most probable class's prototype and what the network sees.
    least_similarity
        Below which the image is none of the classes: what the examples of that class reach among
        themselves, or its similarity to an example of no class where that is more.
    """

    answer: str
    probabilities: NDArray[np.float64]
    similarity: float
    least_similarity: float


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

    @cached_property
    def examples_digest(self) -> str:
        """SHA-256 over the examples."""
        return self.examples.digest()

    def _specimens_of(self, number: int) -> set[str]:
        specimens, classes = self.examples.specimens, self.examples.classes
        return {one for one, own in zip(specimens, classes, strict=True) if own == number}

    def provenance(self) -> dict[str, Any]:
        """How answers come about: JSON."""
        counts = np.bincount(self.examples.classes[self.examples.classes != OUTSIDER])
        return {
            "model": self.model.card.name,
            "model_digest": self.model.digest,
            "examples": dict(zip(self.names, counts.tolist(), strict=True)),
            "specimens": {one: len(self._specimens_of(n)) for n, one in enumerate(self.names)},
            "compared": "features" if self.network.whitening is None else "whitened textures",
            "examples_of_none": int((self.examples.classes == OUTSIDER).sum()),
            "examples_digest": self.examples_digest,
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
    for words in _doubts(model, library, examples, shown):
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
    specimens = _numbered([examples.specimens[int(number)] for number in known])
    running = _least_similarity(network, reader, known, (classes, specimens), features)
    least = yield from running
    lax = [name for name, one in zip(examples.names, least, strict=True) if one <= 0]
    if lax:
        yield Notice(f"hardly anything is none of {', '.join(lax)}: add specimens that show it")
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
    Notice
        When some show less than is compared.

    Raises
    ------
    InputError
        When the pixel size of one is needed and not known, or one shows less than half of what is
        compared.
    DeviceError
        When the device fails.
    """
    _require_sizes(learnt, pixel_sizes_um)
    pairs = zip(planes, pixel_sizes_um, strict=True)
    narrow = sum(shows_less(learnt.shown, plane, size) for plane, size in pairs)
    if narrow:
        yield Notice(less_words(learnt.shown, f"{narrow} of {len(planes)} planes"))
    found = []
    for number, (plane, size) in enumerate(zip(planes, pixel_sizes_um, strict=True)):
        yield Progress(number, len(planes), "planes")
        with device_errors():
            found.append(_answer(learnt, _features(learnt, plane, size)))
    yield Progress(len(planes), len(planes), "planes")
    return found


def shows_less(
    shown: FewShotInput, plane: Grey, pixel_size_um: float | None, called: str = "an image"
) -> bool:
    """Whether a plane (Y, X) shows less than the square that is compared, and is mirrored.

    Raises
    ------
    InputError
        When it shows less than half.
    """
    share = _share(shown, plane, pixel_size_um)
    if share < _HALF:
        raise InputError(
            f"{called} shows {share:.0%} of the {_side_um(shown):.3g} µm that are compared; take a "
            "larger part of the specimen, or examples of smaller ones"
        )
    return share < _WIDE_ENOUGH


def _share(shown: FewShotInput, plane: Grey, pixel_size_um: float | None) -> float:
    """How much of the side of the square that is compared a plane shows."""
    if shown.pixel_um is None or pixel_size_um is None:
        return 1.0
    return float(min(plane.shape)) * pixel_size_um / _side_um(shown)


def _side_um(shown: FewShotInput) -> float:
    return shown.side * (shown.pixel_um or math.nan)


def less_words(shown: FewShotInput, which: str) -> str:
    """That some planes show less than is compared, in one line."""
    return (
        f"{which} show less than the {_side_um(shown):.3g} µm that are compared, and are mirrored "
        "at their edges"
    )


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
    least = max(learnt.least_similarity[best], stranger)
    answer = names[best] if similarity >= least else OUTSIDERS
    return FewShotAnswer(answer, probabilities, similarity, least)


def _features(learnt: LearntClasses, plane: Grey, size: float | None) -> Tensor:
    """Features (1, d) of a plane."""
    grey = learnt.model.card.normalisation
    device = learnt.features.device
    reader = square_reader([plane], [size], learnt.shown, grey, device)
    return spread_features(learnt.network, reader, torch.tensor([0]))


def _least_similarity(
    network: FewShotNetwork,
    reader: SquareReader,
    images: Tensor,
    classes_and_specimens: tuple[Tensor, Tensor],
    features: Tensor,
) -> Events[tuple[float, ...]]:
    """The cosine (m,) that an image of each class reaches at least.

    Each specimen is left out in turn: its examples are compared with the mean of the others. About
    nine in ten further specimens lie above the limit, were their cosines normal. One or two
    specimens tell none: there it is the lowest cosine of their examples and of turned and mirrored
    copies of them. The copies of an only specimen are varied in light and sharpness too, some are
    only edges: without these two in five good images were refused.

    Parameters
    ----------
    features
        (n, d) of the examples' images (n,) of classes and specimens (n,).
    """
    classes, specimens = classes_and_specimens
    least = []
    count = int(classes.max()) + 1
    for number in range(count):
        yield Progress(number, count, "classes")
        own = torch.nonzero(classes == number).flatten()
        with device_errors():
            seen = features[own.to(features.device)]
            witnesses = len(torch.unique(specimens[own]))
            if witnesses >= _FEWEST_WITNESSES:
                cosines_left_out = _left_out(seen, seen[:, None], specimens[own])
                least.append(_prediction_limit(_means(cosines_left_out[:, 0], specimens[own])))
                continue
            only = witnesses == 1
            copies = _copies(network, reader, images[own], only=only)
            # Parts of one specimen are no independent witnesses, but all there is.
            groups = torch.arange(len(own)) if only else specimens[own]
            views = torch.cat([seen[:, None], copies], 1)
            least.append(float(_left_out(seen, views, groups).min()))
    yield Progress(count, count, "classes")
    return tuple(least)


def _means(values: Tensor, groups: Tensor) -> Tensor:
    """Means (g,) of the values (n,) of each group (n,)."""
    return torch.stack([values[groups == one].mean() for one in torch.unique(groups)])


def _prediction_limit(values: Tensor) -> float:
    """Above which nine in ten further values lie: mean − t·s·√(1 + 1/n) of n normal ones (n,).

    Hahn and Meeker, Statistical intervals (1991), section 4.7.
    """
    count = len(values)
    t = float(student.ppf(_ABOVE, count - 1)) * math.sqrt(1 + 1 / count)
    return float(values.mean() - t * values.std())


def _left_out(seen: Tensor, views: Tensor, groups: Tensor) -> Tensor:
    """Cosines (n, k) of views (n, k, d) of examples with the mean of the other groups' (n, d).

    Where there is one group (n,) only, with its own.
    """
    others = groups[:, None] != groups
    if not others.any():
        others = ~others
    shares = (others / others.sum(1, keepdim=True)).to(seen)
    return functional.cosine_similarity(views, (shares @ seen)[:, None], dim=2)


def _copies(network: FewShotNetwork, reader: SquareReader, images: Tensor, *, only: bool) -> Tensor:
    """Features (n, k, d) of copies of a class's examples: eight in all, two of each at least.

    They are made like those of an image that is to be named: of the same squares.
    """
    copies = max(_FEWEST_COPIES, -(-_COPIES // len(images)))
    several = images.repeat_interleave(copies)
    turns = 1 + torch.arange(len(several)) % _OTHER_TURNS
    seen = spread_features(network, reader, several, turns, _lit if only else None)
    return seen.view(len(images), copies, -1)


def _lit(squares: Tensor, images: Tensor) -> Tensor:
    """Squares lit and blurred differently, those of one image alike."""
    return torch.cat(
        [
            varied(square[None], random)
            for square, random in zip(squares, map(_generator, images), strict=True)
        ]
    )


def _generator(seed: Tensor) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))


def _numbered(names: Sequence[str]) -> Tensor:
    """Numbers (n,), the same for the same name."""
    _, numbers = np.unique(np.array(names), return_inverse=True)
    return torch.from_numpy(numbers)


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


def _specimens(library: Library, name: str) -> set[str]:
    return {one.specimen for one in library.examples if one.name == name}


def _doubts(
    model: FewShotModel, library: Library, examples: ClassifiedMicrographs, shown: FewShotInput
) -> list[str]:
    """What makes the answers doubtful, each in one line."""
    said = []
    single = [name for name in library.names if len(_specimens(library, name)) == 1]
    if len(library.names) == 1:
        said.append(f"one class only: every answer is {library.names[0]} or none")
    if single:
        said.append(
            f"examples of one specimen only of {', '.join(single)}: add those of others; one tells "
            "little of how much its class varies, and thus of what is none"
        )
    said += _scale_doubts(model, examples, shown)
    return said


def _scale_doubts(
    model: FewShotModel, examples: ClassifiedMicrographs, shown: FewShotInput
) -> list[str]:
    """What is to be known of the scale at which images are compared, each in one line."""
    sizes, planes = examples.pixel_sizes_um, examples.planes
    if shown.pixel_um is None:
        unknown = sum(size is None for size in sizes)
        return [
            f"{unknown} of {len(examples)} examples have no pixel size: whole squares are "
            "compared, and magnification is not taken into account"
        ]
    if model.shown.pixel_um is None:
        words = narrowest_words(examples.files, planes, sizes)
        return [f"{words}; take that example out, or a larger part of its image"] if words else []
    pairs = zip(planes, sizes, strict=True)
    narrow = sum(_share(shown, plane, size) < _WIDE_ENOUGH for plane, size in pairs)
    return [less_words(shown, f"{narrow} of {len(examples)} examples")] if narrow else []
