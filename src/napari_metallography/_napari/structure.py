"""*Classify structure*: answers for layers and stacks, what lies where, the descriptor map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import napari.viewer
from magicgui.widgets import ComboBox, Container, Label, PushButton, Widget
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning

from ..classification.stacks import Named
from ..classification.structure_parameters import (
    SaliencyParameters,
    SaliencyPicture,
    StructureParameters,
    extrapolation_note,
)
from ..errors import InputError
from ..events import Event, Events, Notice
from .answer_table import AnswerTable, ShownAnswer
from .answered import (
    Answered,
    Asked,
    ClassifyControls,
    FollowedLayers,
    keep_chosen,
    with_answers,
)
from .answers_file import ask_for_table, write_answers
from .descriptor_map import DescriptorDocks
from .device_choice import devices
from .form import (
    Form,
    align_labels,
    button_row,
    chosen,
    micrograph_choice,
    parameter_fields,
    read,
    wrap,
)
from .looked_at import LookedAt, bring_into_view, stack_in_view
from .model_choice import ModelChoice
from .structure_layers import STRUCTURES, add_saliency, legend_html
from .structure_runs import HOW_TO_GET_ONE, map_events, named_events, saliency_events
from .wording import in_window
from .worker import nothing

if TYPE_CHECKING:
    from ..classification.descriptor_map import DescriptorMap

T = TypeVar("T")

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


class ClassifyStructureWidget(Form):
    """The dock *Classify structure*."""

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
        self.results: Container[Widget] = Container(
            widgets=[button_row(self.saliency, self.map, self.export), self.legend],
            labels=False,
        )
        self.results.margins = (0, 0, 0, 0)
        align_labels(self.results)
        self.results.native.layout().insertWidget(0, self.table)
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
            "Classify",
            "Classify structure",
            ClassifyControls((self.saliency, self.map), self._ended),
        )
        self.docks = DescriptorDocks(self.viewer)
        self.answered: list[Answered] = []
        self._asked: Asked[StructureParameters] | None = None
        self._had: StructureParameters | None = None
        self._provenance: dict[str, Any] = {}
        self._notices: list[str] = []
        self.saliency.changed.connect(partial(self.attempt, self.show_saliency))
        self.map.changed.connect(partial(self.attempt, self.show_map))
        self.export.changed.connect(partial(self.attempt, self._ask_and_export))
        self._followed = FollowedLayers(
            self.viewer,
            self.native,
            on_gone=self._drop_rows,
            on_replaced=self._data_replaced,
            on_renamed=self._renamed,
        )

    def closed(self) -> None:
        """The dock was closed: its map goes with it."""
        super().closed()
        self.docks.remove()

    # --- classify ----------------------------------------------------------------------------

    def compute(self) -> None:
        """Name what the form says."""
        parameters = self._parameters()
        images = self.looked_at.images()
        stacks = [self.looked_at.stack(image) for image in images]
        self._begin(named_events(stacks, parameters), "Classify structure", nothing)
        # Only now: a run under way, which refuses another, goes on with its own.
        self._asked = Asked(images, parameters)

    def _parameters(self) -> StructureParameters:
        return StructureParameters(model=self.model.value, device=self.device.value)

    def _begin(self, events: Events[T], title: str, on_result: Callable[[T], None]) -> None:
        self.controls.start(events, title, on_result, self._happened)
        self._notices, self._asked = [], None

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

    def _take(self, asked: Asked[StructureParameters], message: str) -> None:
        """Show answers beside earlier ones that were had alike."""
        told = asked.parts[0]
        if told.provenance != self._provenance:
            self.answered = []
        self._had, self._provenance = asked.parameters, told.provenance
        taken, replaced = asked.taken(self.viewer)
        for image, planes in taken.items():
            STRUCTURES.note(image, planes, told.provenance)
            self.answered = with_answers(self.answered, image, planes)
        self._show_table()
        answers = [one.row["answer"] for planes in taken.values() for one in planes]
        said = f"{len(answers)} named, {answers.count(_NONE)} of them none"
        self.controls.say("; ".join(x for x in [message, said, *self._notices, *replaced] if x))

    # --- the table ---------------------------------------------------------------------------

    def _show_table(self) -> None:
        self.table.show_answers([_shown(one) for one in self.answered])

    def _go_to(self, row: int) -> None:
        """Bring the plane of a row into view, in front of the other images of the table."""
        one = self.answered[row]
        others = {x.image for x in self.answered}
        bring_into_view(self.viewer, one.image, one.plane.number, others)

    def _data_replaced(self, layer: Layer) -> None:
        """Drop what was answered of the former data."""
        if STRUCTURES.forget(layer) or self._has_rows(layer):
            self._drop_rows(layer)
            said = f"{layer.name}: its answers are dropped, as its data were replaced"
            self.controls.say(said)
            show_warning(said)

    def _renamed(self, layer: Layer) -> None:
        keep_chosen(self.image)
        if self._has_rows(layer):
            self._show_table()

    def _has_rows(self, layer: Layer) -> bool:
        return any(one.image is layer for one in self.answered)

    def _drop_rows(self, layer: Layer) -> None:
        if self._has_rows(layer):
            self.answered = [one for one in self.answered if one.image is not layer]
            self._show_table()

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
        said = f"{layer.name}: windows of {found.window_px:.4g} px"
        self.controls.say("; ".join([said, *self._notices]))

    def show_map(self) -> None:
        """Show where the crops of the current row lie among those of the training."""
        one = self.answered[max(0, self.table.currentRow())] if self.answered else None
        if self._had is None or one is None or one.plane.descriptors is None:
            raise InputError("classify images first")
        digest = self._provenance["model_digest"]
        self._begin(
            map_events(one.plane.descriptors, self._had, digest),
            "Descriptor map",
            partial(self._show_map, one.place),
        )

    def _show_map(self, place: str, shown: DescriptorMap) -> None:
        self.docks.show_map(shown, place)
        self.controls.say(f"descriptor map of {place}")

    def write(self, path: Path) -> None:
        """Write the table as CSV, and how it was had as JSON beside it."""
        write_answers(path, [one.row for one in self.answered], self._provenance)
        self.controls.say(f"written to {path}")

    def _ask_and_export(self) -> None:
        path = ask_for_table(self.native, self.answered)
        if path is not None:
            self.write(path)


def _shown(one: Answered) -> ShownAnswer:
    row = one.plane.row
    note = extrapolation_note(row)
    numbers = (f"{row['spread']:.2f}", f"{row[_PROBABILITY + _NONE]:.2f}")
    return ShownAnswer(
        one.plane.thumbnail,
        one.place,
        row["answer"],
        one.plane.probability,
        f"{one.place}: {row['answer']}, by {row['crops']} crops",
        more=(*numbers, note),
    )
