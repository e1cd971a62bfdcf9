"""The crops that a quiz asks about, and what the model makes of exactly these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..calibration import Calibration
from ..classification.crops import Crops, drawn_crops
from ..classification.images import OUTSIDER, OUTSIDERS, listed_images
from ..classification.micrographs import ClassifiedMicrographs, read_micrographs
from ..classification.structure import plane_reader, provenance
from ..classification.structure_model import StructureModel, load_structure_model
from ..devices import choose_device, device_errors
from ..errors import InputError
from ..events import Events, Notice, Progress
from ..models.card import StructureInput
from .classes import Indices, learnt_images
from .quiz import Question, Quiz, QuizParameters, asked_images

_CPU = torch.device("cpu")
_FEWEST_CLASSES = 2


def run_quiz(parameters: QuizParameters) -> Events[NDArray[np.float64]]:
    """Draw the questions, hand them over as a `Quiz`, and have the model answer them.

    Returns
    -------
    (n, k) as `model_answers`.

    Yields
    ------
    Progress, Notice
        As `drawn_quiz` and `model_answers`.
    Quiz
        Once.

    Raises
    ------
    InputError
        When there is no such model, or as `drawn_quiz`.
    DeviceError
        When the device fails.
    """
    device = choose_device(parameters.device)
    model = load_structure_model(parameters.model)
    quiz = yield from drawn_quiz(model, parameters)
    yield quiz
    return (yield from model_answers(model, quiz, device))


def drawn_quiz(model: StructureModel, parameters: QuizParameters) -> Events[Quiz]:
    """Read the images and draw square crops at random places, of random scales the model takes.

    Yields
    ------
    Progress
        Images read, then crops drawn.
    Notice
        What was skipped or counts as none, and what is not quite fair.

    Raises
    ------
    InputError
        When the folder holds no image of a class of the model or images of one class only, or a
        pixel size is needed and not known.
    """
    images = yield from _images(model, parameters)
    names = model.names if parameters.allow_none else model.names[:-1]
    truth = np.where(images.classes == OUTSIDER, len(model.names) - 1, images.classes)
    _require_usable(images, truth, model, parameters)
    asked = asked_images(truth, parameters.questions, parameters.seed)
    random = torch.Generator().manual_seed(parameters.seed)
    questions = []
    for done, number in enumerate(asked):
        yield Progress(done, len(asked), "crops drawn")
        questions.append(_question(images, number, int(truth[number]), model, random))
    yield from _remarks(questions, model)
    told = provenance(model, None) | {
        "parameters": parameters.model_dump(
            mode="json", include={"questions", "seed", "allow_none"}
        ),
        "folder": parameters.data.resolve().name,
        "data_digest": images.digest(),
        "names": list(names),
    }
    return Quiz(tuple(questions), names, model.shown.magnification, told)


def model_answers(
    model: StructureModel, quiz: Quiz, device: torch.device
) -> Events[NDArray[np.float64]]:
    """Have the model name the crops of a quiz, of which it sees what the person sees.

    Returns
    -------
    (n, k) probabilities by the names of the quiz. Where "none" may not be answered, those of the
    classes alone.

    Yields
    ------
    Progress
        Crops named.

    Raises
    ------
    DeviceError
        When the device fails.
    """
    model.network.core.to(device)
    found = []
    for done, question in enumerate(quiz.questions):
        yield Progress(done, len(quiz.questions), "crops named by the model")
        with device_errors():
            found.append(_described(question, model, device))
    yield Progress(len(quiz.questions), len(quiz.questions), "crops named by the model")
    gaussians, descriptors = model.network.gaussians.cpu(), torch.cat(found)
    if len(quiz.names) == len(model.names):
        return gaussians.probabilities(descriptors).numpy()
    return gaussians.log_likelihoods(descriptors).softmax(1).numpy()


def _images(model: StructureModel, parameters: QuizParameters) -> Events[ClassifiedMicrographs]:
    """Of the classes of the model, and, where "none" may be answered, outsiders."""
    data, known = parameters.data, model.names[:-1]
    present = {name for _, name in listed_images(data)}
    if present.isdisjoint(known):
        raise InputError(
            f"{data}: holds no image of a class of the model: {', '.join(known)}; choose another "
            "folder or model"
        )
    foreign = sorted(present - {*known, OUTSIDERS})
    if foreign:
        yield Notice(_foreign_words(foreign, allow_none=parameters.allow_none))
    return (
        yield from read_micrographs(
            data,
            smallest_px=model.shown.smallest_px,
            names=known,
            without=[] if parameters.allow_none else sorted(present - {*known}),
            outsiders=foreign if parameters.allow_none else [],
        )
    )


def _foreign_words(names: Sequence[str], *, allow_none: bool) -> str:
    count = "count as none" if allow_none else "are left out, as none may not be answered"
    return f"images of {', '.join(names)} {count}: the model was never taught them"


def _require_usable(
    images: ClassifiedMicrographs, truth: Indices, model: StructureModel, parameters: QuizParameters
) -> None:
    present = np.unique(truth)
    if len(present) < _FEWEST_CLASSES:
        raise InputError(
            f"{parameters.data}: holds usable images of {model.names[present[0]]} only; a quiz "
            "needs two classes, or a class and the folder none"
        )
    if not model.shown.magnification:
        return
    for file, size in zip(images.files, images.pixel_sizes_um, strict=True):
        if size is None:
            raise InputError(
                f"{file}: no pixel size is known, and the model needs it; state it in an index.csv "
                f"in {parameters.data}, column pixel_size_um"
            )


def _question(
    images: ClassifiedMicrographs,
    number: int,
    truth: int,
    model: StructureModel,
    random: torch.Generator,
) -> Question:
    plane, size = images.planes[number], images.pixel_sizes_um[number]
    reader = plane_reader(plane, _calibration(size), model, _CPU, images.files[number])
    first = torch.zeros(1, dtype=torch.int64)
    sides = reader.sides(first, random)
    crops = drawn_crops(first, reader.atlas.shapes[first], sides, random, turned=False)
    top, left, side = _whole_pixels(crops, plane.shape)
    pixels = plane[top : top + side, left : left + side].copy()
    return Question(pixels, truth, images.files[number], top, left, size)


def _whole_pixels(crops: Crops, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Top, left and side of a crop, inside the image."""
    side = min(round(float(crops.sides[0])), *shape)
    corners = (crops.centres[0] - side / 2).round().int().tolist()
    top, left = (
        min(max(corner, 0), length - side) for corner, length in zip(corners, shape, strict=True)
    )
    return top, left, side


