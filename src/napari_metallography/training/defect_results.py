"""What a training of surface defects leaves: the model, its history, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..classification.model import defect_classes, save_defect_model
from ..models.card import ModelCard
from .defects import DefectJob, TrainedDefects
from .results import Description, class_metrics, made_with, write_all


def write_defect_results(
    path: Path, job: DefectJob, trained: TrainedDefects, description: Description
) -> ModelCard:
    """Write the model, `history.csv` and `training.json` beside it, all or none of them.

    The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the model, or another one with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    card = defect_card(path.stem, job, trained, description)
    history = pd.DataFrame(trained.history)
    report = _report(job, trained, card)
    write_all(path, history, report, lambda: save_defect_model(path, card, trained.network))
    return card


def defect_card(
    name: str, job: DefectJob, trained: TrainedDefects, description: Description
) -> ModelCard:
    """The card of a trained network."""
    shown = job.shown.model_copy(
        update={
            "temperature": trained.temperature,
            "risks": trained.risks,
            "most_strange": trained.most_strange,
        }
    )
    return ModelCard(
        name=name,
        task="defects",
        network=job.network,
        classes=defect_classes(job.images.names),
        normalisation=job.normalisation,
        defects=shown,
        pixel_size_um=job.images.pixel_size_range_um,
        data=description.source(job.images.digest(), job.images.files),
        training={**job.recipe.model_dump(), "device": job.device.type},
        parent=job.start.parent if job.start else None,
        metrics=class_metrics(trained.metrics),
        storage=description.storage,
    )


def _report(job: DefectJob, trained: TrainedDefects, card: ModelCard) -> dict[str, Any]:
    held_out = job.validation.files if job.validation else ()
    return {
        **job.settings(),
        "classes": list(job.images.names),
        "training_images": list(job.images.files),
        "validation_images": list(held_out),
        "skipped": list(job.images.skipped),
        "epochs": job.recipe.iterations * job.recipe.batch_size / len(job.images),
        "kept_iteration": trained.iteration,
        "metrics": trained.metrics,
        "calibration": (card.defects or job.shown).model_dump(mode="json"),
        **made_with(job.device),
    }
