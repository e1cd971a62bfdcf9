"""What a training of structures leaves: the model, its history, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..classes import named_classes
from ..classification.structure_model import ARCHITECTURE, ENCODER, save_structure_model
from ..models.card import ModelCard, Network
from .results import Description, made_with, write_all
from .structure import StructureJob, TrainedStructure, doubts

_CARD_WORDS = {
    "accuracy": "validation accuracy without none",
    "macro_f1": "validation macro F1 without none",
}
_ROLES = {
    "training_images": (
        "weights of the network, Gaussians, textures; limit of strangeness; threshold of classes "
        "without others"
    ),
    "validation_images": (
        "choice of the weights, metrics, Gaussians, textures, threshold, limit of strangeness"
    ),
}


def write_structure_results(
    path: Path, job: StructureJob, trained: TrainedStructure, description: Description
) -> ModelCard:
    """Write the model, `history.csv` and `training.json` beside it, all or none of them.

    The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the model, or another one with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    card = structure_card(path.stem, job, trained, description)
    history = pd.DataFrame(trained.history)
    report = _report(job, trained)
    write_all(path, history, report, lambda: save_structure_model(path, card, trained.network))
    return card


def structure_card(
    name: str, job: StructureJob, trained: TrainedStructure, description: Description
) -> ModelCard:
    """The card of a trained network."""
    fitted = job.fitted
    return ModelCard(
        name=name,
        task="structure",
        network=Network(architecture=ARCHITECTURE, encoder=ENCODER),
        classes=named_classes(job.images.names),
        normalisation=job.normalisation,
        structure=trained.shown,
        pixel_size_um=fitted.pixel_size_range_um(),
        data=description.source(fitted.digest(), fitted.files),
        training={
            **job.recipe.model_dump(),
            "encoder_weights": job.encoder_name,
            "device": job.device.type,
        },
        metrics={_CARD_WORDS[name]: value for name, value in trained.metrics.items()},
        storage=description.storage,
    )


def _metrics(trained: TrainedStructure) -> dict[str, float]:
    """The validation results, which do not know the answer "none"."""
    return {f"{name}_without_none": value for name, value in trained.metrics.items()}


def _report(job: StructureJob, trained: TrainedStructure) -> dict[str, Any]:
    held_out = job.validation.files if job.validation else ()
    return {
        **job.settings(),
        "shown": trained.shown.model_dump(mode="json"),
        "classes": list(job.images.names),
        "training_images": list(job.images.files),
        "validation_images": list(held_out),
        "roles": _ROLES,
        "skipped": list(job.images.skipped),
        "notes": doubts(job.images, job.shown),
        "kept_iteration": trained.iteration,
        "metrics": _metrics(trained),
        "validated_on": len(held_out),
        "threshold": float(trained.network.gaussians.threshold),
        "refused": trained.refused,
        **made_with(job.device),
    }
