"""What a form says as a step of a recipe, and its way to the clipboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from magicgui.widgets import PushButton
from napari.layers import Layer
from pydantic import BaseModel
from qtpy.QtGui import QClipboard
from qtpy.QtWidgets import QApplication

from ..batch.recipe import GrainSizeStep, step_text
from ..errors import InputError
from ..grains.choice import GradingChoice, ModelChosen
from ..grains.finding import ByEtching

_COPY = "puts these settings on the clipboard as a step of a recipe; Batch takes it by Paste step"
_WITH_DATA_BAR = "field:\n  keep_data_bar: true\n"


@dataclass(frozen=True)
class RecipeStep:
    """A step of a recipe.

    Attributes
    ----------
    name
        Its key in a recipe.
    settings
        The object that Run uses.
    keep_data_bar
        The data bar is part of the image, as the recipe's `field` says then.
    left_out
        What the form says and a recipe cannot.
    """

    name: str
    settings: BaseModel
    keep_data_bar: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """YAML, with the device left to where the recipe runs."""
        settings = self.settings
        if "device" in type(settings).model_fields:
            settings = settings.model_copy(update={"device": "auto"})
        step = step_text(self.name, settings)
        return _WITH_DATA_BAR + step if self.keep_data_bar else step


def copy_button() -> PushButton:
    """The button of all forms that can be a step."""
    return PushButton(text="Copy as recipe step", tooltip=_COPY)


def put_on_clipboard(step: RecipeStep) -> str:
    """Put a step where other programs find it too; says so in a line."""
    clipboard().setText(step.text)
    left_out = f"; a recipe cannot hold {', '.join(step.left_out)}" if step.left_out else ""
    return f"the step {step.name} is on the clipboard{left_out}"


def clipboard() -> QClipboard:
    """The system's clipboard."""
    return cast(QClipboard, QApplication.clipboard())


def marked_by(region: Layer | None) -> tuple[str, ...]:
    """What is left out of a step of a form whose region of interest is drawn."""
    return () if region is None else (f"the region drawn in {region.name}",)


def grain_size_step(choice: GradingChoice) -> GrainSizeStep:
    """The step whose `choice()` this is.

    Raises
    ------
    InputError
        When boundaries are given: those belong to one image.
    """
    finding = choice.finding
    if not isinstance(finding, ByEtching | ModelChosen):
        raise InputError("boundaries of a layer belong to one image; choose another way to them")
    found = {
        "methods": choice.methods,
        "grading": choice.grading,
        "model": choice.line_network,
        "device": choice.device,
        "ignore_twins": choice.twins is not None,
    }
    if isinstance(finding, ByEtching):
        return GrainSizeStep.model_validate({**found, "etched": finding.parameters})
    by_model = {
        "boundaries_model": finding.model,
        "boundaries": finding.parameters,
        "flips": finding.flips,
        "multi_scale": finding.multi_scale,
    }
    return GrainSizeStep.model_validate({**found, **by_model})
