"""*Learn structures*: classes from a few examples each, and a library that grows by corrections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import napari.viewer
from magicgui.widgets import ComboBox, Container, PushButton, Widget
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning

from ..classification.images import OUTSIDERS, skipped_words
from ..classification.library import Example, Library, read_library, write_library
from ..classification.stacks import Named, NamedPlane
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
from .device_choice import devices
from .example_library import examples_made
from .form import Form, button_row, micrograph_choice, unproxied
from .layer_answers import LayerAnswers
from .learn_runs import Learnt, Lesson, answered_events, learnt_events
from .library_panel import LibraryPanel, Place
from .looked_at import LookedAt, bring_into_view
from .model_choice import ModelChoice
from .wording import in_window
from .worker import nothing, one_step

T = TypeVar("T")

STRUCTURES = LayerAnswers("learnt_structures")
"""What is noted of images."""

_LEARN = "learns the classes from the examples; Classify does so too when the library has changed"
_CONFIRM = "takes the answers of the selected rows for right: they become examples"
_EXPORT = "classes.csv with a probability a class, and what you confirmed; how it was had, as JSON"
_SIMILARITY = "similarity"
_AT_ONCE = 3
_NEXT = "Learn or Classify takes it into account"


class LearnStructuresWidget(Form):
    """The dock *Learn structures*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        viewer = unproxied(viewer)
        self.image = micrograph_choice(viewer)
        self.looked_at = LookedAt(viewer, self.image)
        self.extent = self.looked_at.extent
        self.panel = LibraryPanel(viewer, self.image, self._library_changed)
        self.model = ModelChoice(("few-shot", "backbone"))
        self.device = ComboBox(choices=devices(), label="Compute on", value="auto")
        self.learn = PushButton(text="Learn", tooltip=_LEARN)
        self.table = AnswerTable(self._go_to, self._class_chosen, (_SIMILARITY,))
        self.confirm = PushButton(text="Confirm selected", tooltip=_CONFIRM)
        self.export = PushButton(text="Export…", tooltip=_EXPORT)
        self.results: Container[Widget] = Container(
            widgets=[button_row(self.confirm, self.export)], labels=False
        )
        self.results.margins = (0, 0, 0, 0)
        self.results.native.layout().insertWidget(0, self.table)
        waiting = (self.learn, self.panel.open, self.panel.save)
        super().__init__(
            viewer,
            "learn-structures",
            [
                self.panel.held,
                self.image,
                *self.panel.widgets,
                *self.model.widgets,
                self.device,
                self.extent,
                self.results,
            ],
            {"extent": self.extent, "device": self.device},
            "Classify",
            "Learn structures",
            ClassifyControls(waiting, self._ended),
        )
        self.controls.buttons.insert(0, self.learn)
        self.answered: list[Answered] = []
        self._asked: Asked[Lesson] | None = None
        self._learnt: Learnt | None = None
        # Planes that answers were learnt from: those to come, and those in the table.
        self._taught: set[Place] = set()
        self._own: set[Place] = set()
        self._provenance: dict[str, Any] = {}
        self._notices: list[str] = []
        self._followed = FollowedLayers(
            self.viewer,
            self.native,
            on_gone=self._gone,
            on_replaced=self._data_replaced,
            on_renamed=self._renamed,
        )
        self._connect()
        self._recover()

    def closed(self) -> None:
        """The dock was closed; its library waits for the next one."""
        super().closed()
        self.panel.let_go()

    def _connect(self) -> None:
        panel = self.panel
        told: dict[PushButton, Callable[[], str]] = {
            panel.add_image_button: panel.add_image,
            panel.new_shapes_button: panel.new_shapes,
            panel.remove: panel.remove_selected,
        }
        done: dict[PushButton, Callable[[], None]] = {
            panel.add_shapes_button: self.add_shapes,
            panel.open: self._ask_and_open,
            panel.save: self._ask_and_save,
            self.learn: self.learn_library,
            self.confirm: self.confirm_selected,
            self.export: self._ask_and_export,
        }
        done |= {button: partial(self._do, action) for button, action in told.items()}
        for button, action in done.items():
            button.changed.connect(partial(self.attempt, action))

    def _do(self, action: Callable[[], str]) -> None:
        self.controls.say(action())

    # --- the library -------------------------------------------------------------------------

    def add_shapes(self) -> None:
        """Take what the chosen shapes mark as examples."""
        said, skipped = self.panel.add_shapes()
        if skipped:
            show_warning(skipped_words(skipped))
        self.controls.say("; ".join([said, *([skipped_words(skipped)] if skipped else [])]))

    def open_library(self, folder: Path) -> None:
        """Read a folder; what is not saved yet stays."""
        self._begin(read_library(folder), f"Open {folder.name}", self._opened)

    def save_library(self, folder: Path) -> None:
        """Write the library into a folder, which is that of later savings."""
        library = self.panel.library
        writing = one_step(partial(write_library, folder, library), "images")
        self._begin(writing, f"Save {folder.name}", partial(self._written, folder, library))

    def _ask_and_open(self) -> None:
        folder = self.panel.ask_for_folder()
        if folder is not None:
            self.open_library(folder)

    def _ask_and_save(self) -> None:
        folder = self.panel.ask_for_folder()
        if folder is not None:
            self.save_library(folder)

    def _opened(self, library: Library) -> None:
        self._say_all(self.panel.opened(library))

    def _written(self, folder: Path, library: Library, _: list[Path]) -> None:
        self._say_all(self.panel.written(folder, library))

    def _library_changed(self) -> None:
        """Confirmed planes are those that the library holds."""
        names: dict[Image, dict[int, str]] = {
            image: {} for image in STRUCTURES.confirmed_layers(self.viewer)
        }
        for (image, number), example in self.panel.planes.items():
            names.setdefault(image, {})[number] = example.name
        for image, own in names.items():
            former = STRUCTURES.confirmed(image)
            if own != former:
                STRUCTURES.confirm(image, {**dict.fromkeys(former, ""), **own})
        self._show_confirmed()

    def _recover(self) -> None:
        """Go on with the library of a dock that was closed, as far as layers are the same."""
        for image in {image for image, _ in self.panel.planes}:
            own = {n: one.name for (of, n), one in self.panel.planes.items() if of is image}
            if image not in self.viewer.layers or STRUCTURES.confirmed(image) != own:
                self.panel.forget_layer(image)
        self._library_changed()

    # --- learn and classify ------------------------------------------------------------------

    def learn_library(self) -> None:
        """Learn the classes of the library."""
        self._begin(learnt_events(self._lesson()), "Learn structures", self._take_learnt)

    def compute(self) -> None:
        """Name what the form says; learn first what is not learnt yet."""
        lesson = self._lesson()
        images = self.looked_at.images()
        stacks = [self.looked_at.stack(image) for image in images]
        events = answered_events(stacks, lesson, self._learnt)
        self._begin(events, "Classify", nothing)
        # Only now: a run under way, which refuses another, goes on with its own.
        self._asked, self._taught = Asked(images, lesson), {*self.panel.planes}

    def _lesson(self) -> Lesson:
        library = self.panel.library
        if not library.names:
            raise InputError(
                "the library is empty; add an image or shapes as examples of a class, or open one"
            )
        return Lesson(library, self.model.value, self.device.value)

    def _begin(self, events: Events[T], title: str, on_result: Callable[[T], None]) -> None:
        self.controls.start(events, title, on_result, self._happened)
        self._notices, self._asked = [], None

    def _happened(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(in_window(event.message))
        elif isinstance(event, Learnt):
            self._learnt = event
        elif isinstance(event, Named) and self._asked is not None:
            self._asked.parts.append(event)

    def _take_learnt(self, learnt: Learnt) -> None:
        self._learnt = learnt
        names = learnt.classes.names
        self._say_all(f"{len(names)} classes learnt: {', '.join(names)}")

    def _ended(self, message: str) -> None:
        """Keep what was answered, however the run ended."""
        asked, self._asked = self._asked, None
        if asked is not None and asked.parts:
            self.attempt(partial(self._take, asked, message))

    def _take(self, asked: Asked[Lesson], message: str) -> None:
        """Show answers beside earlier ones that were had alike."""
        told = asked.parts[0]
        if told.provenance != self._provenance:
            self.answered = []
        self._provenance = told.provenance
        taken, replaced = asked.taken(self.viewer)
        self._notices += replaced
        for image, planes in taken.items():
            STRUCTURES.note(image, planes, told.provenance)
            self.answered = with_answers(self.answered, image, planes)
            places = {(image, one.number) for one in planes}
            self._own = (self._own - places) | (self._taught & places)
        self._show_table()
        self._say_all("; ".join(x for x in (message, _counted([*taken.values()])) if x))

    def _say_all(self, said: str) -> None:
        self.controls.say("; ".join([said, *self._notices]))

    # --- the table ---------------------------------------------------------------------------

    def _show_table(self) -> None:
        self.table.offer(self._class_names())
        self.table.show_answers(
            [_shown(x, learnt_from=(x.image, x.plane.number) in self._own) for x in self.answered]
        )

    def _class_names(self) -> list[str]:
        return [*self.panel.library.names, OUTSIDERS]

    def _show_confirmed(self) -> None:
        self.table.offer(self._class_names())
        self.table.show_confirmed({row: _confirmed(one) for row, one in enumerate(self.answered)})

    def _go_to(self, row: int) -> None:
        """Bring the plane of a row into view, in front of the other images of the table."""
        one = self.answered[row]
        others = {x.image for x in self.answered}
        bring_into_view(self.viewer, one.image, one.plane.number, others)

    def _class_chosen(self, row: int, name: str) -> None:
        self.attempt(partial(self.confirm_as, row, name))

    def confirm_as(self, row: int, name: str) -> None:
        """Confirm the class of a row, which makes it an example; "" takes it back."""
        place = self.answered[row].place
        self._confirm({row: name})
        said = f"an example of {self.panel.spelt(name)}" if name else "no example any more"
        self.controls.say(f"{place}: {said}; {_NEXT}")

    def confirm_selected(self) -> None:
        """Take the answers of the selected rows for right, but those of none."""
        rows = {row: str(self.answered[row].plane.row["answer"]) for row in self.table.selected}
        named = {row: answer for row, answer in rows.items() if answer != OUTSIDERS}
        if not named:
            raise InputError("select rows with an answer first; give others a class by hand")
        if len(named) > _AT_ONCE:
            events = examples_made(self.panel.planes_to_take(self._places(named)))
            asked = [self.answered[row] for row in named]
            self._begin(events, "Confirm", partial(self._confirm_made, asked))
            return
        self._confirm(named)
        self.controls.say(f"{len(named)} confirmed; {_NEXT}")

    def _places(self, names: Mapping[int, str]) -> dict[Place, str]:
        rows = [(self.answered[row], name) for row, name in names.items()]
        return {(one.image, one.plane.number): name for one, name in rows}

    def _confirm_made(self, rows: Sequence[Answered], made: Mapping[Place, Example]) -> None:
        """Take examples but those whose answers are gone meanwhile."""
        kept = {id(one) for one in self.answered}
        places = {(one.image, one.plane.number) for one in rows if id(one) in kept}
        self.panel.take_planes(places, {at: made[at] for at in places})
        self.controls.say(f"{len(places)} confirmed; {_NEXT}")

    def _confirm(self, names: Mapping[int, str]) -> None:
        try:
            self.panel.set_planes(self._places(names))
        finally:
            # Also after a refusal, when the cell holds what was typed.
            self._show_confirmed()

    # --- layers that come, go and change -----------------------------------------------------

    def _gone(self, layer: Layer) -> None:
        """Drop what is known of a layer that went; examples made of it stay."""
        if STRUCTURES.confirmed(layer):
            STRUCTURES.confirm(layer, dict.fromkeys(STRUCTURES.confirmed(layer), ""))
        self._drop_rows(layer)

    def _data_replaced(self, layer: Layer) -> None:
        """Drop what was answered of the former data; examples made of them stay."""
        if STRUCTURES.forget(layer) or self._has_rows(layer):
            self._drop_rows(layer)
            said = f"{layer.name}: its answers are dropped, as its data were replaced"
            self.controls.say(said)
            show_warning(said)

    def _renamed(self, layer: Layer) -> None:
        for choice in (self.image, self.panel.shapes):
            keep_chosen(choice)
        if self._has_rows(layer):
            self._show_table()

    def _has_rows(self, layer: Layer) -> bool:
        return any(one.image is layer for one in self.answered)

    def _drop_rows(self, layer: Layer) -> None:
        self.panel.forget_layer(layer)
        if self._has_rows(layer):
            self.answered = [one for one in self.answered if one.image is not layer]
            self._show_table()

    # --- the answers as a file ---------------------------------------------------------------

    def write(self, path: Path) -> None:
        """Write the table as CSV, and how it was had as JSON beside it."""
        rows = [{**one.row, "confirmed": _confirmed(one)} for one in self.answered]
        write_answers(path, rows, self._provenance)
        self.controls.say(f"written to {path}")

    def _ask_and_export(self) -> None:
        path = ask_for_table(self.native, self.answered)
        if path is not None:
            self.write(path)


def _confirmed(one: Answered) -> str:
    return STRUCTURES.confirmed(one.image).get(one.plane.number, "")


def _counted(planes: list[list[NamedPlane]]) -> str:
    answers = [one.row["answer"] for some in planes for one in some]
    none = answers.count(OUTSIDERS)
    return f"{len(answers)} looked at: {len(answers) - none} named, {none} none of the classes"


def _shown(one: Answered, *, learnt_from: bool) -> ShownAnswer:
    row = one.plane.row
    # A plane is always like itself.
    itself = "\nan example" if learnt_from else ""
    return ShownAnswer(
        one.plane.thumbnail,
        one.place,
        row["answer"],
        one.plane.probability,
        f"{row['answer']}; most like {row['most_probable']}",
        _confirmed(one),
        (f"{row['similarity']:.2f}{itself}",),
    )
