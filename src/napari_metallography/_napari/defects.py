"""*Classify defects*: answers for layers and stacks, confirmed or corrected, and learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
import numpy as np
from magicgui.widgets import ComboBox, Container, Label, LineEdit, PushButton, Widget
from napari.layers import Image
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from qtpy.compat import isalive

from ..classification.defect_parameters import UNSURE_NAME, DefectParameters, counted
from ..classification.images import OUTSIDERS
from ..classification.stacks import Named, NamedPlane
from ..errors import InputError
from ..events import Event, Notice
from ..models.card import ModelCard
from ..models.registry import own_folder
from ..training.recipe import DEFECT_TUNING, DefectRecipe
from .answer_table import AnswerTable, ShownAnswer
from .answered import Answered, Asked, ClassifyControls, with_answers
from .answers_file import ask_for_table, write_answers
from .defect_layers import (
    DEFECTS,
    add_heat,
    confirmed_planes,
    remove_heat,
    show_defects,
)
from .defect_runs import heat_events, named_events, tuned_events
from .device_choice import devices
from .form import (
    Form,
    align_labels,
    button_row,
    micrograph_choice,
    parameter_fields,
    read,
    wrap,
)
from .looked_at import LookedAt, bring_into_view, place_of, stack_of
from .model_choice import ModelChoice, model_file, offer_everywhere
from .wording import in_window
from .worker import nothing

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


class ClassifyDefectsWidget(Form):
    """The dock *Classify defects*."""

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
        self.results: Container[Widget] = Container(
            widgets=[button_row(self.heat, self.confirm, self.export), *self.tuning.widgets]
        )
        self.results.margins = (0, 0, 0, 0)
        align_labels(self.results)
        self.results.native.layout().insertWidget(0, self.table)
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
            "Classify",
            "Classify defects",
            ClassifyControls((self.heat, self.tuning.button), self._ended),
        )
        self.answered: list[Answered] = []
        self._asked: Asked[DefectParameters] | None = None
        self._had: DefectParameters | None = None
        self._provenance: dict[str, Any] = {}
        self._notices: list[str] = []
        self._brightest = 0.0
        self.heat.changed.connect(partial(self.attempt, self.show_heat))
        self.confirm.changed.connect(partial(self.attempt, self.confirm_selected))
        self.export.changed.connect(partial(self.attempt, self._ask_and_export))
        self.tuning.button.changed.connect(partial(self.attempt, self.tune))
        for layer in self.viewer.layers:
            layer.events.data.connect(self._data_changed)
        self.viewer.layers.events.inserted.connect(self._layer_added)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self._show_confirmed()

    # --- classify ----------------------------------------------------------------------------

    def compute(self) -> None:
        """Name what the form says."""
        parameters = read(
            DefectParameters, self.parameters, model=self.model.value, device=self.device.value
        )
        images = self.looked_at.images()
        stacks = [self.looked_at.stack(image) for image in images]
        events = named_events(stacks, parameters)
        self.controls.start(events, "Classify defects", nothing, self._happened)
        # Only now: a run under way, which refuses another, goes on with its own.
        self._notices, self._asked = [], Asked(images, parameters)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(in_window(event.message))
        elif isinstance(event, Named) and self._asked is not None:
            self._asked.parts.append(event)

    def _ended(self, message: str) -> None:
        """Keep what was answered, however the run ended."""
        asked, self._asked = self._asked, None
        if asked is not None and asked.parts:
            self.attempt(partial(self._take, asked, message))

    def _take(self, asked: Asked[DefectParameters], message: str) -> None:
        """Show answers beside earlier ones that were had alike."""
        told = asked.parts[0]
        if told.provenance != self._provenance:
            self.answered, self._brightest = [], 0.0
        self._had, self._provenance = asked.parameters, told.provenance
        taken, replaced = asked.taken(self.viewer)
        self._notices += replaced
        for image, planes in taken.items():
            self._take_one(image, planes, told)
        self._show_table()
        rows = [one.row for planes in taken.values() for one in planes]
        self.controls.say("; ".join(x for x in [message, counted(rows), *self._notices] if x))

    def _take_one(self, image: Image, planes: list[NamedPlane], told: Named) -> None:
        DEFECTS.note(image, planes, told.provenance)
        self.answered = with_answers(self.answered, image, planes)
        if planes and self._had is not None and self._had.scan:
            show_defects(self.viewer, image, planes, told)

    # --- the table ---------------------------------------------------------------------------

    def _show_table(self) -> None:
        self.table.offer(self._class_names())
        self.table.show_answers([_shown(one) for one in self.answered])
        self._show_confirmed()

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
        """Bring the plane of a row into view, in front of the other images of the table."""
        one = self.answered[row]
        remove_heat(self.viewer, but_of=(one.image, one.plane.number))
        others = {x.image for x in self.answered}
        bring_into_view(self.viewer, one.image, one.plane.number, others)

    def _class_chosen(self, row: int, name: str) -> None:
        self.attempt(partial(self.confirm_as, row, name))

    def confirm_as(self, row: int, name: str) -> None:
        """Confirm the class of a row; "" takes it back."""
        one = self.answered[row]
        if name.casefold() == UNSURE_NAME:
            self.table.show_confirmed({row: DEFECTS.confirmed(one.image).get(one.plane.number, "")})
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

    def _layer_added(self, event: Any) -> None:
        if isalive(self.native):  # type: ignore[no-untyped-call]
            event.value.events.data.connect(self._data_changed)
            self._show_confirmed()

    def _layer_removed(self, event: Any) -> None:
        if isalive(self.native):  # type: ignore[no-untyped-call]
            self._drop_rows(event.value)

    def _data_changed(self, event: Any) -> None:
        """Drop what was answered and confirmed of data that were replaced."""
        if isalive(self.native) and DEFECTS.forget(event.source):  # type: ignore[no-untyped-call]
            remove_heat(self.viewer)
            self._drop_rows(event.source)
            said = f"{event.source.name}: its answers are dropped, as its data were replaced"
            self.controls.say(said)
            show_warning(said)

    def _drop_rows(self, image: Image) -> None:
        if any(one.image is image for one in self.answered):
            self.answered = [one for one in self.answered if one.image is not image]
            self._show_table()
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
        self.controls.start(
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

    def write(self, path: Path) -> None:
        """Write the table as CSV, and how it was had as JSON beside it."""
        rows = [
            {**one.plane.row, "confirmed": DEFECTS.confirmed(one.image).get(one.plane.number, "")}
            for one in self.answered
        ]
        write_answers(path, rows, self._provenance)
        self.controls.say(f"written to {path}")

    def _ask_and_export(self) -> None:
        path = ask_for_table(self.native, self.answered)
        if path is not None:
            self.write(path)

    # --- learn -------------------------------------------------------------------------------

    def tune(self) -> None:
        """Train the chosen model further on all confirmed answers."""
        path = model_file(own_folder() / self.tuning.file_name(), own_folder())
        confirmed = confirmed_planes(self.viewer)
        recipe = self.tuning.recipe()
        events = tuned_events(confirmed, self.model.value, path, self.device.value, recipe)
        title = f"Train {path.stem}"
        self.controls.start(events, title, partial(self._tuned, path), self._happened)
        self._notices = []

    def _tuned(self, path: Path, card: ModelCard) -> None:
        offer_everywhere(path)
        self.model.choose(card.name)
        scores = [f"{name} {value:.3f}" for name, value in card.metrics.items()]
        said = f"written to {path}; press Classify to see what it answers"
        self.controls.say("; ".join([said, *scores, *self._notices]))


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


_PROBABILITY = "probability_"


def _shown(one: Answered) -> ShownAnswer:
    row = one.plane.row
    return ShownAnswer(
        one.plane.thumbnail,
        place_of(one.image, one.plane.number),
        "\n".join(x for x in (row["answer"], row["unsure_because"]) if x),
        one.plane.probability,
        f"{row['answer']}; most probable: {row['most_probable']}; "
        f"strangeness {row['strangeness']:.2f}",
        DEFECTS.confirmed(one.image).get(one.plane.number, ""),
    )
