"""What the form *Structure quiz* computes; torch is imported there, not in the window's thread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..evaluation.quiz import QuizParameters
from ..events import Events
from .worker import imported_later


def quiz_events(parameters: QuizParameters) -> Events[NDArray[np.float64]]:
    """As `evaluation.quiz_crops.run_quiz`."""

    def begun() -> Events[NDArray[np.float64]]:
        from ..evaluation.quiz_crops import run_quiz

        return run_quiz(parameters)

    return imported_later(begun)
