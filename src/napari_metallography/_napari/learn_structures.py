"""*Learn structures*: classes from a few examples each, and a library that grows by corrections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import napari.viewer
from magicgui.widgets import ComboBox, PushButton
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning

from ..classification.images import OUTSIDERS, skipped_words
from ..classification.library import Example, Library, read_library, write_library
from ..classification.stacks import Named, NamedPlane, Stack
from ..errors import InputError
from ..events import Event, Events
from .answer_table import AnswerTable, ShownAnswer
from .answered import Answered, keep_chosen
from .answering import ConfirmingForm, below
from .device_choice import devices
from .example_library import examples_made
from .form import button_row, micrograph_choice, unproxied
from .layer_answers import LayerAnswers
from .learn_runs import Learnt, Lesson, answered_events, learnt_events
from .library_panel import LibraryPanel, Place
from .looked_at import LookedAt
from .model_choice import ModelChoice
from .worker import one_step

STRUCTURES = LayerAnswers("learnt_structures")
"""What is noted of images."""

_LEARN = "learns the classes from the examples; Classify does so too when the library has changed"
_CONFIRM = "takes the answers of the selected rows for right: they become examples"
_EXPORT = "classes.csv with a probability a class, and what you confirmed; how it was had, as JSON"
_SIMILARITY = "similarity"
_AT_ONCE = 3
_NEXT = "Learn or Classify takes it into account"


class LearnStructuresWidget(ConfirmingForm[Lesson]):
    """The dock *Learn structures*."""

    noted = STRUCTURES
    naming = "Classify"

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
        buttons = button_row(self.confirm, self.export)
        self.results = below(self.table, [buttons], labels=False)
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
            "Learn structures",
            waiting=(self.learn, self.panel.open, self.panel.save),
        )
        self.controls.buttons.insert(0, self.learn)
        self._learnt: Learnt | None = None
        # Planes that answers were learnt from: those to come, and those in the table.
        self._taught: set[Place] = set()
        self._own: set[Place] = set()
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
        self._say(self.panel.opened(library))

    def _written(self, folder: Path, library: Library, _: list[Path]) -> None:
        self._say(self.panel.written(folder, library))

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
        self._begin(learnt_events(self._parameters()), "Learn structures", self._take_learnt)

    def compute(self) -> None:
        """Name what the form says; learn first what is not learnt yet."""
        super().compute()
        self._taught = {*self.panel.planes}

    def _parameters(self) -> Lesson:
        library = self.panel.library
        if not library.names:
            raise InputError(
                "the library is empty; add an image or shapes as examples of a class, or open one"
            )
        return Lesson(library, self.model.value, self.device.value)

    def _events(self, stacks: Sequence[Stack], parameters: Lesson) -> Events[None]:
        return answered_events(stacks, parameters, self._learnt)

    def _happened(self, event: Event) -> None:
        if isinstance(event, Learnt):
            self._learnt = event
        super()._happened(event)

    def _take_learnt(self, learnt: Learnt) -> None:
        self._learnt = learnt
        names = learnt.classes.names
        self._say(f"{len(names)} classes learnt: {', '.join(names)}")

    def _took(self, image: Image, planes: list[NamedPlane], told: Named) -> None:
        places = {(image, one.number) for one in planes}
        self._own = (self._own - places) | (self._taught & places)

    def _counted(self, rows: list[dict[str, Any]]) -> str:
        none = [row["answer"] for row in rows].count(OUTSIDERS)
        return f"{len(rows)} looked at: {len(rows) - none} named, {none} none of the classes"

    # --- the table ---------------------------------------------------------------------------

    def _shown(self, one: Answered) -> ShownAnswer:
        row = one.plane.row
        # A plane is always like itself.
        itself = "\nan example" if (one.image, one.plane.number) in self._own else ""
        return ShownAnswer(
            one.plane.thumbnail,
            one.place,
            row["answer"],
            one.plane.probability,
            f"{row['answer']}; most like {row['most_probable']}: similarity "
            f"{row['similarity']:.3f}, none below {row['least_similarity']:.3f}",
            self._confirmed(one),
            (f"{row['similarity']:.2f}{itself}",),
        )

    def _class_names(self) -> list[str]:
        return [*self.panel.library.names, OUTSIDERS]

    def _show_confirmed(self) -> None:
        self.table.offer(self._class_names())
        self.table.show_confirmed(
            {row: self._confirmed(one) for row, one in enumerate(self.answered)}
        )

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

    # --- layers that go and change -----------------------------------------------------------

    def _gone(self, layer: Layer) -> None:
        """Drop what is known of a layer that went; examples made of it stay."""
        if STRUCTURES.confirmed(layer):
            STRUCTURES.confirm(layer, dict.fromkeys(STRUCTURES.confirmed(layer), ""))
        super()._gone(layer)

    def _renamed(self, layer: Layer) -> None:
        keep_chosen(self.panel.shapes)
        super()._renamed(layer)

    def _drop_rows(self, layer: Layer) -> None:
        self.panel.forget_layer(layer)
        super()._drop_rows(layer)
