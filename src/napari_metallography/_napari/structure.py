"""*Classify structure*: answers for layers and stacks, what lies where, the descriptor map."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import napari.viewer
from magicgui.widgets import ComboBox, Label, PushButton
from napari.layers import Image

from ..classification.stacks import Named, Stack
from ..classification.structure_parameters import (
    SaliencyParameters,
    SaliencyPicture,
    StructureParameters,
)
from ..errors import InputError
from ..events import Events
from .answer_table import AnswerTable, ShownAnswer
from .answered import Answered
from .answering import AnsweringForm, below
from .descriptor_map import DescriptorDocks
from .device_choice import devices
from .form import button_row, chosen, micrograph_choice, parameter_fields, read, wrap
from .looked_at import LookedAt, stack_in_view
from .model_choice import ModelChoice
from .recipe_step import RecipeStep
from .structure_layers import STRUCTURES, add_saliency, legend_html
from .structure_runs import HOW_TO_GET_ONE, map_events, named_events, saliency_events

if TYPE_CHECKING:
    from ..classification.descriptor_map import DescriptorMap

_SALIENCY = "shows over the plane in view which class lies where; dark is none of them"
_MAP = (
    "shows where the crops of the selected row lie among those of the training; without a row, "
    "those of the first one"
)
_EXPORT = "classes.csv with a probability a class and of none; how it was had, as JSON"
_NOTE = "note"
_COLUMNS = ("spread", "P(none)", _NOTE)
_PROBABILITY = "probability_"
_NONE = "none"


class ClassifyStructureWidget(AnsweringForm[StructureParameters]):
    """The dock *Classify structure*."""

    noted = STRUCTURES
    naming = "Classify structure"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer)
        self.looked_at = LookedAt(viewer, self.image)
        self.extent = self.looked_at.extent
        self.model = ModelChoice("structure", otherwise=HOW_TO_GET_ONE)
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.windows = parameter_fields(
            SaliencyParameters,
            ("window_px", "stride_px"),
            {"window_px": "Saliency window (px)", "stride_px": "Saliency stride (px)"},
        )
        self.windows["window_px"].native.setSpecialValueText("automatic")
        self.table = AnswerTable(self._go_to, more=_COLUMNS, wide=(_NOTE,))
        self.saliency = PushButton(text="Saliency", tooltip=_SALIENCY)
        self.map = PushButton(text="Descriptor map", tooltip=_MAP)
        self.export = PushButton(text="Export…", tooltip=_EXPORT)
        self.legend = Label(value="", label="", visible=False)
        wrap(self.legend)
        buttons = button_row(self.saliency, self.map, self.export)
        self.results = below(self.table, [buttons, self.legend], labels=False)
        super().__init__(
            viewer,
            "structure",
            [
                self.image,
                self.extent,
                *self.model.widgets,
                self.device,
                *self.windows.values(),
                self.results,
            ],
            {"extent": self.extent, "device": self.device, **self.windows},
            "Classify structure",
            waiting=(self.saliency, self.map),
        )
        self.docks = DescriptorDocks(self.viewer)
        self.saliency.changed.connect(partial(self.attempt, self.show_saliency))
        self.map.changed.connect(partial(self.attempt, self.show_map))

    def closed(self) -> None:
        """The dock was closed: its map goes with it."""
        super().closed()
        self.docks.remove()

    # --- classify ----------------------------------------------------------------------------

    def _parameters(self) -> StructureParameters:
        return StructureParameters(model=self.model.value, device=self.device.value)

    def recipe_step(self) -> RecipeStep:
        """What the form says, as a step of a recipe."""
        return RecipeStep("classify_structure", self._parameters())

    def _events(self, stacks: Sequence[Stack], parameters: StructureParameters) -> Events[Named]:
        return named_events(stacks, parameters)

    def _counted(self, rows: list[dict[str, Any]]) -> str:
        answers = [row["answer"] for row in rows]
        return f"{len(answers)} named, {answers.count(_NONE)} of them none"

    def _shown(self, one: Answered) -> ShownAnswer:
        row = one.plane.row
        spread = "" if row["spread"] is None else f"{row['spread']:.2f}"
        numbers = (spread, f"{row[_PROBABILITY + _NONE]:.2f}")
        return ShownAnswer(
            one.plane.thumbnail,
            one.place,
            row["answer"],
            one.plane.probability,
            f"{one.place}: {row['answer']}, by {row['crops']} crops",
            more=(*numbers, row["note"]),
        )

    # --- what else can be had ----------------------------------------------------------------

    def show_saliency(self) -> None:
        """Compute and show what lies where on the plane in view of the chosen image."""
        parameters = self._parameters()
        windows = read(SaliencyParameters, self.windows)
        image: Image = chosen(self.image, "an image")
        stack = stack_in_view(self.viewer, image)
        (number,) = stack.numbers
        self._begin(
            saliency_events(stack, number, parameters, windows),
            f"Saliency of {image.name}",
            partial(self._show_saliency, image, number),
        )

    def _show_saliency(self, image: Image, number: int, found: SaliencyPicture) -> None:
        if image not in self.viewer.layers:
            return
        layer = add_saliency(self.viewer, image, number, found)
        self.legend.value, self.legend.visible = legend_html(found.classes), True
        self._say(f"{layer.name}: windows of {found.window_px:.4g} px")

    def show_map(self) -> None:
        """Show where the crops of the current row lie among those of the training."""
        one = self.answered[max(0, self.table.currentRow())] if self.answered else None
        if self._had is None or one is None or one.plane.descriptors is None:
            raise InputError("classify images first")
        digest = self._provenance["model_digest"]
        self._begin(
            map_events(one.plane.descriptors, self._had, digest),
            "Descriptor map",
            partial(self._show_map, one.place, one.plane.row["note"]),
        )

    def _show_map(self, place: str, note: str, shown: DescriptorMap) -> None:
        self.docks.show_map(shown, f"{place} ({note})" if note else place)
        self.controls.say(f"descriptor map of {place}")
