"""The library of a form: what it holds, and how examples come in and go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import napari.viewer
from magicgui.widgets import ComboBox, Container, Label, LineEdit, PushButton, Widget
from napari.layers import Image, Shapes
from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtWidgets import QCompleter, QFileDialog, QLineEdit

from ..classification.images import OUTSIDERS
from ..classification.library import Example, Library, known_name
from ..errors import InputError
from .example_library import (
    draw_as,
    new_shapes,
    plane_example,
    shape_examples,
    told_apart,
)
from .form import button_row, chosen, layer_choice, wrap
from .library_table import LibraryTable
from .looked_at import plane_in_view

_CLASS = "typed, or taken over by a click on a class above"
_SPECIMEN = "examples of one specimen are no independent witnesses; empty: the layer's name"
_SHAPES = "rectangles, polygons and ellipses, each with its class in the features"
_ADD_IMAGE = "makes the plane in view of the image above an example of the class"
_NEW_SHAPES = "adds a layer to draw examples on the image above; each has the class set here"
_ADD_SHAPES = "makes the largest upright rectangle inside each shape an example of its class"
_REMOVE = "takes the selected pictures out, with a class's name all of its examples (Delete)"
_OPEN = "a folder a class, or images with an index.csv; what you have not saved is kept"
_SAVE = "one PNG an example, a folder a class, and an index.csv with pixel sizes and specimens"

Place = tuple[Image, int]
"""A plane of a layer."""


class LibraryPanel:
    """The fields and the table of a library: `widgets`.

    Parameters
    ----------
    image
        The form's choice of an image.
    on_changed
        Called when the library has changed.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, image: ComboBox, on_changed: Callable[[], None]
    ) -> None:
        self.library = Library()
        self.planes: dict[Place, str] = {}
        self._saved = self.library
        self._viewer, self._image, self._on_changed = viewer, image, on_changed
        self.told = Label(value="")
        wrap(self.told)
        self.open = PushButton(text="Open library…", tooltip=_OPEN)
        self.save = PushButton(text="Save library…", tooltip=_SAVE)
        self.remove = PushButton(text="Remove", tooltip=_REMOVE)
        self.table = LibraryTable(self._take_name, self.remove.native.click)
        self.name = LineEdit(label="Class", tooltip=_CLASS)
        self.specimen = LineEdit(label="Specimen", tooltip=_SPECIMEN)
        self.shapes = layer_choice(viewer, Shapes, "Shapes", optional=True, tooltip=_SHAPES)
        self.add_image_button = PushButton(text="Add image", tooltip=_ADD_IMAGE)
        self.new_shapes_button = PushButton(text="New shapes layer", tooltip=_NEW_SHAPES)
        self.add_shapes_button = PushButton(text="Add shapes", tooltip=_ADD_SHAPES)
        self.known = QStringListModel()
        self._complete_names()
        self.held: Container[Widget] = Container(
            widgets=[self.told, button_row(self.open, self.save, self.remove)], labels=False
        )
        self.held.margins = (0, 0, 0, 0)
        self.held.native.layout().insertWidget(0, self.table)
        self.widgets: list[Widget] = [
            self.name,
            self.specimen,
            self.shapes,
            button_row(self.add_image_button, self.new_shapes_button, self.add_shapes_button),
        ]
        self.name.changed.connect(self._draw_as)
        self.shapes.changed.connect(self._draw_as)
        self._show()

    # --- what comes in -----------------------------------------------------------------------

    def add_image(self) -> str:
        """Take the plane in view as an example; says so."""
        image: Image = chosen(self._image, "an image")
        number = plane_in_view(self._viewer, image)
        self.set_planes({(image, number): self._stated_name()}, self.specimen.value)
        return f"{self.library.examples[-1].source}: an example of {self._stated_name()}"

    def new_shapes(self) -> str:
        """Add a layer to draw on; says how."""
        image: Image = chosen(self._image, "an image")
        layer = new_shapes(self._viewer, image, self._stated_name())
        self.shapes.value = layer
        return f"{layer.name}: draw examples of {self._stated_name()}, then press 'Add shapes'"

    def add_shapes(self) -> tuple[str, tuple[str, ...]]:
        """Take what the shapes mark; says how many there are, and what was skipped."""
        image: Image = chosen(self._image, "an image")
        if self.shapes.value is None:
            raise InputError("choose a Shapes layer, or press 'New shapes layer' and draw on it")
        shapes: Shapes = self.shapes.value
        found = shape_examples(self._viewer, image, shapes, self.library.names, self.specimen.value)
        if not found.examples:
            why = found.skipped[0] if found.skipped else "draw rectangles or polygons first"
            raise InputError(f"{shapes.name}: no example in it; {why}")
        library = self.library
        for example in found.examples:
            library = library.added(told_apart(library, example))
        self._take(library)
        return f"{len(found.examples)} examples from {shapes.name}", found.skipped

    def set_planes(self, names: dict[Place, str], specimen: str = "") -> None:
        """Make planes examples of classes; "" makes one none. All or, with an error, none.

        Raises
        ------
        InputError
            As `example_library.plane_example`.
        """
        made = {
            (image, number): plane_example(image, number, self.spelt(name), specimen)
            for (image, number), name in names.items()
            if name
        }
        library = self._without({self.planes[place] for place in names if place in self.planes})
        # A plane without an example any more is still to be told to whoever watches.
        places = {**self.planes, **dict.fromkeys(names, "")}
        for place, one in made.items():
            example = told_apart(library, one)
            library = library.added(example)
            places[place] = example.source
        self.planes = places
        self._take(library)

    def spelt(self, name: str) -> str:
        """A class as the library spells it."""
        return known_name(name, (*self.library.names, OUTSIDERS))

    # --- what goes ---------------------------------------------------------------------------

    def remove_selected(self) -> str:
        """Take the selected examples out; says how many."""
        chosen_ones = self.table.selected
        if not chosen_ones:
            raise InputError("select pictures of examples in the library first")
        self._take(self._without({self.library.examples[n].source for n in chosen_ones}))
        return f"{len(chosen_ones)} removed from the library"

    # --- on disk -----------------------------------------------------------------------------

    def ask_for_folder(self) -> Path | None:
        """Ask for a library's folder; None when that is cancelled."""
        start = str(self.library.folder or "")
        path = QFileDialog.getExistingDirectory(self.table, "Library of examples", start)
        return Path(path) if path else None

    def opened(self, read: Library) -> str:
        """Take a library that was read; what is not saved yet stays. Says what there is."""
        kept = self.unsaved
        renamed = [replace(one, name=known_name(one.name, read.names)) for one in kept]
        self._saved = read
        library = read
        for example in renamed:
            library = library.added(told_apart(library, example))
        self._take(library)
        more = f"; {len(kept)} not saved yet kept" if kept else ""
        return f"{len(read)} examples of {len(read.names)} classes{more}"

    def written(self, folder: Path, library: Library) -> str:
        """Take note that a library was written; says so."""
        self._saved = library
        self.library = self.library.kept_in(folder)
        self._show()
        return f"{len(library)} examples written to {folder}"

    @property
    def unsaved(self) -> list[Example]:
        """Examples that lie in no folder yet."""
        saved = {id(one) for one in self._saved.examples}
        return [one for one in self.library.examples if id(one) not in saved]

    # --- the fields --------------------------------------------------------------------------

    def _stated_name(self) -> str:
        name = self.spelt(self.name.value)
        if not name:
            raise InputError("type the class of the example first")
        return name

    def _take_name(self, name: str) -> None:
        self.name.value = name

    def _draw_as(self, _: object) -> None:
        if self.shapes.value is not None:
            draw_as(self.shapes.value, self.spelt(self.name.value))

    def _complete_names(self) -> None:
        native: QLineEdit = self.name.native
        completer = QCompleter(self.known, native)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        native.setCompleter(completer)
        native.setPlaceholderText("such as spheroidite")
        self.specimen.native.setPlaceholderText("the layer's name")

    def _without(self, sources: set[str]) -> Library:
        kept = tuple(one for one in self.library.examples if one.source not in sources)
        return replace(self.library, examples=kept)

    def _take(self, library: Library) -> None:
        self.library = library
        self._show()
        self._on_changed()

    def _show(self) -> None:
        self.table.show_library(self.library)
        self.known.setStringList([*self.library.counts])
        unsaved, folder = len(self.unsaved), self.library.folder
        said = f"Library: {len(self.library)} examples of {len(self.library.names)} classes"
        where = f", {folder.name}" if folder else ""
        self.told.value = f"{said}{where}" + (f"; {unsaved} not saved" if unsaved else "")
