"""A blind quiz: crops that a person and a model of structures both name, and how both score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..events import Part
from .classes import Indices, class_scores

PERSON, MODEL = "person", "model"

_CONFIDENCE = 0.95


class QuizParameters(BaseModel):
    """What is asked.

    Attributes
    ----------
    data
        A folder with a folder a class, or with an index.csv that has the column class.
    model
        Name or file of a structure model.
    questions
        How many crops are asked about, of each class about as many.
    seed
        The same seed asks about the same crops of the same images.
    allow_none
        Images of the folder "none", and those of classes the model does not know, are asked about
        too; "None of these" is right for them. Without, they are left out.
    device
        "auto", "cpu" or "cuda".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    model: str
    questions: int = Field(default=24, ge=2, le=999)
    seed: int = Field(default=0, ge=0)
    allow_none: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Question:
    """A crop to be named.

    Attributes
    ----------
    pixels
        (S, S) uint8, grey values: all that the person and the model see of the image.
    truth
        Index in the names of the quiz.
    file
        Of the image, relative to the folder.
    top, left
        Of the crop, in pixels of the image without its data bar.
    pixel_size_um
        None where unknown.
    """

    pixels: NDArray[np.uint8]
    truth: int
    file: str
    top: int
    left: int
    pixel_size_um: float | None

    @property
    def side(self) -> int:
        """Of the crop, in pixels."""
        return len(self.pixels)

    def place(self) -> dict[str, Any]:
        """Where the crop lies: JSON."""
        return {
            "image": self.file,
            "top": self.top,
            "left": self.left,
            "side": self.side,
            "pixel_size_um": self.pixel_size_um,
        }


@dataclass(frozen=True)
class Quiz(Part):
    """What is asked, handed over before the model answers.

    Attributes
    ----------
    names
        What may be answered: the classes of the model, and "none" last where it is allowed.
    tells_scale
        Whether the model is told the magnification, and so the person.
    provenance
        Model, seed and data: JSON.
    """

    questions: tuple[Question, ...]
    names: tuple[str, ...]
    tells_scale: bool
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class MarkedQuiz:
    """The questions that a person answered, the first ones of a quiz, and the model's answers.

    Attributes
    ----------
    answers
        The person's, by index in the names of the quiz.
    probabilities
        (n, k) the model's, of all questions and names.

    Raises
    ------
    InputError
        When nothing was answered.
    """

    quiz: Quiz
    answers: tuple[int, ...]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.answers:
            raise InputError("no question was answered; start the quiz again")

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those that were answered."""
        return self.quiz.questions[: len(self.answers)]

    @property
    def truth(self) -> Indices:
        """(n,) of the questions that were answered."""
        return np.array([one.truth for one in self.questions], np.int64)

    @property
    def by_model(self) -> Indices:
        """The model's answers (n,) to the same questions: the most probable ones."""
        return np.asarray(self.probabilities[: len(self.answers)].argmax(1), np.int64)

    def scores(self) -> dict[str, Any]:
        """As `quiz_scores`."""
        person = np.array(self.answers, np.int64)
        return quiz_scores(self.truth, person, self.by_model, self.quiz.names)

    def rows(self) -> list[dict[str, Any]]:
        """A row a question: where the crop lies, its class, both answers and probabilities."""
        names = self.quiz.names
        return [
            {
                **question.place(),
                "truth": names[question.truth],
                PERSON: names[answer],
                MODEL: names[by_model],
                **dict(zip((f"probability_{name}" for name in names), own, strict=True)),
            }
            for question, answer, by_model, own in zip(
                self.questions,
                self.answers,
                self.by_model,
                self.probabilities[: len(self.answers)].tolist(),
                strict=True,
            )
        ]

    def report(self) -> dict[str, Any]:
        """How the answers came about, and the scores: JSON."""
        return {
            **self.quiz.provenance,
            "asked": len(self.quiz.questions),
            "answered": len(self.answers),
            "crops": [one.place() for one in self.questions],
            "scores": self.scores(),
        }


def asked_images(classes: Indices, questions: int, seed: int) -> list[int]:
    """Which images are asked about: of each class as many, up to one, in random order.

    An image comes again only when all of its class have come.

    Parameters
    ----------
    classes
        (n,) of the images.
    """
    random = np.random.default_rng(seed)
    present = random.permutation(np.unique(classes))
    drawn = [_again_and_again(np.flatnonzero(classes == number), random) for number in present]
    chosen = [next(drawn[place % len(drawn)]) for place in range(questions)]
    return [int(number) for number in random.permutation(chosen)]


def quiz_scores(
    truth: Indices, person: Indices, model: Indices, names: Sequence[str]
) -> dict[str, Any]:
    """Scores of a person and a model who answered the same questions.

    Parameters
    ----------
    truth, person, model
        (n,) indices in `names`.

    Returns
    -------
    dict
        `n`; of `person` and `model` what `class_scores` says, with `right`, a number, and
        `accuracy_ci95`; `agreement`, the share of questions with the same answer;
        `only_person_right` and `only_model_right`, numbers, and `p_value` of their difference.
    """
    by_person, by_model = person == truth, model == truth
    only_person, only_model = (
        int((one & ~other).sum()) for one, other in ((by_person, by_model), (by_model, by_person))
    )
    return {
        "n": len(truth),
        PERSON: _scores(truth, person, names),
        MODEL: _scores(truth, model, names),
        "agreement": float((person == model).mean()),
        "only_person_right": only_person,
        "only_model_right": only_model,
        "p_value": exact_mcnemar(only_person, only_model),
    }


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % confidence interval of a share.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22
    (1927) 209.
    """
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    share, weight = right / count, z * z / count
    middle = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    # What rounding leaves at the ends.
    return (max(0.0, middle - reach) if right else 0.0, min(1.0, middle + reach))


def exact_mcnemar(one: int, other: int) -> float:
    """Probability of so large a difference, or a larger one, between two who are equally good.

    Two-sided, by the binomial distribution.

    Source: McNemar, Psychometrika 12 (1947) 153.

    Parameters
    ----------
    one, other
        Numbers of questions that only one, and only the other, answered rightly.
    """
    count, fewer = one + other, min(one, other)
    tail = sum(math.comb(count, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << count))


def _scores(truth: Indices, answers: Indices, names: Sequence[str]) -> dict[str, Any]:
    right = int((truth == answers).sum())
    found = class_scores(truth, answers, names)
    return {**found, "right": right, "accuracy_ci95": list(wilson_interval(right, len(truth)))}


def _again_and_again(numbers: Indices, random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(numbers).tolist()
