"""The library of a form: what it holds, and how examples come in and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import napari.viewer
from magicgui.widgets import ComboBox, Container, Label, LineEdit, PushButton, Widget
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtWidgets import QCompleter, QFileDialog, QLineEdit

from ..classification.images import OUTSIDERS
from ..classification.library import Example, Library, known_name
from ..errors import InputError
from ..events import drain
from .example_library import (
    PlaneToTake,
    draw_as,
    examples_made,
    new_shapes,
    plane_to_take,
    same_content,
    shape_examples,
    taken_in,
)
from .form import button_row, chosen, layer_choice, wrap
from .library_table import LibraryTable
from .looked_at import bring_into_view, plane_in_view
from .results import is_computed

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


@dataclass(frozen=True)
class KeptLibrary:
    """A library, what of it lies on disk, and which examples are planes of layers."""

    library: Library = field(default_factory=Library)
    saved: Library = field(default_factory=Library)
    planes: dict[Place, Example] = field(default_factory=dict)


_kept: WeakKeyDictionary[ViewerModel, KeptLibrary] = WeakKeyDictionary()


class LibraryPanel:
    """The fields and the table of a library: `widgets`.

    The library stays with the viewer: a panel in another dock takes it up.

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
        kept = _kept.get(viewer, KeptLibrary())
        self.library, self._saved, self.planes = kept.library, kept.saved, kept.planes
        self._is_open = True
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
        place = image, plane_in_view(self._viewer, image)
        former = self.planes.get(place)
        self.set_planes({place: self._stated_name()}, self.specimen.value)
        one = self.planes[place]
        already = "already " if one is former else ""
        return f"{one.source}: {already}an example of {one.name}"

    def new_shapes(self) -> str:
        """Add a layer to draw on; says how."""
        image: Image = chosen(self._image, "an image")
        name, number = self._stated_name(), plane_in_view(self._viewer, image)
        images = [x for x in self._viewer.layers if isinstance(x, Image) and not is_computed(x)]
        # One draws on what is seen, which is to be what is cut.
        bring_into_view(self._viewer, image, number, images)
        layer = new_shapes(self._viewer, image, name)
        self.shapes.value = layer
        return f"{layer.name}: draw examples of {name}, then press 'Add shapes'"

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
            library, _ = taken_in(library, example)
        more = len({*map(id, library.examples)} - {*map(id, self.library.examples)})
        if more:
            self._take(library)
        there = len(found.examples) - more
        already = f"; {there} already there" if there else ""
        return f"{_number(more, 'example')} from {shapes.name}{already}", found.skipped

    def set_planes(self, names: Mapping[Place, str], specimen: str = "") -> None:
        """Make planes examples of classes; "" makes one none. All or, with an error, none.

        Raises
        ------
        InputError
            As `example_library.plane_example`.
        """
        self.take_planes(names, drain(examples_made(self.planes_to_take(names, specimen))))

    def planes_to_take(
        self, names: Mapping[Place, str], specimen: str = ""
    ) -> dict[Place, PlaneToTake]:
        """Those that are to be examples of classes, as they are now."""
        return {
            (image, number): plane_to_take(image, number, self.spelt(name), specimen)
            for (image, number), name in names.items()
            if name
        }

    def take_planes(self, names: Collection[Place], made: Mapping[Place, Example]) -> None:
        """Let examples take the place of what planes were before."""
        former = {place: one for place, one in self.planes.items() if place in names}
        same = {p: one for p, one in former.items() if p in made and same_content(one, made[p])}
        library = self._without(one for place, one in former.items() if place not in same)
        planes = {place: one for place, one in self.planes.items() if place not in former} | same
        for place, one in made.items():
            if place not in same:
                library, planes[place] = taken_in(library, one)
        self.planes = planes
        self._take(library)

    def forget_layer(self, image: Image) -> None:
        """Take note that a layer's planes are not what they were; examples of them stay."""
        self.planes = {place: one for place, one in self.planes.items() if place[0] is not image}
        self._keep()

    def let_go(self) -> None:
        """The panel is closed: the library is another one's to change."""
        self._is_open = False

    def spelt(self, name: str) -> str:
        """A class as the library spells it."""
        return known_name(name, (*self.library.names, OUTSIDERS))

    # --- what goes ---------------------------------------------------------------------------

    def remove_selected(self) -> str:
        """Take the selected examples out; says how many."""
        chosen_ones = self.table.selected
        if not chosen_ones:
            raise InputError("select pictures of examples in the library first")
        self._take(self._without(self.library.examples[n] for n in chosen_ones))
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
        # An example of the same content may be called another's name there.
        now = {id(one): same for one in self.library.examples if (same := _in(read, one))}
        library = read
        for one in kept:
            named = replace(one, name=known_name(one.name, read.names))
            library, now[id(one)] = taken_in(library, named)
        self._saved = read
        self.planes = {p: now[id(one)] for p, one in self.planes.items() if id(one) in now}
        self._take(library)
        more = f"; {len(kept)} not saved yet kept" if kept else ""
        return f"{_told(read)}{more}"

    def written(self, folder: Path, library: Library) -> str:
        """Take note that a library was written; says so."""
        self._saved = library
        self.library = self.library.kept_in(folder)
        self._show()
        return f"{_number(len(library), 'example')} written to {folder}"

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

    def _without(self, examples: Iterable[Example]) -> Library:
        gone = {id(one) for one in examples}
        if not gone:
            return self.library
        kept = tuple(one for one in self.library.examples if id(one) not in gone)
        return replace(self.library, examples=kept)

    def _take(self, library: Library) -> None:
        self.library = library
        held = {id(one) for one in library.examples}
        self.planes = {place: one for place, one in self.planes.items() if id(one) in held}
        self._show()
        self._on_changed()

    def _keep(self) -> None:
        if self._is_open:
            _kept[self._viewer] = KeptLibrary(self.library, self._saved, self.planes)

    def _show(self) -> None:
        self._keep()
        self.table.show_library(self.library)
        self.known.setStringList([*self.library.counts])
        unsaved, folder = len(self.unsaved), self.library.folder
        said = f"Library: {_told(self.library)}"
        where = f", {folder.name}" if folder else ""
        self.told.value = f"{said}{where}" + (f"; {unsaved} not saved" if unsaved else "")


def _in(library: Library, one: Example) -> Example | None:
    """The example of a library that shows the same and is called the same."""
    return next((x for x in library.examples if same_content(x, one)), None)


def _told(library: Library) -> str:
    names = len(library.names)
    return f"{_number(len(library), 'example')} of {names} {'class' if names == 1 else 'classes'}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
