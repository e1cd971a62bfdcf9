"""What the form *Classify defects* computes; torch is imported there, not in the window's thread.

Its import takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..classification.confirmed import Confirmed
from ..classification.defect_parameters import DefectParameters
from ..classification.stacks import Named, Stack
from ..events import Events
from ..models.card import ModelCard
from ..training.recipe import DefectRecipe
from .worker import imported_later


def named_events(stacks: Sequence[Stack], parameters: DefectParameters) -> Events[Named]:
    """As `classification.named.name_stacks`."""

    def begun() -> Events[Named]:
        from ..classification.named import name_stacks

        return name_stacks(stacks, parameters)

    return imported_later(begun)


def heat_events(
    stack: Stack, number: int, name: str, parameters: DefectParameters
) -> Events[NDArray[np.float32]]:
    """As `classification.named.heat_of_plane`."""

    def begun() -> Events[NDArray[np.float32]]:
        from ..classification.named import heat_of_plane

        return heat_of_plane(stack, number, name, parameters)

    return imported_later(begun)


def tuned_events(
    confirmed: Sequence[Confirmed], model: str, output: Path, device: str, recipe: DefectRecipe
) -> Events[ModelCard]:
    """As `training.defect_tuning.tune_defects`."""

    def begun() -> Events[ModelCard]:
        from ..training.defect_tuning import TuningPlan, tune_defects

        return tune_defects(TuningPlan(confirmed, model, output, device, recipe))

    return imported_later(begun)
