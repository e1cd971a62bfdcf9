"""What the docks share that name planes: their runs, the table, what layers keep, the export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import napari.viewer
from magicgui.widgets import ComboBox, Container, PushButton, Widget
from magicgui.widgets.bases import ValueWidget
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning

from ..classification.stacks import Named, NamedPlane, Stack
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
from .form import Form, align_labels
from .layer_answers import LayerAnswers
from .looked_at import LookedAt, bring_into_view
from .wording import in_window
from .worker import nothing

P = TypeVar("P")
T = TypeVar("T")


class AnsweringForm(Form, Generic[P]):
    """A dock that names planes of images, as `P` says.

    Parameters
    ----------
    waiting
        Buttons that would begin another run, which wait while one is under way.

    The others are those of `Form`. Subclasses make `image`, `looked_at`, `table` and `export`
    before.

    Attributes
    ----------
    noted
        What layers keep of the answers.
    naming
        What a run that names planes is called.
    answered
        The answers in the table, one a row; all had in the same way.
    """

    noted: ClassVar[LayerAnswers]
    naming: ClassVar[str]
    image: ComboBox
    looked_at: LookedAt
    table: AnswerTable
    export: PushButton

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        section: str,
        fields: Sequence[Widget],
        remembered: Mapping[str, ValueWidget[Any]],
        help_section: str,
        waiting: Sequence[Widget],
    ) -> None:
        controls = ClassifyControls(waiting, self._ended)
        super().__init__(viewer, section, fields, remembered, "Classify", help_section, controls)
        self.answered: list[Answered] = []
        self._asked: Asked[P] | None = None
        self._had: P | None = None
        self._provenance: dict[str, Any] = {}
        self._notices: list[str] = []
        self.export.changed.connect(partial(self.attempt, self._ask_and_export))
        self._followed = FollowedLayers(
            self.viewer,
            self.native,
            on_gone=self._gone,
            on_replaced=self._data_replaced,
            on_renamed=self._renamed,
        )

    # --- runs --------------------------------------------------------------------------------

    def compute(self) -> None:
        """Name what the form says."""
        parameters = self._parameters()
        images = self.looked_at.images()
        stacks = [self.looked_at.stack(image) for image in images]
        self._begin(self._events(stacks, parameters), self.naming, nothing)
        # Only now: a run under way, which refuses another, goes on with its own.
        self._asked = Asked(images, parameters)

    def _parameters(self) -> P:
        """How planes are named, as the form says; subclasses read it."""
        raise NotImplementedError

    def _events(self, stacks: Sequence[Stack], parameters: P) -> Events[Any]:
        """The computation, which yields the answers as `Named`; subclasses say which."""
        raise NotImplementedError

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

    def _take(self, asked: Asked[P], message: str) -> None:
        """Show answers beside earlier ones that were had alike."""
        told = asked.parts[0]
        if told.provenance != self._provenance:
            self._start_anew()
        self._had, self._provenance = asked.parameters, told.provenance
        taken, replaced = asked.taken(self.viewer)
        self._notices += replaced
        for image, planes in taken.items():
            self.noted.note(image, planes, told.provenance)
            self.answered = with_answers(self.answered, image, planes)
            self._took(image, planes, told)
        self._show_table()
        rows = [one.row for planes in taken.values() for one in planes]
        self._say(message, self._counted(rows))

    def _start_anew(self) -> None:
        """Forget answers that were had otherwise."""
        self.answered = []

    def _took(self, image: Image, planes: list[NamedPlane], told: Named) -> None:
        """Answers of an image were taken; subclasses show more of them."""

    def _counted(self, rows: list[dict[str, Any]]) -> str:
        """How many planes were named, in words; subclasses find them."""
        raise NotImplementedError

    def _say(self, *parts: str) -> None:
        """Show what there is to say in a line, the notices of the run last."""
        self.controls.say("; ".join(x for x in (*parts, *self._notices) if x))

    # --- the table ---------------------------------------------------------------------------

    def _show_table(self) -> None:
        self.table.show_answers([self._shown(one) for one in self.answered])

    def _shown(self, one: Answered) -> ShownAnswer:
        """An answer as a row; subclasses say how."""
        raise NotImplementedError

    def _go_to(self, row: int) -> None:
        """Bring the plane of a row into view, in front of the other images of the table."""
        one = self.answered[row]
        others = {x.image for x in self.answered}
        bring_into_view(self.viewer, one.image, one.plane.number, others)

    def _has_rows(self, layer: Layer) -> bool:
        return any(one.image is layer for one in self.answered)

    def _drop_rows(self, layer: Layer) -> None:
        """Take the answers for a layer out."""
        if self._has_rows(layer):
            self.answered = [one for one in self.answered if one.image is not layer]
            self._show_table()

    # --- layers that go and change -----------------------------------------------------------

    def _gone(self, layer: Layer) -> None:
        self._drop_rows(layer)

    def _data_replaced(self, layer: Layer) -> None:
        """Drop what was answered of the former data."""
        if self.noted.forget(layer) or self._has_rows(layer):
            self._forget(layer)
            said = f"{layer.name}: its answers are dropped, as its data were replaced"
            self.controls.say(said)
            show_warning(said)

    def _forget(self, layer: Layer) -> None:
        """Take away what the form shows of the former data."""
        self._drop_rows(layer)

    def _renamed(self, layer: Layer) -> None:
        keep_chosen(self.image)
        if self._has_rows(layer):
            self._show_table()

    # --- the answers as a file ---------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Write the table as CSV, and how it was had as JSON beside it."""
        write_answers(path, [self._exported(one) for one in self.answered], self._provenance)
        self.controls.say(f"written to {path}")

    def _exported(self, one: Answered) -> dict[str, Any]:
        """A row of the file."""
        return one.row

    def _ask_and_export(self) -> None:
        path = ask_for_table(self.native, self.answered)
        if path is not None:
            self.write(path)


class ConfirmingForm(AnsweringForm[P]):
    """Whose answers may be confirmed, or corrected."""

    def confirm_as(self, row: int, name: str) -> None:
        """Confirm the class of a row; "" takes it back. Subclasses say what follows."""
        raise NotImplementedError

    def _class_chosen(self, row: int, name: str) -> None:
        self.attempt(partial(self.confirm_as, row, name))

    def _class_names(self) -> list[str]:
        """Classes to choose from; subclasses know them."""
        raise NotImplementedError

    def _show_table(self) -> None:
        self.table.offer(self._class_names())
        super()._show_table()

    def _confirmed(self, one: Answered) -> str:
        return self.noted.confirmed(one.image).get(one.plane.number, "")

    def _exported(self, one: Answered) -> dict[str, Any]:
        return {**one.row, "confirmed": self._confirmed(one)}


def below(table: AnswerTable, widgets: Sequence[Widget], *, labels: bool) -> Container[Widget]:
    """A table, and widgets below it."""
    results: Container[Widget] = Container(widgets=[*widgets], labels=labels)
    results.margins = (0, 0, 0, 0)
    align_labels(results)
    results.native.layout().insertWidget(0, table)
    return results
