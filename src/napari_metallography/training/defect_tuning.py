"""Training of a model of surface defects on answers that were confirmed or corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..classification.confirmed import Confirmed, classified_planes, confirmed_classes
from ..classification.defects import whole
from ..classification.model import load_defect_model
from ..classification.splitting import split_off
from ..devices import choose_device
from ..events import Events, Notice
from ..models.card import ModelCard
from .defect_results import write_defect_results
from .defect_start import from_defect_model
from .defects import DefectJob, train_defects
from .recipe import DEFECT_TUNING, DefectRecipe
from .results import Description, require_free

_DATA_NAME = "answers confirmed in the viewer"


@dataclass(frozen=True)
class TuningPlan:
    """What is trained further, on what, and where the new model goes.

    Attributes
    ----------
    model
        Name or file of the model to start from.
    output
        File of the new model; none is overwritten.
    device
        "auto", "cpu" or "cuda".
    held_out_share
        Of each class, to validate on; a class of one image is only learnt.
    """

    confirmed: Sequence[Confirmed]
    model: str
    output: Path
    device: str = "auto"
    recipe: DefectRecipe = DEFECT_TUNING
    held_out_share: float = 0.15


def tune_defects(plan: TuningPlan) -> Events[ModelCard]:
    """Train a model further and write the new one with its history; closing leaves nothing.

    The new model knows the confirmed classes and no others.

    Yields
    ------
    Progress, TrainingStep, Notice
        As for `training.defects.train_defects`; a notice when nothing could be held out, and of
        the classes that the new model no longer knows.

    Raises
    ------
    InputError
        When fewer than two classes are confirmed, the output is taken, or a plane cannot be used.
    DeviceError
        When the device fails.
    """
    require_free(plan.output, resume=False)
    model = load_defect_model(plan.model)
    names = confirmed_classes((one.class_name for one in plan.confirmed), model.names)
    lost = [name for name in model.names if name not in names]
    if lost:
        yield Notice(f"the new model will not know {', '.join(lost)}: none of these is confirmed")
    start = from_defect_model(model, names)
    images = yield from classified_planes(
        plan.confirmed,
        lambda plane, calibration: whole(plane, model, calibration),
        model.names,
    )
    learnt, judged = split_off(images, plan.held_out_share, plan.recipe.seed)
    if judged is None:
        yield Notice(
            "too few images to hold any out: no score tells how good the new model is, and its "
            "probabilities are not calibrated"
        )
    job = DefectJob(
        learnt,
        judged,
        start.network,
        start.shown,
        plan.recipe,
        choose_device(plan.device),
        start=start,
    )
    trained = yield from train_defects(job)
    return write_defect_results(plan.output, job, trained, _description(model.card))


def _description(parent: ModelCard) -> Description:
    """Of the confirmed images nothing is known; what the parent learnt from is still in it."""
    licence = f"unstated; the model it started from, {parent.name}: {parent.data.licence}"
    return Description(_DATA_NAME, licence, parent.data.attribution)