def _described(question: Question, model: StructureModel, device: torch.device) -> Tensor:
    """Descriptor (1, 2) of a crop, upright and from nothing but its own pixels."""
    calibration = _calibration(question.pixel_size_um)
    reader = plane_reader(question.pixels, calibration, model, device, question.file)
    first, zero = torch.zeros(1, dtype=torch.int64), torch.zeros(1)
    sides = torch.tensor([float(question.side)])
    crops = Crops(first, sides.expand(1, 2) / 2, sides, zero, zero.bool())
    pixels = reader.atlas.cut(crops, model.shown.side)
    magnifications = reader.magnifications(first, sides).to(device)
    with torch.no_grad():
        descriptor: Tensor = model.network(reader.normalised(pixels), magnifications).cpu()
    return descriptor


def _remarks(questions: Sequence[Question], model: StructureModel) -> Events[None]:
    """What the user should know of the comparison."""
    often = Counter(one.file for one in questions)
    if max(often.values()) > 1:
        yield Notice(
            f"{len(questions)} crops are of {len(often)} images only: answers of one image depend "
            "on each other"
        )
    learnt = sum(often[file] for file in learnt_images(model.card, often))
    if learnt:
        yield Notice(
            f"{learnt} crops are of files called like those the model learnt from: if they are the "
            "same, the model has an advantage; take other images"
        )
    outside = sum(_is_outside(one, model.shown) for one in questions)
    if outside:
        yield Notice(f"{outside} crops are at magnifications the model was not trained on")


def _is_outside(question: Question, shown: StructureInput) -> bool:
    """Whether the model never saw such a magnification; rounding to whole pixels is none."""
    if shown.px_per_um is None or question.pixel_size_um is None:
        return False
    coarsest, finest = shown.px_per_um
    smallest, largest = ((question.side + change) * question.pixel_size_um for change in (-1, 1))
    return shown.side / smallest < coarsest or shown.side / largest > finest


def _calibration(size_um: float | None) -> Calibration | None:
    return Calibration.square(size_um, "data") if size_um else None
