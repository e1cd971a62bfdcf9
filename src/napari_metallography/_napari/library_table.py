"""The examples of a library: a row a class, with a picture of each example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from ..classification.library import Example, Library
from ..classification.stacks import thumbnail
from ..plane import as_plane
from .answer_table import icon_of

_NAME, _COUNT, _FIRST = 0, 1, 2
_SIDE = 48
_MARGIN = 6
_LEAST_HEIGHT = 150


class LibraryTable(QTableWidget):
    """A row a class: its name, how many examples it has, and their pictures.

    Parameters
    ----------
    on_class
        Called with the class whose row was clicked.
    on_delete
        Called when the Delete key is pressed.
    """

    def __init__(self, on_class: Callable[[str], None], on_delete: Callable[[], None]) -> None:
        super().__init__(0, _FIRST)
        self._on_class, self._on_delete = on_class, on_delete
        self._pictures: dict[int, tuple[Example, NDArray[np.uint8]]] = {}
        self.setIconSize(QSize(_SIDE, _SIDE))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(_LEAST_HEIGHT)
        rows = cast(QHeaderView, self.verticalHeader())
        rows.setVisible(False)
        rows.setDefaultSectionSize(_SIDE + _MARGIN)
        cast(QHeaderView, self.horizontalHeader()).setDefaultSectionSize(_SIDE + _MARGIN)
        self.cellClicked.connect(self._clicked)
        self.show_library(Library())

    @property
    def selected(self) -> set[int]:
        """Indices of the selected examples; a selected class stands for all of its own."""
        chosen: set[int] = set()
        for item in self.selectedItems():
            chosen.update(item.data(Qt.ItemDataRole.UserRole) or ())
        return chosen

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Take Delete; the table itself moves the selection by the other keys."""
        if event is not None and event.key() == Qt.Key.Key_Delete:
            self._on_delete()
        else:
            super().keyPressEvent(event)

    def show_library(self, library: Library) -> None:
        """Replace all rows."""
        members = {name: _indices(library, name) for name in library.counts}
        most = max(map(len, members.values()), default=0)
        self._keep_pictures(library.examples)
        self.clear()
        self.setRowCount(len(members))
        self.setColumnCount(_FIRST + most)
        self.setHorizontalHeaderLabels(["class", "n", *["" for _ in range(most)]])
        for row, (name, indices) in enumerate(members.items()):
            self._fill(row, name, indices, library)
        header = cast(QHeaderView, self.horizontalHeader())
        for column in (_NAME, _COUNT):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)

    def _fill(self, row: int, name: str, indices: Sequence[int], library: Library) -> None:
        for column, text in ((_NAME, name), (_COUNT, str(len(indices)))):
            self._put(row, column, text, indices)
        for column, index in enumerate(indices, start=_FIRST):
            item = self._put(row, column, "", [index])
            example = library.examples[index]
            item.setIcon(icon_of(self._pictures[id(example)][1]))
            item.setToolTip(_told(example))

    def _put(self, row: int, column: int, text: str, indices: Sequence[int]) -> QTableWidgetItem:
        item = QTableWidgetItem(text)
        item.setData(Qt.ItemDataRole.UserRole, [*indices])
        self.setItem(row, column, item)
        return item

    def _keep_pictures(self, examples: Sequence[Example]) -> None:
        """Make pictures of new examples only: a library may have hundreds."""
        kept = self._pictures
        self._pictures = {
            id(one): kept.get(id(one)) or (one, thumbnail(as_plane(one.plane, one.source)))
            for one in examples
        }

    def _clicked(self, row: int, _: int) -> None:
        self._on_class(cast(QTableWidgetItem, self.item(row, _NAME)).text())


def _indices(library: Library, name: str) -> list[int]:
    return [number for number, one in enumerate(library.examples) if one.name == name]


def _told(example: Example) -> str:
    """What is known of an example, a line a matter."""
    rows, columns = example.plane.shape
    size = example.pixel_size_um
    known = "pixel size unknown" if size is None else f"{size:.4g} µm/px"
    return "\n".join(
        (example.source, f"{columns} × {rows} px, {known}", f"specimen: {example.specimen}")
    )
