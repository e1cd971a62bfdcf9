"""What a few-shot training leaves: the model, its history, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..classes import named_classes
from ..classification.few_shot_model import ARCHITECTURE, save_few_shot_model
from ..models.card import ModelCard, Network
from .few_shot import FewShotJob, TrainedFewShot
from .results import Description, made_with, write_all


def write_few_shot_results(
    path: Path, job: FewShotJob, trained: TrainedFewShot, description: Description
) -> ModelCard:
    """Write the model, `history.csv` and `training.json` beside it, all or none of them.

    The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the model, or another one with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    card = few_shot_card(path.stem, job, trained, description)
    history, report = pd.DataFrame(trained.history), _report(job, trained)
    write_all(path, history, report, lambda: save_few_shot_model(path, card, trained.network))
    return card


def few_shot_card(
    name: str, job: FewShotJob, trained: TrainedFewShot, description: Description
) -> ModelCard:
    """The card of a trained network; its classes are those it learnt from."""
    return ModelCard(
        name=name,
        task="few-shot",
        network=Network(architecture=ARCHITECTURE, encoder=job.encoder),
        classes=named_classes(job.images.names),
        normalisation=job.normalisation,
        few_shot=trained.shown,
        pixel_size_um=job.images.pixel_size_range_um(),
        data=description.source(job.images.digest(), job.images.files),
        training={
            **job.recipe.model_dump(),
            "encoder_weights": job.weights_name,
            "device": job.device.type,
        },
        metrics=_metrics(trained),
        storage=description.storage,
    )


def _metrics(trained: TrainedFewShot) -> dict[str, float]:
    shown = trained.shown
    which = f"validation accuracy, {shown.ways} classes, {shown.shots} shot"
    return {
        f"{which}, prototypes": trained.by_rate[0.0],
        f"{which}, tuned": trained.by_rate[shown.tuning_rate],
    }


def _report(job: FewShotJob, trained: TrainedFewShot) -> dict[str, Any]:
    return {
        **job.settings(),
        "shown": trained.shown.model_dump(mode="json"),
        "classes": list(job.images.names),
        "validation_classes": list(job.validation.names),
        "training_images": list(job.images.files),
        "validation_images": list(job.validation.files),
        "skipped": [*job.images.skipped, *job.validation.skipped],
        "kept_iteration": trained.iteration,
        "accuracy_by_tuning_rate": {f"{rate:g}": a for rate, a in trained.by_rate.items()},
        **made_with(job.device),
    }
