"""What the training of a line network leaves behind: the model, its history, how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..classes import named_classes
from ..grains.grades import GRADES, REFERENCE_UM
from ..grains.line_model import save_line_model
from ..models.card import LineInput, ModelCard, Network
from .grain_size import GrainSizeJob, TrainedLines
from .results import Description, made_with, write_all


@dataclass(frozen=True)
class LineDescription(Description):
    """What a line network's card says beyond the training itself."""

    images: tuple[str, ...] = ()
    paper_mode: bool = False


def write_line_results(
    path: Path, job: GrainSizeJob, trained: TrainedLines, description: LineDescription
) -> ModelCard:
    """Write the model, `history.csv` and `training.json` beside it, all or none of them.

    The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the model, or another one with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    card = line_card(path.stem, job, trained, description)
    report = {
        **job.settings(),
        "training_images": len(job.lines),
        "validation_images": len(job.validation or ()),
        "kept_iteration": trained.iteration,
        "metrics": trained.metrics,
        **made_with(job.device),
    }
    history = pd.DataFrame(trained.history)
    write_all(path, history, report, lambda: save_line_model(path, card, trained.network))
    return card


def line_card(
    name: str, job: GrainSizeJob, trained: TrainedLines, description: LineDescription
) -> ModelCard:
    """The card of a trained line network."""
    named = {
        "accuracy": "validation accuracy, 8 lines",
        "within_one_class": "validation accuracy within one class, 8 lines",
        "mean_abs_error_G": "validation mean |error of G|, 8 lines",
    }
    return ModelCard(
        name=name,
        task="grain-size",
        network=Network(architecture="line-network", encoder="none"),
        classes=named_classes([f"G {grade:g}" for grade in GRADES]),
        normalisation=job.normalisation,
        lines=LineInput(
            pixel_um=None if description.paper_mode else REFERENCE_UM,
            grades=GRADES,
            each_line=job.recipe.normalise_by == "line",
        ),
        data=description.source(job.lines.digest(), description.images),
        training={**job.recipe.model_dump(), "device": job.device.type},
        metrics={named[key]: value for key, value in trained.metrics.items()},
        storage=description.storage,
    )
