"""What the training of a backbone leaves: its tensors with a card, history, how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..calibration import size_range_um
from ..classification.backbone import WHITENING
from ..models.card import DataSource, ModelCard, Network, Settings
from ..models.file import write_model
from .dino import BackboneJob, TrainedBackbone
from .results import Description, made_with, write_all
from .views import viewed

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
    found, parent = _spread(trained), job.parent
    card = ModelCard(
        name=name,
        task="backbone",
        network=Network(architecture=ARCHITECTURE, encoder=job.encoder),
        classes=(),
        normalisation=job.normalisation,
        pixel_size_um=size_range_um(job.images.pixel_sizes_um),
        data=description.source(job.images.digest(), job.images.files),
        parent=parent.digest if parent else None,
        training={
            **(job.recipe.model_dump() if job.recipe.iterations else {"iterations": 0}),
            **_whitening(job),
            "side": job.side,
            "encoder_weights": job.weights_name,
            "device": job.device.type,
        },
        metrics={} if found is None else {"spread of the features": found},
        storage=description.storage,
    )
    return card if job.recipe.iterations or parent is None else _kept(card, parent.card, job)


def _kept(card: ModelCard, parent: ModelCard, job: BackboneJob) -> ModelCard:
    """The card of weights that stayed: what they learnt from is still in them."""
    data, more = parent.data, card.data
    merged = DataSource(
        name=f"{data.name}; textures: {more.name}",
        digest=more.digest,
        images=tuple(dict.fromkeys((*data.images, *more.images))),
        licence=_both(data.licence, more.licence),
        attribution=_both(data.attribution, more.attribution),
    )
    training = {**parent.training, **_whitening(job), "side": job.side}
    kept = {"data": merged, "training": training, "metrics": parent.metrics}
    return card.model_copy(update=kept)


def _both(first: str, second: str) -> str:
    return "; ".join(dict.fromkeys(words for words in (first, second) if words))


def _whitening(job: BackboneJob) -> Settings:
    """How the textures were whitened."""
    return {
        "views": job.recipe.views,
        "viewed_images": viewed(len(job.images)),
        "views_seed": job.recipe.seed,
    }


def _spread(trained: TrainedBackbone) -> float | None:
    """The last that was judged, if any was."""
    return next((row["spread"] for row in reversed(trained.history) if "spread" in row), None)


def _report(job: BackboneJob, trained: TrainedBackbone) -> dict[str, Any]:
    return {
        **job.settings(),
        **_whitening(job),
        "training_images": list(job.images.files),
        "skipped": list(job.images.skipped),
        "kept_iteration": trained.iteration,
        "spread": _spread(trained),
        **made_with(job.device),
    }
