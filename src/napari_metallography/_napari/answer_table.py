"""A table of answers with thumbnails, in which answers may be confirmed or corrected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QSizePolicy,
    QStyledItemDelegate,
    QTableWidget,
    QTableWidgetItem,
)

from ..classification.stacks import THUMBNAIL

HEADINGS = ("", "image", "answer", "probability")
CLASS = len(HEADINGS)
"""Column in which answers are confirmed, where they can be."""

_CONFIRMED = "confirmed as"
_PADDING = 20
_UNCONFIRMED = "choose ▾"
_MARGIN = 4
_LEAST_SIZE = (460, 320)


@dataclass(frozen=True)
class ShownAnswer:
    """A row; `detail` is its tooltip, `confirmed` is empty while nobody has confirmed it.

    `more` are the texts of the columns after these.
    """

    thumbnail: NDArray[np.uint8]
    place: str
    answer: str
    probability: float
    detail: str
    confirmed: str = ""
    more: tuple[str, ...] = ()


class AnswerTable(QTableWidget):
    """A row a plane.

    Parameters
    ----------
    on_row
        Called with the row that became the current one, or was clicked.
    on_confirmed
        Called with a row and the class that was chosen or typed; "" takes it back. None where
        answers cannot be confirmed.
    more
        Further columns, of numbers.
    wide
        Those of them that are texts.
    """

    def __init__(
        self,
        on_row: Callable[[int], None],
        on_confirmed: Callable[[int, str], None] | None = None,
        more: Sequence[str] = (),
        wide: Collection[str] = (),
    ) -> None:
        self._confirmable = (_CONFIRMED,) if on_confirmed is not None else ()
        headings = (*HEADINGS, *self._confirmable, *more)
        super().__init__(0, len(headings))
        self._on_row, self._on_confirmed = on_row, on_confirmed
        self._delegate = _ClassDelegate(self)
        self.setHorizontalHeaderLabels(headings)
        self.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        if on_confirmed is not None:
            self.setItemDelegateForColumn(CLASS, self._delegate)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setWordWrap(True)
        self.setMinimumSize(*_LEAST_SIZE)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        numbers = cast(QHeaderView, self.verticalHeader())
        numbers.setVisible(False)
        numbers.setDefaultSectionSize(THUMBNAIL + _MARGIN)
        header = cast(QHeaderView, self.horizontalHeader())
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        # Of known widths: one that follows the contents is measured anew at each item.
        widths = {0: THUMBNAIL + _MARGIN}
        for name in {HEADINGS[-1], *more} - {*wide}:
            width = header.fontMetrics().horizontalAdvance(name) + _PADDING
            widths[headings.index(name)] = width
        for column, width in widths.items():
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.setColumnWidth(column, width)
        self.currentCellChanged.connect(self._row_changed)
        self.cellClicked.connect(self._clicked)
        self.itemChanged.connect(self._changed)

    @property
    def selected(self) -> list[int]:
        """The selected rows, in order."""
        return sorted({index.row() for index in self.selectedIndexes()})

    def show_answers(self, rows: Sequence[ShownAnswer]) -> None:
        """Replace all rows."""
        self.blockSignals(True)
        self.clearContents()
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            self._fill(number, row)
        self.setCurrentCell(-1, -1)
        self.blockSignals(False)

    def show_confirmed(self, names: Mapping[int, str]) -> None:
        """Show the classes that somebody confirmed, by row."""
        self.blockSignals(True)
        for row, name in names.items():
            cast(QTableWidgetItem, self.item(row, CLASS)).setText(name)
        self.blockSignals(False)

    def offer(self, names: Sequence[str]) -> None:
        """Offer classes to choose; others can be typed."""
        self._delegate.names = [*names]

    def _fill(self, number: int, row: ShownAnswer) -> None:
        confirmed = (row.confirmed,) * len(self._confirmable)
        texts = ("", row.place, row.answer, f"{row.probability:.3f}", *confirmed, *row.more)
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(row.detail)
            if column == 0:
                item.setIcon(icon_of(row.thumbnail))
            if not self._is_confirmable(column):
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.setItem(number, column, item)

    def _row_changed(self, row: int, column: int, former: int, _: int) -> None:
        if row >= 0 and row != former:
            self._on_row(row)

    def _clicked(self, row: int, column: int) -> None:
        # Also of the current row: another plane may have come into view since.
        self._on_row(row)
        if self._is_confirmable(column):
            self.editItem(self.item(row, column))

    def _changed(self, item: QTableWidgetItem) -> None:
        if self._on_confirmed is not None and item.column() == CLASS:
            self._on_confirmed(item.row(), item.text().strip())

    def _is_confirmable(self, column: int) -> bool:
        return self._on_confirmed is not None and column == CLASS


class _ClassDelegate(QStyledItemDelegate):
    """Edits a class by a list that takes new names too."""

    def __init__(self, parent: QTableWidget) -> None:
        super().__init__(parent)
        self.names: list[str] = []

    def displayText(self, value: Any, locale: Any) -> str:
        """The class, or that one can be chosen."""
        return str(value) or _UNCONFIRMED

    def createEditor(self, parent: Any, option: Any, index: Any) -> QComboBox:
        """A list of the classes."""
        editor = QComboBox(parent)
        editor.setEditable(True)
        editor.addItems(self.names)
        editor.activated.connect(lambda _: self._done(editor))
        return editor

    def setEditorData(self, editor: Any, index: Any) -> None:
        """Start from what is there."""
        editor.setCurrentText(str(index.data(Qt.ItemDataRole.EditRole) or ""))

    def setModelData(self, editor: Any, model: Any, index: Any) -> None:
        """Take over what was chosen or typed."""
        model.setData(index, editor.currentText().strip(), Qt.ItemDataRole.EditRole)

    def _done(self, editor: QComboBox) -> None:
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)


def icon_of(thumbnail: NDArray[np.uint8]) -> QIcon:
    """An icon of a picture (rows, columns, 3)."""
    rows, columns = thumbnail.shape[:2]
    content = np.ascontiguousarray(thumbnail)
    image = QImage(content.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    # The image does not own its bytes, the pixmap does.
    return QIcon(QPixmap.fromImage(image))
