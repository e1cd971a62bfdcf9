"""What a training leaves behind: the model, its history, and how it was made."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..classes import UNLABELLED, PhaseClass
from ..errors import InputError
from ..evaluation.segmentation import evaluate
from ..events import Events
from ..io.files import together
from ..io.tables import write_csv, write_json
from ..labelled import LabelledImage, digest
from ..models.card import DataSource, ModelCard, Storage, TrainingRound
from ..segmentation.model import SegmentationModel, save_model
from ..segmentation.segment import SegmentParameters
from .job import TrainingJob
from .segmentation import TrainedNetwork
from .start import PastRound

Score = dict[str, Any]

_WHOLE = 0.5


@dataclass(frozen=True)
class Description:
    """What a model card says beyond the training itself."""

    data_name: str
    licence: str = "unstated"
    attribution: str = ""
    storage: Storage = "float32"

    def source(self, data_digest: str, images: Sequence[str]) -> DataSource:
        """Where the training data came from."""
        return DataSource(
            name=self.data_name,
            digest=data_digest,
            images=tuple(images),
            licence=self.licence,
            attribution=self.attribution,
        )


@dataclass(frozen=True)
class SegmentationDescription(Description):
    """What the card of a segmentation model says beyond the training itself."""

    classes: tuple[PhaseClass, ...] = field(kw_only=True)


def checkpoint_path(model: Path) -> Path:
    """The checkpoint of a training whose model will be `model`."""
    return model.with_name(f"{model.stem}.checkpoint.safetensors")


def gains_path(model: Path) -> Path:
    """The table of gains beside the model that a search kept."""
    return model.with_name(f"{model.stem}_search.csv")


def require_free(model: Path, *, resume: bool) -> None:
    """Refuse to overwrite a model, a stopped training or the history of another one.

    Raises
    ------
    InputError
        When the model or its table of gains exists, its name does not end in `.safetensors`, a
        checkpoint lies there and `resume` is False, or the folder holds what another training
        left.
    """
    if model.suffix != ".safetensors":
        raise InputError(f"{model}: a model's name ends in .safetensors")
    _require_new(model)
    _require_new(gains_path(model))
    checkpoint = checkpoint_path(model)
    if checkpoint.exists() and not resume:
        raise InputError(
            f"{checkpoint}: a stopped training; go on with it (on the command line: --resume) or "
            "delete it"
        )
    if not checkpoint.exists() or _other_models(model):
        _require_no_history(model)


def finished(
    name: str, job: TrainingJob, trained: TrainedNetwork, description: SegmentationDescription
) -> Events[tuple[ModelCard, Score]]:
    """Score the trained network on the validation images and make out its card.

    Returns
    -------
    ModelCard
        With the scores that count, where there are validation images.
    dict
        All scores, as `evaluation.segmentation.summary` gives them; empty without any, and where
        the validation's labels were learnt in the end: the card's scores are those from before.
        `particles` is empty where the validation images are labelled in parts only.
    """
    card = model_card(name, job, description)
    used = {**card.training, "batch_size": trained.batch_size, "kept_iteration": trained.iteration}
    told = tuple(one.told for one in rounds_of(job, trained))
    card = card.model_copy(update={"training": used, "rounds": told})
    if not job.validation:
        return card, {}
    if job.all_labels_from is not None:
        return card.model_copy(update={"metrics": _metrics_before(trained, description)}), {}
    parameters = SegmentParameters(device=job.device.type)
    scores = yield from evaluate(
        SegmentationModel(card, trained.network, ""), job.validation, parameters
    )
    if not _are_whole(job.validation):
        scores["particles"] = {}
    return card.model_copy(update=_scores_for_card(scores)), scores


def write_results(
    path: Path,
    job: TrainingJob,
    trained: TrainedNetwork,
    card: ModelCard,
    description: SegmentationDescription,
) -> None:
    """Write the model, `history.csv` and `training.json` beside it, all or none of them.

    The checkpoint is removed when they are there.

    Raises
    ------
    InputError
        When the model, or another one with its history, has come to exist meanwhile, or a file
        cannot be written.
    """
    write_all(
        path,
        _history(rounds_of(job, trained)),
        _report(job, trained, description),
        lambda: save_model(path, card, trained.network),
    )


def write_all(
    path: Path, history: pd.DataFrame, report: dict[str, Any], save: Callable[[], None]
) -> None:
    """Write a model by `save`, and its history and report; as `write_results`."""
    history_path, report_path = _files_beside(path)
    _require_new(path)
    if _other_models(path):
        _require_no_history(path)
    # The model last: where it lies, nothing is missing.
    with together(history_path, report_path):
        write_csv(history_path, history)
        write_json(report_path, report)
        save()
    checkpoint_path(path).unlink(missing_ok=True)


def rounds_of(job: TrainingJob, trained: TrainedNetwork) -> tuple[PastRound, ...]:
    """All trainings that made a network out of its parent, in order."""
    return *job.start.rounds, past_round(job, trained.history, trained.iteration)


def past_round(
    job: TrainingJob, history: Sequence[dict[str, Any]], kept_iteration: int
) -> PastRound:
    """A training that is over, or was stopped; `history` has a row a step."""
    told = TrainingRound(
        iterations=len(history),
        kept_iteration=kept_iteration,
        painted_px=_labelled_px(job.images),
        held_out_px=_labelled_px(job.validation),
        images=tuple(image.name for image in job.images),
        data_digest=digest(job.images),
        recipe=job.recipe.model_dump(),
    )
    return PastRound(told, history)


def model_card(name: str, job: TrainingJob, description: SegmentationDescription) -> ModelCard:
    """The card of a trained model, without scores."""
    sizes = [i.pixel_size_um for i in job.images if i.pixel_size_um is not None]
    return ModelCard(
        name=name,
        task="segmentation",
        network=job.start.network,
        classes=description.classes,
        normalisation=job.start.normalisation,
        pixel_size_um=(min(sizes), max(sizes)) if len(sizes) == len(job.images) else None,
        data=description.source(digest(job.images), [i.name for i in job.images]),
        training={
            **job.recipe.model_dump(),
            "encoder_weights": job.start.encoder_weights,
            "device": job.device.type,
        },
        parent=job.start.parent,
        storage=description.storage,
    )


def class_metrics(found: dict[str, float]) -> dict[str, float]:
    """The validation results of a classifier as its card names them."""
    words = {"accuracy": "validation accuracy", "macro_f1": "validation macro F1"}
    return {words[key]: value for key, value in found.items()}


def _require_new(model: Path) -> None:
    if model.exists():
        raise InputError(f"{model}: exists already; choose another name")


def _require_no_history(model: Path) -> None:
    if any(path.exists() for path in _files_beside(model)):
        raise InputError(
            f"{model.parent}: holds the history of another training; choose another folder"
        )


def _other_models(model: Path) -> set[Path]:
    """Models and stopped trainings of other names in the folder."""
    return {*model.parent.glob("*.safetensors")} - {model, checkpoint_path(model)}


def _files_beside(model: Path) -> tuple[Path, Path]:
    """History and report of the training of a model."""
    return model.with_name("history.csv"), model.with_name("training.json")


def _history(rounds: Sequence[PastRound]) -> pd.DataFrame:
    """A row a step of every round; rounds count from 1."""
    numbered = enumerate(rounds, start=1)
    return pd.DataFrame([{"round": n, **row} for n, one in numbered for row in one.history])


def _labelled_px(images: Sequence[LabelledImage]) -> int:
    return sum(int((image.labels != UNLABELLED).sum()) for image in images)


def _are_whole(images: Sequence[LabelledImage]) -> bool:
    """Whether particles can be told by the labels; strokes and blocks cut them."""
    return all((image.labels != UNLABELLED).mean() > _WHOLE for image in images)


def _metrics_before(
    trained: TrainedNetwork, description: SegmentationDescription
) -> dict[str, float]:
    """The scores of the network before it learnt the held-out labels."""
    by_class = {
        f"IoU of {phase.name}, before the held-out labels were learnt": trained.metrics[key]
        for index, phase in enumerate(description.classes)
        if (key := f"iou_{index}") in trained.metrics
    }
    miou = trained.metrics["miou"]
    return {"validation mIoU, before the held-out labels were learnt": miou, **by_class}


def _scores_for_card(scores: dict[str, Any]) -> dict[str, Any]:
    by_class = {f"IoU of {name}": iou for name, iou in scores["iou"].items() if iou is not None}
    sizes = {name: found["good_from_px"] for name, found in scores["particles"].items()}
    return {
        "metrics": {"validation mIoU": scores["miou"], **by_class},
        "good_from_px": {name: px for name, px in sizes.items() if px is not None},
    }


def _report(
    job: TrainingJob, trained: TrainedNetwork, description: SegmentationDescription
) -> dict[str, Any]:
    return {
        **job.settings(),
        "training_images": [_row(image) for image in job.images],
        "validation_images": [_row(image) for image in job.validation],
        "kept_iteration": trained.iteration,
        "rounds": [one.told.model_dump() for one in rounds_of(job, trained)],
        "validation": trained.metrics,
        "last_batch_size": trained.batch_size,
        **made_with(job.device),
    }


def made_with(device: torch.device) -> dict[str, str]:
    """What a training ran on, for its report."""
    return {"device": _device_name(device), "torch": torch.__version__}


def _row(image: LabelledImage) -> dict[str, Any]:
    return {
        "image": image.name,
        "specimen": image.specimen,
        "pixel_size_um": image.pixel_size_um,
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    """Name of the processor; some systems know only its architecture."""
    return platform.processor() or platform.machine()
