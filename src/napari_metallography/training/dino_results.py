"""What the training of a backbone leaves: its tensors with a card, history, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..calibration import size_range_um
from ..classification.backbone import WHITENING
from ..models.card import ModelCard, Network
from ..models.file import write_model
from .dino import BackboneJob, TrainedBackbone
from .results import Description, made_with, write_all

ARCHITECTURE = "dino"


def write_backbone_results(
    path: Path, job: BackboneJob, trained: TrainedBackbone, description: Description
) -> ModelCard:
    """Write the backbone, `history.csv` and `training.json` beside it, all or none of them.

    The tensors have torchvision's names, and start whatever takes a file of encoder weights; those
    that whiten the textures stand beside them. The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the file, or another model with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    card = backbone_card(path.stem, job, trained, description)
    columns = None if trained.history else ["iteration", "loss"]
    history, report = pd.DataFrame(trained.history, columns=columns), _report(job, trained)
    whitening = {f"{WHITENING}{name}": t for name, t in trained.whitening.state_dict().items()}
    tensors = trained.backbone.tensors() | whitening
    write_all(path, history, report, lambda: write_model(path, card, tensors))
    return card


def backbone_card(
    name: str, job: BackboneJob, trained: TrainedBackbone, description: Description
) -> ModelCard:
    """The card of a backbone, which knows no classes."""
    found = _spread(trained)
    return ModelCard(
        name=name,
        task="backbone",
        network=Network(architecture=ARCHITECTURE, encoder=job.encoder),
        classes=(),
        normalisation=job.normalisation,
        pixel_size_um=size_range_um(job.images.pixel_sizes_um),
        data=description.source(job.images.digest(), job.images.files),
        training={
            **job.recipe.model_dump(),
            "side": job.side,
            "encoder_weights": job.weights_name,
            "device": job.device.type,
        },
        metrics={} if found is None else {"spread of the features": found},
        storage=description.storage,
    )


def _spread(trained: TrainedBackbone) -> float | None:
    """The last that was judged, if any was."""
    return next((row["spread"] for row in reversed(trained.history) if "spread" in row), None)


def _report(job: BackboneJob, trained: TrainedBackbone) -> dict[str, Any]:
    return {
        **job.settings(),
        "training_images": list(job.images.files),
        "skipped": list(job.images.skipped),
        "kept_iteration": trained.iteration,
        "spread": _spread(trained),
        **made_with(job.device),
    }
