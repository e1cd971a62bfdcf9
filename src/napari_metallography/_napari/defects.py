"""*Classify defects*: answers for layers and stacks, confirmed or corrected, and learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from magicgui.widgets import ComboBox, Label, LineEdit, PushButton, Widget
from napari.layers import Image, Layer
from numpy.typing import NDArray
from qtpy.compat import isalive

from ..classification.defect_parameters import UNSURE_NAME, DefectParameters, counted
from ..classification.images import OUTSIDERS
from ..classification.stacks import Named, NamedPlane, Stack
from ..errors import InputError
from ..events import Events
from ..models.card import ModelCard
from ..models.registry import own_folder
from ..training.recipe import DEFECT_TUNING, DefectRecipe
from .answer_table import AnswerTable, ShownAnswer
from .answered import Answered
from .answering import ConfirmingForm, below
from .defect_layers import DEFECTS, add_heat, confirmed_planes, remove_heat, show_defects
from .defect_runs import heat_events, named_events, tuned_events
from .device_choice import devices
from .form import button_row, micrograph_choice, parameter_fields, read, wrap
from .looked_at import LookedAt, stack_of
from .model_choice import ModelChoice, model_file, offer_everywhere
from .recipe_step import RecipeStep

_RISK = "answers less sure than that are 'unsure'; 0.02: two wrong answers in a hundred"
_SCAN = (
    "looks at windows of the size of the training images, and shows what lies where; for images "
    "much larger than those"
)
_HEAT = (
    "shows where the image speaks for the most probable class of the selected row; colours mean "
    "the same in all maps of one model, and are brightest where it spoke most so far"
)
_CONFIRM = "takes the answers of the selected rows for right, those that are sure"
_EXPORT = "classes.csv with a probability a class, and what you confirmed; how it was had, as JSON"
_TUNE = "trains the chosen model further on what you confirmed, in all layers; two classes at least"
_NAME = "of the new model; none is overwritten"
_RISK_STEP = 0.01
_PROBABILITY = "probability_"


class ClassifyDefectsWidget(ConfirmingForm[DefectParameters]):
    """The dock *Classify defects*."""

    noted = DEFECTS
    naming = "Classify defects"

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer)
        self.looked_at = LookedAt(viewer, self.image)
        self.extent = self.looked_at.extent
        self.model = ModelChoice("defects", DefectParameters().model)
        self.parameters = parameter_fields(
            DefectParameters,
            ("risk", "scan"),
            {"risk": "Wrong answers put up with", "scan": "Scan by windows, for large images"},
        )
        self.parameters["risk"].tooltip, self.parameters["scan"].tooltip = _RISK, _SCAN
        self.parameters["risk"].native.setSingleStep(_RISK_STEP)
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.table = AnswerTable(self._go_to, self._class_chosen)
        self.heat = PushButton(text="Heat map", tooltip=_HEAT)
        self.confirm = PushButton(text="Confirm selected", tooltip=_CONFIRM)
        self.export = PushButton(text="Export…", tooltip=_EXPORT)
        self.tuning = TuningFields()
        buttons = button_row(self.heat, self.confirm, self.export)
        self.results = below(self.table, [buttons, *self.tuning.widgets], labels=True)
        super().__init__(
            viewer,
            "defects",
            [
                self.image,
                self.extent,
                *self.model.widgets,
                *self.parameters.values(),
                self.device,
                self.results,
            ],
            {"extent": self.extent, "device": self.device, **self.parameters},
            "Classify defects",
            waiting=(self.heat, self.tuning.button),
        )
        self._brightest = 0.0
        self.heat.changed.connect(partial(self.attempt, self.show_heat))
        self.confirm.changed.connect(partial(self.attempt, self.confirm_selected))
        self.tuning.button.changed.connect(partial(self.attempt, self.tune))
        self.viewer.layers.events.inserted.connect(self._layer_added)
        self._show_confirmed()

    # --- classify ----------------------------------------------------------------------------

    def _parameters(self) -> DefectParameters:
        return read(
            DefectParameters, self.parameters, model=self.model.value, device=self.device.value
        )

    def recipe_step(self) -> RecipeStep:
        """What the form says, as a step of a recipe."""
        return RecipeStep("classify_defects", self._parameters())

    def _events(self, stacks: Sequence[Stack], parameters: DefectParameters) -> Events[Named]:
        return named_events(stacks, parameters)

    def _start_anew(self) -> None:
        super()._start_anew()
        self._brightest = 0.0

    def _took(self, image: Image, planes: list[NamedPlane], told: Named) -> None:
        if planes and self._had is not None and self._had.scan:
            show_defects(self.viewer, image, planes, told)

    def _counted(self, rows: list[dict[str, Any]]) -> str:
        return counted(rows)

    # --- the table ---------------------------------------------------------------------------

    def _show_table(self) -> None:
        super()._show_table()
        self._show_confirmed()

    def _shown(self, one: Answered) -> ShownAnswer:
        row = one.plane.row
        return ShownAnswer(
            one.plane.thumbnail,
            one.place,
            "\n".join(x for x in (row["answer"], row["unsure_because"]) if x),
            one.plane.probability,
            f"{row['answer']}; most probable: {row['most_probable']}; "
            f"strangeness {row['strangeness']:.2f}",
            self._confirmed(one),
        )

    def _class_names(self) -> list[str]:
        """The model's classes, those typed so far, and that of outsiders."""
        own = [k.removeprefix(_PROBABILITY) for k in self._columns() if k.startswith(_PROBABILITY)]
        typed = {
            name
            for image in DEFECTS.confirmed_layers(self.viewer)
            for name in DEFECTS.confirmed(image).values()
        }
        return [*own, *sorted(typed - {*own, OUTSIDERS}), OUTSIDERS]

    def _columns(self) -> list[str]:
        return list(self.answered[0].plane.row) if self.answered else []

    def _go_to(self, row: int) -> None:
        one = self.answered[row]
        remove_heat(self.viewer, but_of=(one.image, one.plane.number))
        super()._go_to(row)

    def confirm_as(self, row: int, name: str) -> None:
        """Confirm the class of a row; "" takes it back."""
        one = self.answered[row]
        if name.casefold() == UNSURE_NAME:
            self.table.show_confirmed({row: self._confirmed(one)})
            raise InputError(
                f"'{name}' is no class; choose one, or '{OUTSIDERS}' for an image of none"
            )
        self._confirm({row: name})

    def confirm_selected(self) -> None:
        """Take the sure answers of the selected rows for right."""
        rows = {n: str(self.answered[n].plane.row["answer"]) for n in self.table.selected}
        sure = {row: answer for row, answer in rows.items() if answer != UNSURE_NAME}
        if not sure:
            raise InputError("select rows with an answer first; give unsure ones a class by hand")
        self._confirm(sure)
        self.controls.say(f"{len(sure)} confirmed")

    def _confirm(self, names: Mapping[int, str]) -> None:
        by_image: dict[Image, dict[int, str]] = {}
        for row, name in names.items():
            one = self.answered[row]
            by_image.setdefault(one.image, {})[one.plane.number] = name
        for image, planes in by_image.items():
            DEFECTS.confirm(image, planes)
        self.table.show_confirmed(names)
        self.table.offer(self._class_names())
        self._show_confirmed()

    def _show_confirmed(self) -> None:
        images = DEFECTS.confirmed_layers(self.viewer)
        self.tuning.show(Counter(n for one in images for n in DEFECTS.confirmed(one).values()))

    # --- layers that come, go and change -----------------------------------------------------

    def _layer_added(self, _: object) -> None:
        if isalive(self.native):  # type: ignore[no-untyped-call]
            self._show_confirmed()

    def _forget(self, layer: Layer) -> None:
        remove_heat(self.viewer)
        super()._forget(layer)

    def _drop_rows(self, layer: Layer) -> None:
        super()._drop_rows(layer)
        self._show_confirmed()

    # --- what else can be had ----------------------------------------------------------------

    def show_heat(self) -> None:
        """Compute and show what speaks for the most probable class of the current row."""
        row = self.table.currentRow()
        if self._had is None or row < 0:
            raise InputError("select a row of the table first")
        one = self.answered[row]
        name = str(one.plane.row["most_probable"])
        stack = stack_of(one.image, (one.plane.number,))
        self._begin(
            heat_events(stack, one.plane.number, name, self._had),
            f"Heat map of {one.image.name}",
            partial(self._show_heat, one, name),
        )

    def _show_heat(self, one: Answered, name: str, heat: NDArray[np.float32]) -> None:
        if not any(one is other for other in self.answered):
            return
        most = float(heat.max())
        self._brightest = max(self._brightest, most)
        layer = add_heat(
            self.viewer, one.image, one.plane.number, name, heat, brightest=self._brightest
        )
        self.controls.say(
            f"{layer.name}: what speaks for {name}, {most:.3g} at most; the brightest colour "
            f"stands for {self._brightest:.3g}, the most so far"
        )

    # --- learn -------------------------------------------------------------------------------

    def tune(self) -> None:
        """Train the chosen model further on all confirmed answers."""
        path = model_file(own_folder() / self.tuning.file_name(), own_folder())
        confirmed = confirmed_planes(self.viewer)
        recipe = self.tuning.recipe()
        events = tuned_events(confirmed, self.model.value, path, self.device.value, recipe)
        self._begin(events, f"Train {path.stem}", partial(self._tuned, path))

    def _tuned(self, path: Path, card: ModelCard) -> None:
        offer_everywhere(path)
        self.model.choose(card.name)
        scores = [f"{name} {value:.3f}" for name, value in card.metrics.items()]
        self._say(f"written to {path}; press Classify to see what it answers", *scores)


