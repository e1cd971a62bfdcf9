"""What is trained, on what, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..devices import Precision
from ..labelled import LabelledImage, digest
from .recipe import SegmentationRecipe
from .start import Start


@dataclass(frozen=True)
class TrainingJob:
    """What is trained, on what, and how.

    Attributes
    ----------
    checkpoint
        File that lets the training go on after a stop; removed by whoever keeps the result.
    precision
        Of the computation; the weights are float32.
    watch
        Gives the pixels (Y, X, 3) to predict every `preview_every` iterations, None for none.
    all_labels_from
        Iteration after which the labels of `validation` are learnt too, and no longer judged by;
        None never learns them.
    """

    images: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    start: Start
    classes: int
    recipe: SegmentationRecipe
    device: torch.device
    checkpoint: Path | None = None
    precision: Precision = "32-true"
    watch: Callable[[], NDArray[np.uint8] | None] | None = None
    all_labels_from: int | None = None

    @property
    def judged_until(self) -> int:
        """The last iteration that the validation images can judge."""
        return self.recipe.iterations if self.all_labels_from is None else self.all_labels_from

    def settings(self) -> dict[str, Any]:
        """All that determines the result."""
        return {
            "data": digest(self.images),
            "validation": digest(self.validation),
            "network": self.start.network.model_dump(),
            "classes": self.classes,
            "normalisation": self.start.normalisation.model_dump(),
            "encoder_weights": self.start.encoder_weights,
            "weights": self.start.digest,
            "device": self.device.type,
            "precision": self.precision,
            "recipe": self.recipe.model_dump(),
            "parent": self.start.parent,
            "rows": list(self.start.rows),
            "all_labels_from": self.all_labels_from,
        }
