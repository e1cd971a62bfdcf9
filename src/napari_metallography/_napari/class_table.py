"""The classes of a training: names and colours, edited in a form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from magicgui.widgets import Container, Label, LineEdit, PushButton, Widget
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog

from ..classes import PALETTE, PhaseClass
from ..errors import InputError
from .form import button_row
from .painting import in_paint

_FEWEST, _MOST = 2, 32
_COLOUR_WIDTH = 44
_NAME = "name of the class; it is stored in the model"
_COLOUR = (
    "choose the colour of the class in results and in the model; the frame is that of its paint, "
    "as grey would not be seen on a micrograph"
)


def require_clear_names(names: Sequence[str]) -> None:
    """Refuse empty names and names given twice."""
    for label, name in enumerate(names, start=1):
        if not name:
            raise InputError(f"class {label} has no name; give it one")
        if name in names[: label - 1]:
            raise InputError(f"two classes are named '{name}'; give each a name of its own")


class ClassRow(Container[Widget]):
    """Label value, name and colour of one class."""

    def __init__(self, label: int, phase: PhaseClass, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.colour = phase.colour
        self.name_edit = LineEdit(value=phase.name, tooltip=_NAME)
        self.colour_button = PushButton(text=" ", tooltip=_COLOUR)
        self.colour_button.native.setFixedWidth(_COLOUR_WIDTH)
        super().__init__(
            widgets=[Label(value=str(label)), self.name_edit, self.colour_button],
            layout="horizontal",
            labels=False,
        )
        self.margins = (0, 0, 0, 0)
        self.paint(phase.colour)
        # A long name is read from its beginning.
        self.name_edit.native.home(False)
        self.name_edit.changed.connect(lambda _: changed())
        self.colour_button.changed.connect(self._ask)

    def paint(self, colour: str) -> None:
        """Take a colour, `#rrggbb`."""
        self.colour = colour
        self.frame(colour)

    def frame(self, paint: str) -> None:
        """Show the colour with that of the paint around it."""
        style = f"background-color: {self.colour}; border: 4px solid {paint}"
        self.colour_button.native.setStyleSheet(style)

    def _ask(self) -> None:
        chosen = QColorDialog.getColor(QColor(self.colour), self.native, "Colour of the class")
        if chosen.isValid():
            self.paint(chosen.name())
            self._changed()


class ClassTable(Container[Widget]):
    """A row a class; the first is label 1.

    Parameters
    ----------
    changed
        Called when the user changes a name, a colour or the number of classes.
    """

    def __init__(self, classes: Sequence[PhaseClass], changed: Callable[[], None]) -> None:
        self.is_edited = False
        self._on_change = changed
        self._rows: Container[Widget] = Container(labels=False)
        self._rows.margins = (0, 0, 0, 0)
        self.add_button = PushButton(text="Add class")
        self.remove_button = PushButton(text="Remove last")
        buttons = button_row(self.add_button, self.remove_button)
        super().__init__(widgets=[self._rows, buttons], labels=False, label="Classes")
        self.margins = (0, 0, 0, 0)
        self.add_button.changed.connect(self._add)
        self.remove_button.changed.connect(self._remove)
        self.show_classes(classes)

    @property
    def rows(self) -> list[ClassRow]:
        """The rows, from label 1."""
        return [row for row in self._rows if isinstance(row, ClassRow)]

    @property
    def names(self) -> list[str]:
        """Names as typed; they may still clash."""
        return [row.name_edit.value.strip() for row in self.rows]

    def classes(self) -> tuple[PhaseClass, ...]:
        """The classes; `InputError` when a name is missing or given twice."""
        names = self.names
        require_clear_names(names)
        return tuple(
            PhaseClass(name=name, colour=row.colour)
            for name, row in zip(names, self.rows, strict=True)
        )

    def drawn(self) -> tuple[PhaseClass, ...]:
        """The classes to show while names are being typed."""
        return tuple(
            PhaseClass(name=row.name_edit.value.strip() or f"class {label}", colour=row.colour)
            for label, row in enumerate(self.rows, start=1)
        )

    def show_classes(self, classes: Sequence[PhaseClass]) -> None:
        """Show other classes; not an edit of the user."""
        self._rows.clear()
        for phase in classes:
            self._append(phase)
        self._show()

    def _append(self, phase: PhaseClass) -> None:
        self._rows.append(ClassRow(len(self._rows) + 1, phase, self._edited))

    def _add(self) -> None:
        number = len(self._rows)
        self._append(PhaseClass(name=f"class {number + 1}", colour=PALETTE[number % len(PALETTE)]))
        self._edited()

    def _remove(self) -> None:
        # Only the last one: the values of the others in layers must not change.
        self._rows.pop()
        self._edited()

    def _edited(self) -> None:
        self.is_edited = True
        self._show()
        self._on_change()

    def _show(self) -> None:
        """Show what can be pressed, and the paint of each class."""
        for row, phase in zip(self.rows, in_paint(self.drawn()), strict=True):
            row.frame(phase.colour)
        self.remove_button.enabled = len(self._rows) > _FEWEST
        self.add_button.enabled = len(self._rows) < _MOST
