"""*Classify structure*: answers for layers and stacks, what lies where, the descriptor map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
import pandas as pd
from magicgui.widgets import ComboBox, Container, Label, PushButton, Table, Widget
from napari.layers import Image
from qtpy.compat import isalive
from qtpy.QtWidgets import QAbstractItemView

from ..classification.structure_parameters import (
    NamedStructure,
    NamedStructures,
    SaliencyParameters,
    SaliencyPicture,
    StructureParameters,
)
from ..errors import InputError
from ..events import Event, Notice
from .answers_file import ask_for_table, write_answers
from .descriptor_map import DescriptorDocks
from .device_choice import devices
from .form import (
    Form,
    align_labels,
    as_result,
    button_row,
    chosen,
    fill,
    micrograph_choice,
    parameter_fields,
    read,
    wrap,
)
from .looked_at import LookedAt, bring_into_view, place_of, stack_in_view
from .model_choice import ModelChoice
from .structure_layers import add_saliency, legend_html, note_structures
from .structure_runs import map_events, named_events, saliency_events
from .wording import in_window

if TYPE_CHECKING:
    from ..classification.descriptor_map import DescriptorMap

_SALIENCY = "shows over the plane in view which class lies where; dark is none of them"
_MAP = (
    "shows where the crops of the selected row lie among those of the training; without a row, "
    "those of the first one"
)
_EXPORT = "classes.csv with a probability a class and of none; how it was had, as JSON"
_COLUMNS = ("image", "answer", "P", "spread", "P(none)", "note")
_PROBABILITY = "probability_"
_NONE = "none"


@dataclass(frozen=True)
class AnsweredStructure:
    """An answer and the layer it is for."""

    image: Image
    plane: NamedStructure


class ClassifyStructureWidget(Form):
    """The dock *Classify structure*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.image = micrograph_choice(viewer)
        self.looked_at = LookedAt(viewer, self.image)
        self.extent = self.looked_at.extent
        self.model = ModelChoice("structure")
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.windows = parameter_fields(
            SaliencyParameters,
            ("window_px", "stride_px"),
            {"window_px": "Saliency window (px)", "stride_px": "Saliency stride (px)"},
        )
        self.windows["window_px"].native.setSpecialValueText("automatic")
        self.table = Table(value=[])
        self.saliency = PushButton(text="Saliency", tooltip=_SALIENCY)
        self.map = PushButton(text="Descriptor map", tooltip=_MAP)
        self.export = PushButton(text="Export…", tooltip=_EXPORT)
        self.legend = Label(value="", label="", visible=False)
        wrap(self.legend)
        self.results: Container[Widget] = Container(
            widgets=[self.table, button_row(self.saliency, self.map, self.export), self.legend],
            labels=False,
        )
        self.results.margins = (0, 0, 0, 0)
        align_labels(self.results)
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
        )
        self._prepare_table()
        self.docks = DescriptorDocks(self.viewer)
        self.answered: list[AnsweredStructure] = []
        self._had: StructureParameters | None = None
        self._provenance: dict[str, Any] = {}
        self._notices: list[str] = []
        self.saliency.changed.connect(partial(self.attempt, self.show_saliency))
        self.map.changed.connect(partial(self.attempt, self.show_map))
        self.export.changed.connect(partial(self.attempt, self._ask_and_export))
        self.viewer.layers.events.removed.connect(self._layer_removed)

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
        self._begin()
        self.controls.start(
            named_events(stacks, parameters),
            "Classify structure",
            partial(self._take, {image.name: image for image in images}, parameters),
            self._happened,
        )

    def _parameters(self) -> StructureParameters:
        return StructureParameters(model=self.model.value, device=self.device.value)

    def _begin(self) -> None:
        # What a run under way has said is still to be told.
        if not self.controls.is_running:
            self._notices = []

    def _happened(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(in_window(event.message))

    def _take(
        self, images: Mapping[str, Image], parameters: StructureParameters, named: NamedStructures
    ) -> None:
        """Show answers beside earlier ones that were had alike."""
        if named.provenance != self._provenance:
            self.answered = []
        self._had, self._provenance = parameters, named.provenance
        for image in images.values():
            if image in self.viewer.layers:
                self._take_one(image, [p for p in named.planes if images[p.stack] is image])
        self._show_table()
        none = sum(one.row["answer"] == _NONE for one in named.planes)
        said = f"{len(named.planes)} named, {none} of them none"
        self.controls.say("; ".join([said, *self._notices]))

    def _take_one(self, image: Image, planes: list[NamedStructure]) -> None:
        note_structures(image, planes, self._provenance)
        anew = {plane.number for plane in planes}
        kept = [x for x in self.answered if x.image is not image or x.plane.number not in anew]
        self.answered = kept + [AnsweredStructure(image, plane) for plane in planes]

    # --- the table ---------------------------------------------------------------------------

    def _prepare_table(self) -> None:
        as_result(self.table)
        native = self.table.native
        native.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        native.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        native.currentCellChanged.connect(self._row_changed)

    def _show_table(self) -> None:
        self.table.native.blockSignals(True)
        rows = [_shown(one) for one in self.answered]
        fill(self.table, pd.DataFrame(rows, columns=[*_COLUMNS]), "note")
        self.table.native.setCurrentCell(-1, -1)
        self.table.native.blockSignals(False)

    def _row_changed(self, row: int, _: int, former: int, __: int) -> None:
        if 0 <= row < len(self.answered) and row != former:
            self._go_to(self.answered[row])

    def _go_to(self, one: AnsweredStructure) -> None:
        """Bring the plane of a row into view, in front of the other images of the table."""
        others = {x.image for x in self.answered}
        bring_into_view(self.viewer, one.image, one.plane.number, others)

    def _layer_removed(self, event: Any) -> None:
        if not isalive(self.native):  # type: ignore[no-untyped-call]
            return
        if any(one.image is event.value for one in self.answered):
            self.answered = [one for one in self.answered if one.image is not event.value]
            self._show_table()

    # --- what else can be had ----------------------------------------------------------------

    def show_saliency(self) -> None:
        """Compute and show what lies where on the plane in view of the chosen image."""
        parameters = self._parameters()
        windows = read(SaliencyParameters, self.windows)
        image: Image = chosen(self.image, "an image")
        stack = stack_in_view(self.viewer, image)
        (number,) = stack.numbers
        self._begin()
        self.controls.start(
            saliency_events(stack, number, parameters, windows),
            f"Saliency of {image.name}",
            partial(self._show_saliency, image, number),
            self._happened,
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
        if self._had is None or not self.answered:
            raise InputError("classify images first")
        one = self.answered[max(0, self.table.native.currentRow())]
        self.controls.start(
            map_events(one.plane.descriptors, self._had),
            "Descriptor map",
            partial(self._show_map, place_of(one.image, one.plane.number)),
        )

    def _show_map(self, place: str, shown: DescriptorMap) -> None:
        self.docks.show_map(shown, place)
        self.controls.say(f"descriptor map of {place}")

    def write(self, path: Path) -> None:
        """Write the table as CSV, and how it was had as JSON beside it."""
        write_answers(path, [one.plane.row for one in self.answered], self._provenance)
        self.controls.say(f"written to {path}")

    def _ask_and_export(self) -> None:
        path = ask_for_table(self.native, self.answered)
        if path is not None:
            self.write(path)


def _shown(one: AnsweredStructure) -> dict[str, Any]:
    """A row of the table."""
    row = one.plane.row
    values = (
        place_of(one.image, one.plane.number),
        row["answer"],
        f"{row[_PROBABILITY + row['answer']]:.2f}",
        f"{row['spread']:.2f}",
        f"{row[_PROBABILITY + _NONE]:.2f}",
        one.plane.note,
    )
    return dict(zip(_COLUMNS, values, strict=True))
