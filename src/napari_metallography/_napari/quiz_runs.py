"""What the form *Structure quiz* computes; torch is imported there, not in the window's thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.quiz import Quiz, QuizParameters
from ..events import Events
from .worker import imported_later


def quiz_events(parameters: QuizParameters) -> Events[NDArray[np.float64]]:
    """As `evaluation.quiz_crops.run_quiz`."""

    def begun() -> Events[NDArray[np.float64]]:
        from ..evaluation.quiz_crops import run_quiz

        return run_quiz(parameters)

    return imported_later(begun)


def again_events(quiz: Quiz, parameters: QuizParameters) -> Events[NDArray[np.float64]]:
    """Have the model answer a quiz that is there already; as `quiz_crops.model_answers`.

    Raises
    ------
    InputError
        When the model cannot be read, or is another one by now.
    """

    def begun() -> Events[NDArray[np.float64]]:
        from ..classification.structure_model import load_structure_model
        from ..devices import choose_device
        from ..evaluation.quiz_crops import model_answers

        model = load_structure_model(parameters.model)
        if model.digest != quiz.provenance["model_digest"]:
            raise InputError(
                f"model {model.card.name}: the model file has changed; start another quiz"
            )
        return model_answers(model, quiz, choose_device(parameters.device))

    return imported_later(begun)