class TuningFields:
    """How a model is trained further on confirmed answers."""

    def __init__(self) -> None:
        self.confirmed = Label(value="", label="Confirmed")
        wrap(self.confirmed)
        self.name = LineEdit(value="my-defects", label="New model", tooltip=_NAME)
        self.fields = parameter_fields(DefectRecipe, ("iterations",))
        self.fields["iterations"].value = DEFECT_TUNING.iterations
        self.button = PushButton(text="Fine-tune on confirmed", label="", tooltip=_TUNE)
        self.widgets: list[Widget] = [
            self.confirmed,
            self.name,
            *self.fields.values(),
            self.button,
        ]

    def show(self, counts: Mapping[str, int]) -> None:
        """Show how many answers of each class are confirmed."""
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        self.confirmed.value = told or "none yet"

    def file_name(self) -> str:
        """The new model's file; `InputError` where the name cannot be one."""
        name = str(self.name.value).strip().removesuffix(".safetensors")
        if not name or Path(name).name != name or "\\" in name:
            raise InputError("give the new model a name without slashes")
        return f"{name}.safetensors"

    def recipe(self) -> DefectRecipe:
        """The gentle recipe with as many iterations as asked for."""
        return read(DefectRecipe, self.fields, **DEFECT_TUNING.model_dump(exclude={"iterations"}))
